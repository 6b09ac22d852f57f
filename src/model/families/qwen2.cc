// Qwen2 and Qwen2.5: Llama's decoder with biases on q, k and v and on nothing else, which its
// config does not say.
#include "model/families/family.h"

namespace lorry::model {

ModelSpec Qwen2Spec(const formats::HfConfig& config) {
  ModelSpec spec = MakeDecoderSpec(config);
  spec.qkv_bias = true;
  spec.o_bias = false;
  spec.mlp_bias = false;
  return spec;
}

}  // namespace lorry::model
