#include <array>
#include <string>

#include "kernels/kv_layout.h"
#include "model/families/family.h"

namespace lorry::model {
namespace {

constexpr std::array<Family, 2> kFamilies = {{
    {formats::ModelFamily::kLlama, &LlamaSpec},
    {formats::ModelFamily::kQwen2, &Qwen2Spec},
}};

// Kernels index rows and columns with 32-bit ints.
Status CheckSizes(const formats::HfConfig& config) {
  constexpr int64_t kMaxDimension = 1 << 24;
  for (int64_t size : {config.vocab_size, config.hidden_size, config.intermediate_size,
                       config.q_size(), config.kv_size(), config.max_position_embeddings}) {
    if (size <= 0 || size > kMaxDimension) {
      return Fail(
          ErrorCode::kTooLarge,
          fmt::format("config.json: a dimension is {}, the limit is {}", size, kMaxDimension));
    }
  }
  if (config.head_dim > kernels::kMaxHeadDim) {
    return Fail(ErrorCode::kTooLarge, fmt::format("config.json: head_dim is {}, the limit is {}",
                                                  config.head_dim, kernels::kMaxHeadDim));
  }
  return {};
}

}  // namespace

Result<ModelSpec> MakeSpec(const formats::HfConfig& config) {
  RETURN_IF_ERROR(CheckSizes(config));
  std::string known;
  for (const Family& family : kFamilies) {
    if (family.family == config.family) return family.make_spec(config);
    known +=
        fmt::format("{}{}", known.empty() ? "" : ", ", formats::ModelFamilyName(family.family));
  }
  return Fail(ErrorCode::kUnsupported,
              fmt::format("model family {} is not supported; supported are {}",
                          formats::ModelFamilyName(config.family), known));
}

}  // namespace lorry::model
