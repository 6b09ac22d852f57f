// The way of one adapter from its source to the host: fetch, check against the base, pack; or from
// the disk cache, which takes none of these. Thread: a loader's; blocks on disks and sockets.
// Never: looks at names, queues or budgets (catalogue.h).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "adapters/adapter_file.h"
#include "adapters/sources/source.h"
#include "base/clock.h"
#include "formats/hf_config.h"

namespace lorry::adapters {

// What adapters are made to fit.
struct LoadBase {
  formats::HfConfig config;
  const formats::Checkpoint* checkpoint = nullptr;  // outlives the loaders
  model::ModelSpec spec;
  uint64_t fingerprint = 0;
  int max_rank = 512;
  size_t max_image_bytes = 0;  // 0: any
  SourceOptions sources;
};

struct LoadRequest {
  SourceUri uri;
  std::string token;
  std::string staging_dir;
  std::string cached_path;  // an image of known_id in the disk cache; empty: none
  AdapterId known_id;       // what this source held at known_revision
  std::string known_revision;
  bool trust_cache = false;  // the cached image is good without asking the source
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

struct LoadTimes {
  Micros fetch_us = 0;
  Micros check_us = 0;  // read, compare with the base, hash
  Micros pack_us = 0;
  Micros open_us = 0;  // of the cached image
};

struct Loaded {
  std::shared_ptr<const AdapterImage> image;
  std::string revision;
  bool from_cache = false;
  bool cache_was_broken = false;
  std::string summary;  // "applied 14 of 14 modules"
  LoadTimes times;
};

Result<Loaded> LoadAdapter(const LoadRequest& request, const LoadBase& base);

}  // namespace lorry::adapters
