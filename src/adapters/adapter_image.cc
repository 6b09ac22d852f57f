#include "adapters/adapter_image.h"

#include <algorithm>
#include <vector>

#include "device/arena.h"
#include "kernels/packed_matrix.h"
#include "model/linear_layout.h"

namespace lorry::adapters {
namespace {

using formats::AdapterModule;

struct Sizes {
  size_t a_bytes;  // [rank, in] act, row-major
  size_t b_bytes;  // packed [out, rank]
};

Sizes SizesOf(const AdapterModule& module, DType dtype) {
  return {static_cast<size_t>(module.rank * module.in_features) * DTypeBytes(dtype),
          kernels::PanelBytes(static_cast<int>(module.rank), dtype) *
              kernels::NumPanels(static_cast<int>(module.out_features))};
}

void CopyA(const AdapterModule& module, DType dtype, std::byte* target) {
  const size_t count = module.rank * module.in_features;
  if (dtype == DType::kF32) {
    formats::ConvertToF32(module.a, {reinterpret_cast<float*>(target), count});
  } else {
    formats::ConvertToBF16(module.a, {reinterpret_cast<BFloat16*>(target), count});
  }
}

void PackB(const AdapterModule& module, DType dtype, std::byte* target) {
  // A file need not align its tensors; the packer reads whole elements.
  std::vector<std::byte> aligned(module.b.bytes.begin(), module.b.bytes.end());
  kernels::PackRows({.source = aligned.data(),
                     .source_dtype = module.b.dtype,
                     .n = static_cast<int>(module.out_features),
                     .k = static_cast<int>(module.rank),
                     .panels = target,
                     .dtype = dtype});
}

}  // namespace

Result<std::shared_ptr<const AdapterImage>> MakeAdapterImage(const formats::PeftAdapter& adapter,
                                                             const model::ModelSpec& spec) {
  Arena counter(nullptr);
  for (const AdapterModule& module : adapter.modules) {
    const Sizes sizes = SizesOf(module, spec.dtype);
    counter.Take<std::byte>(sizes.a_bytes);
    counter.Take<std::byte>(sizes.b_bytes);
  }
  auto image = std::make_shared<AdapterImage>(
      AdapterImage{.id = adapter.id, .weights = model::AdapterWeights(spec.num_layers)});
  ASSIGN_OR_RETURN(image->buffer, Buffer::Allocate(counter.used_bytes()));
  Arena arena(image->buffer.data());
  for (const AdapterModule& module : adapter.modules) {
    const Sizes sizes = SizesOf(module, spec.dtype);
    auto* a = arena.Take<std::byte>(sizes.a_bytes);
    auto* b = arena.Take<std::byte>(sizes.b_bytes);
    CopyA(module, spec.dtype, a);
    PackB(module, spec.dtype, b);
    image->weights.Set(static_cast<int>(module.layer_idx), module.projection,
                       {.a = a,
                        .b = b,
                        .rank = static_cast<int>(module.rank),
                        .n = static_cast<int>(module.out_features),
                        .scale = static_cast<float>(module.scaling)});
    image->max_rank = std::max(image->max_rank, static_cast<int>(module.rank));
    image->weight_bytes += sizes.a_bytes + sizes.b_bytes;
  }
  image->num_modules = static_cast<int>(adapter.modules.size());
  return std::shared_ptr<const AdapterImage>(std::move(image));
}

}  // namespace lorry::adapters
