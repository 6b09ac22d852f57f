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

// A header of the largest adapters that there are has some thousand tensors of 200 bytes each.
constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;

AdapterSize SizeOf(const std::vector<AdapterModule>& modules,
                   const std::vector<SavedParameter>& saved,
                   const std::vector<TokenRows>& token_rows) {
  AdapterSize size;
  for (const AdapterModule& module : modules) {
    size.max_rank = std::max(size.max_rank, module.rank);
    size.weight_bytes += module.a.num_bytes() + module.b.num_bytes();
    if (module.b_bias) size.weight_bytes += module.b_bias->num_bytes();
    if (module.magnitude) size.weight_bytes += module.magnitude->num_bytes();
  }
  for (const SavedParameter& parameter : saved) size.weight_bytes += parameter.values.num_bytes();
  for (const TokenRows& tokens : token_rows) size.weight_bytes += tokens.rows.num_bytes();
  return size;
}

// What the config makes of the base, and of the file's tensors.
class Fitting {
 public:
  static Result<Fitting> Make(PeftLoraConfig config, const std::string& config_path,
                              const HfConfig& base, const std::vector<TensorView>& outlines) {
    Fitting fitting(std::move(config), base);
    fitting.resized_.vocab_size = VocabSizeOf(outlines, base);
    fitting.modules_ = ListBaseModules(fitting.resized_);
    Result<ModulePlan> plan =
        PlanPeftModules(fitting.config_, base.family, fitting.modules_, base.tie_word_embeddings);
    if (!plan) return Annotate(std::move(plan.error()), config_path);
    fitting.plan_ = std::move(*plan);
    return fitting;
  }

  Result<AssembledAdapter> Assemble(const std::string& adapter_dir,
                                    const std::vector<TensorView>& tensors, bool has_values,
                                    AdapterFit& fit) const {
    AssembledAdapter parts =
        AssemblePeftAdapter({config_, base_, modules_, plan_, tensors, has_values});
    fit.num_targeted = plan_.lora.size();
    fit.num_applied = parts.modules.size();
    fit.reasons = std::move(parts.reasons);
    if (fit.reasons.empty() && parts.modules.empty() && parts.saved.empty() &&
        parts.token_rows.empty()) {
      fit.reasons.emplace_back("the adapter changes nothing");
    }
    if (!fit.reasons.empty()) return DoesNotFit(adapter_dir, fit);
    return parts;
  }

  PeftLoraConfig& config() { return config_; }
  int64_t vocab_size() const { return resized_.vocab_size; }

 private:
  Fitting(PeftLoraConfig config, const HfConfig& base)
      : config_(std::move(config)), base_(base), resized_(base) {}

  PeftLoraConfig config_;
  const HfConfig& base_;
  HfConfig resized_;  // to the adapter's vocabulary
  std::vector<BaseModule> modules_;
  ModulePlan plan_;
};

Result<PeftLoraConfig> ParseConfig(const std::string& text, const std::string& path) {
  ASSIGN_OR_RETURN(const boost::json::object object, ParseJsonObject(text, path));
  return ParsePeftLoraConfig(object, path);
}

// Everything that can be said without the values.
Result<Fitting> CheckOutlines(const std::string& adapter_dir, PeftLoraConfig config,
                              const std::vector<TensorView>& outlines, const HfConfig& base,
                              AdapterFit& fit, const SizeCheck& check_size) {
  ASSIGN_OR_RETURN(Fitting fitting,
                   Fitting::Make(std::move(config), fmt::format("{}/{}", adapter_dir, kConfigFile),
                                 base, outlines));
  ASSIGN_OR_RETURN(const AssembledAdapter outline,
                   fitting.Assemble(adapter_dir, outlines, false, fit));
  if (check_size) {
    RETURN_IF_ERROR(check_size(SizeOf(outline.modules, outline.saved, outline.token_rows)));
  }
  return fitting;
}

Result<PeftAdapter> OpenChecked(const std::string& adapter_dir, const HfConfig& base,
                                AdapterFit& fit, const SizeCheck& check_size) {
  const std::string config_path = fmt::format("{}/{}", adapter_dir, kConfigFile);
  const std::string weights_path = fmt::format("{}/{}", adapter_dir, kWeightsFile);
  ASSIGN_OR_RETURN(const std::string config_text, ReadSmallFile(config_path, kMaxPeftConfigBytes));
  ASSIGN_OR_RETURN(PeftLoraConfig config, ParseConfig(config_text, config_path));
  fit.warnings = config.warnings;
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(weights_path));
  ASSIGN_OR_RETURN(SafetensorsHeader header,
                   SafetensorsHeader::Read(file, weights_path, kMaxHeaderBytes));
  ASSIGN_OR_RETURN(Fitting fitting, CheckOutlines(adapter_dir, std::move(config), header.Outlines(),
                                                  base, fit, check_size));
  WarnOfHoles(file, weights_path);
  ASSIGN_OR_RETURN(SafetensorsFile weights,
                   SafetensorsFile::Read(file, weights_path, std::move(header)));
  ASSIGN_OR_RETURN(AssembledAdapter parts,
                   fitting.Assemble(adapter_dir, weights.tensors(), true, fit));
  const ContentPart config_part = {kConfigFile, std::as_bytes(std::span(config_text))};
  PendingContentHash hash(std::span(&config_part, 1), {kWeightsFile, weights.file().bytes()});
  const int64_t vocab_size = fitting.vocab_size();
  return PeftAdapter{.dir = adapter_dir,
                     .config = std::move(fitting.config()),
                     .modules = std::move(parts.modules),
                     .saved = std::move(parts.saved),
                     .token_rows = std::move(parts.token_rows),
                     .vocab_size = vocab_size,
                     .added_tokens = std::max<int64_t>(0, vocab_size - base.vocab_size),
                     .weights = std::move(weights),
                     .hash = std::move(hash)};
}

}  // namespace

int64_t PeftAdapter::max_rank() const { return SizeOf(modules, saved, token_rows).max_rank; }

size_t PeftAdapter::weight_bytes() const { return SizeOf(modules, saved, token_rows).weight_bytes; }

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
                                    AdapterFit* fit, const SizeCheck& check_size) {
  AdapterFit own;
  AdapterFit& result = fit != nullptr ? *fit : own;
  result = AdapterFit();
  Result<PeftAdapter> adapter = OpenChecked(adapter_dir, base, result, check_size);
  if (!adapter && result.reasons.empty()) result.reasons.push_back(adapter.error().message);
  return adapter;
}

Status CheckPeftHeader(const std::string& config_path, const std::string& weights_path,
                       uint64_t weights_bytes, const HfConfig& base, const SizeCheck& check_size) {
  ASSIGN_OR_RETURN(const std::string config_text, ReadSmallFile(config_path, kMaxPeftConfigBytes));
  ASSIGN_OR_RETURN(PeftLoraConfig config, ParseConfig(config_text, config_path));
  ASSIGN_OR_RETURN(const OpenedFile file, OpenRegular(weights_path));
  ASSIGN_OR_RETURN(
      const SafetensorsHeader header,
      SafetensorsHeader::ReadBeginning(file, weights_path, weights_bytes, kMaxHeaderBytes));
  AdapterFit fit;
  const std::string adapter_dir = config_path.substr(0, config_path.rfind('/'));
  RETURN_IF_ERROR(
      CheckOutlines(adapter_dir, std::move(config), header.Outlines(), base, fit, check_size));
  return {};
}

}  // namespace lorry::formats
