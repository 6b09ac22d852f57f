#include "adapters/adapter_file.h"

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/background.h"
#include "formats/file_descriptor.h"
#include "formats/output_file.h"

namespace lorry::adapters {
namespace {

constexpr char kMagic[8] = {'L', 'O', 'R', 'R', 'Y', 'I', 'M', '2'};
constexpr size_t kBlobAlignment = 4096;
constexpr uint32_t kMaxParts = 1u << 20;
// Counts up whenever the bytes of a blob come to mean something else.
constexpr uint64_t kPackingVersion = 1;

struct FileHeader {
  char magic[8];
  uint64_t base;
  AdapterId id;
  uint32_t num_parts;
  int32_t max_rank;
  int32_t num_modules;
  uint32_t config_text_bytes;
  uint64_t weight_bytes;
  uint64_t blob_bytes;
  uint64_t tokenizer_text_bytes;
  AdapterId text_id;
  XXH128_canonical_t checksum;
};
static_assert(sizeof(FileHeader) == 104);

size_t BlobOffset(size_t num_parts) {
  const size_t end = sizeof(FileHeader) + num_parts * sizeof(AdapterPart);
  return (end + kBlobAlignment - 1) / kBlobAlignment * kBlobAlignment;
}

using Sections = std::array<std::span<const std::byte>, 4>;  // parts, blob, the two texts

XXH128_canonical_t Checksum(FileHeader header, const Sections& sections) {
  header.checksum = {};
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, &header, sizeof(header));
  for (const auto section : sections) {
    constexpr size_t kPiece = size_t{1} << 20;
    for (size_t begin = 0; begin < section.size(); begin += kPiece) {
      LetOthersRun();
      XXH3_128bits_update(&state, section.data() + begin, std::min(kPiece, section.size() - begin));
    }
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
  return canonical;
}

// From the middle of each stretch, so that no two samples touch.
Status UpdateWithSample(XXH3_state_t& state, const formats::Checkpoint& checkpoint,
                        const formats::TensorEntry& tensor) {
  constexpr uint64_t kSampleBytes = 4096;
  constexpr uint64_t kStretchBytes = uint64_t{64} << 20;
  const auto element_bytes = static_cast<int64_t>(DTypeBytes(tensor.dtype));
  std::vector<std::byte> buffer;
  for (uint64_t begin = 0; begin < tensor.num_bytes; begin += kStretchBytes) {
    const uint64_t stretch = std::min(kStretchBytes, tensor.num_bytes - begin);
    const uint64_t num_bytes = std::min(kSampleBytes, stretch);
    const uint64_t first = begin + (stretch - num_bytes) / 2;
    // Whole elements around it, since it may begin within one.
    const auto first_element = static_cast<int64_t>(first) / element_bytes;
    const auto end_element =
        (static_cast<int64_t>(first + num_bytes) + element_bytes - 1) / element_bytes;
    ASSIGN_OR_RETURN(const formats::TensorView around,
                     checkpoint.Read(tensor, first_element, end_element - first_element, buffer));
    const size_t skipped = first - static_cast<uint64_t>(first_element * element_bytes);
    const auto sample = around.bytes.subspan(skipped, num_bytes);
    XXH3_64bits_update(&state, sample.data(), sample.size());
  }
  return {};
}

std::string_view ViewOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

tl::unexpected<Error> Broken(const std::string& path, std::string_view what) {
  return Fail(ErrorCode::kDataLoss, fmt::format("{}: {}", path, what));
}

// A header whose sizes are those of the file.
Result<FileHeader> ReadHeader(const formats::OpenedFile& file, const std::string& path) {
  FileHeader header;
  ASSIGN_OR_RETURN(
      const size_t num_read,
      formats::ReadAt(file.fd, path, 0, std::as_writable_bytes(std::span(&header, 1))));
  if (num_read < sizeof(header)) return Broken(path, "shorter than its header");
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Broken(path, "not an adapter image of this version");
  }
  const uint64_t most = file.size_bytes;  // of any section, so that their sum cannot wrap
  if (header.num_parts > kMaxParts || header.blob_bytes > most ||
      header.tokenizer_text_bytes > most ||
      most != BlobOffset(header.num_parts) + header.blob_bytes + header.tokenizer_text_bytes +
                  header.config_text_bytes) {
    return Broken(path, "its length is not what its header says");
  }
  return header;
}

}  // namespace

Result<uint64_t> BaseFingerprint(const model::ModelSpec& spec,
                                 const formats::Checkpoint& checkpoint) {
  const std::string text =
      fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", kPackingVersion, spec.family, spec.vocab_size,
                  spec.hidden, spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim,
                  spec.ffn, spec.tied_embeddings, DTypeName(spec.dtype));
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, text.data(), text.size());
  for (const std::string& name : checkpoint.TensorNames()) {
    ASSIGN_OR_RETURN(const formats::TensorEntry tensor, checkpoint.Get(name));
    const std::string about = fmt::format("{}|{}", name, tensor.Describe());
    XXH3_64bits_update(&state, about.data(), about.size());
    RETURN_IF_ERROR(UpdateWithSample(state, checkpoint, tensor));
  }
  return XXH3_64bits_digest(&state);
}

std::string ImageFileName(const ImageKey& key) {
  return fmt::format("{}-{:016x}.image", key.id.Hex(), key.base);
}

Status WriteImageFile(const AdapterImage& image, uint64_t base, const std::string& path) {
  const Sections sections = {std::as_bytes(std::span(image.parts)), image.blob,
                             std::as_bytes(std::span(image.text.tokenizer_json)),
                             std::as_bytes(std::span(image.text.config_json))};
  FileHeader header = {.base = base,
                       .id = image.id,
                       .num_parts = static_cast<uint32_t>(image.parts.size()),
                       .max_rank = image.max_rank,
                       .num_modules = image.num_modules,
                       .config_text_bytes = static_cast<uint32_t>(sections[3].size()),
                       .weight_bytes = image.weight_bytes,
                       .blob_bytes = image.blob.size(),
                       .tokenizer_text_bytes = sections[2].size(),
                       .text_id = image.text.id,
                       .checksum = {}};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.checksum = Checksum(header, sections);
  ASSIGN_OR_RETURN(formats::OutputFile file, formats::OutputFile::Create(path));
  const size_t blob_offset = BlobOffset(image.parts.size());
  const size_t text_offset = blob_offset + image.blob.size();
  RETURN_IF_ERROR(file.Reserve(text_offset + sections[2].size() + sections[3].size()));
  RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(&header, 1))));
  RETURN_IF_ERROR(file.WriteAt(sizeof(header), sections[0]));
  RETURN_IF_ERROR(file.WriteDirectAt(blob_offset, image.blob));
  RETURN_IF_ERROR(file.WriteAt(text_offset, sections[2]));
  RETURN_IF_ERROR(file.WriteAt(text_offset + sections[2].size(), sections[3]));
  RETURN_IF_ERROR(file.Sync());
  return file.Publish();
}

Result<ImageFileInfo> ReadImageFileInfo(const std::string& path) {
  ASSIGN_OR_RETURN(const formats::OpenedFile file, formats::OpenRegular(path));
  ASSIGN_OR_RETURN(const FileHeader header, ReadHeader(file, path));
  struct stat status;
  if (::fstat(file.fd.get(), &status) != 0) return formats::SystemFailure(path, errno);
  return ImageFileInfo{.key = {header.id, header.base},
                       .max_rank = header.max_rank,
                       .num_modules = header.num_modules,
                       .num_bytes = file.size_bytes,
                       .last_used_s = status.st_mtim.tv_sec};
}

void TouchImageFile(const std::string& path) { ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0); }

Result<std::shared_ptr<const AdapterImage>> OpenImageFile(const std::string& path,
                                                          const ImageKey& key, int num_layers,
                                                          uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const formats::OpenedFile opened, formats::OpenRegular(path));
  ASSIGN_OR_RETURN(const FileHeader header, ReadHeader(opened, path));
  if (header.id != key.id || header.base != key.base) {
    return Broken(path, "holds another adapter than its name says");
  }
  if (opened.size_bytes > max_bytes) {
    return Broken(path, fmt::format("{} bytes, an adapter of this base has at most {}",
                                    opened.size_bytes, max_bytes));
  }
  ASSIGN_OR_RETURN(formats::FileBytes file, formats::FileBytes::Read(opened, path));
  const std::span<const std::byte> bytes = file.bytes();
  if (std::memcmp(bytes.data(), &header, sizeof(header)) != 0) {
    return Broken(path, "was rewritten while it was read");
  }
  const auto parts = bytes.subspan(sizeof(header), header.num_parts * sizeof(AdapterPart));
  const auto blob = bytes.subspan(BlobOffset(header.num_parts), header.blob_bytes);
  const auto config_text = bytes.last(header.config_text_bytes);
  const auto tokenizer_text = bytes.last(header.tokenizer_text_bytes + header.config_text_bytes)
                                  .first(header.tokenizer_text_bytes);
  const XXH128_canonical_t checksum = Checksum(header, {parts, blob, tokenizer_text, config_text});
  if (std::memcmp(&checksum, &header.checksum, sizeof(checksum)) != 0) {
    return Broken(path, "its checksum is wrong");
  }
  auto image = std::make_shared<AdapterImage>();
  image->id = header.id;
  image->max_rank = header.max_rank;
  image->num_modules = header.num_modules;
  image->weight_bytes = header.weight_bytes;
  image->parts.resize(header.num_parts);
  std::memcpy(image->parts.data(), parts.data(), parts.size());
  if (Status status = CheckParts(image->parts, blob.size(), num_layers); !status) {
    return Annotate(std::move(status.error()), path);
  }
  image->blob = blob;
  image->weights = BindWeights(image->parts, blob.data(), num_layers);
  image->vocab_size = image->weights->vocab_size();
  image->text = {ViewOf(tokenizer_text), ViewOf(config_text), header.text_id};
  image->file = std::move(file);
  return std::shared_ptr<const AdapterImage>(std::move(image));
}

}  // namespace lorry::adapters
