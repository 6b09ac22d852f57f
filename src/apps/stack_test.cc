#include "apps/stack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace lorry::apps {
namespace {

using testing::HasSubstr;

TEST(StackTest, KvIsHalfOfWhatIsFreeWithinWhatIsOfUse) {
  // Pages of 1000 bytes; one sequence of 64 tokens takes 4 of them, ten take 40.
  PoolDemand demand{.page_bytes = 1000, .page_tokens = 16, .max_model_len = 64, .max_num_seqs = 10};
  demand.free_bytes = 1'000'000;
  EXPECT_EQ(ChoosePoolBytes(demand), 40'000u);
  demand.free_bytes = 20'000;
  EXPECT_EQ(ChoosePoolBytes(demand), 10'000u);
  demand.free_bytes = 1'000;
  EXPECT_EQ(ChoosePoolBytes(demand), 4'000u);
}

TEST(StackTest, NamesOfDirectories) {
  EXPECT_EQ(NameOfDirectory("/models/llama-1b"), "llama-1b");
  EXPECT_EQ(NameOfDirectory("/c/hub/models--org--name/snapshots/0a1b2c"), "org/name");
}

TEST(StackTest, MemoryTableIsInBytes) {
  const std::string table = MemoryTable({1234567, 2000, 30, 4, 0, 5});
  EXPECT_THAT(table, HasSubstr("weights            1,234,567   1.23 MB\n"));
  EXPECT_THAT(table, HasSubstr("free"));
}

TEST(StackTest, MissingModelSaysWhatAModelIs) {
  StackOptions options;
  options.model = "org/name";
  const auto stack = Stack::Build(options);
  ASSERT_FALSE(stack);
  EXPECT_THAT(stack.error().message, HasSubstr("org/name: no such directory"));
  EXPECT_THAT(stack.error().message, HasSubstr("Hub"));
}

TEST(StackTest, AdaptersMayBeForbidden) {
  StackOptions options;
  options.enable_lora = false;
  options.adapters = {"a=/x"};
  EXPECT_EQ(Stack::Build(options).error().param, "enable-lora");
}

}  // namespace
}  // namespace lorry::apps
