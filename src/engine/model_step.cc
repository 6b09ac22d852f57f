#include "engine/model_step.h"

#include <utility>

namespace lorry::engine {
namespace {

class ModelStep final : public StepModel {
 public:
  explicit ModelStep(std::unique_ptr<model::Model> model) : model_(std::move(model)) {}

  const model::ModelSpec& spec() const override { return model_->spec(); }
  int max_step_rows() const override { return model_->max_step_rows(); }
  int max_logit_rows() const override { return model_->max_logit_rows(); }
  int max_positions() const override { return model_->max_positions(); }
  int logits_stride() const override { return model_->logits_stride(); }
  const float* Forward(const Stream& stream, const model::ForwardBatch& batch) override {
    return model_->Forward(stream, batch);
  }

 private:
  std::unique_ptr<model::Model> model_;
};

}  // namespace

std::unique_ptr<StepModel> MakeStepModel(std::unique_ptr<model::Model> model) {
  return std::make_unique<ModelStep>(std::move(model));
}

}  // namespace lorry::engine
