#include "formats/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "formats/file_descriptor.h"
#include "formats/file_kind.h"
#include "formats/gunzip.h"
#include "formats/json.h"

namespace lorry::formats {
namespace {

constexpr size_t kBlockBytes = size_t{64} << 10;
// Up to here any ratio will do: a small adapter of zeros is no bomb.
constexpr uint64_t kAlwaysUnpackedBytes = uint64_t{64} << 20;
// What finding the next entry may read, which bounds the memory of a zip's directory: libarchive
// holds it whole. One name of tar may take a MiB.
constexpr uint64_t kHeaderBytes = uint64_t{2} << 20;
constexpr uint64_t kHeaderBytesPerEntry = 1 << 10;

struct ArchiveDeleter {
  void operator()(::archive* a) const { ::archive_read_free(a); }
};

uint64_t MaxUnpacked(const ArchiveLimits& limits, uint64_t packed_bytes) {
  uint64_t by_ratio;
  if (__builtin_mul_overflow(packed_bytes, limits.max_ratio, &by_ratio)) by_ratio = UINT64_MAX;
  return std::min(limits.max_bytes, std::max(kAlwaysUnpackedBytes, by_ratio));
}

bool IsZip(std::span<const std::byte> begin) {
  return begin.size() >= 2 && begin[0] == std::byte{'P'} && begin[1] == std::byte{'K'};
}

std::string KindName(::archive_entry* entry) {
  if (::archive_entry_hardlink(entry) != nullptr) return "a hard link";
  switch (::archive_entry_filetype(entry)) {
    case AE_IFREG:
      return "a file";
    case AE_IFDIR:
      return "a directory";
    case AE_IFLNK:
      return "a symbolic link";
    case AE_IFCHR:
    case AE_IFBLK:
      return "a device";
    case AE_IFIFO:
      return "a pipe";
    case AE_IFSOCK:
      return "a socket";
    default:
      return "of an unknown kind";
  }
}

ArchiveEntry::Kind KindOf(::archive_entry* entry) {
  if (::archive_entry_hardlink(entry) != nullptr) return ArchiveEntry::Kind::kOther;
  if (::archive_entry_filetype(entry) == AE_IFREG) return ArchiveEntry::Kind::kFile;
  if (::archive_entry_filetype(entry) == AE_IFDIR) return ArchiveEntry::Kind::kDirectory;
  return ArchiveEntry::Kind::kOther;
}

}  // namespace

// libarchive reads through the callbacks below; what fails in one is kept in `error`, which says
// more than libarchive would.
struct ArchiveReader::State {
  std::string path;
  ArchiveLimits limits;
  const std::atomic<bool>* cancelled;
  std::optional<OpenedFile> plain;  // one of these two
  std::optional<GunzipStream> gunzip;
  std::vector<std::byte> block = std::vector<std::byte>(kBlockBytes);
  uint64_t position = 0;      // in `plain`
  uint64_t max_unpacked = 0;  // of what Read hands out
  uint64_t unpacked = 0;
  bool in_header = false;
  uint64_t header_bytes = 0;
  std::optional<Error> error;
  std::unique_ptr<::archive, ArchiveDeleter> archive{::archive_read_new()};

  Result<std::span<const std::byte>> NextBlock();
  Status CheckGoesOn();

  static la_ssize_t OnRead(::archive*, void* self, const void** out);
  static la_int64_t OnSkip(::archive*, void* self, la_int64_t request);
  static la_int64_t OnSeek(::archive*, void* self, la_int64_t offset, int whence);
};

Status ArchiveReader::State::CheckGoesOn() {
  if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) {
    return Fail(ErrorCode::kCancelled, fmt::format("{}: unpacking was cancelled", path));
  }
  return {};
}

Result<std::span<const std::byte>> ArchiveReader::State::NextBlock() {
  RETURN_IF_ERROR(CheckGoesOn());
  std::span<const std::byte> bytes;
  if (gunzip) {
    ASSIGN_OR_RETURN(bytes, gunzip->Next());
  } else {
    ASSIGN_OR_RETURN(const size_t count, ReadAt(plain->fd, path, position, block));
    position += count;
    bytes = std::span(block).first(count);
  }
  header_bytes += bytes.size();
  // Passing over a file of a .tar.gz reads it, which the stream's own limit bounds.
  if (in_header && !gunzip &&
      header_bytes > kHeaderBytes + kHeaderBytesPerEntry * limits.max_entries) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: its directory is too long for {} entries, which is the limit",
                            path, limits.max_entries));
  }
  return bytes;
}

la_ssize_t ArchiveReader::State::OnRead(::archive*, void* self, const void** out) {
  State& s = *static_cast<State*>(self);
  Result<std::span<const std::byte>> bytes = s.NextBlock();
  if (!bytes) {
    s.error = std::move(bytes.error());
    return ARCHIVE_FATAL;
  }
  *out = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

la_int64_t ArchiveReader::State::OnSkip(::archive*, void* self, la_int64_t request) {
  State& s = *static_cast<State*>(self);
  if (s.gunzip || request <= 0) return 0;
  const uint64_t left = s.plain->size_bytes - std::min(s.plain->size_bytes, s.position);
  const uint64_t skipped = std::min(static_cast<uint64_t>(request), left);
  s.position += skipped;
  return static_cast<la_int64_t>(skipped);
}

la_int64_t ArchiveReader::State::OnSeek(::archive*, void* self, la_int64_t offset, int whence) {
  State& s = *static_cast<State*>(self);
  if (s.gunzip) return ARCHIVE_FATAL;
  const auto size = static_cast<la_int64_t>(s.plain->size_bytes);
  la_int64_t base = 0;
  if (whence == SEEK_CUR) base = static_cast<la_int64_t>(s.position);
  if (whence == SEEK_END) base = size;
  la_int64_t target;
  if (__builtin_add_overflow(base, offset, &target) || target < 0) return ARCHIVE_FATAL;
  s.position = static_cast<uint64_t>(std::min(target, size));
  return static_cast<la_int64_t>(s.position);
}

ArchiveReader::ArchiveReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArchiveReader::ArchiveReader(ArchiveReader&&) noexcept = default;
ArchiveReader::~ArchiveReader() = default;

const std::string& ArchiveReader::path() const { return state_->path; }

Result<ArchiveReader> ArchiveReader::Open(const std::string& path, const ArchiveLimits& limits,
                                          const std::atomic<bool>* cancelled) {
  ASSIGN_OR_RETURN(OpenedFile file, OpenRegular(path));
  ASSIGN_OR_RETURN(const bool is_gzip, IsGzip(file, path));
  auto state = std::make_unique<State>(State{.path = path,
                                             .limits = limits,
                                             .cancelled = cancelled,
                                             .max_unpacked = MaxUnpacked(limits, file.size_bytes)});
  ::archive* archive = state->archive.get();
  if (archive == nullptr) return Fail(ErrorCode::kResourceExhausted, "no memory for an archive");
  ::archive_read_support_format_tar(archive);
  if (is_gzip) {
    ASSIGN_OR_RETURN(GunzipStream stream,
                     GunzipStream::Open(std::move(file), path, state->max_unpacked));
    state->gunzip.emplace(std::move(stream));
  } else {
    // Only by its directory: a zip read as a stream may show other files than every other tool.
    ::archive_read_support_format_zip_seekable(archive);
    state->plain.emplace(std::move(file));
  }
  ::archive_read_set_read_callback(archive, State::OnRead);
  ::archive_read_set_skip_callback(archive, State::OnSkip);
  ::archive_read_set_seek_callback(archive, State::OnSeek);
  ::archive_read_set_callback_data(archive, state.get());
  ArchiveReader reader(std::move(state));
  if (::archive_read_open1(archive) != ARCHIVE_OK) return reader.Failure("opening");
  return reader;
}

tl::unexpected<Error> ArchiveReader::Failure(std::string_view doing) const {
  if (state_->error) return tl::unexpected<Error>(*state_->error);
  if (state_->plain) {
    std::array<std::byte, kKindBytes> begin;
    ASSIGN_OR_RETURN(const size_t count, ReadAt(state_->plain->fd, state_->path, 0, begin));
    const std::string kind = formats::KindOf(std::span(begin).first(count));
    if (!kind.empty() && !IsZip(begin)) {
      return Fail(ErrorCode::kDataLoss, fmt::format("{}: {}", state_->path, kind));
    }
  }
  const char* reason = ::archive_error_string(state_->archive.get());
  return Fail(ErrorCode::kDataLoss,
              fmt::format("{}: {}: {}", state_->path, doing,
                          reason == nullptr ? "neither tar nor zip, or damaged" : reason));
}

Result<std::optional<ArchiveEntry>> ArchiveReader::Next() {
  State& s = *state_;
  RETURN_IF_ERROR(s.CheckGoesOn());
  s.in_header = true;
  s.header_bytes = 0;
  ::archive_entry* entry = nullptr;
  const int status = ::archive_read_next_header(s.archive.get(), &entry);
  s.in_header = false;
  if (status == ARCHIVE_EOF) return std::optional<ArchiveEntry>();
  // A warning is about what we do not use: times, owners, a name that is not in the locale.
  if (status != ARCHIVE_OK && status != ARCHIVE_WARN) return Failure("the next entry");
  const char* name = ::archive_entry_pathname(entry);
  if (name == nullptr) name = ::archive_entry_pathname_utf8(entry);
  if (name == nullptr) return Failure("the name of an entry");
  if (::archive_entry_is_encrypted(entry) != 0) {
    return Fail(ErrorCode::kUnsupported, fmt::format("{}: {} is encrypted", s.path, Quoted(name)));
  }
  return ArchiveEntry{
      .path = name,
      .kind = KindOf(entry),
      .kind_name = KindName(entry),
      .size_bytes = static_cast<uint64_t>(std::max<la_int64_t>(0, ::archive_entry_size(entry)))};
}

Result<size_t> ArchiveReader::Read(std::span<std::byte> out) {
  State& s = *state_;
  RETURN_IF_ERROR(s.CheckGoesOn());
  const la_ssize_t count = ::archive_read_data(s.archive.get(), out.data(), out.size());
  if (count < 0) return Failure("unpacking");
  s.unpacked += static_cast<uint64_t>(count);
  if (s.unpacked > s.max_unpacked) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: unpacks to more than {} bytes", s.path, s.max_unpacked));
  }
  return static_cast<size_t>(count);
}

}  // namespace lorry::formats
