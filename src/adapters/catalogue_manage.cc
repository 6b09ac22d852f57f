// The operator's side of the catalogue: names that come, move and go.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "adapters/catalogue.h"
#include "base/log.h"

namespace lorry::adapters {
namespace {

Error Removed(const std::string& name) {
  return {ErrorCode::kNotFound, fmt::format("The adapter `{}` has been removed.", name), "model"};
}

// What an update did, for the log.
std::string DescribeUpdate(const AdapterUpdate& update) {
  std::string done;
  const auto add = [&done](std::string_view what) {
    done += fmt::format("{}{}", done.empty() ? "" : ", ", what);
  };
  if (update.alias_of) add(fmt::format("moved to what {} stands for", *update.alias_of));
  if (update.reload) add("read again");
  if (update.is_pinned) add(*update.is_pinned ? "pinned" : "no longer pinned");
  return done;
}

Error IsStatic(const std::string& name) {
  return {ErrorCode::kPermission,
          fmt::format("The adapter `{}` belongs to the server's configuration.", name), "name"};
}

}  // namespace

// `done` with what went well once a restart would know it; with an error at once.
template <typename T>
std::function<void(T)> Catalogue::OnceSaved(std::function<void(T)> done) {
  return [this, done = std::move(done)](T result) {
    if (!result) return done(std::move(result));
    registry_changed_ = true;
    unsaved_answers_.push_back([done, result = std::move(result)](const Status& saved) {
      if (saved) return done(result);
      done(Fail(ErrorCode::kInternal,
                fmt::format("This server has done it, but the next one will not know of it: {}",
                            saved.error().message)));
    });
  };
}

void Catalogue::AddStatic(const std::string& name, const SourceUri& uri, bool pin,
                          StatusCallback ready) {
  Post([this, name, uri, pin, ready = std::move(ready)]() mutable {
    if (Status status = CheckName(name); !status) {
      return ready(tl::unexpected<Error>(std::move(status.error())));
    }
    const auto found = entries_.find(name);
    const auto candidate = entries_.find(CandidateKeyOf(name));
    for (const auto& given : {found, candidate}) {
      if (given == entries_.end()) continue;
      const auto& candidacy = given->second.candidacy;
      if (!given->second.is_static && !(candidacy && candidacy->is_static)) continue;
      return ready(
          Fail(ErrorCode::kConflict, fmt::format("adapter name `{}` is given twice: {} and {}",
                                                 name, given->second.uri.text, uri.text)));
    }
    LoadOrder order = {.asks_source = true, .is_pinned = pin, .done = {std::move(ready)}};
    if (found != entries_.end()) {
      // One registered in an earlier run gives way to the configuration, if that is good.
      return MoveOnceRead({.uri = uri, .token = {}, .id = {}, .revision = {}},
                          {.name = name, .is_static = true}, std::move(order));
    }
    Entry& entry = AddEntry(name, uri);
    entry.is_static = true;
    entry.is_stale = true;
    entry.is_pinned = pin;
    RecallSource(entry);
    StartLoad(entry, std::move(order));
  });
}

void Catalogue::SyncWatched(const std::string& name, const std::string& dir) {
  Post([this, name, dir] {
    const auto uri = ParseSourceUri(dir);
    const Status name_status = CheckName(name);
    if (!uri || !name_status) {
      return log::Warning(
          "adapter {} is passed over: {}", name,
          uri ? fmt::format("{}: {}", dir, name_status.error().message) : uri.error().message);
    }
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      Entry& entry = AddEntry(name, *uri);
      entry.is_watched = true;
      MakeKnown(entry);
      entry.is_remembered = true;
      entry.is_stale = true;
      RecallSource(entry);
      return log::Info("adapter {}: found in {}", name, dir);
    }
    Entry& entry = found->second;
    if (!entry.is_watched) {
      return log::Warning("adapter {}: {} is passed over: the name stands for {}, which was {}",
                          name, dir, entry.uri.text,
                          entry.is_static ? "given at start" : "registered");
    }
    log::Info("adapter {}: {} has changed", name, dir);
    entry.uri = *uri;
    entry.is_stale = true;
    entry.error.reset();
    // What is being read may be half of the old and half of the new.
    if (entry.load) entry.load->Repeat();
  });
}

void Catalogue::RemoveWatched(const std::string& name) {
  Post([this, name] {
    const auto found = entries_.find(name);
    if (found == entries_.end() || !found->second.is_watched) return;
    log::Info("adapter {}: gone from {}", name, found->second.uri.text);
    EraseEntry(found, Removed(name));
  });
}

void Catalogue::MarkWatched(const std::string& name, const std::string& why) {
  Post([this, name, why] {
    const auto found = entries_.find(name);
    if (found == entries_.end() || !found->second.is_watched) return;
    Entry& entry = found->second;
    entry.error = {ErrorCode::kDataLoss, fmt::format("{} {}", entry.uri.text, why), "source"};
    entry.failed_until_us = options_.clock->NowUs();
  });
}

void Catalogue::Register(AdapterRegistration registration, StatusCallback done) {
  const Status name_status = CheckName(registration.name);
  if (!name_status) {
    return done(Fail(ErrorCode::kInvalidArgument, name_status.error().message, "name"));
  }
  auto uri = ParseSourceUri(registration.source);
  if (!uri) return done(Fail(uri.error().code, uri.error().message, "source"));
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  Post([this, registration = std::move(registration), uri = Anchored(std::move(*uri), here),
        done = std::move(done)]() mutable {
    done = [name = registration.name, done = std::move(done)](Result<AdapterStatus> status) {
      if (status) {
        log::Info("adapter {}: registered from {}, {}", name, status->source,
                  status->id.IsBase() ? "to be read when it is first asked for"
                                      : fmt::format("content {}", status->id.Hex().substr(0, 12)));
      }
      done(std::move(status));
    };
    DoRegister(std::move(registration), uri, OnceSaved(std::move(done)));
  });
}

void Catalogue::DoRegister(AdapterRegistration registration, const SourceUri& uri,
                           StatusCallback done) {
  const auto found = entries_.find(registration.name);
  if (found != entries_.end() && !registration.replace) {
    return done(Fail(ErrorCode::kConflict,
                     fmt::format("The adapter `{}` exists already, from {}.", registration.name,
                                 found->second.uri.text),
                     "name"));
  }
  if (found != entries_.end() && found->second.is_static) {
    return done(tl::unexpected<Error>(IsStatic(registration.name)));
  }
  LoadOrder order = {.asks_source = true, .writes_down = true, .done = {std::move(done)}};
  if (registration.is_pinned) order.is_pinned = true;
  if (found != entries_.end() && found->second.is_registered) {
    Entry& entry = found->second;
    if (!IsSameSource(entry.uri, uri) || entry.token != registration.token) {
      return MoveOnceRead(
          {.uri = uri, .token = std::move(registration.token), .id = {}, .revision = {}},
          {.name = registration.name}, std::move(order));
    }
    DropCandidate(registration.name);
    return StartLoad(entry, std::move(order));
  }
  // One that is being read for the first time is known to nobody yet: the later call goes on.
  if (found != entries_.end()) {
    LoadOrder earlier = CancelLoad(found->second);
    earlier.Add(std::move(order));
    order = std::move(earlier);
    EraseEntry(found, {ErrorCode::kConflict, "replaced", "name"});
  }
  Entry& entry = AddEntry(registration.name, uri);
  entry.token = std::move(registration.token);
  entry.is_stale = true;
  entry.is_pinned = registration.is_pinned;
  RecallSource(entry);
  if (registration.load) return StartLoad(entry, std::move(order));
  MakeKnown(entry);
  WriteDown(registration.name);
  PublishIfChanged();
  for (const StatusCallback& told : order.done) told(StatusOf(entry));
}

void Catalogue::Remove(const std::string& name, DoneCallback done) {
  Post([this, name, done = OnceSaved(std::move(done))] {
    const auto found = FindName(name);
    if (found == entries_.end()) return done(tl::unexpected(directory()->NoAdapter(name, "name")));
    if (found->second.is_static) return done(tl::unexpected<Error>(IsStatic(name)));
    EraseEntry(found, Removed(name));
    log::Info("adapter {}: removed", name);
    WriteDown(name);
    PublishIfChanged();
    done({});
  });
}

void Catalogue::Update(const std::string& name, AdapterUpdate update, StatusCallback done) {
  Post([this, name, update = std::move(update), done = std::move(done)]() mutable {
    done = [name, what = DescribeUpdate(update),
            done = std::move(done)](Result<AdapterStatus> status) {
      if (status) log::Info("adapter {}: {}", name, what);
      done(std::move(status));
    };
    DoUpdate(name, update, OnceSaved(std::move(done)));
  });
}

void Catalogue::DoUpdate(const std::string& name, const AdapterUpdate& update,
                         StatusCallback done) {
  const auto found = FindName(name);
  if (found == entries_.end() || !found->second.is_registered) {
    return done(tl::unexpected(directory()->NoAdapter(name, "name")));
  }
  Entry& entry = found->second;
  if (update.alias_of) {
    if (entry.is_static) return done(tl::unexpected<Error>(IsStatic(name)));
    const auto found_target = FindName(*update.alias_of);
    if (found_target == entries_.end() || !found_target->second.is_registered) {
      return done(tl::unexpected(directory()->NoAdapter(*update.alias_of, "alias_of")));
    }
    const Entry& target = found_target->second;
    const bool is_at_hand = !target.is_stale && HostImage(target.id) != nullptr;
    if (&target != &entry && (!is_at_hand || update.reload)) {
      return MoveOnceRead(
          {.uri = target.uri, .token = target.token, .id = target.id, .revision = target.revision},
          {.name = name},
          {.asks_source = update.reload || target.is_stale,
           .is_pinned = update.is_pinned,
           .done = {std::move(done)}});
    }
    DropCandidate(name);
    if (&target != &entry) MoveTo(entry, target);
  }
  const bool is_missing =
      update.is_pinned.value_or(entry.is_pinned) && HostImage(entry.id) == nullptr;
  if (update.reload || is_missing) {
    return StartLoad(entry, {.asks_source = update.reload || MustAskSource(entry),
                             .is_pinned = update.is_pinned,
                             .writes_down = update.is_pinned.has_value(),
                             .done = {std::move(done)}});
  }
  if (update.is_pinned) SetPin(entry, *update.is_pinned);
  done(StatusOf(entry));
}

AdapterStatus Catalogue::StatusOf(const Entry& entry) {
  AdapterStatus status = {
      .name = entry.name,
      .source = entry.uri.text,
      .revision = entry.revision,
      .id = entry.id,
      .tier = TierOf(entry.id),
      .is_loading = entry.load.has_value() || entries_.contains(CandidateKeyOf(entry.name)),
      .is_registered = entry.is_registered,
      .is_pinned = entry.is_pinned,
      .is_static = entry.is_static,
      .max_rank = entry.max_rank,
      .num_modules = entry.num_modules,
      .num_bytes = entry.num_bytes,
      .num_requests = entry.num_requests,
      .num_waiting = static_cast<int>(entry.waiters.size()),
      .created_s = entry.created_s,
      .last_used_s = entry.last_used_s,
      .error = entry.error ? entry.error : entry.text_error,
      .warnings = entry.warnings};
  if (entry.error) {
    const Micros left_us = std::max<Micros>(entry.failed_until_us - options_.clock->NowUs(), 0);
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    status.failed_until_s =
        std::chrono::duration_cast<std::chrono::seconds>(now).count() + left_us / 1'000'000;
  }
  return status;
}

void Catalogue::List(std::function<void(std::vector<AdapterStatus>)> done) {
  Post([this, done = std::move(done)] {
    PublishIfChanged();
    std::vector<AdapterStatus> statuses;
    for (const auto& [name, entry] : entries_) {
      const bool is_first_read = entry.load && !entry.candidacy && !entry.is_requested;
      if (entry.is_registered || is_first_read) statuses.push_back(StatusOf(entry));
    }
    done(std::move(statuses));
  });
}

}  // namespace lorry::adapters
