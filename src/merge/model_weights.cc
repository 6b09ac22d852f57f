#include <algorithm>

#include "formats/checkpoint_writer.h"
#include "formats/json.h"
#include "merge/model_output.h"
#include "merge/rounding.h"

namespace lorry::merge {
namespace {

using formats::TensorSpec;
using formats::TensorView;

constexpr int64_t kBlockElements = 1 << 20;  // 4 MiB of f32; a block of rows stays near this

DType StoredAs(const MergePlan& plan, const TensorView& tensor) {
  const bool is_float = formats::IsFloatWeight(tensor.dtype);
  return is_float ? plan.options().dtype.value_or(tensor.dtype) : tensor.dtype;
}

// Rows of a matrix as a tensor of their own.
TensorView Rows(const TensorView& tensor, int64_t first_element, int64_t num_elements) {
  const size_t element_bytes = DTypeBytes(tensor.dtype);
  TensorView rows{.dtype = tensor.dtype, .shape = {num_elements}};
  rows.bytes = tensor.bytes.subspan(static_cast<size_t>(first_element) * element_bytes,
                                    static_cast<size_t>(num_elements) * element_bytes);
  return rows;
}

class WeightsPass {
 public:
  WeightsPass(const MergePlan& plan, const MergeOutput& output, formats::CheckpointWriter writer,
              const OnProgress& on_progress)
      : plan_(plan), output_(output), writer_(std::move(writer)), on_progress_(on_progress) {}

  Status Run() {
    for (const TensorSpec& spec : output_.tensors) {
      ASSIGN_OR_RETURN(const TensorView source, plan_.base()->Get(spec.name));
      RETURN_IF_ERROR(WriteTensor(spec, source));
      plan_.base()->ReleasePages(source);
    }
    return writer_.Finish();
  }

 private:
  Status WriteTensor(const TensorSpec& spec, const TensorView& source) {
    constexpr std::string_view kSuffix = ".weight";
    if (spec.name.ends_with(kSuffix)) {
      const auto found =
          plan_.modules().find(spec.name.substr(0, spec.name.size() - kSuffix.size()));
      if (found != plan_.modules().end()) {
        const LowRank change = plan_.Combine(found->second);
        return WriteRounded(spec, source, change.in_features, &change);
      }
    }
    if (spec.dtype != source.dtype) return WriteRounded(spec, source, 1, nullptr);
    return WriteAsStored(source);
  }

  // Rows of `row_elements`, with the change added where there is one.
  Status WriteRounded(const TensorSpec& spec, const TensorView& source, int64_t row_elements,
                      const LowRank* change) {
    const int64_t num_rows = source.num_elements() / row_elements;
    const int64_t block_rows = std::max<int64_t>(1, kBlockElements / row_elements);
    for (int64_t row = 0; row < num_rows; row += block_rows) {
      const int64_t count = std::min(block_rows, num_rows - row);
      values_.resize(static_cast<size_t>(count * row_elements));
      formats::ConvertToF32(Rows(source, row * row_elements, count * row_elements), values_);
      if (change != nullptr) Add(*change, row, count);
      rounded_.resize(values_.size() * DTypeBytes(spec.dtype));
      if (!RoundTo(spec.dtype, values_, rounded_)) {
        return Fail(ErrorCode::kUnfit,
                    fmt::format("tensor {}: the result has a NaN or a number that {} cannot hold",
                                formats::Quoted(spec.name), DTypeName(spec.dtype)));
      }
      RETURN_IF_ERROR(Append(spec.name, rounded_));
    }
    return {};
  }

  void Add(const LowRank& change, int64_t row, int64_t num_rows) {
    change_.resize(values_.size());
    ProductRows(change, row, num_rows, change_);
    for (size_t i = 0; i < values_.size(); ++i) values_[i] += change_[i];
  }

  Status WriteAsStored(const TensorView& source) {
    constexpr size_t kBlockBytes = kBlockElements * sizeof(float);
    for (size_t at = 0; at < source.bytes.size(); at += kBlockBytes) {
      const size_t count = std::min(kBlockBytes, source.bytes.size() - at);
      RETURN_IF_ERROR(Append(source.name, source.bytes.subspan(at, count)));
    }
    return {};
  }

  Status Append(const std::string& name, std::span<const std::byte> bytes) {
    RETURN_IF_ERROR(writer_.Append(name, bytes));
    done_bytes_ += bytes.size();
    if (on_progress_(done_bytes_, output_.weight_bytes)) return {};
    return Fail(ErrorCode::kCancelled, "stopped; nothing was written");
  }

  const MergePlan& plan_;
  const MergeOutput& output_;
  formats::CheckpointWriter writer_;
  const OnProgress& on_progress_;
  uint64_t done_bytes_ = 0;
  std::vector<float> values_;       // [block rows, in] f32
  std::vector<float> change_;       // [block rows, in] f32
  std::vector<std::byte> rounded_;  // [block rows, in] as stored
};

}  // namespace

Result<std::vector<TensorSpec>> ModelTensors(const MergePlan& plan) {
  std::vector<TensorSpec> tensors;
  for (const std::string& name : plan.base()->TensorNames()) {
    ASSIGN_OR_RETURN(const TensorView tensor, plan.base()->Get(name));
    tensors.push_back({.name = name, .dtype = StoredAs(plan, tensor), .shape = tensor.shape});
  }
  return tensors;
}

Status WriteModelWeights(const MergePlan& plan, const MergeOutput& output, const std::string& dir,
                         const OnProgress& on_progress) {
  ASSIGN_OR_RETURN(auto writer, formats::CheckpointWriter::Create(
                                    dir, output.tensors,
                                    {.max_shard_bytes = plan.options().max_shard_bytes,
                                     .file = {.sync = true}}));
  return WeightsPass(plan, output, std::move(writer), on_progress).Run();
}

}  // namespace lorry::merge
