#include "formats/content_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/background.h"
#include "base/check.h"

namespace lorry::formats {
namespace {

constexpr size_t kLeafBytes = size_t{256} << 10;

using Bytes = std::span<const std::byte>;
using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256() { CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }

  void Add(Bytes bytes) {
    CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  // So that no byte can move from one piece to the next unnoticed.
  void AddLength(uint64_t length) { Add(std::as_bytes(std::span(&length, 1))); }

  Digest Finish() {
    Digest digest;
    CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free};
};

// Leaves that threads claim one by one.
class Leaves {
 public:
  explicit Leaves(std::span<const ContentPart> parts) {
    for (const ContentPart& part : parts) {
      if (part.bytes.size() <= kLeafBytes) continue;
      for (size_t begin = 0; begin < part.bytes.size(); begin += kLeafBytes) {
        leaves_.push_back(
            part.bytes.subspan(begin, std::min(kLeafBytes, part.bytes.size() - begin)));
      }
    }
    digests_.resize(leaves_.size());
  }

  size_t count() const { return leaves_.size(); }
  // Of all of them, part by part.
  const std::vector<Digest>& digests() const { return digests_; }

  // Until none is left to claim. Who waits for others to run has claimed nothing.
  void HashThem() {
    while (next_ < leaves_.size()) {
      LetOthersRun();
      const size_t claimed = next_++;
      if (claimed >= leaves_.size()) return;
      Sha256 hash;
      hash.Add(leaves_[claimed]);
      digests_[claimed] = hash.Finish();
      ++num_done_;
      num_done_.notify_all();
    }
  }

  // Until those that have been claimed are done; no more can be.
  void Close() {
    const size_t num_claimed = std::min(next_.exchange(leaves_.size()), leaves_.size());
    for (size_t done = num_done_; done < num_claimed; done = num_done_) num_done_.wait(done);
  }

 private:
  std::vector<Bytes> leaves_;
  std::vector<Digest> digests_;
  std::atomic<size_t> next_ = 0, num_done_ = 0;
};

AdapterId Root(std::span<const ContentPart> parts, const std::vector<Digest>& digests) {
  Sha256 hash;
  auto digest = digests.begin();
  for (const ContentPart& part : parts) {
    hash.AddLength(part.name.size());
    hash.Add(std::as_bytes(std::span(part.name)));
    hash.AddLength(part.bytes.size());
    if (part.bytes.size() <= kLeafBytes) {
      hash.Add(part.bytes);
      continue;
    }
    const size_t num_leaves = (part.bytes.size() + kLeafBytes - 1) / kLeafBytes;
    hash.Add(std::as_bytes(std::span(&*digest, num_leaves)));
    digest += static_cast<ptrdiff_t>(num_leaves);
  }
  const Digest whole = hash.Finish();
  AdapterId id;
  static_assert(sizeof(id.bytes) * 8 >= 128, "collisions must stay out of reach");
  std::memcpy(id.bytes.data(), whole.data(), sizeof(id.bytes));
  if (id.IsBase()) id.bytes[0] = 1;
  return id;
}

// A thread is worth it for some milliseconds of work; more than a few would be no faster than the
// memory.
int NumHelpers(size_t num_leaves) {
  constexpr size_t kLeavesPerHelper = 8;
  constexpr int kMaxHelpers = 3;
  const int other_cores = static_cast<int>(std::thread::hardware_concurrency()) - 1;
  const auto worth_it =
      static_cast<int>(std::min<size_t>(num_leaves / kLeavesPerHelper, kMaxHelpers));
  return std::max(0, std::min(worth_it, other_cores));
}

}  // namespace

AdapterId HashAdapterContent(std::span<const ContentPart> parts) {
  Leaves leaves(parts);
  leaves.HashThem();
  return Root(parts, leaves.digests());
}

struct PendingContentHash::State {
  const std::vector<std::string> copies;  // name, bytes, name, bytes, ...
  const std::vector<ContentPart> parts;
  Leaves leaves;

  State(std::span<const ContentPart> texts, const ContentPart& file)
      : copies(Copied(texts, file)), parts(PartsOf(copies, file)), leaves(parts) {}

  static std::vector<std::string> Copied(std::span<const ContentPart> texts,
                                         const ContentPart& file) {
    std::vector<std::string> copies;
    for (const ContentPart& text : texts) {
      copies.emplace_back(text.name);
      copies.emplace_back(reinterpret_cast<const char*>(text.bytes.data()), text.bytes.size());
    }
    copies.emplace_back(file.name);
    return copies;
  }

  static std::vector<ContentPart> PartsOf(std::span<const std::string> copies,
                                          const ContentPart& file) {
    std::vector<ContentPart> parts;
    for (; copies.size() > 1; copies = copies.subspan(2)) {
      parts.push_back({copies[0], std::as_bytes(std::span(copies[1]))});
    }
    parts.push_back({copies[0], file.bytes});
    return parts;
  }
};

PendingContentHash::PendingContentHash(std::span<const ContentPart> texts, const ContentPart& file)
    : state_(std::make_shared<State>(texts, file)) {
  // They may come late, and find nothing to do.
  for (int i = NumHelpers(state_->leaves.count()); i > 0; --i) {
    if (!RunBeside([state = state_] { state->leaves.HashThem(); })) break;
  }
}

PendingContentHash::~PendingContentHash() {
  if (state_ != nullptr) state_->leaves.Close();
}

AdapterId PendingContentHash::Get() const {
  state_->leaves.HashThem();
  state_->leaves.Close();
  return Root(state_->parts, state_->leaves.digests());
}

}  // namespace lorry::formats
