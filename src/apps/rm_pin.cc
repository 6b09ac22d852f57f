// lorry rm and lorry pin: of this machine's cache, or of a running server.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <functional>

#include "adapters/cache_inventory.h"
#include "apps/adapter_arguments.h"
#include "apps/admin_client.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/environment.h"
#include "base/log.h"
#include "config/value.h"

namespace lorry::apps {
namespace {

using Words = std::vector<std::string>;

// A cache and what is in it at the moment.
struct OpenedCache {
  std::string dir;
  adapters::CacheInventory inventory;
};

Result<OpenedCache> OpenCache(const Options& options) {
  ASSIGN_OR_RETURN(std::string dir, ExistingCacheDir(options.stack.adapter_cache));
  ASSIGN_OR_RETURN(adapters::CacheInventory inventory, adapters::ListCache(dir));
  return OpenedCache{std::move(dir), std::move(inventory)};
}

// A directory may be named as it was for pull.
Result<adapters::CacheInventory> Find(const OpenedCache& cache, const std::string& word) {
  adapters::CacheInventory found = adapters::Select(cache.inventory, word);
  const auto is_empty = [&] { return found.images.empty() && found.files.empty(); };
  if (is_empty()) {
    if (const auto uri = ParseSourceWord(word))
      found = adapters::Select(cache.inventory, uri->text);
  }
  if (!is_empty()) return found;
  return Fail(ErrorCode::kNotFound,
              fmt::format("nothing in {} has this name, id or source", cache.dir));
}

Result<std::string> RemoveFrom(const OpenedCache& cache, const std::string& word) {
  ASSIGN_OR_RETURN(const adapters::CacheInventory found, Find(cache, word));
  RETURN_IF_ERROR(adapters::RemoveFromCache(cache.dir, found));
  uint64_t num_bytes = 0;
  Words names;
  for (const adapters::CachedImage& image : found.images) {
    num_bytes += image.info.num_bytes;
    names.insert(names.end(), image.names.begin(), image.names.end());
  }
  for (const adapters::CachedFiles& files : found.files) num_bytes += files.num_bytes;
  const std::string note =
      names.empty() ? ""
                    : fmt::format("; still registered, and read again when asked for: {}",
                                  fmt::join(names, ", "));
  return fmt::format("removed, {}{}", config::RoundBytes(num_bytes), note);
}

Result<std::string> PinIn(const OpenedCache& cache, const std::string& word, bool is_pinned) {
  ASSIGN_OR_RETURN(const adapters::CacheInventory found, Find(cache, word));
  if (found.images.empty()) {
    return Fail(ErrorCode::kNotFound,
                "only its files are here, which are never evicted; `lorry pull --base MODEL` makes "
                "it ready to serve");
  }
  for (const adapters::CachedImage& image : found.images) {
    RETURN_IF_ERROR(adapters::SetKept(image, is_pinned));
  }
  return std::string(is_pinned ? "stays in the cache" : "may leave the cache to make room");
}

// All words, whatever happens to one.
int ForEach(std::string_view command, const Words& words,
            const std::function<Result<std::string>(const std::string&)>& work) {
  int exit_status = 0;
  for (const std::string& word : words) {
    if (const Result<std::string> said = work(word)) {
      fmt::print("{}\n", log::Escaped(fmt::format("{}: {}", word, *said)));
    } else {
      exit_status = Complain(command, fmt::format("{}: {}", word, said.error().message));
    }
  }
  return exit_status;
}

Result<AdminClient> ClientOf(const Options& options) {
  return AdminClient::Create(options.adapter.url, options.serve.http.admin.key);
}

}  // namespace

int Rm(const Options& options, const Words& words) {
  if (!options.adapter.url.empty()) {
    auto client = ClientOf(options);
    if (!client) return Complain("rm", client.error().message);
    return ForEach("rm", words, [&](const std::string& name) -> Result<std::string> {
      RETURN_IF_ERROR(client->Remove(name));
      return std::string("removed from the server");
    });
  }
  const auto cache = OpenCache(options);
  if (!cache) return Complain("rm", cache.error().message);
  return ForEach("rm", words, [&](const std::string& word) { return RemoveFrom(*cache, word); });
}

int Pin(const Options& options, const Words& words) {
  const bool is_pinned = !options.adapter.unpin;
  if (!options.adapter.url.empty()) {
    auto client = ClientOf(options);
    if (!client) return Complain("pin", client.error().message);
    return ForEach("pin", words, [&](const std::string& name) -> Result<std::string> {
      ASSIGN_OR_RETURN(const auto adapter, client->SetPinned(name, is_pinned));
      return std::string(is_pinned ? "stays in the server's memory"
                                   : "may leave the server's memory");
    });
  }
  const auto cache = OpenCache(options);
  if (!cache) return Complain("pin", cache.error().message);
  return ForEach("pin", words,
                 [&](const std::string& word) { return PinIn(*cache, word, is_pinned); });
}

}  // namespace lorry::apps
