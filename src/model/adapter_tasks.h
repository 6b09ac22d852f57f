// What the adapters of a step do to embedding, products, norms and logits, as arguments of the
// kernels. Owns: lists that are reused from product to product, sized once. Thread: the engine's.
// Never: costs a row without an adapter anything, or allocates in a step.
#pragma once

#include <span>
#include <vector>

#include "device/stream.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "model/adapter_weights.h"
#include "model/forward_batch.h"
#include "model/linear_layout.h"

namespace lorry::model {

struct RowRange {
  int begin = 0;
  int end = 0;
};

// CHECKs what ForwardBatch promises of its segments.
void CheckSegments(const ForwardBatch& batch);

// The rows of a segment among the rows that get logits.
RowRange LogitRows(const ForwardBatch& batch, const AdapterSegment& segment);

// Lists of the tasks of one product.
class AdapterTasks {
 public:
  AdapterTasks(const ModelSpec& spec, int max_step_rows);

  // Of a layer's product.
  void Collect(std::span<const AdapterSegment> segments, int layer, LinearGroup group);
  // Of the output head, whose rows are those that get logits.
  void CollectHead(const ForwardBatch& batch);

  std::span<const kernels::OwnWeight> own() const { return own_; }
  std::span<const kernels::LoraTask> lora() const { return lora_; }

 private:
  void Add(RowRange rows, float weight, const kernels::LoraPair& pair, const OutputChange* change,
           const PanelRange& panels, int n);

  const ModelSpec& spec_;
  std::vector<kernels::OwnWeight> own_;
  std::vector<kernels::LoraTask> lora_;
};

// The norm of some rows once more with another weight, their residual being complete. Null:
// nothing.
void NormAgain(const Stream& stream, const kernels::RmsNormArgs& args, RowRange rows,
               const float* weight);

struct EmbedArgs {
  const ModelSpec& spec;
  const kernels::PackedMatrix& table;  // the base's
  float* out = nullptr;                // [rows, hidden] f32
};
void EmbedTokens(const Stream& stream, const ForwardBatch& batch, const EmbedArgs& args);

struct LogitArgs {
  const ModelSpec& spec;
  const void* x = nullptr;  // [logit rows, hidden] act: what the head reads
  float* logits = nullptr;  // [logit rows, ...] f32, row stride stride
  int stride = 0;
};
// Rows of tokens that adapters replace in the head, and what lies beyond a smaller vocabulary.
void FinishLogits(const Stream& stream, const ForwardBatch& batch, const LogitArgs& args);

}  // namespace lorry::model
