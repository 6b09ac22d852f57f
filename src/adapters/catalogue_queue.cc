// The catalogue's queues: requests that wait for an adapter's weights, until these are there, it
// takes too long, or their client hangs up.
#include <utility>

#include "adapters/catalogue.h"

namespace lorry::adapters {

void Catalogue::Want(const std::string& name, std::shared_ptr<WaitingRequest> request,
                     HandleCallback done) {
  if (stopping_) return done(Fail(ErrorCode::kUnavailable, "The server is shutting down."));
  Post([this, name, wanting = Wanting{std::move(request), std::move(done)}]() mutable {
    DoWant(name, std::move(wanting));
  });
}

void Catalogue::DoWant(const std::string& name, Wanting wanting) {
  const auto found = FindName(name);
  if (found == entries_.end()) {
    return wanting.done(
        Fail(ErrorCode::kNotFound, fmt::format("The model `{}` does not exist.", name), "model"));
  }
  Use(found->second, std::move(wanting));
}

// In messages: what clients call it.
std::string Catalogue::ShownNameOf(const Entry& entry) {
  if (entry.candidacy) return entry.candidacy->name;
  return entry.is_requested ? entry.uri.text : entry.name;
}

void Catalogue::Use(Entry& entry, Wanting wanting) {
  ++entry.num_requests;
  entry.last_used_s = UnixSeconds();
  bool is_at_hand = false;
  const bool must_ask = MustAskSource(entry);
  if (!entry.id.IsBase()) {
    host_policy_.OnUse(entry.id);
    cache_.OnUse(entry.id);
    auto image = must_ask ? nullptr : HostImage(entry.id);
    if (image != nullptr) {
      metrics_.OnHit(AdapterTier::kHost);
      KeepOnHost(image);
      const bool has_room = gated_.empty() && HasRoomFor(image->id, image->host_bytes());
      if (has_room || IsUngated(wanting)) return Give(std::move(wanting), image);
      is_at_hand = true;
    }
  }
  const bool is_on_disk = !must_ask && cache_.Contains(entry.id);
  if (entry.error && !is_at_hand && !is_on_disk &&
      options_.clock->NowUs() < entry.failed_until_us) {
    return wanting.done(tl::unexpected<Error>(*entry.error));
  }
  if (static_cast<int>(entry.waiters.size()) >= options_.max_waiting) {
    return wanting.done(
        Fail(ErrorCode::kResourceExhausted,
             fmt::format("{} requests wait for the adapter `{}` already. Try again later.",
                         entry.waiters.size(), ShownNameOf(entry)),
             "model"));
  }
  const Turn turn = AddWaiter(entry, std::move(wanting));
  if (is_at_hand) {
    gated_.emplace(turn, entry.name);
    return;
  }
  metrics_.OnHit(cache_.Contains(entry.id) ? AdapterTier::kDisk : AdapterTier::kNone);
  if (!entry.load) {
    StartLoad(entry, {.asks_source = must_ask, .done = {}});
    return;
  }
  *entry.load->cancelled = false;
  if (entry.load->threads != nullptr) entry.load->threads->Promote(entry.load->job_number);
}

Catalogue::Turn Catalogue::AddWaiter(Entry& entry, Wanting wanting) {
  const Micros deadline_us = options_.clock->NowUs() + options_.wait_timeout_us;
  if (entry.waiters.empty()) deadlines_.insert({deadline_us, entry.name});
  const uint64_t number = ++last_waiter_number_;
  Waiter& waiter = entry.waiters[number];
  waiter.wanting = std::move(wanting);
  waiter.turn = {number, number};
  waiter.deadline_us = deadline_us;
  ++num_waiting_;
  waiting_changed_ = true;
  if (waiter.wanting.request == nullptr) return waiter.turn;
  uint64_t& turn = waiter.wanting.request->turn;
  if (turn == 0) turn = number;
  waiter.turn.first = turn;
  // At once where its client has gone before.
  waiter.on_gone.emplace(
      waiter.wanting.request->gone.get_token(),
      [this, name = entry.name, number] { Post([this, name, number] { GiveUp(name, number); }); });
  return waiter.turn;
}

Catalogue::Waiters Catalogue::TakeWaiters(Entry& entry) {
  if (entry.waiters.empty()) return {};
  deadlines_.erase({entry.waiters.begin()->second.deadline_us, entry.name});
  for (const auto& [number, waiter] : entry.waiters) gated_.erase(waiter.turn);
  num_waiting_ -= entry.waiters.size();
  waiting_changed_ = true;
  return std::exchange(entry.waiters, {});
}

Catalogue::Wanting Catalogue::TakeWaiter(Entry& entry, Waiters::iterator waiter) {
  deadlines_.erase({entry.waiters.begin()->second.deadline_us, entry.name});
  Wanting wanting = std::move(waiter->second.wanting);
  gated_.erase(waiter->second.turn);
  entry.waiters.erase(waiter);
  --num_waiting_;
  waiting_changed_ = true;
  if (!entry.waiters.empty()) {
    deadlines_.insert({entry.waiters.begin()->second.deadline_us, entry.name});
  }
  return wanting;
}

void Catalogue::GiveUp(const std::string& name, uint64_t waiter_number) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  const auto waiter = entry.waiters.find(waiter_number);
  if (waiter == entry.waiters.end()) return;  // it has just been answered
  TakeWaiter(entry, waiter).done(Fail(ErrorCode::kCancelled, "The client has gone."));
  CancelUnwantedLoad(entry);
  ServeGated();  // it may have stood in front
}

void Catalogue::FailOverdue() {
  const Micros now_us = options_.clock->NowUs();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_us) {
    Entry& entry = entries_.find(deadlines_.begin()->second)->second;
    const auto oldest = entry.waiters.begin();
    std::string message =
        gated_.contains(oldest->second.turn)
            ? fmt::format(
                  "There is no room in memory for the adapter `{}` at the moment: others "
                  "wait before it. Try again later.",
                  ShownNameOf(entry))
            : fmt::format("The adapter `{}` is still being loaded from {}. Try again later.",
                          ShownNameOf(entry), entry.uri.text);
    TakeWaiter(entry, oldest).done(Fail(ErrorCode::kUnavailable, std::move(message), "model"));
    ServeGated();
  }
}

// ---- the memory of what has been handed out
//
// What a request holds stays in memory whatever its tier does. While it runs its adapters are in
// the pool, whose bytes are bounded; until then they count against max_waiting_bytes. Who comes
// when these are used up waits for its turn, without an image.

// Who holds a part of a sum gets the others: two that waited for each other would never end.
bool Catalogue::IsUngated(const Wanting& wanting) {
  return wanting.request == nullptr || !wanting.request->places.empty();
}

bool Catalogue::HasRoomFor(const AdapterId& id, size_t num_bytes) const {
  return held_bytes_ == 0 || held_.contains(id) ||
         held_bytes_ + num_bytes <= options_.max_waiting_bytes;
}

void Catalogue::Give(Wanting wanting, const Image& image) {
  if (wanting.request != nullptr) {
    Held& held = held_[image->id];
    if (held.num_places++ == 0) {
      held.num_bytes = image->host_bytes();
      held_bytes_ += held.num_bytes;
    }
    const auto give_back = [this, mailbox = mailbox_, id = image->id](const void*) {
      mailbox->SendAlways([this, id] { FreePlace(id); });
    };
    wanting.request->places.emplace_back(this, give_back);
  }
  wanting.done(image);
}

void Catalogue::FreePlace(const AdapterId& id) {
  const auto held = held_.find(id);
  if (--held->second.num_places > 0) return;
  held_bytes_ -= held->second.num_bytes;
  held_.erase(held);
  ServeGated();
}

// The adapter has come.
void Catalogue::ServeWaiters(Entry& entry, const Image& image) {
  for (auto next = entry.waiters.begin(); next != entry.waiters.end();) {
    const auto waiter = next++;
    if (IsUngated(waiter->second.wanting)) {
      Give(TakeWaiter(entry, waiter), image);
    } else {
      gated_.emplace(waiter->second.turn, entry.name);
    }
  }
  ServeGated();
}

// What they wait for failed; but not those whose weights had come before.
void Catalogue::FailWaiters(Entry& entry, const Error& error) {
  const bool is_at_hand = HostImage(entry.id) != nullptr;
  for (auto next = entry.waiters.begin(); next != entry.waiters.end();) {
    const auto waiter = next++;
    if (is_at_hand && gated_.contains(waiter->second.turn)) continue;
    TakeWaiter(entry, waiter).done(tl::unexpected<Error>(error));
  }
  ServeGated();
}

// In the order of arrival, as far as there is room; the parts of a sum one after another.
void Catalogue::ServeGated() {
  while (!gated_.empty()) {
    const auto next = gated_.begin();
    Entry& entry = entries_.find(next->second)->second;
    const auto waiter = entry.waiters.find(next->first.second);
    const Image image = HostImage(entry.id);
    const size_t num_bytes = image == nullptr ? entry.num_bytes : image->host_bytes();
    if (!IsUngated(waiter->second.wanting) && !HasRoomFor(entry.id, num_bytes)) return;
    if (image != nullptr) {
      Give(TakeWaiter(entry, waiter), image);
      continue;
    }
    // It has left the host meanwhile. From this disk it comes at once; others do not wait for a
    // source elsewhere.
    if (!entry.load) {
      StartLoad(entry, {.asks_source = MustAskSource(entry), .done = {}});
    }
    const bool is_cached = !entry.load->order.asks_source && cache_.Contains(entry.id);
    if (is_cached || entry.uri.kind == SourceKind::kDirectory) return;
    gated_.erase(next);
  }
}

// Most requests wait for less than a period: not one message for each.
void Catalogue::ShowWaiting() {
  constexpr Micros kPeriodUs = 50'000;
  constexpr size_t kMaxNames = 256;
  metrics_.SetWaiting(num_waiting_, held_bytes_);
  const Micros now_us = options_.clock->NowUs();
  if (!waiting_changed_ || now_us < show_waiting_us_) return;
  show_waiting_us_ = now_us + kPeriodUs;
  waiting_changed_ = false;
  WaitingRequests shown;
  std::unordered_set<const WaitingRequest*> requests;  // one may wait for several
  for (const auto& [deadline_us, name] : deadlines_) {
    const Entry& entry = entries_.find(name)->second;
    // No metric shows what a request brought along.
    const bool has_room = shown.adapters.size() < kMaxNames;
    if (has_room && !entry.is_requested) shown.adapters.push_back(entry.name);
    for (const auto& [number, waiter] : entry.waiters) {
      const WaitingRequest* request = waiter.wanting.request.get();
      shown.num_requests += request == nullptr || requests.insert(request).second;
    }
  }
  pool_.show_waiting(std::move(shown));
}

}  // namespace lorry::adapters
