// The catalogue's queues: requests that wait for an adapter's weights, until these are there, it
// takes too long, or their client hangs up.
#include <chrono>
#include <utility>

#include "adapters/catalogue.h"

namespace lorry::adapters {
namespace {

int64_t UnixSeconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace

void Catalogue::Want(const std::string& name, std::shared_ptr<WaitingRequest> request,
                     HandleCallback done) {
  if (stopping_) return done(Fail(ErrorCode::kUnavailable, "The server is shutting down."));
  Post([this, name, wanting = Wanting{std::move(request), std::move(done)}]() mutable {
    DoWant(name, std::move(wanting));
  });
}

void Catalogue::DoWant(const std::string& name, Wanting wanting) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return wanting.done(
        Fail(ErrorCode::kNotFound, fmt::format("The model `{}` does not exist.", name), "model"));
  }
  Use(found->second, std::move(wanting));
}

// In messages: what clients call it.
std::string Catalogue::ShownNameOf(const Entry& entry) {
  return entry.is_requested ? entry.uri.text : entry.name;
}

void Catalogue::Use(Entry& entry, Wanting wanting) {
  ++entry.num_requests;
  entry.last_used_s = UnixSeconds();
  if (!entry.id.IsBase()) {
    host_policy_.OnUse(entry.id);
    cache_.OnUse(entry.id);
    auto image = entry.is_stale ? nullptr : HostImage(entry.id);
    if (image != nullptr) {
      metrics_.OnHit(AdapterTier::kHost);
      KeepOnHost(image);
      return wanting.done(std::shared_ptr<const AdapterHandle>(std::move(image)));
    }
  }
  const bool is_on_disk = !entry.is_stale && cache_.Contains(entry.id);
  if (entry.error && !is_on_disk && options_.clock->NowUs() < entry.failed_until_us) {
    return wanting.done(tl::unexpected<Error>(*entry.error));
  }
  if (static_cast<int>(entry.waiters.size()) >= options_.max_waiting) {
    return wanting.done(
        Fail(ErrorCode::kResourceExhausted,
             fmt::format("{} requests wait for the adapter `{}` already. Try again later.",
                         entry.waiters.size(), ShownNameOf(entry)),
             "model"));
  }
  metrics_.OnHit(cache_.Contains(entry.id) ? AdapterTier::kDisk : AdapterTier::kNone);
  AddWaiter(entry, std::move(wanting));
  if (!entry.load) {
    StartLoad(entry,
              {.uri = entry.uri, .token = entry.token, .asks_source = entry.is_stale, .done = {}});
    return;
  }
  *entry.load->cancelled = false;
  if (entry.load->threads != nullptr) entry.load->threads->Promote(entry.load->job_number);
}

void Catalogue::AddWaiter(Entry& entry, Wanting wanting) {
  const Micros deadline_us = options_.clock->NowUs() + options_.wait_timeout_us;
  if (entry.waiters.empty()) deadlines_.insert({deadline_us, entry.name});
  const uint64_t number = ++last_waiter_number_;
  Waiter& waiter = entry.waiters[number];
  waiter.wanting = std::move(wanting);
  waiter.deadline_us = deadline_us;
  ++num_waiting_;
  waiting_changed_ = true;
  if (waiter.wanting.request == nullptr) return;
  // At once where its client has gone before.
  waiter.on_gone.emplace(
      waiter.wanting.request->gone.get_token(),
      [this, name = entry.name, number] { Post([this, name, number] { GiveUp(name, number); }); });
}

Catalogue::Waiters Catalogue::TakeWaiters(Entry& entry) {
  if (entry.waiters.empty()) return {};
  deadlines_.erase({entry.waiters.begin()->second.deadline_us, entry.name});
  num_waiting_ -= entry.waiters.size();
  waiting_changed_ = true;
  return std::exchange(entry.waiters, {});
}

Catalogue::Wanting Catalogue::TakeWaiter(Entry& entry, Waiters::iterator waiter) {
  deadlines_.erase({entry.waiters.begin()->second.deadline_us, entry.name});
  Wanting wanting = std::move(waiter->second.wanting);
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
}

void Catalogue::FailOverdue() {
  const Micros now_us = options_.clock->NowUs();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_us) {
    Entry& entry = entries_.find(deadlines_.begin()->second)->second;
    TakeWaiter(entry, entry.waiters.begin())
        .done(Fail(ErrorCode::kUnavailable,
                   fmt::format("The adapter `{}` is still being loaded from {}. Try again later.",
                               ShownNameOf(entry), entry.uri.text),
                   "model"));
  }
}

// Most requests wait for less than a period: not one message for each.
void Catalogue::ShowWaiting() {
  constexpr Micros kPeriodUs = 50'000;
  metrics_.SetWaiting(num_waiting_);
  const Micros now_us = options_.clock->NowUs();
  if (!waiting_changed_ || now_us < show_waiting_us_) return;
  show_waiting_us_ = now_us + kPeriodUs;
  waiting_changed_ = false;
  WaitingRequests shown;
  std::unordered_set<const WaitingRequest*> requests;  // one may wait for several
  for (const auto& [deadline_us, name] : deadlines_) {
    const Entry& entry = entries_.find(name)->second;
    shown.adapters.push_back(ShownNameOf(entry));
    for (const auto& [number, waiter] : entry.waiters) {
      const WaitingRequest* request = waiter.wanting.request.get();
      shown.num_requests += request == nullptr || requests.insert(request).second;
    }
  }
  pool_.show_waiting(std::move(shown));
}

}  // namespace lorry::adapters
