#include "merge/plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/path_text.h"
#include "formats/json.h"
#include "merge/tensor_change.h"

namespace lorry::merge {
namespace {

using formats::AdapterModule;
using formats::PeftAdapter;

constexpr double kMaxWeight = 1e6;  // far from where f32 overflows, beyond any sense

Status CheckOptions(const MergeOptions& options) {
  if (options.adapters.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "which adapters? --adapter DIR[@weight]");
  }
  for (const WeightedAdapter& adapter : options.adapters) {
    if (std::abs(adapter.weight) <= kMaxWeight) continue;  // false for NaN
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: weight {}, must be within ±{}", adapter.shown(), adapter.weight,
                            kMaxWeight));
  }
  return CheckCombination(options.combination);
}

// Every tensor of the file has a part in the merge. Anything else would be lost.
Status CheckAllApplied(const PeftAdapter& adapter, bool tied_head) {
  std::set<std::string> applied;
  for (const AdapterModule& module : adapter.modules) {
    applied.insert({module.a.name, module.b.name});
    if (module.b_bias) applied.insert(module.b_bias->name);
    if (module.magnitude) applied.insert(module.magnitude->name);
  }
  for (const formats::SavedParameter& saved : adapter.saved) applied.insert(saved.values.name);
  for (const formats::TokenRows& tokens : adapter.token_rows) applied.insert(tokens.rows.name);
  for (const formats::TensorView& tensor : adapter.weights.tensors()) {
    // With a tied head PEFT may write the embedding's part a second time, under the head's name.
    const bool repeated = tied_head && tensor.name.starts_with("base_model.model.lm_head.");
    if (repeated || applied.contains(tensor.name)) continue;
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: tensor {}: lorry merge does not know what to do with it",
                            adapter.dir, formats::Quoted(tensor.name)));
  }
  return {};
}

// PEFT's r of a combination: the largest of the config, whether or not a module has it.
int64_t LargestRank(const std::vector<PeftAdapter>& adapters) {
  int64_t rank = 1;
  for (const PeftAdapter& adapter : adapters) {
    rank = std::max(rank, adapter.config.rank);
    for (const auto& [pattern, value] : adapter.config.rank_pattern) rank = std::max(rank, value);
  }
  return rank;
}

Result<bool> SameValues(const formats::Checkpoint& base, const formats::TensorEntry& x,
                        const formats::TensorView& y) {
  if (x.shape != y.shape || !formats::IsFloatWeight(x.dtype)) return false;
  std::vector<std::byte> buffer;
  std::vector<float> x_values, y_values;
  for (int64_t first = 0; first < x.num_elements(); first += kBlockElements) {
    const int64_t count = std::min(kBlockElements, x.num_elements() - first);
    x_values.resize(static_cast<size_t>(count));
    y_values.resize(static_cast<size_t>(count));
    ASSIGN_OR_RETURN(const formats::TensorView block, base.Read(x, first, count, buffer));
    formats::ConvertToF32(block, x_values);
    formats::ConvertToF32(Part(y, first, count), y_values);
    if (x_values != y_values) return false;
  }
  return true;
}

}  // namespace

Result<MergePlan> MergePlan::Open(MergeOptions options) {
  RETURN_IF_ERROR(CheckOptions(options));
  MergePlan plan;
  plan.options_ = std::move(options);
  plan.combination_ = plan.options_.combination;
  if (plan.options_.adapters.size() == 1) plan.combination_.method = Method::kLinear;
  RETURN_IF_ERROR(plan.OpenBase());
  RETURN_IF_ERROR(plan.OpenAdapters());
  if (plan.combination_.svd_rank == 0) plan.combination_.svd_rank = LargestRank(plan.adapters_);
  RETURN_IF_ERROR(plan.CheckModules());
  RETURN_IF_ERROR(plan.CheckSaved());
  return plan;
}

Status MergePlan::OpenBase() {
  ASSIGN_OR_RETURN(base_config_, formats::ReadHfConfig(options_.base_dir));
  if (options_.as_adapter) return {};
  ASSIGN_OR_RETURN(base_, formats::Checkpoint::Open(options_.base_dir));
  return {};
}

Status MergePlan::OpenAdapters() {
  adapters_.reserve(options_.adapters.size());  // terms point into it
  for (const WeightedAdapter& source : options_.adapters) {
    Result<PeftAdapter> adapter = formats::OpenPeftAdapter(source.dir, base_config_);
    if (!adapter) {
      adapter.error().message = std::string(WithoutPath(source.dir, adapter.error().message));
      return Annotate(std::move(adapter.error()), source.shown());
    }
    adapter->dir = source.shown();
    RETURN_IF_ERROR(AddAdapter(std::move(*adapter), source.weight));
  }
  return {};
}

Status MergePlan::AddAdapter(PeftAdapter adapter, double weight) {
  RETURN_IF_ERROR(CheckVocabulary(adapter, base_config_));
  RETURN_IF_ERROR(CheckAllApplied(adapter, base_config_.tie_word_embeddings));
  RETURN_IF_ERROR(DropRepeatedWeights(adapter));
  RETURN_IF_ERROR(CheckForms(adapter, options_));
  unties_head_ |= base_config_.tie_word_embeddings && ChangesVocabulary(adapter);
  adapters_.push_back(std::move(adapter));
  for (const AdapterModule& module : adapters_.back().modules) {
    PlannedModule& planned = modules_[module.name];
    planned.in_features = module.in_features;
    planned.out_features = module.out_features;
    planned.terms.push_back(
        {.module = &module, .weight = weight, .adapter_idx = adapters_.size() - 1});
  }
  return {};
}

// PEFT saves the base's embedding and head along with LoRA on them. Those are no changes.
Status MergePlan::DropRepeatedWeights(PeftAdapter& adapter) const {
  if (!base_) return {};
  for (auto saved = adapter.saved.begin(); saved != adapter.saved.end();) {
    const auto weight = base_->Get(SourceOf(SavedName(*saved)));
    bool is_same = false;
    if (weight) {
      ASSIGN_OR_RETURN(is_same, SameValues(*base_, *weight, saved->values));
    }
    saved = is_same ? adapter.saved.erase(saved) : saved + 1;
  }
  return {};
}

std::string MergePlan::SourceOf(const std::string& tensor_name) const {
  const bool tied = base_config_.tie_word_embeddings && tensor_name == kHeadWeight;
  return tied ? std::string(kEmbeddingWeight) : tensor_name;
}

Status MergePlan::CheckSaved() const {
  if (!base_) return {};
  for (const PeftAdapter& adapter : adapters_) {
    for (const formats::SavedParameter& saved : adapter.saved) {
      RETURN_IF_ERROR(base_->GetWeight(SourceOf(SavedName(saved)), saved.values.shape));
    }
  }
  return {};
}

// The base's config says that the adapter fits; now its weights.
Status MergePlan::CheckBaseTensors(const std::string& name, const PlannedModule& module) const {
  const AdapterModule& first = *module.terms.front().module;
  std::vector<int64_t> shape = {module.out_features, module.in_features};
  if (first.kind == formats::ModuleKind::kEmbedding) std::swap(shape[0], shape[1]);
  RETURN_IF_ERROR(base_->GetWeight(SourceOf(name + ".weight"), shape));
  if (first.b_bias && !base_->Has(name + ".bias")) {
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("module {}: the adapter adds to its bias, and the base has none", name));
  }
  return {};
}

Status MergePlan::CheckModules() const {
  for (const auto& [name, module] : modules_) {
    if (base_) RETURN_IF_ERROR(CheckBaseTensors(name, module));
    if (!NeedsEqualRanks(combination_.method)) continue;
    for (const ModuleTerm& term : module.terms) {
      const ModuleTerm& first = module.terms.front();
      if (term.module->rank == first.module->rank) continue;
      return Fail(
          ErrorCode::kUnfit,
          fmt::format("module {}: rank {} in {} and {} in {}; method {} needs equal ones, "
                      "cat and svd take any",
                      name, first.module->rank, options_.adapters[first.adapter_idx].shown(),
                      term.module->rank, options_.adapters[term.adapter_idx].shown(),
                      MethodName(combination_.method)));
    }
  }
  return {};
}

LowRank MergePlan::Combine(const PlannedModule& module) const {
  if (adapters_.size() == 1 && !options_.as_adapter) return Unchanged(module.terms.front());
  return CombineModule(combination_, module.terms,
                       SeededMasks(combination_.seed, combination_.density));
}

std::string BaseName(const MergePlan& plan) {
  std::set<std::string> names;
  for (const PeftAdapter& adapter : plan.adapters()) names.insert(adapter.config.base_model_name);
  if (names.size() == 1 && !names.begin()->empty()) return *names.begin();
  const std::filesystem::path dir =
      std::filesystem::path(plan.options().base_dir).lexically_normal();
  return (dir.has_filename() ? dir : dir.parent_path()).filename().string();
}

}  // namespace lorry::merge
