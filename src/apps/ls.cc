// lorry ls: the adapters in this machine's cache, or those of a running server.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <boost/json.hpp>
#include <chrono>

#include "adapters/cache_inventory.h"
#include "apps/admin_client.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/environment.h"
#include "apps/text_table.h"
#include "config/value.h"
#include "formats/json.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

constexpr size_t kMaxSourceWidth = 60;
constexpr size_t kIdWidth = 12, kRevisionWidth = 12;

int64_t NowSeconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

json::array Strings(const std::vector<std::string>& all) {
  return json::array(all.begin(), all.end());
}

json::array CacheAsJson(const adapters::CacheInventory& inventory) {
  json::array list;
  for (const adapters::CachedImage& image : inventory.images) {
    list.push_back({{"kind", "image"},
                    {"id", image.info.key.id.Hex()},
                    {"base", fmt::format("{:016x}", image.info.key.base)},
                    {"names", Strings(image.names)},
                    {"sources", Strings(image.sources)},
                    {"revisions", Strings(image.revisions)},
                    {"rank", image.info.max_rank},
                    {"modules", image.info.num_modules},
                    {"bytes", image.info.num_bytes},
                    {"last_used", image.info.last_used_s},
                    {"pinned", image.is_kept},
                    {"path", image.path}});
  }
  for (const adapters::CachedFiles& files : inventory.files) {
    list.push_back({{"kind", "files"},
                    {"source", files.source},
                    {"bytes", files.num_bytes},
                    {"last_used", files.last_used_s},
                    {"path", files.dir}});
  }
  return list;
}

std::string CacheAsTable(const adapters::CacheInventory& inventory, const std::string& cache_dir) {
  const int64_t now_s = NowSeconds();
  uint64_t num_bytes = 0;
  std::vector<std::vector<std::string>> rows;
  for (const adapters::CachedImage& image : inventory.images) {
    num_bytes += image.info.num_bytes;
    const bool has_source = !image.sources.empty();
    rows.push_back({fmt::format("{}", fmt::join(image.names, ",")),
                    has_source ? KeptEnd(image.sources.front(), kMaxSourceWidth) : "",
                    has_source ? image.revisions.front().substr(0, kRevisionWidth) : "",
                    fmt::format("{}", image.info.max_rank),
                    config::RoundBytes(image.info.num_bytes),
                    AgeShown(image.info.last_used_s, now_s),
                    image.info.key.id.Hex().substr(0, kIdWidth), image.is_kept ? "pinned" : ""});
  }
  for (const adapters::CachedFiles& files : inventory.files) {
    num_bytes += files.num_bytes;
    rows.push_back({"", KeptEnd(files.source, kMaxSourceWidth), "", "",
                    config::RoundBytes(files.num_bytes), AgeShown(files.last_used_s, now_s), "",
                    "files as fetched"});
  }
  if (rows.empty()) return fmt::format("nothing in {}\n", cache_dir);
  return AlignedTable({{"NAME"},
                       {"SOURCE"},
                       {"REVISION"},
                       {"RANK", true},
                       {"SIZE", true},
                       {"LAST USED", true},
                       {"ID"},
                       {"NOTE"}},
                      rows) +
         fmt::format("{} in {}\n", config::RoundBytes(num_bytes), cache_dir);
}

// One adapter of a server's list, as cells.
Result<std::vector<std::string>> ServerRow(const json::value& adapter, int64_t now_s) {
  const formats::JsonFields fields(adapter.get_object(), "the server's list");
  ASSIGN_OR_RETURN(std::string name, fields.Required<std::string>("name"));
  ASSIGN_OR_RETURN(const std::string source, fields.Required<std::string>("source"));
  ASSIGN_OR_RETURN(std::string tier, fields.Or<std::string>("tier", ""));
  ASSIGN_OR_RETURN(const int64_t rank, fields.Or<int64_t>("rank", 0));
  ASSIGN_OR_RETURN(const int64_t num_bytes, fields.Or<int64_t>("bytes", 0));
  ASSIGN_OR_RETURN(const int64_t num_requests, fields.Or<int64_t>("requests", 0));
  ASSIGN_OR_RETURN(const int64_t last_used_s, fields.Or<int64_t>("last_used", 0));
  std::vector<std::string> notes;
  for (const char* flag : {"pinned", "static", "loading"}) {
    ASSIGN_OR_RETURN(const bool is_set, fields.Or<bool>(flag, false));
    if (is_set) notes.emplace_back(flag);
  }
  if (fields.Find("error") != nullptr) notes.emplace_back("failed");
  const bool was_read = num_bytes > 0;
  return std::vector<std::string>{std::move(name),
                                  KeptEnd(source, kMaxSourceWidth),
                                  std::move(tier),
                                  was_read ? fmt::format("{}", rank) : "",
                                  was_read ? config::RoundBytes(num_bytes) : "",
                                  fmt::format("{}", num_requests),
                                  AgeShown(last_used_s, now_s),
                                  fmt::format("{}", fmt::join(notes, ", "))};
}

Status ListServer(const Options& options) {
  ASSIGN_OR_RETURN(AdminClient client,
                   AdminClient::Create(options.adapter.url, options.serve.http.admin.key));
  ASSIGN_OR_RETURN(const json::array adapters, client.List());
  if (options.adapter.json) {
    fmt::print("{}\n", json::serialize(adapters));
    return {};
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& adapter : adapters) {
    ASSIGN_OR_RETURN(std::vector<std::string> row, ServerRow(adapter, NowSeconds()));
    rows.push_back(std::move(row));
  }
  fmt::print("{}", AlignedTable({{"NAME"},
                                 {"SOURCE"},
                                 {"TIER"},
                                 {"RANK", true},
                                 {"SIZE", true},
                                 {"REQUESTS", true},
                                 {"LAST USED", true},
                                 {"NOTE"}},
                                rows));
  return {};
}

Status ListCacheOf(const Options& options) {
  ASSIGN_OR_RETURN(const std::string cache_dir, ExistingCacheDir(options.stack.adapter_cache));
  ASSIGN_OR_RETURN(const adapters::CacheInventory inventory, adapters::ListCache(cache_dir));
  if (options.adapter.json) {
    fmt::print("{}\n", json::serialize(CacheAsJson(inventory)));
  } else {
    fmt::print("{}", CacheAsTable(inventory, cache_dir));
  }
  return {};
}

}  // namespace

int Ls(const Options& options) {
  const Status status = options.adapter.url.empty() ? ListCacheOf(options) : ListServer(options);
  return status ? 0 : Complain("ls", status.error().message);
}

}  // namespace lorry::apps
