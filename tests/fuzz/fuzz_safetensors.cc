// Any bytes as a safetensors file: an error, or tensors whose every byte can be read.
#include "formats/safetensors.h"
#include "input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const lorry::fuzz::InputFile input(data, size);
  const auto file = lorry::formats::SafetensorsFile::Read(input.path());
  if (!file) return 0;
  unsigned sum = 0;
  for (const auto& tensor : file->tensors()) {
    for (std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
    if (lorry::formats::IsFloatWeight(tensor.dtype)) sum += lorry::formats::AllFinite(tensor);
  }
  asm volatile("" : : "r"(sum));  // the reads must happen
  return 0;
}
