#include "apps/adapter_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry::apps {
namespace {

using testing::HasSubstr;

TEST(AdapterArgumentsTest, NamedAndBare) {
  EXPECT_EQ(ParseAdapterArgument("sql=./sql-lora")->name, "sql");
  EXPECT_EQ(ParseAdapterArgument("sql=./sql-lora")->path, "./sql-lora");
  EXPECT_EQ(ParseAdapterArgument("org/sql=a=b")->path, "a=b");
  EXPECT_EQ(ParseAdapterArgument("./adapters/sql/")->name, "sql");
  EXPECT_THAT(ParseAdapterArgument("./a=b").error().message, HasSubstr("write NAME=PATH"));
}

TEST(AdapterArgumentsTest, VllmForms) {
  const auto named = ParseLoraModules("sql=/a");
  ASSERT_TRUE(named);
  EXPECT_EQ(named->at(0).path, "/a");
  const auto object =
      ParseLoraModules(R"({"name": "sql", "path": "/a", "base_model_name": "whatever"})");
  ASSERT_TRUE(object);
  EXPECT_EQ(object->at(0).name, "sql");
  const auto list =
      ParseLoraModules(R"([{"name": "a", "path": "/a"}, {"name": "b", "path": "/b"}])");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->at(1).path, "/b");
}

TEST(AdapterArgumentsTest, Errors) {
  EXPECT_FALSE(ParseAdapterArgument("@=x"));
  EXPECT_FALSE(ParseAdapterArgument("sql="));
  EXPECT_FALSE(ParseAdapterArgument(""));
  EXPECT_FALSE(ParseAdapterArgument(".."));
  EXPECT_FALSE(ParseLoraModules(R"({"name": "sql"})"));
  EXPECT_FALSE(ParseLoraModules(R"({"name": 1, "path": "/a"})"));
  EXPECT_FALSE(ParseLoraModules("{"));
  EXPECT_THAT(ParseLoraModules("models/llama").error().message, HasSubstr("write MODEL before it"));
  const auto twice = ParseAdapterArguments({"a=/x"}, {"a=/y"});
  ASSERT_EQ(twice.errors.size(), 1u);
  EXPECT_EQ(twice.errors[0].message, "two adapters are named 'a': write --adapter OTHER_NAME=/y");
  // What is wrong with one leaves the others.
  const auto mixed = ParseAdapterArguments({"a=", "b=/b", "c d=/c"}, {"{", "e=/e"});
  ASSERT_EQ(mixed.errors.size(), 3u);
  EXPECT_THAT(mixed.errors[0].message, HasSubstr("--adapter: "));
  EXPECT_THAT(mixed.errors[2].message, HasSubstr("--lora-modules: "));
  ASSERT_EQ(mixed.adapters.size(), 2u);
  EXPECT_EQ(mixed.adapters[0].name, "b");
  EXPECT_EQ(mixed.adapters[1].name, "e");
}

}  // namespace
}  // namespace lorry::apps
