// config.json of a Hugging Face model, in the form of transformers 4 and of 5, checked in full.
// Owns: nothing. Thread: any. Never: guesses; what Lorry does not compute is refused by name before
// weights are read.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "device/dtype.h"

namespace lorry::formats {

enum class ModelFamily { kLlama, kQwen2 };

std::string_view ModelFamilyName(ModelFamily family);  // "llama", "qwen2": transformers' model_type

enum class RopeType { kDefault, kLinear, kLlama3 };

// Rotary embedding: inverse frequencies theta^(-2i/head_dim), then scaled as the type says.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                           // linear, llama3
  double low_freq_factor = 0.0;                  // llama3
  double high_freq_factor = 0.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // llama3

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

struct HfConfig {
  ModelFamily family = ModelFamily::kLlama;
  std::string architecture;  // "LlamaForCausalLM"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // explicit, or hidden_size / num_heads; even
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0.0;
  bool tie_word_embeddings = false;
  bool qkv_bias = false;  // on q_proj, k_proj and v_proj
  bool o_bias = false;    // on o_proj
  bool mlp_bias = false;  // on gate_proj, up_proj and down_proj
  RopeConfig rope;
  std::optional<DType> dtype;  // of the checkpoint, if it says
  std::vector<TokenId> bos_token_ids;
  std::vector<TokenId> eos_token_ids;

  friend bool operator==(const HfConfig&, const HfConfig&) = default;

  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
};

// Reads MODEL_DIR/config.json.
Result<HfConfig> ReadHfConfig(const std::string& model_dir);
// `where` names the source in errors.
Result<HfConfig> ParseHfConfig(const boost::json::object& config, const std::string& where);

}  // namespace lorry::formats
