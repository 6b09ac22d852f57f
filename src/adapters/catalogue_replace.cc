// How a name comes to stand for something else. A replacement is read as an entry of its own, a
// candidate, so that nothing of it touches the name unless it is good:
//
//     "a"      at /old, in use ─────────────────────────▶ at /new
//     "a#new"  at /new, being read ──good: the name moves──▲   bad: it is forgotten, "a" stays
//
// And a source that is read again and has become bad leaves its name what it held before, while
// that is on the host or in the disk cache.
#include <algorithm>
#include <utility>

#include "adapters/catalogue.h"
#include "base/log.h"

namespace lorry::adapters {

std::string Catalogue::CandidateKeyOf(const std::string& name) { return name + "#new"; }

void Catalogue::MoveOnceRead(const Target& target, Candidacy candidacy, LoadOrder order) {
  const std::string key = CandidateKeyOf(candidacy.name);
  const auto found = entries_.find(key);
  const bool is_there = found != entries_.end() && IsSameSource(found->second.uri, target.uri) &&
                        found->second.token == target.token;
  if (found != entries_.end() && !is_there) {
    // The later call goes on: who waits for the earlier one learns what becomes of the name.
    LoadOrder earlier = CancelLoad(found->second);
    earlier.Add(std::move(order));
    order = std::move(earlier);
    EraseEntry(found, {ErrorCode::kConflict, "replaced", "name"});
  }
  Entry& candidate = is_there ? found->second : AddEntry(key, target.uri);
  candidate.token = target.token;
  candidate.id = target.id;
  candidate.revision = target.revision;
  candidate.is_remembered = !target.id.IsBase();
  candidate.is_stale = order.asks_source;
  candidate.candidacy = std::move(candidacy);
  StartLoad(candidate, std::move(order));
}

// The later call goes on, and the name does not move once more when an earlier one's content has
// been read.
void Catalogue::DropCandidate(const std::string& name) {
  const auto found = entries_.find(CandidateKeyOf(name));
  if (found == entries_.end()) return;
  EraseEntry(found, {ErrorCode::kConflict,
                     fmt::format("A later call has moved the adapter `{}`.", name), "name"});
}

// The name stands for what `target` stands for, from the next request on.
void Catalogue::MoveTo(Entry& entry, const Entry& target) {
  LoadOrder order = CancelLoad(entry);  // it is for the old source
  const AdapterId before = entry.id;
  entry.uri = target.uri;
  entry.token = target.token;
  entry.id = target.id;
  entry.revision = target.revision;
  entry.max_rank = target.max_rank;
  entry.num_modules = target.num_modules;
  entry.num_bytes = target.num_bytes;
  entry.warnings = target.warnings;
  entry.text_error = target.text_error;
  entry.is_stale = target.is_stale;
  entry.is_read = target.is_read;
  entry.is_remembered = target.is_remembered;
  entry.is_watched = false;
  entry.error.reset();
  entry.num_failures = 0;
  names_changed_ = true;
  WriteDown(entry.name);
  if (before != entry.id) DropContentIfUnnamed(before);
  const Image image = HostImage(entry.id);
  const bool is_at_hand = image != nullptr && !entry.is_stale;
  if (is_at_hand) entry.is_pinned = order.is_pinned.value_or(entry.is_pinned);
  SyncPin(entry.id);
  if (is_at_hand) {
    ServeWaiters(entry, image);
    for (const StatusCallback& done : order.done) done(StatusOf(entry));
  } else if (!entry.waiters.empty() || !order.done.empty()) {
    order.asks_source = entry.is_stale;
    StartLoad(entry, std::move(order));
  }
}

// It has been read.
void Catalogue::MoveToCandidate(Entries::iterator candidate, Load load) {
  const Candidacy candidacy = *candidate->second.candidacy;
  Entry& entry = entries_.find(candidacy.name)->second;
  entry.is_static = candidacy.is_static;
  MoveTo(entry, candidate->second);
  if (load.order.is_pinned) SetPin(entry, *load.order.is_pinned);
  EraseEntry(candidate, {});
  PublishIfChanged();  // whoever is told may ask for the name at once
  for (const StatusCallback& done : load.order.done) done(StatusOf(entry));
  if (load.repeat) StartLoad(entry, std::move(*load.repeat));
}

// ---- sources that have become bad

// Whether requests get what the name had, although its source has failed since. What was read
// before a restart only while nobody says that it must not be had any more.
bool Catalogue::MayStandIn(const Entry& entry) const {
  if (entry.is_requested || entry.candidacy || entry.id.IsBase() || !entry.error) return false;
  if (entry.is_read) return true;
  const ErrorCode code = entry.error->code;
  const bool is_refused =
      code == ErrorCode::kPermission || code == ErrorCode::kUnauthenticated ||
      (code == ErrorCode::kNotFound && entry.uri.kind != SourceKind::kDirectory);
  return entry.is_remembered && !is_refused;
}

bool Catalogue::MustAskSource(const Entry& entry) const {
  const bool has_just_failed = entry.error && options_.clock->NowUs() < entry.failed_until_us;
  return entry.is_stale && !(has_just_failed && MayStandIn(entry));
}

// Its source has been asked, and has failed: who waits gets what was there, if that is to be had.
void Catalogue::StandIn(Entry& entry) {
  const Error error = *entry.error;
  const bool may = MayStandIn(entry);
  const Image image = may ? HostImage(entry.id) : nullptr;
  const bool is_on_disk = may && cache_.Contains(entry.id);
  if (image == nullptr && !is_on_disk) return FailWaiters(entry, error);
  log::Warning("adapter {}: requests get what it held before", ShownNameOf(entry));
  if (image != nullptr) return ServeWaiters(entry, image);
  if (!entry.waiters.empty() || entry.is_pinned) {
    StartLoad(entry, {.asks_source = false, .done = {}});
  }
}

}  // namespace lorry::adapters
