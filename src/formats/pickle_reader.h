// Reads a pickle without running anything: the few opcodes that torch.save writes, every callable
// through an environment that knows a list of them by name.
// Owns: the values, all in one heap. Thread: one at a time. Never: imports, calls or constructs
// what the environment does not allow; recurses; or takes more memory than a few times the
// pickle's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::formats {

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kText,
    kTuple,
    kList,
    kDict,
    kObject,  // the environment's: a callable or what one made
  };

  Kind kind = Kind::kNone;
  uint8_t object_type = 0;  // kObject: the environment's own
  // kBool, kInt: the number. kTuple, kList, kDict: the place in the heap. kObject: the
  // environment's own.
  int64_t number = 0;
  std::string_view text;  // kText: inside the pickle, maybe not UTF-8
};

// "a tuple", for messages.
std::string_view PickleKindName(PickleValue::Kind kind);

// The containers, by number, so that sharing and cycles cost nothing and end nowhere. A dict's
// entries stand key, value, key, value.
class PickleHeap {
 public:
  PickleValue New(PickleValue::Kind kind, std::vector<PickleValue> items);
  std::vector<PickleValue>& Items(const PickleValue& container);
  const std::vector<PickleValue>& Items(const PickleValue& container) const;

 private:
  std::vector<std::vector<PickleValue>> containers_;
};

class PickleEnvironment {
 public:
  virtual ~PickleEnvironment() = default;
  // What `module.name` stands for.
  virtual Result<PickleValue> FindGlobal(std::string_view module, std::string_view name) = 0;
  virtual Result<PickleValue> Call(const PickleValue& callable,
                                   std::span<const PickleValue> arguments, PickleHeap& heap) = 0;
  virtual Result<PickleValue> LoadPersistent(const PickleValue& id, const PickleHeap& heap) = 0;
};

struct PickleResult {
  PickleValue value;
  size_t used_bytes;  // up to and with STOP; another pickle may follow
};

// Errors name the offset in the pickle.
Result<PickleResult> ReadPickle(std::span<const std::byte> pickle, PickleEnvironment& environment,
                                PickleHeap& heap);

}  // namespace lorry::formats
