#include "formats/peft_adapter.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "formats/content_hash.h"
#include "formats/json.h"
#include "formats/peft_match.h"

namespace lorry::formats {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr char kWeightsFile[] = "adapter_model.safetensors";
constexpr char kPickleFile[] = "adapter_model.bin";
constexpr size_t kMaxReasons = 100;  // kept
constexpr size_t kMaxReasonsInMessage = 8;

// One of the two matrices, as a tensor's name says.
struct MatrixName {
  std::string module;
  bool is_a;
};

// "base_model.model." + module + ".lora_A.weight"; PEFT also takes the name of the adapter in
// memory, "default", before
// ".weight".
std::optional<MatrixName> ParseMatrixName(std::string_view name) {
  constexpr std::string_view kPrefix = "base_model.model.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  for (std::string_view end : {".weight", ".default.weight"}) {
    for (std::string_view matrix : {".lora_A", ".lora_B"}) {
      const std::string suffix = fmt::format("{}{}", matrix, end);
      if (name.ends_with(suffix) && name.size() > suffix.size()) {
        return MatrixName{std::string(name.substr(0, name.size() - suffix.size())),
                          matrix == ".lora_A"};
      }
    }
  }
  return std::nullopt;
}

std::string WhyUnknown(std::string_view name) {
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  if (has("lora_magnitude_vector")) return "DoRA is not supported";
  if (has("lora_embedding_")) return "adapters of embeddings are not supported";
  if (has("lora_B") && name.ends_with(".bias")) return "a bias on LoRA's B matrix is not supported";
  return "nothing that this adapter's config makes use of";
}

// Puts tensors and targeted modules together and collects all that is wrong.
class Assembler {
 public:
  Assembler(const std::vector<BaseModule>& base, const std::vector<TargetedModule>& targeted) {
    for (const TargetedModule& target : targeted) {
      const BaseModule& module = base[target.module_idx];
      index_.emplace(module.name, slots_.size());
      slots_.push_back({.module = {.name = module.name,
                                   .layer_idx = module.layer_idx,
                                   .projection = module.projection,
                                   .in_features = module.in_features,
                                   .out_features = module.out_features,
                                   .rank = target.rank,
                                   .scaling = target.scaling}});
    }
  }

  void AddTensor(const TensorView& tensor) {
    const std::optional<MatrixName> name = ParseMatrixName(tensor.name);
    if (!name) {
      return Refuse("tensor {}: {}", Quoted(tensor.name), WhyUnknown(tensor.name));
    }
    const auto found = index_.find(name->module);
    if (found == index_.end()) {
      return Refuse("tensor {}: the config does not target its module", Quoted(tensor.name));
    }
    Slot& slot = slots_[found->second];
    const TensorView*& matrix = name->is_a ? slot.a : slot.b;
    if (matrix != nullptr) return Refuse("tensor {}: stands there twice", Quoted(tensor.name));
    matrix = &tensor;
  }

  // The modules that are complete and right.
  std::vector<AdapterModule> Finish() {
    std::vector<AdapterModule> modules;
    for (Slot& slot : slots_) {
      const AdapterModule& m = slot.module;
      const bool a_fits = CheckMatrix(m, "lora_A", slot.a, {m.rank, m.in_features});
      const bool b_fits = CheckMatrix(m, "lora_B", slot.b, {m.out_features, m.rank});
      if (!a_fits || !b_fits) continue;
      slot.module.a = *slot.a;
      slot.module.b = *slot.b;
      modules.push_back(std::move(slot.module));
    }
    return modules;
  }

  std::vector<std::string> TakeReasons() {
    if (num_reasons_ > reasons_.size()) {
      reasons_.push_back(fmt::format("and {} more", num_reasons_ - reasons_.size()));
    }
    return std::move(reasons_);
  }

 private:
  struct Slot {
    AdapterModule module;
    const TensorView* a = nullptr;
    const TensorView* b = nullptr;
  };

  template <typename... Args>
  void Refuse(fmt::format_string<Args...> format, Args&&... args) {
    if (++num_reasons_ <= kMaxReasons) {
      reasons_.push_back(fmt::format(format, std::forward<Args>(args)...));
    }
  }

  bool CheckMatrix(const AdapterModule& module, std::string_view name, const TensorView* tensor,
                   const std::vector<int64_t>& shape) {
    if (tensor == nullptr) {
      Refuse("module {}: {} is missing", Quoted(module.name), name);
      return false;
    }
    if (!IsFloatWeight(tensor->dtype)) {
      Refuse("module {}: {} is {}, must be F32, BF16 or F16", Quoted(module.name), name,
             DTypeName(tensor->dtype));
      return false;
    }
    if (tensor->shape != shape) {
      Refuse("module {}: {} is {}, base and config need [{}]", Quoted(module.name), name,
             tensor->Describe(), fmt::join(shape, ", "));
      return false;
    }
    if (!AllFinite(*tensor)) {
      Refuse("module {}: {} holds NaN or infinity", Quoted(module.name), name);
      return false;
    }
    return true;
  }

  std::vector<Slot> slots_;
  std::unordered_map<std::string, size_t> index_;
  std::vector<std::string> reasons_;
  size_t num_reasons_ = 0;
};

bool Exists(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0;
}

Result<SafetensorsFile> OpenWeights(const std::string& adapter_dir) {
  const std::string path = fmt::format("{}/{}", adapter_dir, kWeightsFile);
  if (!Exists(path) && Exists(fmt::format("{}/{}", adapter_dir, kPickleFile))) {
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: only {} is there, which can run code when read; save the adapter as "
                    "safetensors (save_pretrained of PEFT does)",
                    adapter_dir, kPickleFile));
  }
  return SafetensorsFile::Open(path);
}

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
  const std::vector<BaseModule> modules = ListBaseModules(base);
  Result<std::vector<TargetedModule>> targeted = MatchPeftModules(config, base.family, modules);
  if (!targeted) return Annotate(std::move(targeted.error()), config_path);
  fit.num_targeted = targeted->size();

  ASSIGN_OR_RETURN(SafetensorsFile weights, OpenWeights(adapter_dir));
  Assembler assembler(modules, *targeted);
  for (const TensorView& tensor : weights.tensors()) assembler.AddTensor(tensor);
  std::vector<AdapterModule> adapted = assembler.Finish();
  fit.num_applied = adapted.size();
  fit.reasons = assembler.TakeReasons();
  if (!fit.reasons.empty()) return DoesNotFit(adapter_dir, fit);

  std::sort(adapted.begin(), adapted.end(), [](const AdapterModule& a, const AdapterModule& b) {
    return std::pair(a.layer_idx, a.projection) < std::pair(b.layer_idx, b.projection);
  });
  const AdapterId id =
      HashAdapterContent(std::as_bytes(std::span(config_text)), weights.file().bytes());
  return PeftAdapter{.dir = adapter_dir,
                     .config = std::move(config),
                     .id = id,
                     .modules = std::move(adapted),
                     .weights = std::move(weights)};
}

}  // namespace

int64_t PeftAdapter::max_rank() const {
  int64_t rank = 0;
  for (const AdapterModule& module : modules) rank = std::max(rank, module.rank);
  return rank;
}

size_t PeftAdapter::weight_bytes() const {
  size_t bytes = 0;
  for (const AdapterModule& module : modules)
    bytes += module.a.bytes.size() + module.b.bytes.size();
  return bytes;
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
