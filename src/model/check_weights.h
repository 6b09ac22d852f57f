// Whether a checkpoint holds what a model needs, asked of its headers before weights are read.
// Owns: nothing. Thread: any.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/checkpoint.h"
#include "model/model_spec.h"

namespace lorry::model {

// All that does not fit, each tensor by name: missing, misshapen, of another type, or one that
// nobody would use (it would change the result in transformers). Where the embedding and the head
// are tied and the file has both, they are read: they must be the same. An error is of reading.
Result<std::vector<std::string>> CheckWeights(const formats::Checkpoint& checkpoint,
                                              const ModelSpec& spec);

}  // namespace lorry::model
