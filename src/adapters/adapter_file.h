// An adapter image as a file of the disk cache: what lies there is ready to copy.
//
// Layout, little-endian: FileHeader, parts [num_parts] (adapter_image.h), padding to a multiple of
// 4096, the blob, the adapter's own tokenizer.json and the rest of its text (formats/
// adapter_text.h). The checksum (XXH3-128) covers everything after the header, and the header's own
// fields before it.
// Thread: any. Never: shows a file under its name before it is whole and on the disk.
#pragma once

#include <memory>
#include <string>

#include "adapters/adapter_image.h"
#include "base/result.h"

namespace lorry::adapters {

// What a blob's layout depends on: the same adapter for another base, type or packing is another
// file.
struct ImageKey {
  AdapterId id;
  uint64_t base = 0;  // BaseFingerprint
};

// Of the base's shapes, type and weights, and the version of the packing. Of the weights a sample
// is read, 4 KiB or more of every tensor: training or merging leaves none of what it touches alone.
Result<uint64_t> BaseFingerprint(const model::ModelSpec& spec,
                                 const formats::Checkpoint& checkpoint);

// "3f…c2-0123456789abcdef.image": letters, digits, '-' and '.' only.
std::string ImageFileName(const ImageKey& key);

// Writes beside `path`, syncs and renames. kResourceExhausted: the disk is full.
Status WriteImageFile(const AdapterImage& image, uint64_t base, const std::string& path);

// What a file's header says, and who used it last.
struct ImageFileInfo {
  ImageKey key;
  int max_rank = 0;
  int num_modules = 0;
  uint64_t num_bytes = 0;   // of the file
  int64_t last_used_s = 0;  // Unix time
};
// Reads the header alone. kDataLoss: not an image of this version, or cut short.
Result<ImageFileInfo> ReadImageFileInfo(const std::string& path);

// Marks the file as used now, which puts it last in the order of its cache's next scan.
void TouchImageFile(const std::string& path);

// Reads and checks the whole file: kDataLoss if a byte differs from what was written, or it is
// longer than max_bytes.
Result<std::shared_ptr<const AdapterImage>> OpenImageFile(const std::string& path,
                                                          const ImageKey& key, int num_layers,
                                                          uint64_t max_bytes = UINT64_MAX);

}  // namespace lorry::adapters
