#include "adapters/sources/source.h"

#include <optional>

#include "adapters/sources/directory.h"
#include "base/log.h"
#include "formats/adapter_files.h"
#include "textkit/textkit.h"

namespace lorry::adapters {
namespace {

tk_view View(std::string_view text) { return {text.data(), text.size()}; }

struct OwnedText {
  OwnedText() = default;
  OwnedText(const OwnedText&) = delete;
  OwnedText& operator=(const OwnedText&) = delete;
  ~OwnedText() { tk_text_free(text); }
  std::string str() const {
    return text.size == 0 ? std::string() : std::string(text.data, text.size);
  }
  tk_text text{};
};

struct OwnedFetched {
  OwnedFetched() = default;
  OwnedFetched(const OwnedFetched&) = delete;
  OwnedFetched& operator=(const OwnedFetched&) = delete;
  ~OwnedFetched() {
    tk_text_free(value.dir);
    tk_text_free(value.archive);
    tk_text_free(value.revision);
  }
  tk_fetched value{};
};

tk_fetch_kind KindOf(SourceKind kind) {
  switch (kind) {
    case SourceKind::kHub:
      return TK_FETCH_HUB;
    case SourceKind::kS3:
      return TK_FETCH_S3;
    case SourceKind::kGs:
      return TK_FETCH_GOOGLE;
    case SourceKind::kAzure:
      return TK_FETCH_AZURE;
    case SourceKind::kDirectory:  // never gets here
    case SourceKind::kHttp:
      break;
  }
  return TK_FETCH_URL;
}

ErrorCode CodeOf(tk_fetch_status status, int32_t http_status) {
  switch (status) {
    case TK_FETCH_INVALID:
      return ErrorCode::kInvalidArgument;
    case TK_FETCH_FORBIDDEN:
      return http_status == 401 ? ErrorCode::kUnauthenticated : ErrorCode::kPermission;
    case TK_FETCH_NOT_FOUND:
      return ErrorCode::kNotFound;
    case TK_FETCH_TOO_LARGE:
      return ErrorCode::kTooLarge;
    case TK_FETCH_SOURCE:
      return ErrorCode::kSourceFailed;
    case TK_FETCH_FULL:
      return ErrorCode::kResourceExhausted;
    case TK_FETCH_CANCELLED:
      return ErrorCode::kCancelled;
    case TK_FETCH_OK:
    case TK_FETCH_LOCAL:
    case TK_FETCH_PANIC:
      break;
  }
  return ErrorCode::kInternal;
}

struct Watcher {
  const FetchRequest& request;
  std::optional<Error> refusal;  // by the request's look
};

// Called back from within tk_fetch_run, on this thread.
int32_t Watch(void* context, uint64_t done_bytes, uint64_t total_bytes) {
  const FetchRequest& request = static_cast<const Watcher*>(context)->request;
  if (request.cancelled != nullptr && request.cancelled->load(std::memory_order_relaxed)) return 1;
  if (request.progress) request.progress(done_bytes, total_bytes);
  return 0;
}

// The same.
int32_t Look(void* context, tk_view name, tk_view path, uint64_t file_bytes) {
  auto& watcher = *static_cast<Watcher*>(context);
  if (!watcher.request.look) return 0;
  Status status =
      watcher.request.look({name.data, name.size}, std::string(path.data, path.size), file_bytes);
  if (status) return 0;
  watcher.refusal = std::move(status.error());
  if (watcher.refusal->param.empty()) watcher.refusal->param = "source";
  return 1;
}

// Views into what the caller passed, in the arrays that tk_fetch points to.
struct Arguments {
  explicit Arguments(const SourceOptions& options) {
    for (const auto& [key, value] : options.store_settings) {
      settings.push_back({View(key), View(value)});
    }
    for (const std::string& host : options.allow_private_hosts) hosts.push_back(View(host));
    for (const std::string_view name : formats::AdapterFileNames()) files.push_back(View(name));
  }
  std::vector<tk_setting> settings;
  std::vector<tk_view> hosts, files;
};

Result<Fetched> FetchRemote(const FetchRequest& request, const SourceOptions& options) {
  const Arguments arguments(options);
  const bool is_hub = request.uri.kind == SourceKind::kHub;
  const bool use_hub_token = is_hub && request.token.empty();
  const std::string hub_cache =
      options.hub.cache_dir.empty() ? request.staging_dir + "/hub" : options.hub.cache_dir;
  Watcher watcher{request, {}};
  const tk_fetch fetch{
      .kind = KindOf(request.uri.kind),
      .location = View(request.uri.location),
      .path = View(request.uri.path),
      .revision = View(request.uri.revision),
      .token = View(use_hub_token ? options.hub.token : request.token),
      .staging_dir = View(request.staging_dir),
      .known_revision = View(request.known_revision),
      .hub_endpoint = View(options.hub.endpoint),
      .hub_cache_dir = View(hub_cache),
      .hub_offline = options.hub.offline,
      .settings = arguments.settings.data(),
      .num_settings = arguments.settings.size(),
      .allowed_hosts = arguments.hosts.data(),
      .num_allowed_hosts = arguments.hosts.size(),
      .adapter_files = arguments.files.data(),
      .num_adapter_files = arguments.files.size(),
      .max_bytes = options.max_bytes,
      .connect_timeout_ms = options.connect_timeout_ms,
      .idle_timeout_ms = options.idle_timeout_ms,
      .total_timeout_ms = options.total_timeout_ms,
      .least_bytes_per_second = options.least_bytes_per_second,
      .rate_window_ms = options.rate_window_ms,
      .retries = options.retries,
      .backoff_ms = options.backoff_ms,
      .watch = Watch,
      .look = Look,
      .context = &watcher,
  };
  OwnedFetched fetched;
  OwnedText error;
  int32_t http_status = 0;
  const tk_fetch_status status = tk_fetch_run(&fetch, &fetched.value, &http_status, &error.text);
  if (watcher.refusal) return tl::unexpected<Error>(std::move(*watcher.refusal));
  if (status == TK_FETCH_PANIC) {
    log::Error("fetching gave up: {}", error.str());
    return Fail(ErrorCode::kInternal, "fetching failed inside the server; its log says where",
                "source");
  }
  if (status != TK_FETCH_OK) return Fail(CodeOf(status, http_status), error.str(), "source");
  const auto text = [](const tk_text& part) {
    return part.size == 0 ? std::string() : std::string(part.data, part.size);
  };
  return Fetched{.dir = text(fetched.value.dir),
                 .archive = text(fetched.value.archive),
                 .revision = text(fetched.value.revision),
                 .unchanged = fetched.value.unchanged != 0,
                 .bytes = fetched.value.bytes};
}

}  // namespace

Result<Fetched> Fetch(const FetchRequest& request, const SourceOptions& options) {
  if (request.uri.kind == SourceKind::kDirectory) return FetchDirectory(request, options);
  return FetchRemote(request, options);
}

}  // namespace lorry::adapters
