// What a server and its text worker say to each other: a head of fixed size, then so many bytes.
// Owns: nothing.
// Thread: any.
// Never: trusts what it reads; a reader that finds less than was promised says so.
//
//   request  [size u32][op u32][object u64][memory u64][processor s u32][0 u32]  fields of the op
//   reply    [size u32][tk_status u32][held u64]                                 fields, or why not
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lorry::text {

enum class WorkerOp : uint32_t {
  kNewTokenizer = 1,  // json, more tokens → table, special tokens
  kNewTemplate,       // source, variables, limits, special tokens
  kDrop,              // no reply
  kEncode,            // flags, text → ids
  kEncodeTyped,       // typed, text → ids
  kFind,              // name → id
  kRender,            // chat → text, whether typed, typed
};

struct RequestHead {
  uint32_t size = 0;  // of what follows
  WorkerOp op = WorkerOp::kDrop;
  uint64_t object = 0;        // the server's number of a tokenizer or template
  uint64_t memory_bytes = 0;  // that the call may take beyond what is held
  uint32_t cpu_seconds = 0;   // a backstop: the server looks closer
  uint32_t reserved = 0;
};
static_assert(sizeof(RequestHead) == 32);

struct ReplyHead {
  uint32_t size = 0;
  uint32_t status = 0;      // tk_status
  uint64_t held_bytes = 0;  // that a new object keeps
};
static_assert(sizeof(ReplyHead) == 16);

// How a worker ends that could not get the memory that it asked for.
inline constexpr int kExitOutOfMemory = 71;

// The word by which the program starts as a worker.
inline constexpr std::string_view kWorkerCommand = "text-worker";

class FrameWriter {
 public:
  template <typename T>
  void Number(T value) {
    static_assert(std::is_integral_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Text(std::string_view text) {
    Number(uint64_t{text.size()});
    bytes_.append(text);
  }
  template <typename T>
  void Numbers(std::span<const T> values) {
    static_assert(std::is_integral_v<T>);
    Text({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }

  std::string& bytes() { return bytes_; }

 private:
  std::string bytes_;
};

// After a field that is not there all others are empty, and ok() is false.
class FrameReader {
 public:
  explicit FrameReader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Number() {
    static_assert(std::is_integral_v<T>);
    T value{};
    const std::string_view bytes = Take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  std::string_view Text() { return Take(Number<uint64_t>()); }
  template <typename T>
  std::vector<T> Numbers() {
    const std::string_view bytes = Text();
    if (bytes.size() % sizeof(T) != 0) ok_ = false;
    std::vector<T> values(ok_ ? bytes.size() / sizeof(T) : 0);
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  std::string_view Take(uint64_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace lorry::text
