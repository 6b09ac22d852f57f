// The model as the engine needs it. model::Model behind MakeStepModel (engine/model_step.h), a
// small fake in tests.
#pragma once

#include "device/stream.h"
#include "model/forward_batch.h"
#include "model/model_spec.h"

namespace lorry::engine {

class StepModel {
 public:
  virtual ~StepModel() = default;
  virtual const model::ModelSpec& spec() const = 0;
  virtual int max_step_rows() const = 0;
  virtual int max_logit_rows() const = 0;
  virtual int max_positions() const = 0;
  virtual int logits_stride() const = 0;
  // [logit_rows, vocab] f32, row stride logits_stride(); valid until the next call.
  virtual const float* Forward(const Stream& stream, const model::ForwardBatch& batch) = 0;
};

}  // namespace lorry::engine
