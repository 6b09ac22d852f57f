#include "model/model_files.h"

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
  ASSIGN_OR_RETURN(const auto embedding, checkpoint.Get("model.embed_tokens.weight"));
  const DType stored = formats::IsFloatWeight(embedding.dtype)
                           ? embedding.dtype
                           : config.dtype.value_or(DType::kBF16);
  return stored == DType::kF32 ? DType::kF32 : DType::kBF16;
}

}  // namespace

Result<ModelFiles> OpenModelFiles(const std::string& directory, const std::string& dtype) {
  ASSIGN_OR_RETURN(formats::HfConfig config, formats::ReadHfConfig(directory));
  ASSIGN_OR_RETURN(ModelSpec spec, MakeSpec(config));
  ASSIGN_OR_RETURN(formats::Checkpoint checkpoint, formats::Checkpoint::Open(directory));
  ASSIGN_OR_RETURN(spec.dtype, ChooseDType(dtype, config, checkpoint));
  return ModelFiles{std::move(config), std::move(checkpoint), std::move(spec)};
}

}  // namespace lorry::model
