// A resident adapter as the forward pass sees it: pointers into memory that somebody else owns
// (adapters/).
#pragma once

#include <array>
#include <vector>

#include "formats/base_modules.h"
#include "kernels/linear.h"

namespace lorry::model {

class AdapterWeights {
 public:
  explicit AdapterWeights(int num_layers) : layers_(num_layers) {}

  // rank 0: the adapter leaves this projection alone.
  const kernels::LoraPair& Get(int layer, formats::Projection projection) const {
    return layers_[layer][static_cast<int>(projection)];
  }
  void Set(int layer, formats::Projection projection, const kernels::LoraPair& pair) {
    layers_[layer][static_cast<int>(projection)] = pair;
  }

 private:
  std::vector<std::array<kernels::LoraPair, formats::kNumProjections>> layers_;
};

}  // namespace lorry::model
