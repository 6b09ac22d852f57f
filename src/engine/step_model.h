// The model as the engine needs it. model::Model behind MakeStepModel, a small fake in tests.
#pragma once

#include <memory>

#include "device/stream.h"
#include "model/forward_batch.h"
#include "model/model.h"
#include "model/model_spec.h"

namespace lorry::engine {

class StepModel {
 public:
  virtual ~StepModel() = default;
  virtual const model::ModelSpec& spec() const = 0;
  virtual int max_step_rows() const = 0;
  virtual int max_logit_rows() const = 0;
  virtual int logits_stride() const = 0;
  // [logit_rows, vocab] f32, row stride logits_stride(); valid until the next call.
  virtual const float* Forward(const Stream& stream, const model::ForwardBatch& batch) = 0;
};

// `options`: those that the model was loaded with.
std::unique_ptr<StepModel> MakeStepModel(std::unique_ptr<model::Model> model,
                                         const model::LoadOptions& options);

}  // namespace lorry::engine
