#include "formats/gunzip.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace lorry::formats {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 10;
constexpr std::array<std::byte, 2> kMagic = {std::byte{0x1f}, std::byte{0x8b}};
constexpr int kGzipOnly = 16;  // added to zlib's window bits

}  // namespace

struct GunzipStream::State {
  OpenedFile file;
  std::string path;
  uint64_t max_bytes;
  z_stream zlib{};  // must not move: it points to itself
  std::vector<std::byte> input = std::vector<std::byte>(kBlockBytes);
  std::vector<std::byte> output = std::vector<std::byte>(kBlockBytes);
  uint64_t read_bytes = 0;
  uint64_t unpacked_bytes = 0;
  bool at_end = false;
};

GunzipStream::GunzipStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
GunzipStream::GunzipStream(GunzipStream&&) noexcept = default;
GunzipStream::~GunzipStream() {
  if (state_) ::inflateEnd(&state_->zlib);
}

Result<GunzipStream> GunzipStream::Open(OpenedFile file, std::string path, uint64_t max_bytes) {
  auto state = std::make_unique<State>(
      State{.file = std::move(file), .path = std::move(path), .max_bytes = max_bytes});
  if (::inflateInit2(&state->zlib, MAX_WBITS + kGzipOnly) != Z_OK) {
    return Fail(ErrorCode::kResourceExhausted, "no memory to decompress");
  }
  return GunzipStream(std::move(state));
}

Status GunzipStream::FillInput() {
  State& s = *state_;
  if (s.zlib.avail_in > 0) return {};
  ASSIGN_OR_RETURN(const size_t count, ReadAt(s.file.fd, s.path, s.read_bytes, s.input));
  s.read_bytes += count;
  s.zlib.next_in = reinterpret_cast<Bytef*>(s.input.data());
  s.zlib.avail_in = static_cast<uInt>(count);
  return {};
}

Result<bool> GunzipStream::BeginNextMember() {
  State& s = *state_;
  for (;;) {
    RETURN_IF_ERROR(FillInput());
    if (s.zlib.avail_in == 0) return false;
    if (*s.zlib.next_in != 0) break;
    ++s.zlib.next_in;  // padding, as tapes have it
    --s.zlib.avail_in;
  }
  if (std::byte{*s.zlib.next_in} != kMagic[0]) {
    return Fail(ErrorCode::kDataLoss,
                fmt::format("{}: something else follows the gzip data", s.path));
  }
  ::inflateReset(&s.zlib);
  return true;
}

Result<std::span<const std::byte>> GunzipStream::Next() {
  State& s = *state_;
  s.zlib.next_out = reinterpret_cast<Bytef*>(s.output.data());
  s.zlib.avail_out = static_cast<uInt>(s.output.size());
  while (!s.at_end && s.zlib.avail_out > 0) {
    RETURN_IF_ERROR(FillInput());
    if (s.zlib.avail_in == 0) {
      return Fail(ErrorCode::kDataLoss, fmt::format("{}: the gzip data is cut short", s.path));
    }
    const int status = ::inflate(&s.zlib, Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      ASSIGN_OR_RETURN(const bool more, BeginNextMember());
      s.at_end = !more;
    } else if (status != Z_OK) {
      return Fail(status == Z_MEM_ERROR ? ErrorCode::kResourceExhausted : ErrorCode::kDataLoss,
                  fmt::format("{}: the gzip data is corrupt: {}", s.path,
                              s.zlib.msg != nullptr ? s.zlib.msg : "a preset dictionary"));
    }
  }
  const size_t count = s.output.size() - s.zlib.avail_out;
  s.unpacked_bytes += count;
  if (s.unpacked_bytes > s.max_bytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{}: {} bytes unpack to more than {}", s.path,
                                                  s.file.size_bytes, s.max_bytes));
  }
  return std::span<const std::byte>(s.output).first(count);
}

Result<bool> IsGzip(const OpenedFile& file, const std::string& path) {
  std::array<std::byte, 2> begin{};
  ASSIGN_OR_RETURN(const size_t count, ReadAt(file.fd, path, 0, begin));
  return count == begin.size() && begin == kMagic;
}

}  // namespace lorry::formats
