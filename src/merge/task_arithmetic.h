// Arithmetic on equally large tensors of several adapters, as PEFT does it: element by element in
// f32, adapters in the order given. Owns: nothing. Thread: any. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "merge/combination.h"

namespace lorry::merge {

// One adapter's tensor and the factor that it enters with.
struct TaskTensor {
  std::vector<float> values;  // [elements] f32
  float weight = 1.0f;
};

// Zeroes all but the floor(density * n) values of the largest magnitude. Of equal ones the first
// stay; PEFT leaves that choice to torch.topk.
void KeepLargest(std::span<float> values, double density);

// Zeroes the values whose `keep` is 0 and divides the others by density, which preserves the
// tensor's expectation when each is kept with that probability.
void DropAndRescale(std::span<float> values, std::span<const uint8_t> keep, double density);

// The sum of weight * values.
std::vector<float> WeightedSum(std::span<const TaskTensor> tensors);

// TIES: per element the unweighted values elect a sign, and those that have it give the mean of
// their weight * value. A sum of zero elects plus; an element where nobody has the sign is 0.
std::vector<float> MergeAgreeing(std::span<const TaskTensor> tensors, MajoritySign majority_sign);

}  // namespace lorry::merge
