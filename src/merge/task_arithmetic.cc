#include "merge/task_arithmetic.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace lorry::merge {
namespace {

size_t CommonSize(std::span<const TaskTensor> tensors) {
  CHECK(!tensors.empty());
  const size_t size = tensors.front().values.size();
  for (const TaskTensor& tensor : tensors) CHECK_EQ(tensor.values.size(), size);
  return size;
}

float Sign(float value) { return static_cast<float>((value > 0) - (value < 0)); }

}  // namespace

void KeepLargest(std::span<float> values, double density) {
  const auto num_kept = static_cast<size_t>(density * static_cast<double>(values.size()));
  if (num_kept >= values.size()) return;
  std::vector<uint32_t> order(values.size());
  CHECK_LE(values.size(), size_t{UINT32_MAX});
  std::iota(order.begin(), order.end(), 0u);
  const auto first_dropped = order.begin() + static_cast<ptrdiff_t>(num_kept);
  std::nth_element(order.begin(), first_dropped, order.end(), [&](uint32_t i, uint32_t j) {
    const float a = std::abs(values[i]), b = std::abs(values[j]);
    return a != b ? a > b : i < j;
  });
  std::for_each(first_dropped, order.end(), [&](uint32_t i) { values[i] = 0; });
}

void DropAndRescale(std::span<float> values, std::span<const uint8_t> keep, double density) {
  CHECK_EQ(values.size(), keep.size());
  const auto divisor = static_cast<float>(density);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = keep[i] != 0 ? values[i] / divisor : 0.0f;
  }
}

std::vector<float> WeightedSum(std::span<const TaskTensor> tensors) {
  std::vector<float> sum(CommonSize(tensors), 0.0f);
  for (const TaskTensor& tensor : tensors) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += tensor.values[i] * tensor.weight;
  }
  return sum;
}

std::vector<float> MergeAgreeing(std::span<const TaskTensor> tensors, MajoritySign majority_sign) {
  std::vector<float> merged(CommonSize(tensors));
  for (size_t i = 0; i < merged.size(); ++i) {
    float votes = 0;
    for (const TaskTensor& tensor : tensors) {
      const float value = tensor.values[i];
      votes += majority_sign == MajoritySign::kTotal ? value : Sign(value);
    }
    const float elected = votes >= 0 ? 1.0f : -1.0f;
    float sum = 0;
    int num_agreeing = 0;
    for (const TaskTensor& tensor : tensors) {
      if (Sign(tensor.values[i]) != elected) continue;
      sum += tensor.values[i] * tensor.weight;
      ++num_agreeing;
    }
    merged[i] = sum / static_cast<float>(std::max(num_agreeing, 1));
  }
  return merged;
}

}  // namespace lorry::merge
