// What a plan does to one tensor of the base, and the refusal of what cannot be done to a model.
// Owns: nothing; views point into the adapters' mappings. Thread: any. Pure.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "formats/peft_adapter.h"
#include "merge/low_rank.h"
#include "merge/plan.h"

namespace lorry::merge {

// In the order in which the parts apply. W is [rows, columns]; a bias has one row.
struct TensorChange {
  std::optional<formats::TensorView> replacement;  // in place of the base's values
  std::optional<LowRank> product;                  // added: [rows, columns]
  std::optional<formats::TensorView> magnitude;    // [rows]: DoRA, the norms that the rows then get
  std::optional<formats::TensorView> offset;       // added to the one row, times offset_scale
  float offset_scale = 0.0f;
  const formats::TokenRows* token_rows = nullptr;  // rows replaced

  bool IsNone() const {
    return !replacement && !product && !magnitude && !offset && token_rows == nullptr;
  }
};

TensorChange ChangeOf(const MergePlan& plan, const std::string& tensor_name);

// What an adapter does beside LoRA (DoRA, biases, saved modules, tokens) is merged of one adapter
// alone, with weight 1 and into a model. Embeddings that are also the head, DoRA on embeddings and
// vocabularies of another size are refused.
Status CheckForms(const formats::PeftAdapter& adapter, const MergeOptions& options,
                  const formats::HfConfig& base);

}  // namespace lorry::merge
