#include "formats/file_bytes.h"

#include <utility>

#include "formats/file_kind.h"

namespace lorry::formats {

Result<FileBytes> FileBytes::Read(const std::string& path) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  return Read(file, path);
}

Result<FileBytes> FileBytes::Read(const OpenedFile& file, const std::string& path) {
  auto buffer = Buffer::AllocateUnzeroed(file.size_bytes);
  if (!buffer) return Annotate(std::move(buffer.error()), path);
  ASSIGN_OR_RETURN(const size_t num_read,
                   ReadAt(file.fd, path, 0, {buffer->data(), file.size_bytes}));
  if (num_read < file.size_bytes) {
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: was shortened from {} to {} bytes while it "
                                                  "was read",
                                                  path, file.size_bytes, num_read));
  }
  return FileBytes(path, std::move(*buffer), file.size_bytes);
}

Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(path));
  if (file.size_bytes > max_bytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: {} bytes, the limit is {}", path, file.size_bytes, max_bytes));
  }
  std::string text(file.size_bytes, '\0');
  ASSIGN_OR_RETURN(const size_t done,
                   ReadAt(file.fd, path, 0, std::as_writable_bytes(std::span(text))));
  text.resize(done);  // less if it was shortened meanwhile
  if (IsLfsPointer(text))
    return Fail(ErrorCode::kDataLoss, fmt::format("{}: {}", path, KindOf(text)));
  return text;
}

Result<std::optional<std::string>> ReadFileIfThere(const std::string& path, size_t max_bytes) {
  Result<std::string> text = ReadSmallFile(path, max_bytes);
  if (text) return std::optional(std::move(*text));
  if (text.error().code == ErrorCode::kNotFound) return std::optional<std::string>();
  return tl::unexpected(std::move(text.error()));
}

}  // namespace lorry::formats
