#include "formats/peft_match.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "formats/json.h"
#include "formats/module_pattern.h"

namespace lorry::formats {
namespace {

using NameSet = std::unordered_set<std::string>;

// PEFT shortens lists of targets from this length on (MIN_TARGET_MODULES_FOR_OPTIMIZATION).
constexpr size_t kShortenedFrom = 20;

// "a.b.c" -> "c", "b.c", "a.b.c"
std::vector<std::string> DottedSuffixes(std::string_view name) {
  std::vector<std::string> suffixes;
  for (size_t dot = name.rfind('.'); dot != std::string_view::npos;
       dot = dot == 0 ? std::string_view::npos : name.rfind('.', dot - 1)) {
    suffixes.emplace_back(name.substr(dot + 1));
  }
  suffixes.emplace_back(name);
  return suffixes;
}

// True if `name` ends on "." and a member of `names`.
bool EndsOnMember(const NameSet& names, std::string_view name) {
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    if (names.contains(std::string(name.substr(dot + 1)))) return true;
  }
  return false;
}

bool IsOrEndsOnMember(const NameSet& names, const std::string& name) {
  return names.contains(name) || EndsOnMember(names, name);
}

// PEFT replaces a long list of targets by the shortest suffixes that tell them from all other
// modules. It matters because a target that is a full name ignores layers_to_transform, and a
// suffix does not.
NameSet Shortened(const NameSet& targets, std::span<const BaseModule> modules) {
  NameSet other_suffixes = {""};  // of the root module
  for (const BaseModule& module : modules) {
    if (IsOrEndsOnMember(targets, module.name)) continue;
    for (std::string& suffix : DottedSuffixes(module.name))
      other_suffixes.insert(std::move(suffix));
  }
  std::vector<std::vector<std::string>> suffixes_of_targets;
  for (const std::string& target : targets) suffixes_of_targets.push_back(DottedSuffixes(target));
  std::sort(suffixes_of_targets.begin(), suffixes_of_targets.end());
  NameSet required;
  for (const std::vector<std::string>& suffixes : suffixes_of_targets) {
    for (const std::string& suffix : suffixes) {
      if (required.contains(suffix) || other_suffixes.contains(suffix)) continue;
      if (EndsOnMember(required, suffixes.back())) continue;
      required.insert(suffix);
      break;
    }
  }
  return required.empty() || required.size() >= targets.size() ? targets : required;
}

// What a selector says of one name.
class Selector {
 public:
  static Result<Selector> Compile(const ModuleSelector& source, MatchBudget& budget) {
    Selector selector;
    if (source.kind == ModuleSelector::Kind::kRegex) {
      ASSIGN_OR_RETURN(ModulePattern pattern, ModulePattern::Full(source.regex, budget));
      selector.regex_ = std::move(pattern);
    } else {
      selector.names_ = NameSet(source.names.begin(), source.names.end());
    }
    return selector;
  }

  // Selects nothing.
  Selector() = default;

  bool is_regex() const { return regex_.has_value(); }
  NameSet& names() { return names_; }
  const NameSet& names() const { return names_; }

  bool Selects(const std::string& name, MatchBudget& budget) const {
    return regex_ ? regex_->Matches(name, budget) : IsOrEndsOnMember(names_, name);
  }

 private:
  std::optional<ModulePattern> regex_;
  NameSet names_;
};

Result<Selector> CompileTargets(const PeftLoraConfig& config, ModelFamily family,
                                std::span<const BaseModule> modules, MatchBudget& budget) {
  ModuleSelector source = config.target_modules;
  if (source.kind == ModuleSelector::Kind::kUnset) {
    switch (family) {
      case ModelFamily::kLlama:
      case ModelFamily::kQwen2:
        source.names = {"q_proj", "v_proj"};
    }
  } else if (source.kind == ModuleSelector::Kind::kNothing) {
    return Selector();
  } else if (source.kind == ModuleSelector::Kind::kAllLinear) {
    for (const BaseModule& module : modules) {
      if (module.kind == ModuleKind::kProjection) source.names.push_back(module.name);
    }
  }
  ASSIGN_OR_RETURN(Selector targets, Selector::Compile(source, budget));
  if (targets.names().size() >= kShortenedFrom) {
    if (targets.names().contains("")) {
      return Fail(ErrorCode::kInvalidArgument, "target_modules has an empty name");
    }
    targets.names() = Shortened(targets.names(), modules);
  }
  return targets;
}

// layers_to_transform and layers_pattern.
class LayerFilter {
 public:
  static Result<LayerFilter> Compile(const PeftLoraConfig& config, MatchBudget& budget) {
    LayerFilter filter;
    filter.layers_ = config.layers_to_transform;
    if (filter.layers_.empty()) return filter;
    for (const std::string& source : config.layers_pattern) {
      ASSIGN_OR_RETURN(ModulePattern pattern, ModulePattern::LayerIndex(source, budget));
      filter.patterns_.push_back(std::move(pattern));
    }
    if (filter.patterns_.empty()) filter.patterns_.push_back(ModulePattern::AnyLayerIndex(budget));
    return filter;
  }

  bool Admits(std::string_view name, MatchBudget& budget) const {
    if (layers_.empty()) return true;
    for (const ModulePattern& pattern : patterns_) {  // the first that matches decides
      const ModulePattern::Layer layer = pattern.FindLayer(name, budget);
      if (!layer.matched) continue;
      return layer.index &&
             std::find(layers_.begin(), layers_.end(), *layer.index) != layers_.end();
    }
    return false;
  }

 private:
  std::vector<int64_t> layers_;
  std::vector<ModulePattern> patterns_;
};

// rank_pattern or alpha_pattern: the value of the first key that matches.
template <typename T>
class PatternMap {
 public:
  static Result<PatternMap> Compile(const std::vector<std::pair<std::string, T>>& source,
                                    MatchBudget& budget) {
    PatternMap map;
    for (const auto& [key, value] : source) {
      ASSIGN_OR_RETURN(ModulePattern pattern, ModulePattern::Suffix(key, budget));
      map.entries_.emplace_back(std::move(pattern), value);
    }
    return map;
  }

  T Or(std::string_view name, T fallback, MatchBudget& budget) const {
    for (const auto& [pattern, value] : entries_) {
      if (pattern.Matches(name, budget)) return value;
    }
    return fallback;
  }

 private:
  std::vector<std::pair<ModulePattern, T>> entries_;
};

struct Matcher {
  Selector targets;
  Selector excluded;
  std::vector<ModulePattern> saved;  // subtrees that LoRA leaves alone
  LayerFilter layers;
  bool ties_lora = false;  // the tied embedding and head are adapted as one

  bool Targets(const BaseModule& module, MatchBudget& budget) const {
    const std::string& name = module.name;
    if (ties_lora && module.kind == ModuleKind::kHead) return true;
    if (excluded.Selects(name, budget)) return false;
    for (const ModulePattern& subtree : saved) {
      if (subtree.Matches(name, budget)) return false;
    }
    if (ties_lora && module.kind == ModuleKind::kEmbedding) return true;
    if (targets.is_regex() || targets.names().contains(name)) {
      return targets.Selects(name, budget);
    }
    return targets.Selects(name, budget) && layers.Admits(name, budget);
  }
};

constexpr std::string_view kEmbeddingName = "model.embed_tokens";
constexpr std::string_view kHeadName = "lm_head";

// The names by which PEFT knows modules that may be tied.
bool EndsOnEmbeddingName(std::string_view name) {
  const size_t dot = name.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? name : name.substr(dot + 1);
  return last == "embed_tokens" || last == "lm_head";
}

// ensure_weight_tying of a tied base: what the config means after PEFT has rewritten it.
struct Tying {
  std::vector<std::string> modules_to_save;
  bool saved = false;  // the head is the saved embedding
  bool lora = false;   // the head's LoRA is the embedding's
};

Result<Tying> ResolveTying(const PeftLoraConfig& config, bool tied_embeddings,
                           MatchBudget& budget) {
  Tying tying{.modules_to_save = config.modules_to_save};
  if (!config.ensure_weight_tying || !tied_embeddings) return tying;
  auto& saved = tying.modules_to_save;
  if (std::any_of(saved.begin(), saved.end(), EndsOnEmbeddingName)) {
    tying.saved = true;
    if (std::find(saved.begin(), saved.end(), kEmbeddingName) == saved.end()) {
      saved.emplace_back(kEmbeddingName);
    }
    for (auto name = saved.begin(); name != saved.end(); ++name) {
      ASSIGN_OR_RETURN(const ModulePattern subtree, ModulePattern::Subtree(*name, budget));
      if (!subtree.Matches(kHeadName, budget)) continue;
      saved.erase(name);
      break;
    }
    return tying;
  }
  const ModuleSelector& targets = config.target_modules;
  if (targets.kind == ModuleSelector::Kind::kNames) {
    tying.lora = std::any_of(targets.names.begin(), targets.names.end(), EndsOnEmbeddingName);
  } else if (targets.kind == ModuleSelector::Kind::kRegex) {
    ASSIGN_OR_RETURN(const ModulePattern pattern, ModulePattern::Full(targets.regex, budget));
    tying.lora = pattern.Matches("embed_tokens", budget) || pattern.Matches("lm_head", budget);
  }
  return tying;
}

Result<Matcher> CompileMatcher(const PeftLoraConfig& config, ModelFamily family,
                               std::span<const BaseModule> modules, const Tying& tying,
                               MatchBudget& budget) {
  ASSIGN_OR_RETURN(Selector targets, CompileTargets(config, family, modules, budget));
  ASSIGN_OR_RETURN(Selector excluded, Selector::Compile(config.exclude_modules, budget));
  ASSIGN_OR_RETURN(LayerFilter layers, LayerFilter::Compile(config, budget));
  std::vector<ModulePattern> saved;
  for (const std::string& name : tying.modules_to_save) {
    ASSIGN_OR_RETURN(ModulePattern subtree, ModulePattern::Subtree(name, budget));
    saved.push_back(std::move(subtree));
  }
  return Matcher{std::move(targets), std::move(excluded), std::move(saved), std::move(layers),
                 tying.lora};
}

Status CheckLoraTarget(const PeftLoraConfig& config, const BaseModule& module) {
  if (module.kind == ModuleKind::kOther || IsNorm(module.kind)) {
    return Fail(
        ErrorCode::kUnfit,
        fmt::format("target_modules selects {}, which is no linear layer", Quoted(module.name)));
  }
  if (module.kind == ModuleKind::kEmbedding && config.lora_bias) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("lora_bias cannot go with {} in target_modules, in PEFT neither",
                            Quoted(module.name)));
  }
  return {};
}

Result<std::vector<TargetedModule>> MatchLora(const PeftLoraConfig& config, const Matcher& matcher,
                                              std::span<const BaseModule> modules,
                                              MatchBudget& budget) {
  ASSIGN_OR_RETURN(const auto ranks, PatternMap<int64_t>::Compile(config.rank_pattern, budget));
  ASSIGN_OR_RETURN(const auto alphas, PatternMap<double>::Compile(config.alpha_pattern, budget));
  std::vector<TargetedModule> targeted;
  for (size_t i = 0; i < modules.size(); ++i) {
    const BaseModule& module = modules[i];
    const bool targets = matcher.Targets(module, budget);
    RETURN_IF_ERROR(budget.Check());
    if (!targets) continue;
    RETURN_IF_ERROR(CheckLoraTarget(config, module));
    const int64_t rank = ranks.Or(module.name, config.rank, budget);
    const double alpha = alphas.Or(module.name, config.alpha, budget);
    RETURN_IF_ERROR(budget.Check());
    const double divisor = static_cast<double>(rank);
    targeted.push_back({.module_idx = i,
                        .rank = rank,
                        .scaling = alpha / (config.use_rslora ? std::sqrt(divisor) : divisor)});
  }
  if (targeted.empty() && config.target_modules.kind != ModuleSelector::Kind::kNothing) {
    return Fail(ErrorCode::kUnfit, "target_modules selects no module of the base model");
  }
  return targeted;
}

// PEFT wraps the modules whose names end on a name of the list, dot or not.
bool EndsOnAny(std::string_view module, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return module.ends_with(name); });
}

// The modules with parameters that are saved themselves or lie in one that is.
Result<std::vector<size_t>> MatchSaved(const std::vector<std::string>& names,
                                       std::span<const BaseModule> modules) {
  if (std::find(names.begin(), names.end(), "") != names.end()) {
    return Fail(ErrorCode::kInvalidArgument, "modules_to_save has an empty name");
  }
  std::vector<size_t> saved;
  for (size_t i = 0; i < modules.size(); ++i) {
    const std::string& name = modules[i].name;
    if (name == "model.layers" && EndsOnAny(name, names)) {
      return Fail(ErrorCode::kUnfit, "modules_to_save selects the list of layers itself");
    }
    bool is_saved = EndsOnAny(name, names);
    for (size_t dot = name.find('.'); dot != std::string::npos && !is_saved;
         dot = name.find('.', dot + 1)) {
      is_saved = EndsOnAny(std::string_view(name).substr(0, dot), names);
    }
    if (is_saved && modules[i].kind != ModuleKind::kOther) saved.push_back(i);
  }
  return saved;
}

// trainable_token_indices, and whether a tied head goes with the embedding.
Result<std::vector<TokenTarget>> MatchTokens(const PeftLoraConfig& config,
                                             std::span<const BaseModule> modules,
                                             bool tied_embeddings) {
  const std::vector<int64_t>* of_embedding = nullptr;
  const std::vector<int64_t>* of_head = nullptr;
  for (const auto& [name, token_ids] : config.token_indices) {
    bool found = false;
    for (const BaseModule& module : modules) {
      if (name.empty() || !module.name.ends_with(name)) continue;
      if (module.kind != ModuleKind::kEmbedding && module.kind != ModuleKind::kHead) {
        return Fail(ErrorCode::kUnsupported,
                    fmt::format("trainable_token_indices selects {}; only the embedding and the "
                                "output head have rows of tokens",
                                Quoted(module.name)));
      }
      (module.kind == ModuleKind::kEmbedding ? of_embedding : of_head) = &token_ids;
      found = true;
    }
    if (!found) {
      return Fail(ErrorCode::kUnfit, fmt::format("trainable_token_indices names {}, which is no "
                                                 "module of the base model",
                                                 Quoted(name)));
    }
  }
  bool follows = tied_embeddings && of_embedding != nullptr;
  if (follows && of_head != nullptr && *of_head != *of_embedding) {
    if (config.ensure_weight_tying) {
      return Fail(ErrorCode::kUnfit,
                  "ensure_weight_tying: trainable_token_indices names other tokens for the head "
                  "than for the embedding");
    }
    follows = false;
  }
  std::vector<TokenTarget> targets;
  for (size_t i = 0; i < modules.size(); ++i) {
    const bool embedding = modules[i].kind == ModuleKind::kEmbedding;
    const bool head = modules[i].kind == ModuleKind::kHead;
    if (embedding && of_embedding != nullptr) targets.push_back({i, *of_embedding, false});
    if (head && follows) {
      targets.push_back({i, *of_embedding, true});
    } else if (head && of_head != nullptr) {
      targets.push_back({i, *of_head, false});
    }
  }
  return targets;
}

Status CheckRoles(const ModulePlan& plan, std::span<const BaseModule> modules) {
  std::vector<std::string_view> role(modules.size());
  const auto take = [&](size_t module_idx, std::string_view name) -> Status {
    if (role[module_idx].empty()) {
      role[module_idx] = name;
      return {};
    }
    return Fail(ErrorCode::kUnfit,
                fmt::format("{} is in {} and in {}; PEFT does not apply both",
                            Quoted(modules[module_idx].name), role[module_idx], name));
  };
  for (const TargetedModule& target : plan.lora) {
    RETURN_IF_ERROR(take(target.module_idx, "target_modules"));
  }
  for (size_t module_idx : plan.saved) RETURN_IF_ERROR(take(module_idx, "modules_to_save"));
  for (const TokenTarget& target : plan.tokens) {
    RETURN_IF_ERROR(take(target.module_idx, "trainable_token_indices"));
  }
  return {};
}

}  // namespace

Result<std::vector<TargetedModule>> MatchPeftModules(const PeftLoraConfig& config,
                                                     ModelFamily family,
                                                     std::span<const BaseModule> modules,
                                                     bool tied_embeddings) {
  MatchBudget budget;
  ASSIGN_OR_RETURN(const Tying tying, ResolveTying(config, tied_embeddings, budget));
  ASSIGN_OR_RETURN(const Matcher matcher, CompileMatcher(config, family, modules, tying, budget));
  return MatchLora(config, matcher, modules, budget);
}

Result<ModulePlan> PlanPeftModules(const PeftLoraConfig& config, ModelFamily family,
                                   std::span<const BaseModule> modules, bool tied_embeddings) {
  MatchBudget budget;
  ASSIGN_OR_RETURN(const Tying tying, ResolveTying(config, tied_embeddings, budget));
  ASSIGN_OR_RETURN(const Matcher matcher, CompileMatcher(config, family, modules, tying, budget));
  ModulePlan plan{.head_is_saved_embedding = tying.saved, .head_lora_is_embeddings = tying.lora};
  ASSIGN_OR_RETURN(plan.lora, MatchLora(config, matcher, modules, budget));
  std::vector<std::string> saved = tying.modules_to_save;
  if (tying.saved) saved.emplace_back(kHeadName);
  ASSIGN_OR_RETURN(plan.saved, MatchSaved(saved, modules));
  ASSIGN_OR_RETURN(plan.tokens, MatchTokens(config, modules, tied_embeddings));
  RETURN_IF_ERROR(CheckRoles(plan, modules));
  return plan;
}

}  // namespace lorry::formats
