// The registry of model families. A family is one file here and one row in registry.cc;
// docs/recipes/model_family.md.
#pragma once

#include "base/result.h"
#include "formats/hf_config.h"
#include "model/model_spec.h"

namespace lorry::model {

struct Family {
  formats::ModelFamily family;
  ModelSpec (*make_spec)(const formats::HfConfig& config);
};

ModelSpec LlamaSpec(const formats::HfConfig& config);  // families/llama.cc
ModelSpec Qwen2Spec(const formats::HfConfig& config);  // families/qwen2.cc

// The spec of a config that formats/ has accepted. kUnsupported, with the list of families, where
// no row matches, and kTooLarge where a dimension is beyond what the kernels index.
Result<ModelSpec> MakeSpec(const formats::HfConfig& config);

}  // namespace lorry::model
