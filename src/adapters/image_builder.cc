#include "adapters/image_builder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "base/background.h"
#include "base/check.h"
#include "kernels/dora.h"
#include "kernels/packed_matrix.h"

namespace lorry::adapters {
namespace {

using formats::AdapterModule;
using formats::BaseModule;
using formats::ModuleKind;
using formats::SavedParameter;
using formats::TensorEntry;
using formats::TensorView;
using Kind = AdapterPart::Kind;

constexpr size_t kChunkRows = 256;  // of a base weight in f32 at a time; whole panels

std::vector<float> ToF32(const TensorView& tensor) {
  std::vector<float> values(tensor.num_elements());
  formats::ConvertToF32(tensor, values);
  return values;
}

// Rows [begin, begin + count) of a matrix.
TensorView RowsOf(const TensorView& tensor, int64_t begin, int64_t count) {
  const size_t row_bytes = tensor.shape[1] * DTypeBytes(tensor.dtype);
  TensorView rows = tensor;
  rows.shape[0] = count;
  rows.bytes = tensor.bytes.subspan(begin * row_bytes, count * row_bytes);
  return rows;
}

TensorView ElementsOf(const TensorView& tensor, int64_t begin, int64_t count) {
  const size_t element_bytes = DTypeBytes(tensor.dtype);
  return {.dtype = tensor.dtype,
          .shape = {count},
          .bytes = tensor.bytes.subspan(begin * element_bytes, count * element_bytes)};
}

// Element by element into the act dtype.
void CopyAs(const TensorView& tensor, DType dtype, std::byte* target) {
  const size_t count = tensor.num_elements();
  if (dtype == DType::kF32) {
    formats::ConvertToF32(tensor, {reinterpret_cast<float*>(target), count});
  } else {
    formats::ConvertToBF16(tensor, {reinterpret_cast<BFloat16*>(target), count});
  }
}

void CopyTransposed(const TensorView& tensor, DType dtype, std::byte* target) {
  const int64_t rows = tensor.shape[0], columns = tensor.shape[1];
  const size_t size = DTypeBytes(dtype);
  std::vector<std::byte> row(columns * size);
  for (int64_t i = 0; i < rows; ++i) {
    CopyAs(RowsOf(tensor, i, 1), dtype, row.data());
    for (int64_t j = 0; j < columns; ++j) {
      std::memcpy(target + (j * rows + i) * size, row.data() + j * size, size);
    }
  }
}

// A file need not align its tensors; the packer reads whole elements.
void PackMatrix(const TensorView& tensor, DType dtype, std::byte* target) {
  const int64_t n = tensor.shape[0], k = tensor.shape[1];
  const size_t panel_bytes = kernels::PanelBytes(static_cast<int>(k), dtype);
  for (int64_t row = 0; row < n; row += kChunkRows) {
    const int64_t count = std::min<int64_t>(kChunkRows, n - row);
    const TensorView rows = RowsOf(tensor, row, count);
    const std::vector<std::byte> aligned(rows.bytes.begin(), rows.bytes.end());
    kernels::PackRows({.source = aligned.data(),
                       .source_dtype = tensor.dtype,
                       .n = static_cast<int>(count),
                       .k = static_cast<int>(k),
                       .panels = target + row / kernels::kPanel * panel_bytes,
                       .dtype = dtype});
  }
}

size_t PackedBytes(int64_t n, int64_t k, DType dtype) {
  return kernels::PanelBytes(static_cast<int>(k), dtype) * kernels::NumPanels(static_cast<int>(n));
}

AdapterPart PartAt(const BaseModule& module, Kind kind) {
  return {.kind = kind,
          .site = SiteOf(module.kind, module.projection),
          .layer = static_cast<uint16_t>(std::max<int64_t>(0, module.layer_idx))};
}

BaseModule ModuleOf(const AdapterModule& lora) {
  return {.name = lora.name,
          .kind = lora.kind,
          .layer_idx = lora.layer_idx,
          .projection = lora.projection,
          .in_features = lora.in_features,
          .out_features = lora.out_features};
}

std::vector<float> Scaled(std::vector<float> values, double scaling) {
  for (float& value : values) value *= static_cast<float>(scaling);
  return values;
}

// [rows, columns] -> [columns, rows]
std::vector<float> Transposed(const std::vector<float>& matrix, int64_t rows, int64_t columns) {
  std::vector<float> result(matrix.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) result[j * rows + i] = matrix[i * columns + j];
  }
  return result;
}

// `count` rows of a weight from `begin` on, in f32.
using WeightRows = std::function<Result<std::vector<float>>(int64_t begin, int64_t count)>;

// Lengths that DoRA divides by: of the rows of W + s B A, and for the embedding, whose weight is
// transposed, of its columns.
Result<std::vector<float>> DoraNorms(const AdapterModule& lora, const WeightRows& weight) {
  const bool embedding = lora.kind == ModuleKind::kEmbedding;
  const int64_t n = embedding ? lora.in_features : lora.out_features;
  const int64_t k = embedding ? lora.out_features : lora.in_features;
  std::vector<float> a = ToF32(lora.a), b = Scaled(ToF32(lora.b), lora.scaling);
  if (embedding) {
    a.swap(b);
    a = Transposed(a, k, lora.rank);  // of b: [rank, hidden]
    b = Transposed(b, lora.rank, n);  // of a: [vocab, rank]
  }
  std::vector<float> norms(lora.out_features);
  std::vector<double> squares(embedding ? k : 0);
  for (int64_t row = 0; row < n; row += kChunkRows) {
    const int64_t count = std::min<int64_t>(kChunkRows, n - row);
    ASSIGN_OR_RETURN(const std::vector<float> w, weight(row, count));
    const kernels::DeltaRows rows{.w = w.data(),
                                  .b = b.data() + row * lora.rank,
                                  .a = a.data(),
                                  .n = static_cast<int>(count),
                                  .k = static_cast<int>(k),
                                  .rank = static_cast<int>(lora.rank)};
    if (embedding) {
      kernels::AddColumnSquares(rows, squares.data());
    } else {
      kernels::RowNorms(rows, norms.data() + row);
    }
  }
  for (size_t i = 0; i < squares.size(); ++i) norms[i] = static_cast<float>(std::sqrt(squares[i]));
  return norms;
}

}  // namespace

void ImageBuilder::Add(AdapterPart part, Writer write) {
  part.offset = arena_.used_bytes();
  arena_.Take<std::byte>(part.num_bytes);
  weight_bytes_ += part.num_bytes;
  parts_.push_back(part);
  writers_.push_back(std::move(write));
}

void ImageBuilder::AddLora(const AdapterModule& module) {
  const DType dtype = spec_.dtype;
  AdapterPart part = PartAt(ModuleOf(module), Kind::kLoraA);
  part.rank = static_cast<int32_t>(module.rank);
  part.n = static_cast<int32_t>(module.out_features);
  part.scale = static_cast<float>(module.scaling);
  part.num_bytes = module.rank * module.in_features * DTypeBytes(dtype);
  const bool embedding = module.kind == ModuleKind::kEmbedding;
  Add(part, [&a = module.a, dtype, embedding](std::byte* target) {
    embedding ? CopyTransposed(a, dtype, target) : CopyAs(a, dtype, target);
  });
  part.kind = Kind::kLoraB;
  part.num_bytes = PackedBytes(module.out_features, module.rank, dtype);
  Add(part, [&b = module.b, dtype](std::byte* target) { PackMatrix(b, dtype, target); });
}

void ImageBuilder::AddWeight(const SavedParameter& parameter) {
  const TensorView& values = parameter.values;
  AdapterPart part = PartAt(parameter.module, Kind::kNorm);
  part.n = static_cast<int32_t>(values.shape[0]);
  if (formats::IsNorm(parameter.module.kind)) {
    return AddVector(part, ToF32(values));
  }
  const DType dtype = spec_.dtype;
  part.kind = dtype == DType::kF32 ? Kind::kWeightF32 : Kind::kWeightBF16;
  part.rank = static_cast<int32_t>(values.shape[1]);
  part.num_bytes = PackedBytes(values.shape[0], values.shape[1], dtype);
  // The tied embedding and head: one tensor of the file, one place here.
  if (parameter.module.kind == ModuleKind::kHead) {
    const bool shared =
        std::any_of(adapter_.saved.begin(), adapter_.saved.end(), [&](const SavedParameter& other) {
          return other.module.kind == ModuleKind::kEmbedding &&
                 other.values.bytes.data() == values.bytes.data();
        });
    const auto embedding =
        std::find_if(parts_.begin(), parts_.end(), [&](const AdapterPart& other) {
          return other.kind == part.kind && other.site == AdapterPart::Site::kEmbedding;
        });
    if (shared && embedding != parts_.end()) {
      part.offset = embedding->offset;
      parts_.push_back(part);
      writers_.emplace_back();
      return;
    }
  }
  Add(part, [&values, dtype](std::byte* target) { PackMatrix(values, dtype, target); });
}

// f32, zero up to a whole panel.
void ImageBuilder::AddVector(AdapterPart part, std::vector<float> values) {
  part.n = static_cast<int32_t>(values.size());
  part.num_bytes = kernels::NumPanels(part.n) * kernels::kPanel * sizeof(float);
  Add(part, [values = std::move(values)](std::byte* target) {
    std::memcpy(target, values.data(), values.size() * sizeof(float));
  });
}

std::string ImageBuilder::BaseName(const BaseModule& module, bool is_bias) const {
  const bool tied = module.kind == ModuleKind::kHead && spec_.tied_embeddings;
  return fmt::format("{}.{}", tied ? "model.embed_tokens" : module.name,
                     is_bias ? "bias" : "weight");
}

// The same after rounding to what it is computed in. PEFT saves an adapted embedding's own weight
// with the adapter, trained or not.
Result<bool> ImageBuilder::SameAsBase(const SavedParameter& parameter) const {
  const Result<TensorEntry> base = base_.Get(BaseName(parameter.module, parameter.is_bias));
  const TensorView& values = parameter.values;
  if (!base || base->shape != values.shape) return false;
  const bool is_vector = values.shape.size() == 1;
  const int64_t row_elements = is_vector ? 1 : values.shape[1];
  std::vector<std::byte> buffer, ours, theirs;
  for (int64_t row = 0; row < values.shape[0]; row += kChunkRows) {
    const int64_t count = std::min<int64_t>(kChunkRows, values.shape[0] - row) * row_elements;
    ASSIGN_OR_RETURN(const TensorView base_part,
                     base_.Read(*base, row * row_elements, count, buffer));
    const TensorView part = ElementsOf(values, row * row_elements, count);
    if (base->dtype == values.dtype) {
      if (std::memcmp(base_part.bytes.data(), part.bytes.data(), part.bytes.size()) != 0) {
        return false;
      }
      continue;
    }
    if (is_vector) {  // computed in f32
      if (ToF32(base_part) != ToF32(part)) return false;
      continue;
    }
    ours.resize(count * DTypeBytes(spec_.dtype));
    theirs.resize(ours.size());
    CopyAs(base_part, spec_.dtype, theirs.data());
    CopyAs(part, spec_.dtype, ours.data());
    if (ours != theirs) return false;
  }
  return true;
}

Result<std::vector<float>> ImageBuilder::DoraScale(const BaseModule& module,
                                                   const Site& site) const {
  const AdapterModule& lora = *site.lora;
  WeightRows weight;
  if (site.weight != nullptr) {
    weight = [&own = *site.weight](int64_t begin, int64_t count) -> Result<std::vector<float>> {
      return ToF32(RowsOf(own, begin, count));
    };
  } else {
    ASSIGN_OR_RETURN(TensorEntry base, base_.Get(BaseName(module, false)));
    weight = [this, base = std::move(base)](int64_t begin,
                                            int64_t count) -> Result<std::vector<float>> {
      std::vector<std::byte> buffer;
      ASSIGN_OR_RETURN(const TensorView rows,
                       base_.Read(base, begin * base.shape[1], count * base.shape[1], buffer));
      return ToF32(rows);
    };
  }
  ASSIGN_OR_RETURN(const std::vector<float> norms, DoraNorms(lora, weight));
  std::vector<float> scale = ToF32(*lora.magnitude);
  for (size_t i = 0; i < scale.size(); ++i) {
    scale[i] /= norms[i];
    if (!std::isfinite(scale[i])) {
      return Fail(ErrorCode::kUnfit, fmt::format("{}: DoRA divides by zero, output {} of {}",
                                                 adapter_.dir, i, module.name));
    }
  }
  return scale;
}

Result<std::vector<float>> ImageBuilder::BaseBias(const BaseModule& module) const {
  ASSIGN_OR_RETURN(const TensorEntry bias, base_.Get(BaseName(module, true)));
  return base_.ReadF32(bias);
}

// y = (x W^T + s (x A^T) B^T + s b_bias) * scale + bias. The product has the base's bias in it
// already, unless the weight is the adapter's own; the offset takes it out.
Status ImageBuilder::AddChanges(const BaseModule& module, const Site& site) {
  std::vector<float> scale;
  if (site.lora != nullptr && site.lora->magnitude) {
    ASSIGN_OR_RETURN(scale, DoraScale(module, site));
  }
  const bool has_b_bias = site.lora != nullptr && site.lora->b_bias;
  const bool base_bias_moves = site.base_has_bias && (site.weight != nullptr || !scale.empty());
  if (has_b_bias || site.bias != nullptr || base_bias_moves) {
    const size_t n = module.out_features;
    std::vector<float> base_bias(n), b_bias(n);
    if (site.base_has_bias) {
      ASSIGN_OR_RETURN(base_bias, BaseBias(module));
    }
    if (has_b_bias) b_bias = Scaled(ToF32(*site.lora->b_bias), site.lora->scaling);
    const std::vector<float> bias = site.bias != nullptr ? ToF32(*site.bias) : base_bias;
    std::vector<float> offset(n);
    for (size_t i = 0; i < n; ++i) {
      const double in_product = site.weight != nullptr ? 0.0 : base_bias[i];
      const double times = scale.empty() ? 1.0 : scale[i];
      offset[i] = static_cast<float>(bias[i] + times * (b_bias[i] - in_product));
    }
    AddVector(PartAt(module, Kind::kOffset), std::move(offset));
  }
  if (!scale.empty()) AddVector(PartAt(module, Kind::kScale), std::move(scale));
  return {};
}

void ImageBuilder::AddTokenRows(const formats::TokenRows& tokens) {
  const BaseModule module{.kind = tokens.kind};
  AdapterPart ids = PartAt(module, Kind::kTokenIds), rows = PartAt(module, Kind::kTokenRows);
  ids.n = rows.n = static_cast<int32_t>(tokens.token_ids.size());
  ids.num_bytes = tokens.token_ids.size() * sizeof(int32_t);
  const size_t row_bytes = tokens.rows.shape[1] * DTypeBytes(spec_.dtype);
  rows.rank = static_cast<int32_t>(tokens.rows.shape[1]);
  rows.num_bytes = tokens.token_ids.size() * row_bytes;
  const formats::TokenRows& first = adapter_.token_rows.front();
  if (&first != &tokens && first.rows.bytes.data() == tokens.rows.bytes.data()) {
    for (AdapterPart* part : {&ids, &rows}) {  // the tied head: the embedding's rows
      part->offset = std::find_if(parts_.begin(), parts_.end(), [&](const AdapterPart& other) {
                       return other.kind == part->kind;
                     })->offset;
      parts_.push_back(*part);
      writers_.emplace_back();
    }
    return;
  }
  std::vector<size_t> order(tokens.token_ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return tokens.token_ids[a] < tokens.token_ids[b]; });
  Add(ids, [order, &tokens](std::byte* target) {
    auto* id = reinterpret_cast<int32_t*>(target);
    for (size_t i : order) *id++ = static_cast<int32_t>(tokens.token_ids[i]);
  });
  Add(rows, [order, &tokens, row_bytes, dtype = spec_.dtype](std::byte* target) {
    for (size_t i : order) {
      CopyAs(RowsOf(tokens.rows, static_cast<int64_t>(i), 1), dtype, target);
      target += row_bytes;
    }
  });
}

Status ImageBuilder::Plan() {
  if (adapter_.added_tokens > model::kMaxAddedTokens) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: {} added tokens, the limit is {}", adapter_.dir,
                            adapter_.added_tokens, model::kMaxAddedTokens));
  }
  std::map<std::string, std::pair<BaseModule, Site>> sites;  // by module name, for a fixed order
  for (const AdapterModule& module : adapter_.modules) {
    AddLora(module);
    sites[module.name] = {ModuleOf(module), Site{.lora = &module}};
  }
  for (const SavedParameter& parameter : adapter_.saved) {
    ASSIGN_OR_RETURN(const bool is_base, SameAsBase(parameter));
    if (is_base) continue;
    auto& [module, site] = sites[parameter.module.name];
    module = parameter.module;
    (parameter.is_bias ? site.bias : site.weight) = &parameter.values;
    if (!parameter.is_bias) AddWeight(parameter);
  }
  for (auto& [name, entry] : sites) {
    auto& [module, site] = entry;
    site.base_has_bias = module.kind == ModuleKind::kProjection && spec_.HasBias(module.projection);
    RETURN_IF_ERROR(AddChanges(module, site));
  }
  for (const formats::TokenRows& tokens : adapter_.token_rows) AddTokenRows(tokens);
  if (adapter_.vocab_size != spec_.vocab_size) {
    Add({.kind = Kind::kVocabulary,
         .site = AdapterPart::Site::kNone,
         .n = static_cast<int32_t>(adapter_.vocab_size)},
        {});
  }
  return {};
}

void ImageBuilder::Write(std::byte* blob) const {
  constexpr size_t kPiece = size_t{1} << 20;
  for (size_t begin = 0; begin < blob_bytes(); begin += kPiece) {  // what pads and aligns parts
    LetOthersRun();
    std::memset(blob + begin, 0, std::min(kPiece, blob_bytes() - begin));
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    LetOthersRun();
    if (writers_[i]) writers_[i](blob + parts_[i].offset);
  }
}

}  // namespace lorry::adapters
