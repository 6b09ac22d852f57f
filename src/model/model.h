// A loaded model: weights and one forward pass per step.
// Owns: weights and activation scratch (sized once for max_step_rows).
// Thread: Forward from the engine's thread only.
// Never: allocates, reads files or decides anything during Forward.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/stream.h"
#include "model/forward_batch.h"
#include "model/model_spec.h"

namespace lorry::model {

struct LoadOptions {
  std::string dtype = "auto";  // auto | bfloat16 | float32; auto follows the checkpoint (f16 becomes bf16)
  int max_step_rows = 2048;    // rows that one Forward may have
  int max_logit_rows = 256;    // rows of logits that one Forward may produce
  // Called as weights arrive, with bytes done of bytes in all. May be empty.
  std::function<void(size_t done_bytes, size_t total_bytes)> progress;
};

class Model {
 public:
  // Reads a Hugging Face model directory. Refuses what is not supported before it reads weights.
  static Result<std::unique_ptr<Model>> Load(const std::string& directory, const LoadOptions& options);
  ~Model();

  const ModelSpec& spec() const { return spec_; }
  size_t weight_bytes() const;   // resident
  size_t scratch_bytes() const;

  // Logits of batch.logit_rows: [logit_rows, vocab] f32, row stride logits_stride(). Valid until the next Forward.
  const float* Forward(const Stream& stream, const ForwardBatch& batch);
  int logits_stride() const;

 private:
  struct Parts;
  Model(ModelSpec spec, std::unique_ptr<Parts> parts);

  ModelSpec spec_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace lorry::model
