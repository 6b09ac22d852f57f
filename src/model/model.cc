#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/silu_mul.h"
#include "model/activations.h"
#include "model/adapter_tasks.h"
#include "model/model_files.h"

namespace lorry::model {
namespace {

using formats::ModuleKind;
using formats::Projection;

// cos and sin of position * frequency, in f32 as transformers computes them.
struct RotaryTables {
  std::vector<float> cos;  // [max_positions, head_dim/2]
  std::vector<float> sin;  // [max_positions, head_dim/2]

  RotaryTables(const std::vector<float>& frequencies, int max_positions) {
    cos.reserve(frequencies.size() * max_positions);
    sin.reserve(frequencies.size() * max_positions);
    for (int position = 0; position < max_positions; ++position) {
      for (float frequency : frequencies) {
        const float angle = static_cast<float>(position) * frequency;
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
    }
  }
};

}  // namespace

class Model::Impl {
 public:
  Impl(ModelSpec spec, formats::HfConfig config, formats::Checkpoint checkpoint, Weights weights,
       Activations activations, const LoadOptions& options, int max_positions)
      : spec_(std::move(spec)),
        config_(std::move(config)),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        act_(std::move(activations)),
        rotary_(spec_.rope_inverse_frequencies, max_positions),
        max_step_rows_(options.max_step_rows),
        max_logit_rows_(options.max_logit_rows),
        max_positions_(max_positions),
        tasks_(spec_, options.max_step_rows) {}

  const float* Forward(const Stream& stream, const ForwardBatch& batch) {
    const int rows = static_cast<int>(batch.tokens.size());
    CHECK_LE(rows, max_step_rows_);
    CHECK_LE(static_cast<int>(batch.logit_rows.size()), max_logit_rows_);
    CheckSegments(batch);
    EmbedTokens(stream, batch, {spec_, weights_.embedding, act_.residual});
    const float* delta = nullptr;  // what the last block adds, not yet in the residual
    for (int layer = 0; layer < spec_.num_layers; ++layer) {
      Attention(stream, batch, layer, delta);
      delta = act_.delta;
      Mlp(stream, batch, layer);
    }
    Head(stream, batch, delta);
    return act_.logits;
  }

  ModelSpec spec_;
  formats::HfConfig config_;
  formats::Checkpoint checkpoint_;
  Weights weights_;
  Activations act_;
  RotaryTables rotary_;
  int max_step_rows_;
  int max_logit_rows_;
  int max_positions_;

 private:
  // normed = norm(residual += delta), with the weights of the base or of the row's adapter
  void Norm(const Stream& stream, const ForwardBatch& batch, const float* delta, ModuleKind kind,
            int layer) {
    const LayerWeights& weights = weights_.layers[layer];
    kernels::RmsNormArgs args{
        .residual = act_.residual,
        .delta = delta,
        .delta_stride = act_.hidden_stride,
        .weight = kind == ModuleKind::kAttentionNorm ? weights.attention_norm : weights.mlp_norm,
        .epsilon = spec_.rms_epsilon,
        .rows = static_cast<int>(batch.tokens.size()),
        .hidden = spec_.hidden,
        .act = spec_.dtype,
        .out = act_.normed};
    kernels::RmsNorm(stream, args);
    for (const AdapterSegment& segment : batch.segments) {
      const RowRange rows{segment.row_begin, segment.row_end};
      NormAgain(stream, args, rows, segment.adapter->Norm(kind, layer));
    }
  }

  // One packed product and the adapters' parts of the projections in it.
  void Product(const Stream& stream, const ForwardBatch& batch, int layer, LinearGroup group,
               const void* x, int x_stride, float* y, int y_stride) {
    const LayerWeights& weights = weights_.layers[layer];
    tasks_.Collect(batch.segments, layer, group);
    kernels::Linear(stream, {.x = x,
                             .rows = static_cast<int>(batch.tokens.size()),
                             .x_stride = x_stride,
                             .weight = weights.linear[static_cast<int>(group)],
                             .bias = weights.bias[static_cast<int>(group)],
                             .y = y,
                             .y_stride = y_stride,
                             .own = tasks_.own(),
                             .lora = tasks_.lora(),
                             .lora_scratch = act_.lora});
  }

  void Attention(const Stream& stream, const ForwardBatch& batch, int layer, const float* delta) {
    const int q_size = spec_.num_heads * spec_.head_dim;
    Norm(stream, batch, delta, ModuleKind::kAttentionNorm, layer);
    Product(stream, batch, layer, LinearGroup::kQkv, act_.normed, spec_.hidden, act_.projected,
            act_.qkv_stride);
    kernels::RopeAndStoreKv(
        stream, {.qkv = act_.projected,
                 .qkv_stride = act_.qkv_stride,
                 .k_column = PanelsOf(spec_, Projection::kK).panel_begin * kernels::kPanel,
                 .v_column = PanelsOf(spec_, Projection::kV).panel_begin * kernels::kPanel,
                 .num_heads = spec_.num_heads,
                 .cos = rotary_.cos.data(),
                 .sin = rotary_.sin.data(),
                 .sequences = batch.sequences,
                 .layer = layer,
                 .kv = batch.kv,
                 .q = act_.q});
    kernels::PagedAttention(stream, {.q = act_.q,
                                     .num_heads = spec_.num_heads,
                                     .scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_dim)),
                                     .sequences = batch.sequences,
                                     .layer = layer,
                                     .kv = batch.kv,
                                     .out = act_.attended});
    Product(stream, batch, layer, LinearGroup::kO, act_.attended, q_size, act_.delta,
            act_.hidden_stride);
  }

  void Mlp(const Stream& stream, const ForwardBatch& batch, int layer) {
    const int rows = static_cast<int>(batch.tokens.size());
    Norm(stream, batch, act_.delta, ModuleKind::kMlpNorm, layer);
    Product(stream, batch, layer, LinearGroup::kGateUp, act_.normed, spec_.hidden, act_.projected,
            act_.gate_up_stride);
    kernels::SiluMul(stream, {.gate_up = act_.projected,
                              .rows = rows,
                              .num_panels = act_.ffn_stride / kernels::kPanel,
                              .act = spec_.dtype,
                              .out = act_.gated});
    Product(stream, batch, layer, LinearGroup::kDown, act_.gated, act_.ffn_stride, act_.delta,
            act_.hidden_stride);
  }

  // Final norm and output head, for the rows that want logits only.
  void Head(const Stream& stream, const ForwardBatch& batch, const float* delta) {
    const int num_logits = static_cast<int>(batch.logit_rows.size());
    if (num_logits == 0) return;
    for (int i = 0; i < num_logits; ++i) {
      const size_t row = batch.logit_rows[i];
      std::memcpy(act_.last_residual + static_cast<size_t>(i) * spec_.hidden,
                  act_.residual + row * spec_.hidden, spec_.hidden * sizeof(float));
      std::memcpy(act_.last_delta + static_cast<size_t>(i) * act_.hidden_stride,
                  delta + row * act_.hidden_stride, spec_.hidden * sizeof(float));
    }
    kernels::RmsNormArgs norm{.residual = act_.last_residual,
                              .delta = act_.last_delta,
                              .delta_stride = act_.hidden_stride,
                              .weight = weights_.final_norm,
                              .epsilon = spec_.rms_epsilon,
                              .rows = num_logits,
                              .hidden = spec_.hidden,
                              .act = spec_.dtype,
                              .out = act_.normed};
    kernels::RmsNorm(stream, norm);
    for (const AdapterSegment& segment : batch.segments) {
      NormAgain(stream, norm, LogitRows(batch, segment),
                segment.adapter->Norm(ModuleKind::kFinalNorm, 0));
    }
    tasks_.CollectHead(batch);
    kernels::Linear(stream, {.x = act_.normed,
                             .rows = num_logits,
                             .x_stride = spec_.hidden,
                             .weight = weights_.head,
                             .y = act_.logits,
                             .y_stride = act_.logits_stride,
                             .y_num_panels = tasks_.lora().empty() && tasks_.own().empty()
                                                 ? 0
                                                 : act_.logits_stride / kernels::kPanel,
                             .own = tasks_.own(),
                             .lora = tasks_.lora(),
                             .lora_scratch = act_.lora});
    FinishLogits(stream, batch, {spec_, act_.normed, act_.logits, act_.logits_stride});
  }

  AdapterTasks tasks_;  // of the product at hand
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

Result<std::unique_ptr<Model>> Model::Load(const std::string& directory, const LoadOptions& options,
                                           const Stream& stream) {
  ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(directory, options.dtype));
  return Load(std::move(files), options, stream);
}

Result<std::unique_ptr<Model>> Model::Load(ModelFiles files, const LoadOptions& options,
                                           const Stream& stream) {
  auto& [config, checkpoint, spec] = files;
  const int max_positions = options.max_positions > 0
                                ? std::min(options.max_positions, spec.max_positions)
                                : spec.max_positions;
  ASSIGN_OR_RETURN(Weights weights, LoadWeights(checkpoint, spec, stream, options.progress));
  ASSIGN_OR_RETURN(Activations activations,
                   Activations::Allocate(spec, options.max_step_rows, options.max_logit_rows));
  return std::unique_ptr<Model>(new Model(
      std::make_unique<Impl>(std::move(spec), std::move(config), std::move(checkpoint),
                             std::move(weights), std::move(activations), options, max_positions)));
}

const ModelSpec& Model::spec() const { return impl_->spec_; }
const formats::HfConfig& Model::config() const { return impl_->config_; }
const formats::Checkpoint& Model::checkpoint() const { return impl_->checkpoint_; }
size_t Model::weight_bytes() const { return impl_->weights_.buffer.num_bytes(); }
size_t Model::scratch_bytes() const { return impl_->act_.buffer.num_bytes(); }
int Model::max_step_rows() const { return impl_->max_step_rows_; }
int Model::max_logit_rows() const { return impl_->max_logit_rows_; }
int Model::max_positions() const { return impl_->max_positions_; }
int Model::logits_stride() const { return impl_->act_.logits_stride; }

const float* Model::Forward(const Stream& stream, const ForwardBatch& batch) {
  return impl_->Forward(stream, batch);
}

}  // namespace lorry::model
