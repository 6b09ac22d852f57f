#include "adapters/load_adapter.h"

#include <filesystem>

#include "base/log.h"
#include "base/path_text.h"
#include "formats/adapter_files.h"
#include "formats/peft_adapter.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

class Stopwatch {
 public:
  Micros Lap() {
    const Micros now_us = Clock::Steady().NowUs();
    return now_us - std::exchange(begin_us_, now_us);
  }

 private:
  Micros begin_us_ = Clock::Steady().NowUs();
};

// Rank and size limits come before the values are read.
Status CheckLimits(const formats::AdapterSize& adapter, const LoadBase& base) {
  if (adapter.max_rank > base.max_rank) {
    return Fail(ErrorCode::kTooLarge, fmt::format("rank {} is above --max-lora-rank {}",
                                                  adapter.max_rank, base.max_rank));
  }
  if (base.max_image_bytes > 0 && adapter.weight_bytes > base.max_image_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{} bytes of weights are more than the {} that the page pool has for "
                            "adapters: start the server with a larger --kv-memory",
                            adapter.weight_bytes, base.max_image_bytes));
  }
  return {};
}

// A source's files by their names in it: nobody but us knows where they were brought to.
void NameInside(const std::string& dir, Error& error) {
  error.message = std::string(WithoutPath(dir, error.message));
}

// What a fetch may see of an adapter before all of it is here: the config, then the weights'
// header.
class EarlyLook {
 public:
  explicit EarlyLook(const LoadBase& base) : base_(base) {}

  Status operator()(std::string_view name, const std::string& path, uint64_t file_bytes) {
    if (name == formats::kAdapterConfigFile) config_path_ = path;
    if (name != formats::kAdapterWeightsFile || config_path_.empty()) return {};
    Status status = formats::CheckPeftHeader(
        config_path_, path, file_bytes, base_.config,
        [this](const formats::AdapterSize& size) { return CheckLimits(size, base_); });
    if (!status) NameInside(fs::path(config_path_).parent_path(), status.error());
    return status;
  }

 private:
  const LoadBase& base_;
  std::string config_path_;
};

bool IsAtHand(const LoadRequest& request) {
  return request.known_image != nullptr || !request.cached_path.empty();
}

FetchRequest FetchRequestOf(const LoadRequest& request, const LoadBase& base) {
  return {.uri = request.uri,
          .token = request.token,
          .staging_dir = request.staging_dir,
          .known_revision = IsAtHand(request) ? request.known_revision : "",
          .cancelled = request.cancelled.get(),
          .progress = request.progress,
          .look = EarlyLook(base)};
}

std::string_view DescribeText(const formats::AdapterText& text) {
  if (!text.tokenizer_json.empty()) return ", a tokenizer of its own";
  return text.empty() ? "" : ", chat template or tokens by role of its own";
}

Result<Loaded> Make(const LoadRequest& request, SourceFiles& files, const LoadBase& base) {
  Stopwatch watch;
  Loaded loaded = {.revision = files.fetched.revision};
  RETURN_IF_ERROR(UnpackSourceFiles(FetchRequestOf(request, base), base.sources, files));
  formats::AdapterFit fit;
  ASSIGN_OR_RETURN(const formats::PeftAdapter adapter,
                   formats::OpenPeftAdapter(files.dir, base.config, &fit,
                                            [&base](const formats::AdapterSize& size) {
                                              return CheckLimits(size, base);
                                            }));
  formats::AdapterText text;
  if (base.text != nullptr) {
    ASSIGN_OR_RETURN(text, base.text->OwnTextOf(files.dir));
  }
  if (!text.empty() && base.check_text) {
    if (Status usable = base.check_text(text); !usable) loaded.text_error = usable.error();
  }
  loaded.warnings = std::move(fit.warnings);
  loaded.summary = fmt::format("{}{}", fit.Summary(), DescribeText(text));
  loaded.times.check_us = watch.Lap();
  ASSIGN_OR_RETURN(loaded.image,
                   MakeAdapterImage(adapter, base.spec, *base.checkpoint, std::move(text)));
  loaded.times.pack_us = watch.Lap();
  return loaded;
}

// Nobody keeps a directory from being written while it is read: half an old adapter with half a new
// one is neither.
Result<Loaded> MakeOfOneVersion(const LoadRequest& request, SourceFiles& files,
                                const LoadBase& base) {
  constexpr int kMaxAttempts = 3;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    Result<Loaded> loaded = Make(request, files, base);
    ASSIGN_OR_RETURN(Fetched now, Fetch({.uri = request.uri}, base.sources));
    if (now.revision == files.fetched.revision) return loaded;
    files.dir = now.dir;
    files.fetched = std::move(now);
  }
  return Fail(ErrorCode::kSourceFailed, "the directory changes while it is read", "source");
}

// An image that is at hand is better than a source that does not answer.
bool MayBeTransient(const Error& error) {
  return error.code == ErrorCode::kSourceFailed || error.code == ErrorCode::kDeadline ||
         error.code == ErrorCode::kUnavailable;
}

bool MayGoOnLater(const Error& error) {
  return MayBeTransient(error) || error.code == ErrorCode::kCancelled;
}

void RemoveStaging(const LoadRequest& request) {
  std::error_code error;
  fs::remove_all(request.staging_dir, error);
}

Result<Loaded> LoadKnown(const LoadRequest& request, const LoadBase& base) {
  if (request.known_image == nullptr) return LoadCached(request, base);
  return Loaded{
      .image = request.known_image, .revision = request.known_revision, .from_cache = true};
}

uint64_t Elements(const formats::BaseModule& module) {
  uint64_t elements = 1;
  for (const int64_t size : module.weight_shape()) elements *= static_cast<uint64_t>(size);
  return module.weight_shape().empty() ? 0 : elements;
}

}  // namespace

uint64_t MaxSourceBytes(const LoadBase& base) {
  constexpr uint64_t kTextBytes = uint64_t{256} << 20;  // tokenizer, configs, the weights' header
  constexpr uint64_t kElementBytes = 8;                 // F64
  constexpr uint64_t kTimes = 3;  // PEFT may save a weight beside its original, and under two names
  uint64_t elements = 0;
  for (const formats::BaseModule& module : formats::ListBaseModules(base.config)) {
    const uint64_t lora = base.max_rank * (module.in_features + module.out_features);
    const uint64_t vectors = 3 * module.out_features;  // biases, a magnitude
    elements += Elements(module) + lora + vectors;
  }
  elements += 2 * uint64_t{model::kMaxAddedTokens} * base.config.hidden_size;
  return kTextBytes + kTimes * kElementBytes * elements;
}

Result<SourceFiles> FetchAdapter(const LoadRequest& request, const LoadBase& base) {
  if (request.cancelled != nullptr && *request.cancelled) {
    return Fail(ErrorCode::kCancelled, "nobody waits for it any more");
  }
  if (!request.is_private) {
    return BringSourceFiles(FetchRequestOf(request, base), base.sources, Packed::kKeep);
  }
  SourceOptions sources = base.sources;
  if (sources.hub.offline && request.uri.kind == SourceKind::kHub) {
    return Fail(ErrorCode::kPermission,
                "the Hub is not asked (offline), so nothing can say what a token opens", "source");
  }
  sources.hub.cache_dir.clear();  // the Hub's files stay in the staging directory
  return BringSourceFiles(FetchRequestOf(request, base), sources, Packed::kKeep);
}

Result<Loaded> LoadFetched(const LoadRequest& request, Result<SourceFiles> files,
                           const LoadBase& base) {
  if (!files) {
    if (!MayGoOnLater(files.error())) RemoveStaging(request);
    // Whether a token opens this source only the source can say.
    if (!request.token.empty() || !IsAtHand(request) || !MayBeTransient(files.error())) {
      return tl::unexpected<Error>(std::move(files.error()));
    }
    log::Warning("{}; the copy at hand is used", AboutSource(request.uri, files.error().message));
    return LoadKnown(request, base);
  }
  if (files->fetched.unchanged) return LoadKnown(request, base);
  Result<Loaded> loaded = request.uri.kind == SourceKind::kDirectory
                              ? MakeOfOneVersion(request, *files, base)
                              : Make(request, *files, base);
  if (files->lock) RemoveStaging(request);  // the Hub's private files too
  if (!loaded) {
    if (request.uri.kind == SourceKind::kDirectory) {
      NameInside(request.uri.location, loaded.error());  // an archive lies beside other things
    }
    NameInside(files->dir, loaded.error());
    NameInside(files->fetched.dir, loaded.error());
  }
  return loaded;
}

Result<Loaded> LoadCached(const LoadRequest& request, const LoadBase& base) {
  Stopwatch watch;
  auto image = OpenImageFile(request.cached_path, {request.known_id, base.ImageBase()},
                             base.spec.num_layers, MaxSourceBytes(base));
  Loaded loaded = {.revision = request.known_revision, .from_cache = true};
  loaded.times.open_us = watch.Lap();
  if (image) {
    TouchImageFile(request.cached_path);
    loaded.image = std::move(*image);
  } else {
    log::Warning("adapter cache: {}: it is made anew", image.error().message);
    loaded.cache_was_broken = true;
  }
  return loaded;
}

}  // namespace lorry::adapters
