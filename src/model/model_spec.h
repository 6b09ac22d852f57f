// ModelSpec: what a family's file makes of a config.json; all that the layers need to know.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "device/dtype.h"
#include "formats/base_modules.h"
#include "formats/hf_config.h"
#include "kernels/kv_layout.h"

namespace lorry::model {

// Tokens that an adapter's vocabulary may have beyond the base's.
inline constexpr int kMaxAddedTokens = 4096;

struct ModelSpec {
  std::string family;  // "llama", "qwen2"
  int vocab_size = 0;
  int hidden = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  float rms_epsilon = 0;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  int max_positions = 0;                        // the checkpoint's context length
  std::vector<float> rope_inverse_frequencies;  // [head_dim/2], scaling applied
  std::vector<TokenId> eos_ids;
  DType dtype = DType::kBF16;  // of weights, activations and KV: kBF16 or kF32

  kernels::KvLayout Kv(int page_tokens) const {
    return {num_layers, num_kv_heads, head_dim, page_tokens, dtype};
  }
  // Outputs and inputs of one projection.
  int OutFeatures(formats::Projection projection) const;
  int InFeatures(formats::Projection projection) const;
  bool HasBias(formats::Projection projection) const;
};

// What all families with this block structure share (norm, attention, norm, gated MLP); a family's
// file starts from it.
ModelSpec MakeDecoderSpec(const formats::HfConfig& config);

// theta^(-2i/head_dim) for i in [0, head_dim/2), scaled as `rope` says. In f32 like transformers,
// whose results we match.
std::vector<float> RopeInverseFrequencies(const formats::RopeConfig& rope, int head_dim);

}  // namespace lorry::model
