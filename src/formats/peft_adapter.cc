#include "formats/peft_adapter.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "formats/json.h"
#include "formats/peft_assemble.h"
#include "formats/peft_match.h"

namespace lorry::formats {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kWeightsFile[] = "adapter_model.safetensors";
constexpr size_t kMaxReasonsInMessage = 8;

tl::unexpected<Error> DoesNotFit(const std::string& adapter_dir, const AdapterFit& fit) {
  const size_t shown = std::min(fit.reasons.size(), kMaxReasonsInMessage);
  std::string message = fmt::format(
      "{}: does not fit the base model, {}: {}", adapter_dir, fit.Summary(),
      fmt::join(fit.reasons.begin(), fit.reasons.begin() + static_cast<ptrdiff_t>(shown), "; "));
  if (shown < fit.reasons.size()) {
    message += fmt::format("; and {} more", fit.reasons.size() - shown);
  }
  return Fail(ErrorCode::kUnfit, std::move(message));
}

Result<PeftAdapter> OpenChecked(const std::string& adapter_dir, const HfConfig& base,
                                AdapterFit& fit) {
  const std::string config_path = fmt::format("{}/{}", adapter_dir, kConfigFile);
  ASSIGN_OR_RETURN(const std::string config_text, ReadSmallFile(config_path, kMaxPeftConfigBytes));
  ASSIGN_OR_RETURN(const boost::json::object object, ParseJsonObject(config_text, config_path));
  ASSIGN_OR_RETURN(PeftLoraConfig config, ParsePeftLoraConfig(object, config_path));
  ASSIGN_OR_RETURN(SafetensorsFile weights,
                   SafetensorsFile::Read(fmt::format("{}/{}", adapter_dir, kWeightsFile)));
  HfConfig resized = base;
  resized.vocab_size = VocabSizeOf(weights.tensors(), base);
  const std::vector<BaseModule> modules = ListBaseModules(resized);
  Result<ModulePlan> plan = PlanPeftModules(config, base.family, modules, base.tie_word_embeddings);
  if (!plan) return Annotate(std::move(plan.error()), config_path);
  fit.num_targeted = plan->lora.size();

  AssembledAdapter parts = AssemblePeftAdapter({config, base, modules, *plan, weights.tensors()});
  fit.num_applied = parts.modules.size();
  fit.reasons = std::move(parts.reasons);
  if (fit.reasons.empty() && parts.modules.empty() && parts.saved.empty() &&
      parts.token_rows.empty()) {
    fit.reasons.emplace_back("the adapter changes nothing");
  }
  if (!fit.reasons.empty()) return DoesNotFit(adapter_dir, fit);
  const ContentPart config_part = {kConfigFile, std::as_bytes(std::span(config_text))};
  PendingContentHash hash(std::span(&config_part, 1), {kWeightsFile, weights.file().bytes()});
  return PeftAdapter{.dir = adapter_dir,
                     .config = std::move(config),
                     .modules = std::move(parts.modules),
                     .saved = std::move(parts.saved),
                     .token_rows = std::move(parts.token_rows),
                     .vocab_size = resized.vocab_size,
                     .added_tokens = std::max<int64_t>(0, resized.vocab_size - base.vocab_size),
                     .weights = std::move(weights),
                     .hash = std::move(hash)};
}

}  // namespace

int64_t PeftAdapter::max_rank() const {
  int64_t rank = 0;
  for (const AdapterModule& module : modules) rank = std::max(rank, module.rank);
  return rank;
}

size_t PeftAdapter::weight_bytes() const {
  size_t bytes = 0;
  for (const AdapterModule& module : modules) {
    bytes += module.a.bytes.size() + module.b.bytes.size();
    if (module.b_bias) bytes += module.b_bias->bytes.size();
    if (module.magnitude) bytes += module.magnitude->bytes.size();
  }
  for (const SavedParameter& parameter : saved) bytes += parameter.values.bytes.size();
  for (const TokenRows& tokens : token_rows) bytes += tokens.rows.bytes.size();
  return bytes;
}

std::vector<std::string> PeftAdapter::Forms() const {
  std::vector<std::string> forms;
  size_t num_weights = 0, num_biases = 0;
  std::string others;  // names of the modules that are not projections
  for (const AdapterModule& module : modules) {
    if (module.kind != ModuleKind::kProjection) others += fmt::format(", {}", module.name);
  }
  if (!modules.empty()) {
    forms.push_back(fmt::format("{} on {} modules{}{}", config.use_dora ? "DoRA" : "LoRA",
                                modules.size(), others.empty() ? "" : " with ",
                                others.empty() ? "" : others.substr(2)));
  }
  if (config.lora_bias) forms.emplace_back("bias of lora_B");
  for (const SavedParameter& parameter : saved) ++(parameter.is_bias ? num_biases : num_weights);
  if (num_weights > 0) forms.push_back(fmt::format("{} whole weights", num_weights));
  if (num_biases > 0) forms.push_back(fmt::format("{} biases", num_biases));
  for (const TokenRows& tokens : token_rows) {
    forms.push_back(fmt::format("{} rows of {}", tokens.token_ids.size(),
                                tokens.kind == ModuleKind::kHead ? "lm_head" : "embed_tokens"));
  }
  if (added_tokens > 0) forms.push_back(fmt::format("{} added tokens", added_tokens));
  return forms;
}

std::string AdapterFit::Summary() const {
  return fmt::format("applied {} of {} modules", num_applied, num_targeted);
}

Result<PeftAdapter> OpenPeftAdapter(const std::string& adapter_dir, const HfConfig& base,
                                    AdapterFit* fit) {
  AdapterFit own;
  AdapterFit& result = fit != nullptr ? *fit : own;
  result = AdapterFit();
  Result<PeftAdapter> adapter = OpenChecked(adapter_dir, base, result);
  if (!adapter && result.reasons.empty()) result.reasons.push_back(adapter.error().message);
  return adapter;
}

}  // namespace lorry::formats
