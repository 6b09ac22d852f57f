#include "formats/base_modules.h"

#include <fmt/core.h>

#include "base/check.h"

namespace lorry::formats {
namespace {

bool IsAttention(Projection projection) { return projection <= Projection::kO; }

BaseModule MakeProjection(const HfConfig& config, int64_t layer_idx, Projection projection) {
  BaseModule module;
  module.name = ProjectionModuleName(layer_idx, projection);
  module.kind = ModuleKind::kProjection;
  module.layer_idx = layer_idx;
  module.projection = projection;
  module.in_features = config.hidden_size;
  module.out_features = config.hidden_size;
  switch (projection) {
    case Projection::kQ:
      module.out_features = config.q_size();
      module.has_bias = config.qkv_bias;
      break;
    case Projection::kK:
    case Projection::kV:
      module.out_features = config.kv_size();
      module.has_bias = config.qkv_bias;
      break;
    case Projection::kO:
      module.in_features = config.q_size();
      module.has_bias = config.o_bias;
      break;
    case Projection::kGate:
    case Projection::kUp:
      module.out_features = config.intermediate_size;
      module.has_bias = config.mlp_bias;
      break;
    case Projection::kDown:
      module.in_features = config.intermediate_size;
      module.has_bias = config.mlp_bias;
      break;
  }
  return module;
}

}  // namespace

std::vector<int64_t> BaseModule::weight_shape() const {
  switch (kind) {
    case ModuleKind::kProjection:
    case ModuleKind::kHead:
      return {out_features, in_features};
    case ModuleKind::kEmbedding:
      return {in_features, out_features};
    case ModuleKind::kAttentionNorm:
    case ModuleKind::kMlpNorm:
    case ModuleKind::kFinalNorm:
      return {out_features};
    case ModuleKind::kOther:
      break;
  }
  return {};
}

std::string_view ProjectionName(Projection projection) {
  switch (projection) {
    case Projection::kQ:
      return "q_proj";
    case Projection::kK:
      return "k_proj";
    case Projection::kV:
      return "v_proj";
    case Projection::kO:
      return "o_proj";
    case Projection::kGate:
      return "gate_proj";
    case Projection::kUp:
      return "up_proj";
    case Projection::kDown:
      return "down_proj";
  }
  return "?";
}

std::string ProjectionModuleName(int64_t layer_idx, Projection projection) {
  return fmt::format("model.layers.{}.{}.{}", layer_idx,
                     IsAttention(projection) ? "self_attn" : "mlp", ProjectionName(projection));
}

std::vector<BaseModule> ListBaseModules(const HfConfig& config) {
  std::vector<BaseModule> modules;
  const auto add = [&](std::string name) { modules.push_back({.name = std::move(name)}); };
  const auto add_norm = [&](std::string name, ModuleKind kind, int64_t layer_idx) {
    modules.push_back({.name = std::move(name),
                       .kind = kind,
                       .layer_idx = layer_idx,
                       .out_features = config.hidden_size});
  };
  add("model");
  modules.push_back({.name = "model.embed_tokens",
                     .kind = ModuleKind::kEmbedding,
                     .in_features = config.vocab_size,
                     .out_features = config.hidden_size});
  add("model.layers");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}", i);
    add(layer);
    add(layer + ".self_attn");
    for (Projection p : {Projection::kQ, Projection::kK, Projection::kV, Projection::kO}) {
      modules.push_back(MakeProjection(config, i, p));
    }
    add(layer + ".mlp");
    for (Projection p : {Projection::kGate, Projection::kUp, Projection::kDown}) {
      modules.push_back(MakeProjection(config, i, p));
    }
    add(layer + ".mlp.act_fn");
    add_norm(layer + ".input_layernorm", ModuleKind::kAttentionNorm, i);
    add_norm(layer + ".post_attention_layernorm", ModuleKind::kMlpNorm, i);
  }
  add_norm("model.norm", ModuleKind::kFinalNorm, -1);
  add("model.rotary_emb");
  modules.push_back({.name = "lm_head",
                     .kind = ModuleKind::kHead,
                     .in_features = config.hidden_size,
                     .out_features = config.vocab_size});
  return modules;
}

}  // namespace lorry::formats
