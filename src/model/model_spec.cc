#include "model/model_spec.h"

#include <cmath>
#include <numbers>

namespace lorry::model {

using formats::Projection;

int ModelSpec::OutFeatures(Projection projection) const {
  switch (projection) {
    case Projection::kQ:
      return num_heads * head_dim;
    case Projection::kK:
    case Projection::kV:
      return num_kv_heads * head_dim;
    case Projection::kGate:
    case Projection::kUp:
      return ffn;
    case Projection::kO:
    case Projection::kDown:
      return hidden;
  }
  return 0;
}

int ModelSpec::InFeatures(Projection projection) const {
  switch (projection) {
    case Projection::kO:
      return num_heads * head_dim;
    case Projection::kDown:
      return ffn;
    default:
      return hidden;
  }
}

bool ModelSpec::HasBias(Projection projection) const {
  switch (projection) {
    case Projection::kQ:
    case Projection::kK:
    case Projection::kV:
      return qkv_bias;
    case Projection::kO:
      return o_bias;
    default:
      return mlp_bias;
  }
}

ModelSpec MakeDecoderSpec(const formats::HfConfig& config) {
  ModelSpec spec;
  spec.family = formats::ModelFamilyName(config.family);
  spec.vocab_size = static_cast<int>(config.vocab_size);
  spec.hidden = static_cast<int>(config.hidden_size);
  spec.num_layers = static_cast<int>(config.num_layers);
  spec.num_heads = static_cast<int>(config.num_heads);
  spec.num_kv_heads = static_cast<int>(config.num_kv_heads);
  spec.head_dim = static_cast<int>(config.head_dim);
  spec.ffn = static_cast<int>(config.intermediate_size);
  spec.rms_epsilon = static_cast<float>(config.rms_norm_eps);
  spec.tied_embeddings = config.tie_word_embeddings;
  spec.qkv_bias = config.qkv_bias;
  spec.o_bias = config.o_bias;
  spec.mlp_bias = config.mlp_bias;
  spec.max_positions = static_cast<int>(config.max_position_embeddings);
  spec.rope_inverse_frequencies = RopeInverseFrequencies(config.rope, spec.head_dim);
  spec.eos_ids = config.eos_token_ids;
  return spec;
}

std::vector<float> RopeInverseFrequencies(const formats::RopeConfig& rope, int head_dim) {
  std::vector<float> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequencies[i] = 1.0f / std::pow(static_cast<float>(rope.theta), exponent);
  }
  const auto factor = static_cast<float>(rope.factor);
  if (rope.type == formats::RopeType::kLinear) {
    for (float& frequency : frequencies) frequency /= factor;
  } else if (rope.type == formats::RopeType::kLlama3) {
    // Llama 3.1's scaling: long wavelengths are stretched by `factor`, short ones kept, a linear
    // blend between.
    const auto original = static_cast<float>(rope.original_max_position_embeddings);
    const auto low = static_cast<float>(rope.low_freq_factor);
    const auto high = static_cast<float>(rope.high_freq_factor);
    for (float& frequency : frequencies) {
      const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
      if (wavelength > original / low) {
        frequency /= factor;
      } else if (wavelength >= original / high) {
        const float blend = (original / wavelength - low) / (high - low);
        frequency = (1.0f - blend) * frequency / factor + blend * frequency;
      }
    }
  }
  return frequencies;
}

}  // namespace lorry::model
