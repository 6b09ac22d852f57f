// A PEFT adapter directory opened against a base model: adapter_config.json +
// adapter_model.safetensors.
// Owns: the bytes of the weights.
// Thread: any, read-only.
// Never: reads values before names, types, shapes and sizes are known to fit, or applies a part.
// Either everything that PEFT would change has its tensors, of the right shape and finite, and no
// tensor is left over, or the adapter is refused with the whole list of what does not fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "formats/base_modules.h"
#include "formats/content_hash.h"
#include "formats/hf_config.h"
#include "formats/peft_config.h"
#include "formats/safetensors.h"

namespace lorry::formats {

// LoRA on one module: y += scaling · ((x·Aᵀ)·Bᵀ + b_bias). With a magnitude (DoRA) the sum of base
// (its bias aside) and delta is then multiplied by magnitude / ‖W + scaling·B·A‖, row by row of the
// weight. For the embedding x is the one-hot token.
struct AdapterModule {
  std::string name;                           // "model.layers.3.self_attn.q_proj"
  ModuleKind kind = ModuleKind::kProjection;  // or kEmbedding, kHead
  int64_t layer_idx = 0;                      // of a projection
  Projection projection = Projection::kQ;     // of a projection
  int64_t in_features = 0;                    // of the embedding: the vocabulary
  int64_t out_features = 0;
  int64_t rank = 0;
  double scaling = 0.0;
  TensorView a;                         // [rank, in_features] f32, bf16 or f16, as all that follow
  TensorView b;                         // [out_features, rank]
  std::optional<TensorView> b_bias;     // [out_features]
  std::optional<TensorView> magnitude;  // [out_features]
};

// A parameter of the base that the adapter brings whole.
struct SavedParameter {
  BaseModule module;
  bool is_bias = false;
  TensorView values;  // of the module's weight_shape(), or [out_features]
};

// Rows of the embedding or the head that the adapter replaces.
struct TokenRows {
  ModuleKind kind = ModuleKind::kEmbedding;
  std::vector<int64_t> token_ids;  // distinct, in the file's order
  TensorView rows;                 // [token_ids, hidden]
};

struct PeftAdapter {
  std::string dir;
  PeftLoraConfig config;
  std::vector<AdapterModule> modules;  // the embedding, by layer and projection, the head
  std::vector<SavedParameter> saved;
  std::vector<TokenRows> token_rows;
  int64_t vocab_size = 0;    // for which the adapter is made; the base's unless it was resized
  int64_t added_tokens = 0;  // of it, beyond the base's
  SafetensorsFile weights;   // what the views point into
  // Hashing takes as long as all else, so it goes on beside it. The last member: it reads the
  // weights.
  PendingContentHash hash;

  AdapterId id() const { return hash.Get(); }

  int64_t max_rank() const;
  size_t weight_bytes() const;  // of all tensors that are applied, as stored
  // What it does, for people: "LoRA on 14 modules", "DoRA", "3 added tokens".
  std::vector<std::string> Forms() const;
};

// What `lorry inspect` shows and what the log says.
struct AdapterFit {
  size_t num_targeted = 0;            // modules that PEFT would put LoRA on
  size_t num_applied = 0;             // those whose matrices are present and right
  std::vector<std::string> reasons;   // why it does not fit; empty: it does
  std::vector<std::string> warnings;  // what was dropped of its config, as PEFT does

  // "applied 14 of 14 modules"
  std::string Summary() const;
};

// What an adapter's header says before its values are read.
struct AdapterSize {
  int64_t max_rank = 0;
  uint64_t weight_bytes = 0;  // of all tensors that are applied, as stored
};
using SizeCheck = std::function<Status(const AdapterSize&)>;

// Everything checked, the header against config and base before the values are read; `check_size`
// may refuse then too. An adapter that does not fit is kUnfit or kUnsupported with the reasons in
// the message; `fit`, where given, holds them as a list either way.
Result<PeftAdapter> OpenPeftAdapter(const std::string& adapter_dir, const HfConfig& base,
                                    AdapterFit* fit = nullptr, const SizeCheck& check_size = {});

// The same of the header alone, of weights of which no more than that may be here yet: the file at
// `weights_path` is to have `weights_bytes`.
Status CheckPeftHeader(const std::string& config_path, const std::string& weights_path,
                       uint64_t weights_bytes, const HfConfig& base, const SizeCheck& check_size);

}  // namespace lorry::formats
