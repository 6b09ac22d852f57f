// What of the catalogue outlives the process, beside what other servers of this base have written
// down (registry_file.h).
#include <filesystem>
#include <iterator>
#include <utility>

#include "adapters/cache_layout.h"
#include "adapters/catalogue.h"
#include "base/log.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

// Sources that nobody names spare a registration the reading of what is in the cache. More of them
// than this only make the file larger.
constexpr size_t kMaxUnnamedSources = 1024;

// Sources that nobody names and whose image is gone are of no use to anyone. `named`: by names of
// this server, whose images may be on their way to the disk.
void Prune(RegistryContent& content, const DiskCache& cache, std::set<std::string> named) {
  for (const RegisteredAdapter& adapter : content.adapters) {
    if (const auto uri = ParseSourceUri(adapter.source)) named.insert(SourceKey(*uri));
  }
  std::erase_if(content.sources, [&](const auto& source) {
    std::error_code error;
    return !named.contains(source.first) && !fs::exists(cache.PathOf(source.second.id), error);
  });
  ForgetUnnamed(content.sources, named, kMaxUnnamedSources);
}

}  // namespace

void Catalogue::RestoreRegistered() {
  const Result<RegistryContent> content = registry_file_.Read();
  if (!content) {
    log::Warning("adapters registered earlier are not known: {}", content.error().message);
    return;
  }
  known_sources_ = content->sources;
  std::error_code error;
  const std::string here = fs::current_path(error).string();
  for (const RegisteredAdapter& adapter : content->adapters) {
    auto uri = ParseSourceUri(adapter.source);
    const Status name_status = CheckName(adapter.name);
    if (!uri || !name_status) {
      log::Warning("an adapter registered earlier is passed over: {}",
                   uri ? name_status.error().message : uri.error().message);
      continue;
    }
    *uri = Anchored(std::move(*uri), here);
    if (uri->kind == SourceKind::kDirectory && uri->text != adapter.source) {
      log::Warning("adapter {}: the relative directory {} is taken to be {}", adapter.name,
                   adapter.source, uri->text);
    }
    Entry& entry = AddEntry(adapter.name, *uri);
    MakeKnown(entry);
    entry.is_remembered = true;
    entry.is_pinned = adapter.is_pinned;
    entry.created_s = adapter.created_s;
    entry.is_stale = true;
    RecallSource(entry);
    if (entry.is_pinned) StartLoad(entry, {.asks_source = true, .done = {}});
  }
}

// What its source held when it was last read, which may be in the disk cache.
void Catalogue::RecallSource(Entry& entry) {
  const auto known = known_sources_.find(SourceKey(entry.uri));
  if (known == known_sources_.end()) return;
  entry.id = known->second.id;
  entry.revision = known->second.revision;
  entry.max_rank = known->second.max_rank;
  entry.num_modules = known->second.num_modules;
  entry.num_bytes = known->second.num_bytes;
}

// The name has come, changed or gone.
void Catalogue::WriteDown(const std::string& name) {
  unsaved_names_.insert(name);
  registry_changed_ = true;
}

// What a restart is to know of a name.
std::optional<RegisteredAdapter> Catalogue::RegisteredNow(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  const Entry& entry = found->second;
  // A URL's query may be a secret, and without it the URL means something else.
  const bool has_secret = SourceKey(entry.uri) != entry.uri.text;
  if (!entry.is_registered || entry.is_watched || has_secret) return std::nullopt;
  return RegisteredAdapter{name, entry.uri.text, entry.is_pinned, entry.created_s};
}

RegistryChange Catalogue::TakeUnsaved() {
  RegistryChange change;
  for (const std::string& name : std::exchange(unsaved_names_, {})) {
    const auto found = entries_.find(name);
    // The configuration's, or a directory's, goes first while it is there; what was registered, by
    // another server too, stays written down.
    if (found != entries_.end() && (found->second.is_static || found->second.is_watched)) continue;
    change.adapters[name] = RegisteredNow(name);
  }
  for (const std::string& key : std::exchange(unsaved_sources_, {})) {
    const auto known = known_sources_.find(key);
    if (known != known_sources_.end()) change.sources.insert(*known);
  }
  registry_changed_ = false;
  return change;
}

// For the next save: names may have changed again since.
void Catalogue::GiveBackUnsaved(const RegistryChange& change) {
  for (const auto& [name, adapter] : change.adapters) unsaved_names_.insert(name);
  for (const auto& [key, source] : change.sources) unsaved_sources_.insert(key);
}

Result<bool> Catalogue::Save(const RegistryChange& change,
                             const std::optional<std::set<std::string>>& pruned_but) const {
  if (change.empty()) return true;
  return registry_file_.Change([&](RegistryContent& content) {
    change.ApplyTo(content);
    if (pruned_but) Prune(content, cache_, *pruned_but);
  });
}

void Catalogue::SaveRegistry() {
  constexpr uint64_t kPruneEvery = 64;  // it looks at the disk once for each source
  std::optional<std::set<std::string>> pruned_but;
  if (num_saves_++ % kPruneEvery == 0) {
    pruned_but.emplace();
    for (const auto& [name, entry] : entries_) pruned_but->insert(SourceKey(entry.uri));
  }
  saving_ = std::make_shared<const RegistryChange>(TakeUnsaved());
  if (pruned_but) ForgetUnnamed(known_sources_, *pruned_but, kMaxUnnamedSources);
  saving_answers_.swap(unsaved_answers_);
  registrar_.Add(
      [this, change = saving_, pruned_but = std::move(pruned_but)] {
        Post([this, was_there = Save(*change, pruned_but)] { OnSaved(was_there); });
      },
      true);
}

void Catalogue::OnSaved(const Result<bool>& was_there) {
  const auto change = std::exchange(saving_, nullptr);
  if (!was_there) {
    log::Warning("adapter registry: {}", was_there.error().message);
    GiveBackUnsaved(*change);
  } else if (!*was_there) {
    // Somebody has taken the file away: this server writes down anew what it knows.
    for (const auto& [name, entry] : entries_) {
      if (RegisteredNow(name) && !change->adapters.contains(name)) WriteDown(name);
    }
  }
  const Status status = was_there ? Status() : Status(tl::unexpected(was_there.error()));
  for (const DoneCallback& answer : std::exchange(saving_answers_, {})) answer(status);
}

void Catalogue::SaveAtTheEnd() {
  if (saving_ != nullptr) GiveBackUnsaved(*saving_);  // the registrar has dropped it
  if (unsaved_names_.empty() && unsaved_sources_.empty() && saving_ == nullptr &&
      unsaved_answers_.empty()) {
    return;
  }
  std::ranges::move(unsaved_answers_, std::back_inserter(saving_answers_));
  saving_ = std::make_shared<const RegistryChange>(TakeUnsaved());
  OnSaved(Save(*saving_, std::nullopt));
}

}  // namespace lorry::adapters
