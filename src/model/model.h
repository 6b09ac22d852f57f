// A loaded model: weights and one forward pass per step.
// Owns: weights, rotary tables and activation scratch (sized once for max_step_rows).
// Thread: Forward from the engine's thread only.
// Never: allocates, reads files or decides anything during Forward.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "device/stream.h"
#include "formats/checkpoint.h"
#include "formats/hf_config.h"
#include "model/forward_batch.h"
#include "model/model_files.h"
#include "model/model_spec.h"
#include "model/weights.h"

namespace lorry::model {

struct LoadOptions {
  std::string dtype =
      "auto";  // auto | bfloat16 | float32; auto follows the checkpoint (f16 becomes bf16)
  int max_step_rows = 512;   // rows that one Forward may have
  int max_logit_rows = 256;  // rows of logits that one Forward may produce
  int max_positions =
      0;  // longest sequence that will be asked for; 0: the checkpoint's context length
  LoadProgress progress;  // called as weights arrive; may be empty
};

class Model {
 public:
  // Reads a Hugging Face model directory. What is not supported is refused before weights are read.
  // `stream` is used for packing only.
  static Result<std::unique_ptr<Model>> Load(const std::string& directory,
                                             const LoadOptions& options, const Stream& stream);
  // The same of one that has been opened with options.dtype.
  static Result<std::unique_ptr<Model>> Load(ModelFiles files, const LoadOptions& options,
                                             const Stream& stream);
  ~Model();

  const ModelSpec& spec() const;
  const formats::HfConfig& config() const;  // as read; adapters are matched against it
  const formats::Checkpoint& checkpoint()
      const;  // its open files, not its bytes: adapters may need its rows
  size_t weight_bytes() const;
  size_t scratch_bytes() const;  // address space; resident as far as steps have touched it
  int max_step_rows() const;
  int max_logit_rows() const;
  int max_positions() const;

  // Logits of batch.logit_rows: [logit_rows, vocab] f32, row stride logits_stride(). Valid until
  // the next Forward. A row on an adapter with a vocabulary of its own has as many logits as that
  // has, and -inf in what it lacks of the base's.
  const float* Forward(const Stream& stream, const ForwardBatch& batch);
  int logits_stride() const;

 private:
  class Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lorry::model
