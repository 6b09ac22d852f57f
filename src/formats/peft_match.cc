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
  static Result<Selector> Compile(const ModuleSelector& source) {
    Selector selector;
    if (source.kind == ModuleSelector::Kind::kRegex) {
      ASSIGN_OR_RETURN(ModulePattern pattern, ModulePattern::Full(source.regex));
      selector.regex_ = std::move(pattern);
    } else {
      selector.names_ = NameSet(source.names.begin(), source.names.end());
    }
    return selector;
  }

  bool is_regex() const { return regex_.has_value(); }
  NameSet& names() { return names_; }
  const NameSet& names() const { return names_; }

  bool Selects(const std::string& name) const {
    return regex_ ? regex_->Matches(name) : IsOrEndsOnMember(names_, name);
  }

 private:
  std::optional<ModulePattern> regex_;
  NameSet names_;
};

Result<Selector> CompileTargets(const PeftLoraConfig& config, ModelFamily family,
                                std::span<const BaseModule> modules) {
  ModuleSelector source = config.target_modules;
  if (source.kind == ModuleSelector::Kind::kUnset) {
    switch (family) {
      case ModelFamily::kLlama:
      case ModelFamily::kQwen2:
        source.names = {"q_proj", "v_proj"};
    }
  } else if (source.kind == ModuleSelector::Kind::kAllLinear) {
    for (const BaseModule& module : modules) {
      if (module.kind == ModuleKind::kProjection) source.names.push_back(module.name);
    }
  }
  ASSIGN_OR_RETURN(Selector targets, Selector::Compile(source));
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
  static Result<LayerFilter> Compile(const PeftLoraConfig& config) {
    LayerFilter filter;
    filter.layers_ = config.layers_to_transform;
    if (filter.layers_.empty()) return filter;
    for (const std::string& source : config.layers_pattern) {
      ASSIGN_OR_RETURN(ModulePattern pattern, ModulePattern::LayerIndex(source));
      filter.patterns_.push_back(std::move(pattern));
    }
    if (filter.patterns_.empty()) filter.patterns_.push_back(ModulePattern::AnyLayerIndex());
    return filter;
  }

  bool Admits(std::string_view name) const {
    if (layers_.empty()) return true;
    for (const ModulePattern& pattern : patterns_) {  // the first that matches decides
      if (const std::optional<int64_t> layer = pattern.Index(name)) {
        return std::find(layers_.begin(), layers_.end(), *layer) != layers_.end();
      }
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
  static Result<PatternMap> Compile(const std::vector<std::pair<std::string, T>>& source) {
    PatternMap map;
    for (const auto& [key, value] : source) {
      ASSIGN_OR_RETURN(ModulePattern pattern, ModulePattern::Suffix(key));
      map.entries_.emplace_back(std::move(pattern), value);
    }
    return map;
  }

  T Or(std::string_view name, T fallback) const {
    for (const auto& [pattern, value] : entries_) {
      if (pattern.Matches(name)) return value;
    }
    return fallback;
  }

 private:
  std::vector<std::pair<ModulePattern, T>> entries_;
};

struct Matcher {
  Selector targets;
  Selector excluded;
  LayerFilter layers;

  bool Targets(const std::string& name) const {
    if (excluded.Selects(name)) return false;
    if (targets.is_regex() || targets.names().contains(name)) return targets.Selects(name);
    return targets.Selects(name) && layers.Admits(name);
  }
};

Result<Matcher> CompileMatcher(const PeftLoraConfig& config, ModelFamily family,
                               std::span<const BaseModule> modules) {
  ASSIGN_OR_RETURN(Selector targets, CompileTargets(config, family, modules));
  ASSIGN_OR_RETURN(Selector excluded, Selector::Compile(config.exclude_modules));
  ASSIGN_OR_RETURN(LayerFilter layers, LayerFilter::Compile(config));
  return Matcher{std::move(targets), std::move(excluded), std::move(layers)};
}

Status CheckKind(const BaseModule& module) {
  switch (module.kind) {
    case ModuleKind::kProjection:
      return {};
    case ModuleKind::kEmbedding:
    case ModuleKind::kHead:
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("target_modules selects {}; adapters of embeddings and of the output "
                              "head are not supported",
                              Quoted(module.name)));
    case ModuleKind::kOther:
      break;
  }
  return Fail(ErrorCode::kUnfit, fmt::format("target_modules selects {}, which is no linear layer",
                                             Quoted(module.name)));
}

}  // namespace

Result<std::vector<TargetedModule>> MatchPeftModules(const PeftLoraConfig& config,
                                                     ModelFamily family,
                                                     std::span<const BaseModule> modules) {
  ASSIGN_OR_RETURN(const Matcher matcher, CompileMatcher(config, family, modules));
  ASSIGN_OR_RETURN(const auto ranks, PatternMap<int64_t>::Compile(config.rank_pattern));
  ASSIGN_OR_RETURN(const auto alphas, PatternMap<double>::Compile(config.alpha_pattern));
  std::vector<TargetedModule> targeted;
  for (size_t i = 0; i < modules.size(); ++i) {
    const BaseModule& module = modules[i];
    if (!matcher.Targets(module.name)) continue;
    RETURN_IF_ERROR(CheckKind(module));
    const int64_t rank = ranks.Or(module.name, config.rank);
    const double alpha = alphas.Or(module.name, config.alpha);
    const double divisor = static_cast<double>(rank);
    targeted.push_back({.module_idx = i,
                        .rank = rank,
                        .scaling = alpha / (config.use_rslora ? std::sqrt(divisor) : divisor)});
  }
  if (targeted.empty()) {
    return Fail(ErrorCode::kUnfit, "target_modules selects no module of the base model");
  }
  return targeted;
}

}  // namespace lorry::formats
