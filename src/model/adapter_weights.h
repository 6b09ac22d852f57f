// A resident adapter as the forward pass sees it: pointers into memory that somebody else owns
// (adapters/). Thread: built on any, then read-only.
#pragma once

#include <array>
#include <vector>

#include "formats/base_modules.h"
#include "kernels/linear.h"
#include "kernels/token_rows.h"

namespace lorry::model {

// What an adapter does to a product beyond LoRA: y = (x W'^T + LoRA) * scale + offset.
struct OutputChange {
  kernels::PackedMatrix weight;   // W'; no data: the base's, with its bias
  const float* scale = nullptr;   // [n padded to 16] f32, or null
  const float* offset = nullptr;  // [n padded to 16] f32, or null

  bool any() const { return weight.data != nullptr || scale != nullptr || offset != nullptr; }
};

struct EmbeddingChange {
  kernels::PackedMatrix table;   // [vocab, hidden]; no data: the base's
  kernels::LoraPair lora;        // a: [vocab, rank], a row per token; rank 0: none
  const float* scale = nullptr;  // [hidden padded to 16] f32, or null
  kernels::TokenTable tokens;    // count 0: none

  bool any() const { return table.data != nullptr || lora.rank > 0 || tokens.count > 0; }
};

struct HeadChange {
  OutputChange output;  // W' is [the adapter's vocabulary, hidden]
  kernels::LoraPair lora;
  kernels::TokenTable tokens;

  bool any() const { return output.any() || lora.rank > 0 || tokens.count > 0; }
};

class AdapterWeights {
 public:
  explicit AdapterWeights(int num_layers) : layers_(num_layers) {}

  // rank 0: the adapter has no LoRA on this projection.
  const kernels::LoraPair& Get(int layer, formats::Projection projection) const {
    return layers_[layer][static_cast<int>(projection)];
  }
  void Set(int layer, formats::Projection projection, const kernels::LoraPair& pair) {
    layers_[layer][static_cast<int>(projection)] = pair;
  }

  // Most adapters are LoRA on projections alone: nothing below costs them more than a look.
  const OutputChange* Change(int layer, formats::Projection projection) const {
    if (changes_.empty()) return nullptr;
    return &changes_[layer][static_cast<int>(projection)];
  }
  OutputChange& MutableChange(int layer, formats::Projection projection) {
    changes_.resize(layers_.size());
    return changes_[layer][static_cast<int>(projection)];
  }

  // Weights of a norm, [hidden] f32; null: the base's. `kind` is one of the norms', `layer` 0 for
  // the final one.
  const float* Norm(formats::ModuleKind kind, int layer) const {
    return norms_.empty() ? nullptr : norms_[NormIndex(kind, layer)];
  }
  void SetNorm(formats::ModuleKind kind, int layer, const float* weight) {
    norms_.resize(2 * layers_.size() + 1);
    norms_[NormIndex(kind, layer)] = weight;
  }

  const EmbeddingChange& embedding() const { return embedding_; }
  EmbeddingChange& mutable_embedding() { return embedding_; }
  const HeadChange& head() const { return head_; }
  HeadChange& mutable_head() { return head_; }

  // Tokens that sequences of this adapter may hold and whose logits are valid; 0: the base's.
  int vocab_size() const { return vocab_size_; }
  void set_vocab_size(int vocab_size) { vocab_size_ = vocab_size; }

  // Why it cannot be a part of a weighted sum of adapters, or stand with a weight other than 1;
  // null if it can. Only LoRA without magnitudes and biases can, on whatever modules: a sum of
  // deltas means something, a sum of whole weights or magnitudes does not.
  const char* WhyNotComposable() const {
    if (vocab_size_ != 0) return "it has a vocabulary of its own";
    if (!changes_.empty() || head_.output.any() || embedding_.scale != nullptr) {
      return "it uses DoRA or brings biases or whole weights";
    }
    if (!norms_.empty() || embedding_.table.data != nullptr) return "it brings whole weights";
    if (embedding_.tokens.count > 0 || head_.tokens.count > 0) return "it replaces rows of tokens";
    return nullptr;
  }

 private:
  size_t NormIndex(formats::ModuleKind kind, int layer) const {
    if (kind == formats::ModuleKind::kFinalNorm) return 2 * layers_.size();
    return 2 * static_cast<size_t>(layer) + (kind == formats::ModuleKind::kMlpNorm ? 1 : 0);
  }

  std::vector<std::array<kernels::LoraPair, formats::kNumProjections>> layers_;
  std::vector<std::array<OutputChange, formats::kNumProjections>> changes_;  // empty: none
  std::vector<const float*> norms_;                                          // empty: none
  EmbeddingChange embedding_;
  HeadChange head_;
  int vocab_size_ = 0;
};

}  // namespace lorry::model
