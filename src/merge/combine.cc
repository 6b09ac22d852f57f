#include "merge/combine.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/random.h"
#include "merge/task_arithmetic.h"

namespace lorry::merge {
namespace {

std::vector<float> AsF32(const formats::TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
  formats::ConvertToF32(tensor, values);
  return values;
}

// FNV-1a, 64 bits.
uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

LowRank Shaped(const formats::AdapterModule& module, int64_t rank) {
  return {.rank = rank, .in_features = module.in_features, .out_features = module.out_features};
}

LowRank Concatenate(std::span<const ModuleTerm> terms) {
  int64_t total_rank = 0;
  for (const ModuleTerm& term : terms) total_rank += term.module->rank;
  LowRank result = Shaped(*terms.front().module, total_rank);
  result.b.resize(static_cast<size_t>(result.out_features * total_rank));
  int64_t column = 0;
  for (const ModuleTerm& term : terms) {
    const int64_t rank = term.module->rank;
    const auto weight = static_cast<float>(term.weight);
    const auto scaling = static_cast<float>(term.module->scaling);
    for (const float value : AsF32(term.module->a)) result.a.push_back(value * weight * scaling);
    const std::vector<float> b = AsF32(term.module->b);
    for (int64_t row = 0; row < result.out_features; ++row) {
      std::copy_n(b.begin() + row * rank, rank, result.b.begin() + row * total_rank + column);
    }
    column += rank;
  }
  return result;
}

// The square root of weight * scaling enters both factors, so that their product has it whole; a
// negative one's sign enters A alone.
TaskTensor MakeTask(const ModuleTerm& term, Factor factor) {
  const double weight = term.weight * term.module->scaling;
  const double root = std::sqrt(std::abs(weight));
  return {.values = AsF32(factor == Factor::kA ? term.module->a : term.module->b),
          .weight = static_cast<float>(factor == Factor::kA && weight < 0 ? -root : root)};
}

std::vector<float> CombineFactor(const Combination& combination, std::span<const ModuleTerm> terms,
                                 Factor factor, const MaskSource& masks) {
  const Method method = combination.method;
  std::vector<TaskTensor> tasks;
  for (const ModuleTerm& term : terms) {
    TaskTensor task = MakeTask(term, factor);
    if (IsRandom(method) && combination.density < 1) {
      DropAndRescale(task.values,
                     masks(term.adapter_idx, term.module->name, factor, task.values.size()),
                     combination.density);
    } else if (UsesDensity(method)) {
      KeepLargest(task.values, combination.density);
    }
    tasks.push_back(std::move(task));
  }
  return UsesMajoritySign(method) ? MergeAgreeing(tasks, combination.majority_sign)
                                  : WeightedSum(tasks);
}

}  // namespace

MaskSource SeededMasks(uint64_t seed, double density) {
  return [seed, density](size_t adapter_idx, const std::string& module, Factor factor,
                         size_t count) {
    const uint32_t stream = static_cast<uint32_t>(adapter_idx) * 2 + (factor == Factor::kB ? 1 : 0);
    const uint64_t first = HashName(module);
    std::vector<uint8_t> keep(count);
    for (size_t i = 0; i < count; ++i) keep[i] = UniformAt(seed, stream, first + i) < density;
    return keep;
  };
}

LowRank Unchanged(const ModuleTerm& term) {
  LowRank result = Shaped(*term.module, term.module->rank);
  result.scale = static_cast<float>(term.weight * term.module->scaling);
  result.a = AsF32(term.module->a);
  result.b = AsF32(term.module->b);
  return result;
}

LowRank CombineModule(const Combination& combination, std::span<const ModuleTerm> terms,
                      const MaskSource& masks) {
  CHECK(!terms.empty());
  if (combination.method == Method::kCat) return Concatenate(terms);
  if (combination.method == Method::kSvd) {
    std::vector<LowRank> products;
    for (const ModuleTerm& term : terms) products.push_back(Unchanged(term));
    return TruncatedSum(products, combination.svd_rank);
  }
  LowRank result = Shaped(*terms.front().module, terms.front().module->rank);
  for (const ModuleTerm& term : terms) CHECK_EQ(term.module->rank, result.rank);
  result.a = CombineFactor(combination, terms, Factor::kA, masks);
  result.b = CombineFactor(combination, terms, Factor::kB, masks);
  return result;
}

}  // namespace lorry::merge
