// Shared by the kernels' tests: every instruction set of this processor, seeded random tensors,
// comparison with a tolerance.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "device/buffer.h"
#include "device/dtype.h"
#include "kernels/isa.h"

namespace lorry::kernels {

inline std::vector<std::string> AvailableIsas() {
  std::vector<std::string> names;
  for (const char* name : {"ref", "portable", "avx2", "avx512bf16"}) {
    if (SelectIsa(name)) names.push_back(name);
  }
  EXPECT_TRUE(SelectIsa("auto"));
  return names;
}

// Act elements in either type, in zeroed, aligned memory.
class Tensor {
 public:
  Tensor(size_t num_elements, DType dtype)
      : dtype_(dtype),
        num_elements_(num_elements),
        buffer_(Buffer::Allocate(num_elements * DTypeBytes(dtype) + 64).value()) {}

  // Normal, rounded to the type. The same seed gives the same values.
  static Tensor Random(size_t num_elements, DType dtype, int seed, float deviation = 1) {
    Tensor tensor(num_elements, dtype);
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0, deviation);
    for (size_t i = 0; i < num_elements; ++i) tensor.Set(i, normal(generator));
    return tensor;
  }

  void* data() const { return buffer_.data(); }
  float* f32() const { return buffer_.As<float>(); }
  DType dtype() const { return dtype_; }
  size_t size() const { return num_elements_; }
  float Get(size_t i) const {
    return dtype_ == DType::kF32 ? f32()[i] : ToFloat(buffer_.As<BFloat16>()[i]);
  }
  void Set(size_t i, float value) {
    if (dtype_ == DType::kF32) {
      f32()[i] = value;
    } else {
      buffer_.As<BFloat16>()[i] = ToBFloat16(value);
    }
  }
  bool SameBits(const Tensor& other) const {
    return size() == other.size() &&
           std::memcmp(data(), other.data(), size() * DTypeBytes(dtype_)) == 0;
  }

 private:
  DType dtype_;
  size_t num_elements_;
  Buffer buffer_;
};

// The root of the mean square difference over that of the expected values, and no element off by
// more than ten times the bound.
inline void ExpectClose(const Tensor& actual, const Tensor& expected, double bound,
                        const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  double squares = 0, error_squares = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual.Get(i)) - expected.Get(i));
    ASSERT_FALSE(std::isnan(error)) << what << " element " << i;
    squares += static_cast<double>(expected.Get(i)) * expected.Get(i);
    error_squares += error * error;
    worst = std::max(worst, error);
  }
  if (expected.size() == 0) return;
  const double rms = std::sqrt(squares / static_cast<double>(expected.size()));
  EXPECT_LE(std::sqrt(error_squares / static_cast<double>(expected.size())), bound * rms) << what;
  EXPECT_LE(worst, 10 * bound * rms) << what;
}

}  // namespace lorry::kernels
