// Any bytes as a file of torch.save: an error, or tensors whose every element can be read. The
// same bytes as a bare pickle, since mutations seldom get so far in a zip.
#include <cstdlib>
#include <span>

#include "formats/torch_file.h"
#include "formats/torch_state_dict.h"
#include "input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace formats = lorry::formats;
  formats::TorchStateDict dict;
  (void)dict.Read(std::as_bytes(std::span(data, size)));

  const lorry::fuzz::InputFile input(data, size);
  const auto file = formats::TorchFile::Open(input.path(), {.max_bytes = 1 << 20});
  if (!file) return 0;
  unsigned sum = 0;
  for (const formats::TorchTensor& tensor : file->tensors()) {
    uint64_t bytes = 0;
    const auto read = formats::ForEachPiece(tensor, [&](std::span<const std::byte> piece) {
      for (std::byte byte : piece) sum += static_cast<unsigned>(byte);
      bytes += piece.size();
      return lorry::Status();
    });
    if (!read || bytes != tensor.num_bytes()) std::abort();
  }
  asm volatile("" : : "r"(sum));  // the reads must happen
  return 0;
}
