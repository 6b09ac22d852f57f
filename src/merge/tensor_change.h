// What a plan does to one tensor of the base, and the refusal of what cannot be done to a model.
// Owns: nothing; views point into the adapters' bytes. Thread: any. Pure.
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

inline constexpr char kEmbeddingWeight[] = "model.embed_tokens.weight";
inline constexpr char kHeadWeight[] = "lm_head.weight";

// What is converted at once: 4 MiB of f32. A block of rows stays near this.
inline constexpr int64_t kBlockElements = 1 << 20;

// Some of a tensor's elements as a tensor of their own.
formats::TensorView Part(const formats::TensorView& tensor, int64_t first_element,
                         int64_t num_elements);

// "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"
std::string SavedName(const formats::SavedParameter& saved);
// Anything on the embedding or the head.
bool ChangesVocabulary(const formats::PeftAdapter& adapter);

TensorChange ChangeOf(const MergePlan& plan, const std::string& tensor_name);

// An adapter for a vocabulary of another size is refused.
Status CheckVocabulary(const formats::PeftAdapter& adapter, const formats::HfConfig& base);

// What an adapter does beside LoRA (DoRA, biases, saved modules, tokens) is merged of one adapter
// alone, with weight 1 and into a model. DoRA on embeddings is refused.
Status CheckForms(const formats::PeftAdapter& adapter, const MergeOptions& options);

}  // namespace lorry::merge
