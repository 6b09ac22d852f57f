#include <algorithm>
#include <cmath>

#include "formats/checkpoint_writer.h"
#include "formats/json.h"
#include "merge/model_output.h"
#include "merge/rounding.h"
#include "merge/tensor_change.h"

namespace lorry::merge {
namespace {

using formats::TensorEntry;
using formats::TensorSpec;
using formats::TensorView;

DType StoredAs(const MergePlan& plan, const TensorEntry& tensor) {
  const bool is_float = formats::IsFloatWeight(tensor.dtype);
  if (!is_float) return tensor.dtype;
  return plan.options().dtype.value_or(formats::TakenAs(tensor.dtype));
}

class WeightsPass {
 public:
  WeightsPass(const MergePlan& plan, const MergeOutput& output, formats::CheckpointWriter writer,
              const OnProgress& on_progress)
      : plan_(plan), output_(output), writer_(std::move(writer)), on_progress_(on_progress) {}

  Status Run() {
    for (const TensorSpec& spec : output_.tensors) {
      ASSIGN_OR_RETURN(const TensorEntry source, plan_.base()->Get(plan_.SourceOf(spec.name)));
      RETURN_IF_ERROR(WriteTensor(spec, source));
    }
    return writer_.Finish();
  }

 private:
  Status WriteTensor(const TensorSpec& spec, const TensorEntry& source) {
    const TensorChange change = ChangeOf(plan_, spec.name);
    const bool as_stored = change.IsNone() && spec.dtype == source.dtype;
    return as_stored ? WriteAsStored(spec.name, source) : WriteChanged(spec, source, change);
  }

  Status WriteChanged(const TensorSpec& spec, const TensorEntry& source,
                      const TensorChange& change) {
    const int64_t num_rows = source.shape.size() == 2 ? source.shape[0] : 1;
    const int64_t columns = source.num_elements() / std::max<int64_t>(num_rows, 1);
    const int64_t block_rows = std::max<int64_t>(1, kBlockElements / std::max<int64_t>(columns, 1));
    for (int64_t row = 0; row < num_rows; row += block_rows) {
      const int64_t count = std::min(block_rows, num_rows - row);
      values_.resize(static_cast<size_t>(count * columns));
      const int64_t first = row * columns;
      TensorView from;
      if (change.replacement) {
        from = Part(*change.replacement, first, count * columns);
      } else {
        ASSIGN_OR_RETURN(from, plan_.base()->Read(source, first, count * columns, stored_));
      }
      formats::ConvertToF32(from, values_);
      Apply(change, row, count);
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

  // To values_, which are `num_rows` rows of the tensor from `first_row` on.
  void Apply(const TensorChange& change, int64_t first_row, int64_t num_rows) {
    if (change.product) {
      change_.resize(values_.size());
      ProductRows(*change.product, first_row, num_rows, change_);
      for (size_t i = 0; i < values_.size(); ++i) values_[i] += change_[i];
    }
    if (change.magnitude) SetNorms(*change.magnitude, first_row, num_rows);
    if (change.offset) {
      change_.resize(values_.size());
      formats::ConvertToF32(*change.offset, change_);
      for (size_t i = 0; i < values_.size(); ++i) values_[i] += change.offset_scale * change_[i];
    }
    if (change.token_rows != nullptr) PutTokens(*change.token_rows, first_row, num_rows);
  }

  void SetNorms(const TensorView& magnitude, int64_t first_row, int64_t num_rows) {
    std::vector<float> norms(static_cast<size_t>(num_rows));
    formats::ConvertToF32(Part(magnitude, first_row, num_rows), norms);
    const size_t columns = values_.size() / norms.size();
    for (size_t row = 0; row < norms.size(); ++row) {
      const std::span<float> values = std::span(values_).subspan(row * columns, columns);
      double square = 0;
      for (const float value : values) square += static_cast<double>(value) * value;
      const float factor = norms[row] / static_cast<float>(std::sqrt(square));
      for (float& value : values) value *= factor;
    }
  }

  void PutTokens(const formats::TokenRows& tokens, int64_t first_row, int64_t num_rows) {
    const int64_t columns = static_cast<int64_t>(values_.size()) / num_rows;
    for (size_t i = 0; i < tokens.token_ids.size(); ++i) {
      const int64_t row = tokens.token_ids[i] - first_row;
      if (row < 0 || row >= num_rows) continue;
      formats::ConvertToF32(Part(tokens.rows, static_cast<int64_t>(i) * columns, columns),
                            std::span(values_).subspan(static_cast<size_t>(row * columns),
                                                       static_cast<size_t>(columns)));
    }
  }

  Status WriteAsStored(const std::string& name, const TensorEntry& source) {
    for (int64_t first = 0; first < source.num_elements(); first += kBlockElements) {
      const int64_t count = std::min(kBlockElements, source.num_elements() - first);
      ASSIGN_OR_RETURN(const TensorView block, plan_.base()->Read(source, first, count, stored_));
      RETURN_IF_ERROR(Append(name, block.bytes));
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
  std::vector<std::byte> stored_;   // [block rows, in] of the base
  std::vector<float> values_;       // [block rows, in] f32
  std::vector<float> change_;       // [block rows, in] f32
  std::vector<std::byte> rounded_;  // [block rows, in] as stored
};

}  // namespace

Result<std::vector<TensorSpec>> ModelTensors(const MergePlan& plan) {
  std::vector<std::string> names = plan.base()->TensorNames();
  if (plan.unties_head() && !plan.base()->Has(kHeadWeight)) names.emplace_back(kHeadWeight);
  std::vector<TensorSpec> tensors;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const TensorEntry tensor, plan.base()->Get(plan.SourceOf(name)));
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
