#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/spare_memory.h"
#include "device/buffer.h"
#include "device/dtype.h"

namespace lorry {
namespace {

TEST(DType, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(ToBFloat16(1.0f).bits, 0x3f80);
  EXPECT_EQ(ToBFloat16(1.00390625f).bits, 0x3f80);  // halfway: to even
  EXPECT_EQ(ToBFloat16(1.01171875f).bits, 0x3f82);  // halfway: to even, upwards
  EXPECT_EQ(ToBFloat16(1.0039065f).bits, 0x3f81);   // just above halfway
  EXPECT_EQ(ToBFloat16(-0.0f).bits, 0x8000);
  EXPECT_TRUE(std::isnan(ToFloat(ToBFloat16(std::nanf("")))));
  EXPECT_TRUE(std::isinf(ToFloat(ToBFloat16(3.4e38f))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 value{static_cast<uint16_t>(bits)};
    if (std::isnan(ToFloat(value))) continue;
    EXPECT_EQ(ToBFloat16(ToFloat(value)).bits, bits);
  }
}

TEST(DType, HalfToFloatIsExactForEveryHalf) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const int exponent = static_cast<int>(half >> 10 & 0x1f);
    const double mantissa = half & 0x3ff;
    const double sign = half & 0x8000 ? -1 : 1;
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (exponent == 31) {
      EXPECT_TRUE(mantissa == 0 ? std::isinf(value) && std::signbit(value) == (sign < 0)
                                : std::isnan(value));
    } else {
      const double expected =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      ASSERT_EQ(value, static_cast<float>(sign * expected)) << half;
      ASSERT_EQ(std::signbit(value), sign < 0);
    }
  }
}

TEST(Buffer, WhatHasEndedServesAgain) {
  constexpr size_t kBytes = size_t{5} << 20;
  auto first = Buffer::AllocateUnzeroed(kBytes);
  ASSERT_TRUE(first);
  const std::byte* data = first->data();
  std::memset(first->data(), 42, kBytes);
  *first = Buffer();
  const auto larger = Buffer::AllocateUnzeroed(2 * kBytes);
  EXPECT_NE(larger->data(), data);
  const auto front = Buffer::AllocateUnzeroed(kBytes / 2);
  EXPECT_EQ(front->data(), data);
  EXPECT_EQ(front->num_bytes(), kBytes / 2);
  const auto rest = Buffer::AllocateUnzeroed(kBytes / 2);
  EXPECT_EQ(rest->data(), data + kBytes / 2);
  const auto zeroed = Buffer::Allocate(kBytes);
  for (size_t i = 0; i < kBytes; i += 4096) ASSERT_EQ(zeroed->data()[i], std::byte{0});
}

bool IsMapped(void* page) {
  unsigned char resident;
  return mincore(page, 1, &resident) == 0;
}

TEST(Buffer, SparesAreBounded) {
  std::vector<void*> starts;
  {
    std::vector<Buffer> buffers;
    for (int i = 0; i < 4; ++i) {
      buffers.push_back(*Buffer::Allocate(SpareMemory::Instance().max_bytes() / 2));
      std::memset(buffers.back().data(), 1, buffers.back().num_bytes());
      starts.push_back(buffers.back().data());
    }
  }
  EXPECT_LE(std::count_if(starts.begin(), starts.end(), IsMapped), 2);
  EXPECT_FALSE(Buffer::MakeSpare(SpareMemory::Instance().max_bytes()));
}

TEST(Buffer, IsZeroedAlignedAndMovable) {
  for (size_t num_bytes : {size_t{1}, size_t{5000}, size_t{5} << 20}) {
    auto buffer = Buffer::Allocate(num_bytes);
    ASSERT_TRUE(buffer);
    EXPECT_GE(buffer->num_bytes(), num_bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    EXPECT_EQ(buffer->data()[num_bytes - 1], std::byte{0});
    buffer->data()[num_bytes - 1] = std::byte{7};
    const Buffer moved = std::move(*buffer);
    EXPECT_EQ(moved.data()[num_bytes - 1], std::byte{7});
  }
  EXPECT_EQ(Buffer::Allocate(0)->num_bytes(), 0u);
}

TEST(Buffer, RefusalIsAnError) {
  const auto buffer = Buffer::Allocate(size_t{1} << 60);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().code, ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace lorry
