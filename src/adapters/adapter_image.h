// A resident adapter: its matrices at true rank, in the layout that the kernels read.
// Owns: one buffer. Thread: built on any, then read-only. Never: pads a rank to another adapter's.
#pragma once

#include <memory>

#include "base/result.h"
#include "device/buffer.h"
#include "formats/peft_adapter.h"
#include "model/adapter_weights.h"
#include "model/model_spec.h"

namespace lorry::adapters {

struct AdapterImage {
  AdapterId id;
  int max_rank = 0;
  int num_modules = 0;
  size_t weight_bytes = 0;  // of all A and B as packed; the buffer rounds up to a memory page
  Buffer buffer;
  model::AdapterWeights weights;
};

// `adapter` has been opened against this model, so every shape fits.
Result<std::shared_ptr<const AdapterImage>> MakeAdapterImage(const formats::PeftAdapter& adapter,
                                                             const model::ModelSpec& spec);

}  // namespace lorry::adapters
