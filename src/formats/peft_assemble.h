// Puts the tensors of a PEFT file to the modules that they change, as PEFT does when it loads them,
// and collects all that does not fit.
// Owns: nothing; what it returns points to the file's bytes.
// Thread: any. Pure.
// Never: leaves a tensor aside in silence.
#pragma once

#include <string>
#include <vector>

#include "formats/peft_adapter.h"
#include "formats/peft_match.h"

namespace lorry::formats {

struct AssembleArgs {
  const PeftLoraConfig& config;
  const HfConfig& base;
  const std::vector<BaseModule>& modules;  // of the base with the adapter's vocabulary
  const ModulePlan& plan;
  const std::vector<TensorView>& tensors;
  // False: outlines, of which names, types and shapes are checked before the values are read.
  bool has_values = true;
};

// What the file holds for each role. Only complete where `reasons` is empty.
struct AssembledAdapter {
  std::vector<AdapterModule> modules;
  std::vector<SavedParameter> saved;
  std::vector<TokenRows> token_rows;
  std::vector<std::string> reasons;
};

AssembledAdapter AssemblePeftAdapter(const AssembleArgs& args);

// Rows of the embedding or the head where the file brings either, the base's vocabulary otherwise:
// PEFT applies such an adapter to a base whose vocabulary was resized.
int64_t VocabSizeOf(const std::vector<TensorView>& tensors, const HfConfig& base);

}  // namespace lorry::formats
