#include "adapters/load_adapter.h"

#include "adapters/source_files.h"
#include "base/log.h"
#include "formats/peft_adapter.h"

namespace lorry::adapters {
namespace {

class Stopwatch {
 public:
  Micros Lap() {
    const Micros now_us = Clock::Steady().NowUs();
    return now_us - std::exchange(begin_us_, now_us);
  }

 private:
  Micros begin_us_ = Clock::Steady().NowUs();
};

// What the request alone decides: rank and size limits come before anything is packed.
Status CheckLimits(const formats::PeftAdapter& adapter, const LoadBase& base) {
  if (adapter.max_rank() > base.max_rank) {
    return Fail(ErrorCode::kTooLarge, fmt::format("rank {} is above --max-lora-rank {}",
                                                  adapter.max_rank(), base.max_rank));
  }
  if (base.max_image_bytes > 0 && adapter.weight_bytes() > base.max_image_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{} bytes of weights are more than the {} that the page pool has for "
                            "adapters: start the server with a larger --kv-memory",
                            adapter.weight_bytes(), base.max_image_bytes));
  }
  return {};
}

Status LoadFromSource(const LoadRequest& request, const LoadBase& base, Loaded& loaded) {
  Stopwatch watch;
  ASSIGN_OR_RETURN(
      SourceFiles files,
      BringSourceFiles({.uri = request.uri,
                        .token = request.token,
                        .staging_dir = request.staging_dir,
                        .known_revision = request.cached_path.empty() ? "" : request.known_revision,
                        .cancelled = request.cancelled,
                        .progress = request.progress},
                       base.sources, Packed::kUnpack));
  loaded.revision = files.fetched.revision;
  loaded.times.fetch_us = watch.Lap();
  if (files.fetched.unchanged) {
    auto image = OpenImageFile(request.cached_path, {request.known_id, base.fingerprint},
                               base.spec.num_layers);
    loaded.times.open_us = watch.Lap();
    if (image) {
      TouchImageFile(request.cached_path);
      loaded.image = std::move(*image);
      loaded.from_cache = true;
      return {};
    }
    log::Warning("adapter cache: {}: it is made anew", image.error().message);
    loaded.cache_was_broken = true;
    files.lock.reset();
    LoadRequest again = request;
    again.cached_path.clear();
    return LoadFromSource(again, base, loaded);
  }
  formats::AdapterFit fit;
  ASSIGN_OR_RETURN(const formats::PeftAdapter adapter,
                   formats::OpenPeftAdapter(files.dir, base.config, &fit));
  RETURN_IF_ERROR(CheckLimits(adapter, base));
  loaded.summary = fit.Summary();
  loaded.times.check_us = watch.Lap();
  ASSIGN_OR_RETURN(loaded.image, MakeAdapterImage(adapter, base.spec, *base.checkpoint));
  loaded.times.pack_us = watch.Lap();
  return {};
}

// An image that is on this disk is better than a source that does not answer.
bool MayUseCacheAfter(const Error& error) {
  return error.code == ErrorCode::kSourceFailed || error.code == ErrorCode::kDeadline ||
         error.code == ErrorCode::kUnavailable;
}

}  // namespace

Result<Loaded> LoadAdapter(const LoadRequest& request, const LoadBase& base) {
  Loaded loaded;
  const auto open_cached = [&]() -> Status {
    Stopwatch watch;
    ASSIGN_OR_RETURN(loaded.image,
                     OpenImageFile(request.cached_path, {request.known_id, base.fingerprint},
                                   base.spec.num_layers));
    TouchImageFile(request.cached_path);
    loaded.times.open_us = watch.Lap();
    loaded.revision = request.known_revision;
    loaded.from_cache = true;
    return {};
  };
  if (request.trust_cache && !request.cached_path.empty()) {
    const Status status = open_cached();
    if (status) return loaded;
    log::Warning("adapter cache: {}: it is made anew", status.error().message);
    loaded.cache_was_broken = true;
  }
  LoadRequest from_source = request;
  if (loaded.cache_was_broken) from_source.cached_path.clear();
  const Status status = LoadFromSource(from_source, base, loaded);
  if (status) return loaded;
  if (!from_source.cached_path.empty() && MayUseCacheAfter(status.error()) && open_cached()) {
    log::Warning("{}: {}; the copy in the cache is used", request.uri.text, status.error().message);
    return loaded;
  }
  return tl::unexpected<Error>(status.error());
}

}  // namespace lorry::adapters
