// Llama 2, 3 and 3.x: the plain decoder; rotary scaling and optional biases come from the config.
#include "model/families/family.h"

namespace lorry::model {

ModelSpec LlamaSpec(const formats::HfConfig& config) { return MakeDecoderSpec(config); }

}  // namespace lorry::model
