// model::Model as a StepModel.
#pragma once

#include <memory>

#include "engine/step_model.h"
#include "model/model.h"

namespace lorry::engine {

std::unique_ptr<StepModel> MakeStepModel(std::unique_ptr<model::Model> model);

}  // namespace lorry::engine
