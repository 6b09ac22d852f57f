// The base model's weights, packed for the kernels.
// Owns: one buffer for everything, which is all that answers are computed from.
// Thread: loading uses a stream of its own, reading is free.
// Never: a second resident copy; a few hundred rows are read at a time.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/buffer.h"
#include "device/stream.h"
#include "formats/checkpoint.h"
#include "kernels/packed_matrix.h"
#include "model/linear_layout.h"
#include "model/model_spec.h"

namespace lorry::model {

struct LayerWeights {
  const float* attention_norm = nullptr;  // [hidden] f32
  const float* mlp_norm = nullptr;        // [hidden] f32
  std::array<kernels::PackedMatrix, kNumLinearGroups> linear;
  std::array<const float*, kNumLinearGroups> bias{};  // [num_panels * 16] f32, or null
};

struct Weights {
  Buffer buffer;
  kernels::PackedMatrix embedding;    // [vocab, hidden]
  kernels::PackedMatrix head;         // [vocab, hidden]; the embedding's own panels when tied
  const float* final_norm = nullptr;  // [hidden] f32
  std::vector<LayerWeights> layers;
};

using LoadProgress = std::function<void(size_t done_bytes, size_t total_bytes)>;

// Bytes that LoadWeights will allocate: known from the spec, before a byte of weights is read.
size_t WeightBytes(const ModelSpec& spec);

// The checkpoint fits the spec (CheckWeights).
Result<Weights> LoadWeights(const formats::Checkpoint& checkpoint, const ModelSpec& spec,
                            const Stream& stream, const LoadProgress& progress);

}  // namespace lorry::model
