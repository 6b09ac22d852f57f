#include "formats/stored_zip.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "formats/json.h"

namespace lorry::formats {
namespace {

// APPNOTE.TXT of PKWARE, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (end).
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr size_t kLocalBytes = 30, kDirectoryBytes = 46, kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56, kEnd64LocatorBytes = 20;
constexpr size_t kMaxCommentBytes = 0xffff;
constexpr uint16_t kExtra64Id = 1;
constexpr uint16_t kEncryptedFlag = 1;
constexpr uint16_t kStoredMethod = 0;
constexpr uint32_t kIn64 = 0xffffffff;  // the value stands in the 64-bit extra field

using Bytes = std::span<const std::byte>;

// A little-endian number; the caller has checked that it lies inside.
template <typename T>
T Read(Bytes bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

// `count` bytes from `offset` on; nothing if they do not lie inside.
std::optional<Bytes> Slice(Bytes bytes, uint64_t offset, uint64_t count) {
  if (offset > bytes.size() || count > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(offset, count);
}

// What one entry of the directory says.
struct Entry {
  std::string_view name;
  uint16_t flags;
  uint16_t method;
  uint64_t packed_bytes;
  uint64_t bytes;
  uint64_t local_offset;
  size_t entry_bytes;
};

tl::unexpected<Error> Damaged(std::string_view where, std::string_view what) {
  return Fail(ErrorCode::kDataLoss, fmt::format("{}: {}", where, what));
}

// The directory, all of it.
Result<Bytes> FindDirectory(Bytes bytes, std::string_view where) {
  if (bytes.size() < kEndBytes) return Damaged(where, "too short for a zip");
  size_t end = bytes.size() - kEndBytes;
  const size_t first = end - std::min(end, kMaxCommentBytes);
  while (Read<uint32_t>(bytes, end) != kEndSignature ||
         Read<uint16_t>(bytes, end + 20) != bytes.size() - end - kEndBytes) {
    if (end == first)
      return Damaged(where, "the zip's directory is missing: the file is cut short");
    --end;
  }
  uint64_t directory_bytes = Read<uint32_t>(bytes, end + 12);
  uint64_t offset = Read<uint32_t>(bytes, end + 16);
  if (end >= kEnd64LocatorBytes &&
      Read<uint32_t>(bytes, end - kEnd64LocatorBytes) == kEnd64LocatorSignature) {
    const auto end64 =
        Slice(bytes, Read<uint64_t>(bytes, end - kEnd64LocatorBytes + 8), kEnd64Bytes);
    if (!end64 || Read<uint32_t>(*end64, 0) != kEnd64Signature) {
      return Damaged(where, "the zip's 64-bit directory is missing");
    }
    directory_bytes = Read<uint64_t>(*end64, 40);
    offset = Read<uint64_t>(*end64, 48);
  }
  const auto directory = Slice(bytes, offset, directory_bytes);
  if (!directory) return Damaged(where, "the zip's directory lies outside the file");
  return *directory;
}

// Replaces what the entry itself has no room for.
bool ReadExtra64(Bytes extra, Entry* entry) {
  while (extra.size() >= 4) {
    const uint16_t id = Read<uint16_t>(extra, 0);
    const auto field = Slice(extra, 4, Read<uint16_t>(extra, 2));
    if (!field) return false;
    extra = extra.subspan(4 + field->size());
    if (id != kExtra64Id) continue;
    size_t at = 0;
    for (uint64_t* value : {&entry->bytes, &entry->packed_bytes, &entry->local_offset}) {
      if (*value != kIn64) continue;
      if (field->size() < at + 8) return false;
      *value = Read<uint64_t>(*field, at);
      at += 8;
    }
  }
  return true;
}

Result<Entry> ReadEntry(Bytes directory, std::string_view where) {
  if (directory.size() < kDirectoryBytes || Read<uint32_t>(directory, 0) != kDirectorySignature) {
    return Damaged(where, "the zip's directory is damaged");
  }
  const size_t name_bytes = Read<uint16_t>(directory, 28);
  const size_t extra_bytes = Read<uint16_t>(directory, 30);
  const size_t comment_bytes = Read<uint16_t>(directory, 32);
  const auto name = Slice(directory, kDirectoryBytes, name_bytes);
  const auto extra = Slice(directory, kDirectoryBytes + name_bytes, extra_bytes);
  Entry entry{.flags = Read<uint16_t>(directory, 8),
              .method = Read<uint16_t>(directory, 10),
              .packed_bytes = Read<uint32_t>(directory, 20),
              .bytes = Read<uint32_t>(directory, 24),
              .local_offset = Read<uint32_t>(directory, 42),
              .entry_bytes = kDirectoryBytes + name_bytes + extra_bytes + comment_bytes};
  if (!name || !extra || entry.entry_bytes > directory.size() || !ReadExtra64(*extra, &entry)) {
    return Damaged(where, "the zip's directory is damaged");
  }
  entry.name = {reinterpret_cast<const char*>(name->data()), name->size()};
  return entry;
}

Result<Bytes> ReadMember(Bytes bytes, const Entry& entry, std::string_view where) {
  const std::string member = fmt::format("{}: {}", where, Quoted(entry.name));
  if ((entry.flags & kEncryptedFlag) != 0) {
    return Fail(ErrorCode::kUnsupported, member + " is encrypted");
  }
  if (entry.method != kStoredMethod || entry.packed_bytes != entry.bytes) {
    return Fail(ErrorCode::kUnsupported, member + " is compressed, which torch.save does not do");
  }
  const auto local = Slice(bytes, entry.local_offset, kLocalBytes);
  if (!local || Read<uint32_t>(*local, 0) != kLocalSignature) {
    return Damaged(member, "is not where the zip's directory says");
  }
  const size_t name_bytes = Read<uint16_t>(*local, 26);
  const auto name = Slice(bytes, entry.local_offset + kLocalBytes, name_bytes);
  if (!name ||
      std::string_view(reinterpret_cast<const char*>(name->data()), name_bytes) != entry.name) {
    return Damaged(member, "has another name in front of its data");
  }
  const uint64_t header_bytes = kLocalBytes + name_bytes + Read<uint16_t>(*local, 28);
  const auto data = Slice(bytes, entry.local_offset + header_bytes, entry.bytes);
  if (!data) return Damaged(member, "reaches beyond the end of the file");
  return *data;
}

}  // namespace

Result<StoredZip> StoredZip::Parse(std::span<const std::byte> bytes, std::string_view where) {
  StoredZip zip;
  ASSIGN_OR_RETURN(Bytes directory, FindDirectory(bytes, where));
  while (!directory.empty()) {
    ASSIGN_OR_RETURN(const Entry entry, ReadEntry(directory, where));
    ASSIGN_OR_RETURN(const Bytes data, ReadMember(bytes, entry, where));
    if (!zip.members_.emplace(entry.name, data).second) {
      return Damaged(where, fmt::format("{} stands in the zip twice", Quoted(entry.name)));
    }
    directory = directory.subspan(entry.entry_bytes);
  }
  return zip;
}

std::optional<std::span<const std::byte>> StoredZip::Find(std::string_view name) const {
  const auto found = members_.find(name);
  if (found == members_.end()) return std::nullopt;
  return found->second;
}

}  // namespace lorry::formats
