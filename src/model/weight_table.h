// The tensors of a checkpoint that a model is made of: what is checked before weights are read, and
// what is then read.
// Owns: nothing. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/base_modules.h"
#include "model/model_spec.h"

namespace lorry::model {

enum class WeightRole {
  kEmbedding,
  kHead,
  kFinalNorm,
  kAttentionNorm,
  kMlpNorm,
  kLinear,
  kLinearBias,
};

struct WeightTensor {
  std::string name;  // in the checkpoint
  std::vector<int64_t> shape;
  WeightRole role;
  int layer = 0;                                           // of those of a layer
  formats::Projection projection = formats::Projection{};  // of kLinear and kLinearBias
  bool is_optional = false;  // a tied head, which the embedding stands for
};

// In the order in which they are read.
std::vector<WeightTensor> WeightTable(const ModelSpec& spec);

}  // namespace lorry::model
