// The modules of a base model under the names that transformers gives them: what an adapter's
// patterns match against. Owns: nothing. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/hf_config.h"

namespace lorry::formats {

// The seven linear projections of a layer, in the order in which they are computed.
enum class Projection : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
constexpr int kNumProjections = 7;

std::string_view ProjectionName(Projection projection);  // "q_proj"

enum class ModuleKind : uint8_t {
  kProjection,     // one of the seven
  kEmbedding,      // model.embed_tokens
  kHead,           // lm_head
  kAttentionNorm,  // model.layers.3.input_layernorm
  kMlpNorm,        // model.layers.3.post_attention_layernorm
  kFinalNorm,      // model.norm
  kOther,          // containers and activations: without parameters of their own
};

constexpr bool IsNorm(ModuleKind kind) {
  return kind == ModuleKind::kAttentionNorm || kind == ModuleKind::kMlpNorm ||
         kind == ModuleKind::kFinalNorm;
}

struct BaseModule {
  std::string name;  // "model.layers.3.self_attn.q_proj"
  ModuleKind kind = ModuleKind::kOther;
  int64_t layer_idx = -1;                  // of a projection or a layer's norm
  Projection projection = Projection::kQ;  // of a projection
  // Of a projection or the head, whose weight is [out_features, in_features]; of the embedding,
  // whose weight is [in_features, out_features]; a norm's weight is [out_features].
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool has_bias = false;

  // Of the weight; empty where there is none.
  std::vector<int64_t> weight_shape() const;
};

// All modules in the order of torch's named_modules(), the root aside.
std::vector<BaseModule> ListBaseModules(const HfConfig& config);

// "model.layers.3.self_attn.q_proj"
std::string ProjectionModuleName(int64_t layer_idx, Projection projection);

}  // namespace lorry::formats
