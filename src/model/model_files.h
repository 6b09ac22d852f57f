// A model directory before its weights are loaded: what adapters are made to fit.
// Owns: the open checkpoint.
// Thread: any.
// Never: reads weights.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/checkpoint.h"
#include "formats/hf_config.h"
#include "model/model_spec.h"

namespace lorry::model {

struct ModelFiles {
  formats::HfConfig config;
  formats::Checkpoint checkpoint;
  ModelSpec spec;
};

// `dtype`: auto | bfloat16 | float32; auto follows the checkpoint (f16 becomes bf16). What is not
// supported is refused here, and so are weights that do not fit the config; `problems`, where
// given, holds what does not fit as a list.
Result<ModelFiles> OpenModelFiles(const std::string& directory, const std::string& dtype,
                                  std::vector<std::string>* problems = nullptr);

}  // namespace lorry::model
