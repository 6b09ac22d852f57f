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
      break;
    case Projection::kK:
    case Projection::kV:
      module.out_features = config.kv_size();
      break;
    case Projection::kO:
      module.in_features = config.q_size();
      break;
    case Projection::kGate:
    case Projection::kUp:
      module.out_features = config.intermediate_size;
      break;
    case Projection::kDown:
      module.in_features = config.intermediate_size;
      break;
  }
  return module;
}

}  // namespace

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
  const auto add = [&](std::string name, ModuleKind kind = ModuleKind::kOther) {
    modules.push_back({.name = std::move(name), .kind = kind});
  };
  add("model");
  add("model.embed_tokens", ModuleKind::kEmbedding);
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
    add(layer + ".input_layernorm");
    add(layer + ".post_attention_layernorm");
  }
  add("model.norm");
  add("model.rotary_emb");
  add("lm_head", ModuleKind::kHead);
  return modules;
}

}  // namespace lorry::formats
