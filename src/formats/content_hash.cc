#include "formats/content_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "base/thread_name.h"

namespace lorry::formats {
namespace {

class Sha256 {
 public:
  Sha256() { CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }

  // The length first, so that no byte can move from one piece to the next unnoticed.
  void AddPiece(std::span<const std::byte> bytes) {
    const uint64_t num_bytes = bytes.size();
    Add(std::as_bytes(std::span(&num_bytes, 1)));
    Add(bytes);
  }

  std::array<uint8_t, EVP_MAX_MD_SIZE> Finish() {
    std::array<uint8_t, EVP_MAX_MD_SIZE> digest{};
    CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    return digest;
  }

 private:
  void Add(std::span<const std::byte> bytes) {
    constexpr size_t kPiece = size_t{256} << 10;
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), kPiece))) {
      LetOthersRun();
      const auto piece = bytes.first(std::min(bytes.size(), kPiece));
      CHECK(EVP_DigestUpdate(context_.get(), piece.data(), piece.size()) == 1);
    }
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free};
};

}  // namespace

AdapterId HashAdapterContent(std::span<const ContentPart> parts) {
  Sha256 hash;
  for (const ContentPart& part : parts) {
    hash.AddPiece(std::as_bytes(std::span(part.name)));
    hash.AddPiece(part.bytes);
  }
  const auto digest = hash.Finish();
  AdapterId id;
  static_assert(sizeof(id.bytes) * 8 >= 128, "collisions must stay out of reach");
  std::memcpy(id.bytes.data(), digest.data(), sizeof(id.bytes));
  if (id.IsBase()) id.bytes[0] = 1;
  return id;
}

}  // namespace lorry::formats
