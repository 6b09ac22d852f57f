// Tests run on the instruction set that LORRY_CPU names, as the server would: CI runs them on the
// portable kernels too.
#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/isa.h"

namespace lorry {
namespace {

class CpuFromEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    const char* name = std::getenv("LORRY_CPU");
    const Status status = kernels::SelectIsa(name == nullptr ? "auto" : name);
    ASSERT_TRUE(status) << status.error().message;
  }
};

[[maybe_unused]] const testing::Environment* const kCpu =
    testing::AddGlobalTestEnvironment(new CpuFromEnvironment);

}  // namespace
}  // namespace lorry
