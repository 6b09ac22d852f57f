// A PEFT adapter directory opened against a base model: adapter_config.json +
// adapter_model.safetensors. Owns: the mapping of the weights. Thread: any, read-only. Never:
// applies a part. Either every module that PEFT would adapt has its two matrices, of the right
// shape and finite, and no tensor is left over, or the adapter is refused with the whole list of
// what does not fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "formats/base_modules.h"
#include "formats/hf_config.h"
#include "formats/peft_config.h"
#include "formats/safetensors.h"

namespace lorry::formats {

// y += scaling · (x·Aᵀ)·Bᵀ
struct AdapterModule {
  std::string name;  // "model.layers.3.self_attn.q_proj"
  int64_t layer_idx = 0;
  Projection projection = Projection::kQ;
  int64_t in_features = 0;
  int64_t out_features = 0;
  int64_t rank = 0;
  double scaling = 0.0;
  TensorView a;  // [rank, in_features] f32, bf16 or f16
  TensorView b;  // [out_features, rank] f32, bf16 or f16
};

struct PeftAdapter {
  std::string dir;
  PeftLoraConfig config;
  AdapterId id;
  std::vector<AdapterModule> modules;  // by layer, then projection
  SafetensorsFile weights;             // what the views point into

  int64_t max_rank() const;
  size_t weight_bytes() const;  // of all A and B as stored
};

// What `lorry inspect` shows and what the log says.
struct AdapterFit {
  size_t num_targeted = 0;           // modules that PEFT would adapt
  size_t num_applied = 0;            // those whose matrices are present and right
  std::vector<std::string> reasons;  // why it does not fit; empty: it does

  // "applied 14 of 14 modules"
  std::string Summary() const;
};

// Everything checked. An adapter that does not fit is kUnfit or kUnsupported with the reasons in
// the message; `fit`, where given, holds them as a list either way.
Result<PeftAdapter> OpenPeftAdapter(const std::string& adapter_dir, const HfConfig& base,
                                    AdapterFit* fit = nullptr);

}  // namespace lorry::formats
