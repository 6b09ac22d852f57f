// The operator's side of the catalogue: names that come, move and go.
#include <chrono>
#include <utility>

#include "adapters/catalogue.h"

namespace lorry::adapters {
namespace {

Error NoAdapter(const std::string& name) {
  return {ErrorCode::kNotFound, fmt::format("The adapter `{}` cannot be found.", name), "name"};
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
    const auto found = entries_.find(name);
    if (found != entries_.end() && found->second.is_static) {
      return ready(
          Fail(ErrorCode::kConflict, fmt::format("adapter name `{}` is given twice: {} and {}",
                                                 name, found->second.uri.text, uri.text)));
    }
    // One registered in an earlier run gives way to the configuration.
    if (found != entries_.end()) EraseEntry(found, {ErrorCode::kConflict, "replaced", "name"});
    Entry& entry = AddEntry(name, uri);
    entry.is_static = true;
    entry.is_stale = true;
    entry.is_pinned = pin;
    RecallSource(entry);
    StartLoad(entry, {.uri = uri, .token = {}, .asks_source = true, .done = {std::move(ready)}});
  });
}

void Catalogue::SyncWatched(const std::string& name, const std::string& dir) {
  Post([this, name, dir] {
    const auto uri = ParseSourceUri(dir);
    if (!uri) return;
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      Entry& entry = AddEntry(name, *uri);
      entry.is_watched = true;
      entry.is_registered = true;
      entry.is_stale = true;
      RecallSource(entry);
      return;
    }
    Entry& entry = found->second;
    if (!entry.is_watched) return;  // a name of the operator's goes first
    entry.is_stale = true;
    entry.error.reset();
    // What is being read may be half of the old and half of the new.
    if (entry.load) entry.load->is_repeated = true;
  });
}

void Catalogue::RemoveWatched(const std::string& name) {
  Post([this, name] {
    const auto found = entries_.find(name);
    if (found != entries_.end() && found->second.is_watched) EraseEntry(found, NoAdapter(name));
  });
}

void Catalogue::Register(AdapterRegistration registration, StatusCallback done) {
  const Status name_status = CheckAdapterName(registration.name);
  if (!name_status) {
    return done(Fail(ErrorCode::kInvalidArgument, name_status.error().message, "name"));
  }
  auto uri = ParseSourceUri(registration.source);
  if (!uri) return done(Fail(uri.error().code, uri.error().message, "source"));
  for (const std::string& base : options_.base_names) {
    if (registration.name == base) {
      return done(Fail(ErrorCode::kConflict,
                       fmt::format("The name `{}` is the base model's.", base), "name"));
    }
  }
  Post([this, registration = std::move(registration), uri = std::move(*uri),
        done = std::move(done)]() mutable {
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
  const bool is_new = found == entries_.end();
  Entry& entry = is_new ? AddEntry(registration.name, uri) : found->second;
  if (is_new) RecallSource(entry);
  if (!entry.is_registered ||
      entry.id.IsBase()) {  // there is nothing that it stands for until then
    entry.uri = uri;
    entry.token = registration.token;
    entry.error.reset();
  }
  if (is_new) entry.is_stale = true;
  if (registration.is_pinned) entry.is_pinned = true;
  if (!is_new) registry_changed_ = true;  // a new one is written down when it is registered
  if (registration.load || !is_new) {
    return StartLoad(entry, {.uri = uri,
                             .token = std::move(registration.token),
                             .asks_source = true,
                             .done = {std::move(done)}});
  }
  entry.is_registered = true;
  names_changed_ = true;
  PublishIfChanged();
  done(StatusOf(entry));
}

void Catalogue::Remove(const std::string& name, DoneCallback done) {
  Post([this, name, done = OnceSaved(std::move(done))] {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return done(tl::unexpected<Error>(NoAdapter(name)));
    if (found->second.is_static) return done(tl::unexpected<Error>(IsStatic(name)));
    EraseEntry(found, {ErrorCode::kNotFound,
                       fmt::format("The adapter `{}` has been removed.", name), "model"});
    registry_changed_ = true;
    PublishIfChanged();
    done({});
  });
}

void Catalogue::Update(const std::string& name, AdapterUpdate update, StatusCallback done) {
  Post([this, name, update = std::move(update), done = std::move(done)]() mutable {
    DoUpdate(name, update, OnceSaved(std::move(done)));
  });
}

void Catalogue::DoUpdate(const std::string& name, const AdapterUpdate& update,
                         StatusCallback done) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return done(tl::unexpected<Error>(NoAdapter(name)));
  Entry& entry = found->second;
  if (update.alias_of) {
    if (entry.is_static) return done(tl::unexpected<Error>(IsStatic(name)));
    const auto target = entries_.find(*update.alias_of);
    if (target == entries_.end()) return done(tl::unexpected<Error>(NoAdapter(*update.alias_of)));
    if (&target->second != &entry) MoveTo(entry, target->second);
  }
  if (update.is_pinned) {
    entry.is_pinned = *update.is_pinned;
    SyncPin(entry.id);
  }
  registry_changed_ = true;
  const bool is_missing = entry.is_pinned && HostImage(entry.id) == nullptr;
  if (update.reload || is_missing || (update.alias_of && entry.id.IsBase())) {
    return StartLoad(entry, {.uri = entry.uri,
                             .token = entry.token,
                             .asks_source = update.reload || entry.is_stale,
                             .done = {std::move(done)}});
  }
  done(StatusOf(entry));
}

// The name stands for what `target` stands for, from the next request on.
void Catalogue::MoveTo(Entry& entry, const Entry& target) {
  std::vector<StatusCallback> listeners;
  CancelLoad(entry, &listeners);  // it is for the old source
  const AdapterId before = entry.id;
  entry.uri = target.uri;
  entry.token = target.token;
  entry.id = target.id;
  entry.revision = target.revision;
  entry.max_rank = target.max_rank;
  entry.num_modules = target.num_modules;
  entry.num_bytes = target.num_bytes;
  entry.warnings = target.warnings;
  entry.is_stale = target.is_stale;
  entry.is_watched = false;
  entry.is_registered = true;
  entry.error.reset();
  names_changed_ = true;
  if (before != entry.id) DropContentIfUnnamed(before);
  SyncPin(entry.id);
  if (entry.waiters.empty() && listeners.empty()) return;
  StartLoad(entry, {.uri = entry.uri,
                    .token = entry.token,
                    .asks_source = entry.is_stale,
                    .done = std::move(listeners)});
}

AdapterStatus Catalogue::StatusOf(const Entry& entry) {
  AdapterStatus status = {.name = entry.name,
                          .source = entry.uri.text,
                          .revision = entry.revision,
                          .id = entry.id,
                          .tier = TierOf(entry.id),
                          .is_loading = entry.load.has_value(),
                          .is_pinned = entry.is_pinned,
                          .is_static = entry.is_static,
                          .max_rank = entry.max_rank,
                          .num_modules = entry.num_modules,
                          .num_bytes = entry.num_bytes,
                          .num_requests = entry.num_requests,
                          .num_waiting = static_cast<int>(entry.waiters.size()),
                          .created_s = entry.created_s,
                          .last_used_s = entry.last_used_s,
                          .error = entry.error,
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
      if (entry.is_registered) statuses.push_back(StatusOf(entry));
    }
    done(std::move(statuses));
  });
}

}  // namespace lorry::adapters
