#include "model/weight_table.h"

#include <fmt/format.h>

namespace lorry::model {
namespace {

using formats::Projection;

void AddLayer(const ModelSpec& spec, int layer, std::vector<WeightTensor>& table) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  table.push_back(
      {prefix + "input_layernorm.weight", {spec.hidden}, WeightRole::kAttentionNorm, layer});
  table.push_back(
      {prefix + "post_attention_layernorm.weight", {spec.hidden}, WeightRole::kMlpNorm, layer});
  for (int p = 0; p < formats::kNumProjections; ++p) {
    const auto projection = static_cast<Projection>(p);
    const std::string name = formats::ProjectionModuleName(layer, projection);
    table.push_back({name + ".weight",
                     {spec.OutFeatures(projection), spec.InFeatures(projection)},
                     WeightRole::kLinear,
                     layer,
                     projection});
    if (!spec.HasBias(projection)) continue;
    table.push_back({name + ".bias",
                     {spec.OutFeatures(projection)},
                     WeightRole::kLinearBias,
                     layer,
                     projection});
  }
}

}  // namespace

std::vector<WeightTensor> WeightTable(const ModelSpec& spec) {
  std::vector<WeightTensor> table;
  table.push_back(
      {"model.embed_tokens.weight", {spec.vocab_size, spec.hidden}, WeightRole::kEmbedding});
  table.push_back({"lm_head.weight", {spec.vocab_size, spec.hidden}, WeightRole::kHead});
  table.back().is_optional = spec.tied_embeddings;
  table.push_back({"model.norm.weight", {spec.hidden}, WeightRole::kFinalNorm});
  for (int layer = 0; layer < spec.num_layers; ++layer) AddLayer(spec, layer, table);
  return table;
}

}  // namespace lorry::model
