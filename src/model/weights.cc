#include "model/weights.h"

#include <algorithm>

#include "device/arena.h"
#include "model/weight_table.h"

namespace lorry::model {
namespace {

using formats::Projection;
using formats::TensorEntry;

int GroupInputs(const ModelSpec& spec, LinearGroup group) {
  switch (group) {
    case LinearGroup::kO:
      return spec.InFeatures(Projection::kO);
    case LinearGroup::kDown:
      return spec.InFeatures(Projection::kDown);
    default:
      return spec.hidden;
  }
}

bool GroupHasBias(const ModelSpec& spec, LinearGroup group) {
  switch (group) {
    case LinearGroup::kQkv:
      return spec.qkv_bias;
    case LinearGroup::kO:
      return spec.o_bias;
    default:
      return spec.mlp_bias;
  }
}

kernels::PackedMatrix TakeMatrix(Arena& arena, int num_panels, int k, DType dtype) {
  return {arena.Take<std::byte>(kernels::PanelBytes(k, dtype) * num_panels), dtype, num_panels, k};
}

// Lays everything out in `arena`; the same walk sizes the buffer and places the tensors.
void Place(const ModelSpec& spec, Arena& arena, Weights& weights) {
  const int vocab_panels = kernels::NumPanels(spec.vocab_size);
  weights.embedding = TakeMatrix(arena, vocab_panels, spec.hidden, spec.dtype);
  weights.head = spec.tied_embeddings ? weights.embedding
                                      : TakeMatrix(arena, vocab_panels, spec.hidden, spec.dtype);
  weights.final_norm = arena.Take<float>(spec.hidden);
  weights.layers.resize(spec.num_layers);
  for (LayerWeights& layer : weights.layers) {
    layer.attention_norm = arena.Take<float>(spec.hidden);
    layer.mlp_norm = arena.Take<float>(spec.hidden);
    for (int g = 0; g < kNumLinearGroups; ++g) {
      const auto group = static_cast<LinearGroup>(g);
      const int num_panels = NumPanelsOf(spec, group);
      layer.linear[g] = TakeMatrix(arena, num_panels, GroupInputs(spec, group), spec.dtype);
      if (GroupHasBias(spec, group)) {
        layer.bias[g] = arena.Take<float>(num_panels * kernels::kPanel);
      }
    }
  }
}

// Reads tensors one by one into their places.
class Loader {
 public:
  Loader(const formats::Checkpoint& checkpoint, const ModelSpec& spec, const Stream& stream,
         const LoadProgress& progress)
      : checkpoint_(checkpoint),
        spec_(spec),
        stream_(stream),
        progress_(progress),
        buffers_(stream.num_threads()) {}

  Status LoadAll(Weights& weights) {
    for (const WeightTensor& tensor : WeightTable(spec_)) {
      if (!tensor.is_optional) RETURN_IF_ERROR(Load(tensor, weights));
    }
    return {};
  }

 private:
  Status Load(const WeightTensor& tensor, Weights& weights) {
    constexpr PanelRange kAllPanels = {LinearGroup::kQkv, 0, 1};
    ASSIGN_OR_RETURN(const TensorEntry stored, checkpoint_.Get(tensor.name));
    switch (tensor.role) {
      case WeightRole::kEmbedding:
        return Matrix(stored, weights.embedding, kAllPanels);
      case WeightRole::kHead:
        return Matrix(stored, weights.head, kAllPanels);
      case WeightRole::kFinalNorm:
        return Vector(stored, weights.final_norm);
      case WeightRole::kAttentionNorm:
        return Vector(stored, weights.layers[tensor.layer].attention_norm);
      case WeightRole::kMlpNorm:
        return Vector(stored, weights.layers[tensor.layer].mlp_norm);
      case WeightRole::kLinear:
      case WeightRole::kLinearBias:
        break;
    }
    const PanelRange panels = PanelsOf(spec_, tensor.projection);
    const LayerWeights& layer = weights.layers[tensor.layer];
    const int group = static_cast<int>(panels.group);
    return tensor.role == WeightRole::kLinear ? Matrix(stored, layer.linear[group], panels)
                                              : Bias(stored, layer.bias[group], panels);
  }

  Status Matrix(const TensorEntry& tensor, const kernels::PackedMatrix& target,
                const PanelRange& panels) {
    const int n = static_cast<int>(tensor.shape[0]), k = static_cast<int>(tensor.shape[1]);
    constexpr int kRowsPerItem = 256;  // a multiple of a panel, small enough to balance threads
    const int num_items = (n + kRowsPerItem - 1) / kRowsPerItem;
    std::vector<Status> done(num_items);
    stream_.ParallelFor(num_items, [&](int item, int thread_idx) {
      const int row = item * kRowsPerItem;
      const int num_rows = std::min(kRowsPerItem, n - row);
      const auto rows =
          checkpoint_.Read(tensor, int64_t{row} * k, int64_t{num_rows} * k, buffers_[thread_idx]);
      if (!rows) {
        done[item] = tl::unexpected<Error>(rows.error());
        return;
      }
      kernels::PackRows(
          {.source = rows->bytes.data(),
           .source_dtype = tensor.dtype,
           .n = num_rows,
           .k = k,
           .panels = const_cast<void*>(target.data),
           .dtype = target.dtype,
           .panel_begin = panels.panel_begin + row / kernels::kPanel * panels.panel_step,
           .panel_step = panels.panel_step});
    });
    for (Status& status : done) RETURN_IF_ERROR(std::move(status));
    Done(tensor);
    return {};
  }

  Status Vector(const TensorEntry& tensor, const float* target) {
    ASSIGN_OR_RETURN(const std::vector<float> values, checkpoint_.ReadF32(tensor));
    std::copy(values.begin(), values.end(), const_cast<float*>(target));
    Done(tensor);
    return {};
  }

  Status Bias(const TensorEntry& tensor, const float* target, const PanelRange& panels) {
    std::vector<float> bias(tensor.num_elements());
    RETURN_IF_ERROR(Vector(tensor, bias.data()));
    for (int i = 0; i < static_cast<int>(bias.size()); ++i) {
      const int panel = panels.panel_begin + i / kernels::kPanel * panels.panel_step;
      const_cast<float*>(target)[panel * kernels::kPanel + i % kernels::kPanel] = bias[i];
    }
    return {};
  }

  void Done(const TensorEntry& tensor) {
    done_bytes_ += tensor.num_bytes;
    if (progress_) progress_(done_bytes_, checkpoint_.total_bytes());
  }

  const formats::Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const Stream& stream_;
  const LoadProgress& progress_;
  std::vector<std::vector<std::byte>> buffers_;  // of a thread: rows as they are stored
  size_t done_bytes_ = 0;
};

}  // namespace

size_t WeightBytes(const ModelSpec& spec) {
  Arena counter(nullptr);
  Weights weights;
  Place(spec, counter, weights);
  return counter.used_bytes();
}

Result<Weights> LoadWeights(const formats::Checkpoint& checkpoint, const ModelSpec& spec,
                            const Stream& stream, const LoadProgress& progress) {
  Weights weights;
  ASSIGN_OR_RETURN(weights.buffer, Buffer::Allocate(WeightBytes(spec)));
  Arena arena(weights.buffer.data());
  Place(spec, arena, weights);
  RETURN_IF_ERROR(Loader(checkpoint, spec, stream, progress).LoadAll(weights));
  return weights;
}

}  // namespace lorry::model
