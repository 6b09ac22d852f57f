// The way of one adapter from its source to the host: fetch, check against the base, pack; or from
// the disk cache, which takes none of these. Thread: a loader's. Never: looks at names, queues or
// budgets (catalogue.h).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "adapters/adapter_file.h"
#include "adapters/source_files.h"
#include "base/clock.h"
#include "formats/hf_config.h"

namespace lorry::adapters {

// What adapters are made to fit.
struct LoadBase {
  formats::HfConfig config;
  const formats::Checkpoint* checkpoint = nullptr;  // outlives the loaders
  model::ModelSpec spec;
  std::shared_ptr<const formats::BaseText> text;  // null: adapters' texts are passed over
  // Whether requests can speak with an adapter's text; null: nobody knows. Called by loaders.
  std::function<Status(const formats::AdapterText& text)> check_text;
  uint64_t fingerprint = 0;
  int max_rank = 512;
  size_t max_image_bytes = 0;  // 0: any
  SourceOptions sources;

  // What images are made for: which texts are an adapter's own depends on the base's.
  uint64_t ImageBase() const {
    return text == nullptr ? fingerprint : fingerprint ^ text->digest();
  }
};

struct LoadRequest {
  SourceUri uri;
  std::string token;
  std::string staging_dir;  // of this source alone; gone afterwards unless a fetch may go on there
  bool is_private = false;  // for who has the token: what is fetched stays in no cache of sources
  // What this source held at known_revision, where that is at hand: on the host, in the disk cache.
  AdapterId known_id;
  std::string known_revision;
  std::shared_ptr<const AdapterImage> known_image;
  std::string cached_path;
  std::shared_ptr<const std::atomic<bool>> cancelled;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // of the fetch
};

struct LoadTimes {
  Micros fetch_us = 0;
  Micros check_us = 0;  // read, compare with the base, hash
  Micros pack_us = 0;
  Micros open_us = 0;  // of the cached image
};

struct Loaded {
  std::shared_ptr<const AdapterImage> image;  // null: only with cache_was_broken
  std::string revision;
  bool from_cache = false;        // nothing was made
  bool cache_was_broken = false;  // the image in the disk cache: remove it, and load again
  std::string summary;            // "applied 14 of 14 modules"
  std::vector<std::string> warnings;
  std::optional<Error> text_error;  // its requests cannot speak with its text
  LoadTimes times;
};

// The most that the files of an adapter can hold that fits this base, text included: what has more
// is refused before it is read or fetched.
uint64_t MaxSourceBytes(const LoadBase& base);

// Waits for the source. `unchanged` only if what it held is at hand.
Result<SourceFiles> FetchAdapter(const LoadRequest& request, const LoadBase& base);

// What follows, which takes the processor and this machine's disk only.
Result<Loaded> LoadFetched(const LoadRequest& request, Result<SourceFiles> files,
                           const LoadBase& base);

// From the disk cache, without asking the source.
Result<Loaded> LoadCached(const LoadRequest& request, const LoadBase& base);

}  // namespace lorry::adapters
