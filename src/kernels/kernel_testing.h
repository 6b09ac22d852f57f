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

// The root of the mean square difference is at most `bound` of that of the expected values, and no
// element is off by more than ten times that (and, in bf16, by one step of its own: 2^-7 of it).
inline void ExpectClose(const Tensor& actual, const Tensor& expected, double bound,
                        const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  if (expected.size() == 0) return;
  const double count = static_cast<double>(expected.size());
  double squares = 0, error_squares = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = static_cast<double>(actual.Get(i)) - expected.Get(i);
    ASSERT_FALSE(std::isnan(error)) << what << " element " << i;
    squares += static_cast<double>(expected.Get(i)) * expected.Get(i);
    error_squares += error * error;
  }
  const double rms = std::sqrt(squares / count);
  EXPECT_LE(std::sqrt(error_squares / count), bound * rms) << what;
  const double step = expected.dtype() == DType::kBF16 ? 0x1p-7 : 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual.Get(i)) - expected.Get(i));
    ASSERT_LE(error, 10 * bound * rms + step * std::abs(expected.Get(i)))
        << what << " element " << i;
  }
}

}  // namespace lorry::kernels
