#include "formats/archive.h"

#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include "formats/adapter_files.h"
#include "formats/archive_reader.h"
#include "formats/json.h"
#include "formats/output_file.h"

namespace lorry::formats {
namespace {

constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxListedFolders = 16;
constexpr size_t kCopyBytes = size_t{256} << 10;
constexpr char kTop[] = ".";

// Goes away with all that is in it.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> CreateBeside(const std::string& path) {
    std::string pattern = path + ".part-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) return SystemFailure(path, errno);
    return TemporaryDirectory(std::move(pattern));
  }
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

struct EntryName {
  std::string folder;  // "a/b", or "." for the top
  std::string file;    // in that folder, as an adapter has it; empty: none of an adapter's files
};

// Takes a path apart, or says why nobody who meant well would have written it.
Result<EntryName> ParseName(std::string_view path) {
  const auto refuse = [](std::string why) { return Fail(ErrorCode::kPermission, std::move(why)); };
  if (path.empty()) return refuse("has no name");
  if (path.size() > kMaxPathBytes) return refuse("has a name that is too long");
  if (path.front() == '/') return refuse("is an absolute path");
  if (path.find('\\') != std::string_view::npos) return refuse("has a backslash in its path");
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "..") return refuse("points out of the archive with \"..\"");
    if (!part.empty() && part != ".") parts.push_back(part);
    begin = end + 1;
  }
  EntryName name{.folder = kTop};
  // Some of an adapter's files lie in a folder of its directory.
  for (size_t num_last = 1; num_last <= std::min(parts.size(), size_t{2}); ++num_last) {
    const auto first = parts.end() - static_cast<ptrdiff_t>(num_last);
    std::string file = fmt::format("{}", fmt::join(first, parts.end(), "/"));
    if (!IsAdapterFile(file)) continue;
    name.file = std::move(file);
    parts.erase(first, parts.end());
    break;
  }
  if (!parts.empty()) name.folder = fmt::format("{}", fmt::join(parts, "/"));
  return name;
}

// What was unpacked so far, in a temporary directory.
class Unpacked {
 public:
  Unpacked(std::string archive_path, TemporaryDirectory temporary)
      : archive_path_(std::move(archive_path)), temporary_(std::move(temporary)) {}

  Status Take(const EntryName& name, ArchiveReader& reader);
  // The one adapter takes its place.
  Result<ExtractedAdapter> MoveTo(const std::string& target_dir, std::string_view subfolder);

 private:
  struct Folder {
    std::string dir;  // where it lies
    std::vector<std::string> files;
    uint64_t bytes = 0;
  };

  Result<Folder*> FolderFor(const std::string& name);
  Status Copy(const std::string& path, ArchiveReader& reader, uint64_t* bytes);
  tl::unexpected<Error> WhyNotOne(std::string_view subfolder) const;

  std::string archive_path_;
  TemporaryDirectory temporary_;
  std::map<std::string, Folder> folders_;  // by the name in the archive
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kCopyBytes);
};

Result<Unpacked::Folder*> Unpacked::FolderFor(const std::string& name) {
  const auto found = folders_.find(name);
  if (found != folders_.end()) return &found->second;
  Folder folder{.dir = fmt::format("{}/{}", temporary_.path(), folders_.size())};
  if (::mkdir(folder.dir.c_str(), 0777) != 0) return SystemFailure(folder.dir, errno);
  return &folders_.emplace(name, std::move(folder)).first->second;
}

Status Unpacked::Take(const EntryName& name, ArchiveReader& reader) {
  ASSIGN_OR_RETURN(Folder* const folder, FolderFor(name.folder));
  if (std::find(folder->files.begin(), folder->files.end(), name.file) != folder->files.end()) {
    return Fail(ErrorCode::kDataLoss,
                fmt::format("{}: {} stands there twice", archive_path_,
                            Quoted(fmt::format("{}/{}", name.folder, name.file))));
  }
  folder->files.push_back(name.file);
  if (const std::string_view inner = AdapterFileFolder(name.file); !inner.empty()) {
    const std::string dir = fmt::format("{}/{}", folder->dir, inner);
    if (::mkdir(dir.c_str(), 0777) != 0 && errno != EEXIST) return SystemFailure(dir, errno);
  }
  return Copy(fmt::format("{}/{}", folder->dir, name.file), reader, &folder->bytes);
}

Status Unpacked::Copy(const std::string& path, ArchiveReader& reader, uint64_t* bytes) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  for (uint64_t offset = 0;;) {
    ASSIGN_OR_RETURN(const size_t count, reader.Read(buffer_));
    if (count == 0) break;
    RETURN_IF_ERROR(file.WriteAt(offset, std::span(buffer_).first(count)));
    offset += count;
    *bytes += count;
  }
  return file.Publish();
}

tl::unexpected<Error> Unpacked::WhyNotOne(std::string_view subfolder) const {
  if (!subfolder.empty()) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}: no {} in its folder {}", archive_path_,
                                                  kAdapterConfigFile, Quoted(subfolder)));
  }
  std::vector<std::string> adapters;
  size_t num_adapters = 0;
  for (const auto& [name, folder] : folders_) {
    if (std::count(folder.files.begin(), folder.files.end(), kAdapterConfigFile) == 0) continue;
    if (++num_adapters <= kMaxListedFolders) adapters.push_back(Quoted(name));
  }
  if (num_adapters == 0) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: no {} in it", archive_path_, kAdapterConfigFile));
  }
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: {} adapters; name the folder of one: {}{}", archive_path_, num_adapters,
                  fmt::join(adapters, ", "), num_adapters > adapters.size() ? ", …" : ""));
}

Result<ExtractedAdapter> Unpacked::MoveTo(const std::string& target_dir,
                                          std::string_view subfolder) {
  ExtractedAdapter adapter;
  Folder* chosen = nullptr;
  for (auto& [name, folder] : folders_) {
    if (std::count(folder.files.begin(), folder.files.end(), kAdapterConfigFile) == 0) continue;
    if (chosen != nullptr) return WhyNotOne(subfolder);
    adapter.folder = name;
    chosen = &folder;
  }
  if (chosen == nullptr) return WhyNotOne(subfolder);
  if (::rename(chosen->dir.c_str(), target_dir.c_str()) != 0) {
    return SystemFailure(target_dir, errno);
  }
  adapter.files = std::move(chosen->files);
  std::sort(adapter.files.begin(), adapter.files.end());
  adapter.bytes = chosen->bytes;
  return adapter;
}

Status TakeAll(ArchiveReader& reader, const ExtractOptions& options, std::string_view folder,
               Unpacked* unpacked) {
  for (size_t num_entries = 1;; ++num_entries) {
    ASSIGN_OR_RETURN(const std::optional<ArchiveEntry> entry, reader.Next());
    if (!entry) return {};
    if (num_entries > options.limits.max_entries) {
      return Fail(ErrorCode::kTooLarge, fmt::format("{}: more than {} entries", reader.path(),
                                                    options.limits.max_entries));
    }
    const std::string where = fmt::format("{}: the entry {}", reader.path(), Quoted(entry->path));
    Result<EntryName> name = ParseName(entry->path);
    if (!name) return Annotate(std::move(name.error()), where);
    if (entry->kind == ArchiveEntry::Kind::kOther) {
      return Fail(ErrorCode::kPermission, fmt::format("{} is {}", where, entry->kind_name));
    }
    if (entry->kind != ArchiveEntry::Kind::kFile || name->file.empty()) continue;
    if (!folder.empty() && name->folder != folder) continue;
    if (entry->size_bytes > options.limits.max_bytes) {
      return Fail(ErrorCode::kTooLarge, fmt::format("{} has {} bytes, the limit is {}", where,
                                                    entry->size_bytes, options.limits.max_bytes));
    }
    RETURN_IF_ERROR(unpacked->Take(*name, reader));
  }
}

// As ParseName writes folders; empty stays empty.
Result<std::string> NormalFolder(std::string_view subfolder) {
  if (subfolder.empty()) return std::string();
  Result<EntryName> name = ParseName(fmt::format("{}/{}", subfolder, kAdapterConfigFile));
  if (!name) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is not a folder of an archive", Quoted(subfolder)));
  }
  return std::move(name->folder);
}

}  // namespace

Result<ExtractedAdapter> ExtractArchive(const std::string& archive_path,
                                        const std::string& target_dir,
                                        const ExtractOptions& options) {
  ASSIGN_OR_RETURN(const std::string folder, NormalFolder(options.subfolder));
  ASSIGN_OR_RETURN(ArchiveReader reader,
                   ArchiveReader::Open(archive_path, options.limits, options.cancelled));
  ASSIGN_OR_RETURN(TemporaryDirectory temporary, TemporaryDirectory::CreateBeside(target_dir));
  Unpacked unpacked(archive_path, std::move(temporary));
  RETURN_IF_ERROR(TakeAll(reader, options, folder, &unpacked));
  return unpacked.MoveTo(target_dir, folder);
}

}  // namespace lorry::formats
