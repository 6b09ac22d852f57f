// Adapters as the HTTP side sees them: names that come and go, and weights that are on their way.
// Implemented by adapters/Catalogue. Thread: every method from any thread; callbacks are called
// once, on any thread (the caller's too), and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "request/adapter_handle.h"
#include "request/model_directory.h"
#include "request/waiting_request.h"

namespace lorry {

// The highest place where an adapter's weights are.
enum class AdapterTier { kNone, kDisk, kHost, kPool };

inline std::string_view AdapterTierName(AdapterTier tier) {
  switch (tier) {
    case AdapterTier::kNone:
      return "none";
    case AdapterTier::kDisk:
      return "disk";
    case AdapterTier::kHost:
      return "host";
    case AdapterTier::kPool:
      return "pool";
  }
  return "none";
}

// What an adapter's name stands for at the moment.
struct AdapterStatus {
  std::string name;
  std::string source;    // as registered: a directory, hf://…, s3://…, https://…
  std::string revision;  // commit, ETag, or size and time of a directory; empty: not read yet
  AdapterId id;          // all zero: not read yet
  AdapterTier tier = AdapterTier::kNone;
  bool is_loading = false;
  bool is_registered = true;  // false: it is being read for the first time, for no request yet
  bool is_pinned = false;     // never evicted
  bool is_static = false;     // from the command line or the configuration: not to be removed
  int max_rank = 0;           // these three: 0 until it has been read
  int num_modules = 0;        // applied, of as many
  size_t num_bytes = 0;       // in the pool
  uint64_t num_requests = 0;
  int num_waiting = 0;         // requests that wait for its weights
  int64_t created_s = 0;       // Unix time
  int64_t last_used_s = 0;     // Unix time; 0: never
  std::optional<Error> error;  // the last attempt failed so, or its requests do for its text
  int64_t failed_until_s = 0;  // no attempt before; 0: its source has been read
  // What was dropped of its config, as PEFT does; known to the process that read the source.
  std::vector<std::string> warnings;
};

struct AdapterRegistration {
  std::string name;
  std::string source;
  std::string token;  // for the source; kept in memory only
  bool is_pinned = false;
  bool load = true;      // at once; else at its first request
  bool replace = false;  // the name may exist: it moves to the new content once that is read
};

struct AdapterUpdate {
  std::optional<bool> is_pinned;
  std::optional<std::string> alias_of;  // the name moves to what that adapter stands for
  bool reload = false;                  // reads the source again
};

class AdapterService {
 public:
  using HandleCallback = std::function<void(Result<std::shared_ptr<const AdapterHandle>>)>;
  using StatusCallback = std::function<void(Result<AdapterStatus>)>;
  using DoneCallback = std::function<void(Status)>;

  virtual ~AdapterService() = default;

  // The names as they are now.
  virtual std::shared_ptr<const ModelDirectory> directory() const = 0;

  // The weights behind a name, for one request, which is to be destroyed or handed to the engine
  // (null: nobody can give it up, and its memory is not counted). Errors
  // are the request's: kNotFound, what its source said, kUnfit with the list, kResourceExhausted
  // (too many wait for this adapter), kUnavailable (it takes too long), kCancelled (its client has
  // gone).
  virtual void Want(const std::string& name, std::shared_ptr<WaitingRequest> request,
                    HandleCallback done) = 0;

  // A source that a request brings itself, as it is shown: without secrets. kPermission: it is not
  // among those that requests may name.
  virtual Result<std::string> CheckSource(const std::string& uri) const = 0;
  // Its weights, for this request and others with the same token. Errors as Want's, CheckSource's.
  virtual void WantSource(const AdapterSource& source, std::shared_ptr<WaitingRequest> request,
                          HandleCallback done) = 0;

  // kConflict: the name exists (unless `replace`). With `load` the callback comes when the weights
  // are on the host, or with the reason why not; then nothing has been registered.
  virtual void Register(AdapterRegistration registration, StatusCallback done) = 0;
  // kNotFound; kPermission for a static one. Requests that run finish.
  virtual void Remove(const std::string& name, DoneCallback done) = 0;
  virtual void Update(const std::string& name, AdapterUpdate update, StatusCallback done) = 0;
  // With those that are being read for the first time.
  virtual void List(std::function<void(std::vector<AdapterStatus>)> done) = 0;
};

}  // namespace lorry
