#include "model/model_files.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "model/check_weights.h"
#include "model/families/family.h"

namespace lorry::model {
namespace {

Result<DType> ChooseDType(const std::string& option, const formats::HfConfig& config,
                          const formats::Checkpoint& checkpoint) {
  if (option == "bfloat16") return DType::kBF16;
  if (option == "float32") return DType::kF32;
  if (option != "auto") {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--dtype {}: choose auto, bfloat16 or float32", option), "dtype");
  }
  // The weights themselves decide; config.json's word is a default that conversions often leave
  // stale.
  const auto embedding = checkpoint.Get("model.embed_tokens.weight");
  const DType stored = embedding && formats::IsFloatWeight(embedding->dtype)
                           ? embedding->dtype
                           : config.dtype.value_or(DType::kBF16);
  return formats::TakenAs(stored) == DType::kF32 ? DType::kF32 : DType::kBF16;
}

// The first few in the message.
tl::unexpected<Error> DoNotFit(const std::string& directory,
                               const std::vector<std::string>& problems) {
  constexpr size_t kMaxInMessage = 8;
  const size_t shown = std::min(problems.size(), kMaxInMessage);
  std::string message = fmt::format(
      "{}: the weights do not fit config.json: {}", directory,
      fmt::join(problems.begin(), problems.begin() + static_cast<ptrdiff_t>(shown), "; "));
  if (shown < problems.size()) message += fmt::format("; and {} more", problems.size() - shown);
  return Fail(ErrorCode::kUnfit, std::move(message));
}

}  // namespace

Result<ModelFiles> OpenModelFiles(const std::string& directory, const std::string& dtype,
                                  std::vector<std::string>* problems) {
  ASSIGN_OR_RETURN(formats::HfConfig config, formats::ReadHfConfig(directory));
  ASSIGN_OR_RETURN(ModelSpec spec, MakeSpec(config));
  ASSIGN_OR_RETURN(formats::Checkpoint checkpoint, formats::Checkpoint::Open(directory));
  ASSIGN_OR_RETURN(spec.dtype, ChooseDType(dtype, config, checkpoint));
  ASSIGN_OR_RETURN(std::vector<std::string> found, CheckWeights(checkpoint, spec));
  if (!found.empty()) {
    tl::unexpected<Error> error = DoNotFit(directory, found);
    if (problems != nullptr) *problems = std::move(found);
    return error;
  }
  return ModelFiles{std::move(config), std::move(checkpoint), std::move(spec)};
}

}  // namespace lorry::model
