#include "merge/adapter_output.h"

#include <algorithm>
#include <boost/json.hpp>

#include "formats/output_file.h"
#include "merge/rounding.h"

namespace lorry::merge {
namespace {

namespace json = boost::json;

std::string TensorName(const std::string& module, char factor) {
  return fmt::format("base_model.model.{}.lora_{}.weight", module, factor);
}

// The rank that Combine gives the module, without computing it.
int64_t CombinedRank(const MergePlan& plan, const PlannedModule& module) {
  int64_t sum = 0;
  for (const ModuleTerm& term : module.terms) sum += term.module->rank;
  switch (plan.combination().method) {
    case Method::kCat:
      return sum;
    case Method::kSvd:
      return std::min({plan.combination().svd_rank, sum, module.in_features, module.out_features});
    default:
      return module.terms.front().module->rank;
  }
}

// The rank of most modules; the config names the others.
int64_t CommonRank(const MergePlan& plan) {
  std::map<int64_t, int> num_modules;
  for (const auto& [name, module] : plan.modules()) ++num_modules[CombinedRank(plan, module)];
  return std::max_element(num_modules.begin(), num_modules.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// One key a line.
std::string Lines(const json::object& object) {
  std::string text = "{";
  const char* separator = "\n";
  for (const json::key_value_pair& entry : object) {
    text += fmt::format("{}  {}: {}", separator, json::serialize(json::string(entry.key())),
                        json::serialize(entry.value()));
    separator = ",\n";
  }
  return text + "\n}\n";
}

std::string ConfigText(const MergePlan& plan) {
  const int64_t common_rank = CommonRank(plan);
  json::array targets;
  json::object ranks, alphas;
  for (const auto& [name, module] : plan.modules()) {
    targets.emplace_back(name);
    const int64_t rank = CombinedRank(plan, module);
    if (rank == common_rank) continue;
    ranks[name] = rank;
    alphas[name] = rank;
  }
  return Lines({{"base_model_name_or_path", BaseName(plan)},
                {"bias", "none"},
                {"inference_mode", true},
                {"init_lora_weights", true},
                {"lora_alpha", common_rank},
                {"lora_dropout", 0},
                {"peft_type", "LORA"},
                {"r", common_rank},
                {"target_modules", std::move(targets)},
                {"rank_pattern", std::move(ranks)},
                {"alpha_pattern", std::move(alphas)},
                {"task_type", "CAUSAL_LM"},
                {"use_dora", false},
                {"use_rslora", false}});
}

Status WriteFactor(formats::SafetensorsWriter& writer, const std::string& name,
                   std::span<const float> values, DType dtype) {
  std::vector<std::byte> rounded(values.size() * DTypeBytes(dtype));
  if (!RoundTo(dtype, values, rounded)) {
    return Fail(ErrorCode::kUnfit,
                fmt::format("tensor {}: the result has a NaN or a number that {} cannot hold", name,
                            DTypeName(dtype)));
  }
  return writer.Append(name, rounded);
}

}  // namespace

Result<std::vector<formats::TensorSpec>> AdapterTensors(const MergePlan& plan) {
  const DType dtype = plan.options().dtype.value_or(DType::kF32);
  std::vector<formats::TensorSpec> tensors;
  for (const auto& [name, module] : plan.modules()) {
    const int64_t rank = CombinedRank(plan, module);
    if (rank > formats::kMaxLoraRank) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("module {}: the combination has rank {}, adapters may have {}; "
                              "method svd cuts it to --svd-rank",
                              name, rank, formats::kMaxLoraRank));
    }
    tensors.push_back({TensorName(name, 'A'), dtype, {rank, module.in_features}});
    tensors.push_back({TensorName(name, 'B'), dtype, {module.out_features, rank}});
  }
  return tensors;
}

Status WriteAdapter(const MergePlan& plan, const MergeOutput& output, const std::string& dir,
                    const OnProgress& on_progress) {
  ASSIGN_OR_RETURN(auto writer,
                   formats::SafetensorsWriter::Create(dir + "/adapter_model.safetensors",
                                                      output.tensors, {.sync = true}));
  const DType dtype = plan.options().dtype.value_or(DType::kF32);
  uint64_t done_bytes = 0;
  for (const auto& [name, module] : plan.modules()) {
    const LowRank combined = plan.Combine(module);
    RETURN_IF_ERROR(WriteFactor(writer, TensorName(name, 'A'), combined.a, dtype));
    RETURN_IF_ERROR(WriteFactor(writer, TensorName(name, 'B'), combined.b, dtype));
    done_bytes += (combined.a.size() + combined.b.size()) * DTypeBytes(dtype);
    if (!on_progress(done_bytes, output.weight_bytes)) {
      return Fail(ErrorCode::kCancelled, "stopped; nothing was written");
    }
  }
  RETURN_IF_ERROR(writer.Finish());
  return formats::WriteTextFile(dir + "/adapter_config.json", ConfigText(plan), true);
}

}  // namespace lorry::merge
