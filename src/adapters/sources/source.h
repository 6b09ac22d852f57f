// Brings an adapter's files from where they are onto this machine's disk: a directory, the Hub, an
// object store, a URL.
//
// Owns:   nothing; the caller owns the staging directory, the Hub's cache belongs to all who share
// it. Thread: blocks; call it from loader threads. Calls share nothing. Never:  reads the
// environment, parses an adapter, unpacks an archive, or keeps a cache of its own. Reaches
//         no private, loopback, link-local or other special address behind a URL or a redirect,
//         unless it was allowed.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/sources/source_uri.h"
#include "base/result.h"

namespace lorry::adapters {

struct HubOptions {
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT; its own address is not refused
  std::string token;                                // HF_TOKEN: for requests without one
  std::string cache_dir;  // HF_HUB_CACHE or HF_HOME/hub; empty: in the staging directory
  bool offline = false;   // HF_HUB_OFFLINE: only what the cache has
};

struct SourceOptions {
  HubOptions hub;
  // Of object stores, named and written as in the environment: AWS_ENDPOINT_URL, AWS_REGION,
  // AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, ... Others are
  // passed over, so all of AWS_*, GOOGLE_* and AZURE_* may be given. Their hosts are the
  // operator's: not refused.
  std::vector<std::pair<std::string, std::string>> store_settings;
  // "host", "host:port", an address or a block ("10.1.0.0/16") behind a URL or a redirect.
  std::vector<std::string> allow_private_hosts;
  uint32_t connect_timeout_ms = 5'000;
  uint32_t idle_timeout_ms = 15'000;      // a source that sends nothing for so long
  uint32_t total_timeout_ms = 1'800'000;  // one fetch
  // Of one file that is on its way, over each window: what is slower fails.
  uint64_t least_bytes_per_second = 16 << 10;
  uint32_t rate_window_ms = 30'000;
  uint32_t retries = 4;       // in a row without a new byte
  uint32_t backoff_ms = 250;  // before the first retry; doubles, at most 10 s
  uint64_t max_bytes = uint64_t{16} << 30;
};

struct FetchRequest {
  SourceUri uri;
  std::string token;  // for the Hub or a URL; goes to the first host only
  // Made if it is missing. What an interrupted fetch left there is continued where the source still
  // has the same version, removed where it has another.
  std::string staging_dir;
  std::string known_revision;  // if the source still has it, the answer is `unchanged`
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
  // Of what is fetched: hears of adapter_config.json when it is here, and of
  // adapter_model.safetensors when as much of it lies at `path` as says what the rest will be. An
  // error ends the fetch with it.
  std::function<Status(std::string_view name, const std::string& path, uint64_t file_bytes)> look;
};

struct Fetched {
  std::string dir;         // with the adapter's files; links in the Hub's cache
  std::string archive;     // or the name of the one archive in `dir`
  std::string revision;    // commit, or a digest of names, ETags (or dates) and sizes
  bool unchanged = false;  // nothing was fetched, `dir` is empty
  uint64_t bytes = 0;      // of files that are there now, whether they had to be fetched or not
};

// Errors, all with param "source": kInvalidArgument; kUnauthenticated (401); kPermission (403,
// forbidden address); kNotFound; kTooLarge; kSourceFailed (5xx, time-outs, broken connections after
// retries, wrong checksum or length); kResourceExhausted (disk full); kCancelled; kInternal.
Result<Fetched> Fetch(const FetchRequest& request, const SourceOptions& options);

}  // namespace lorry::adapters
