#include "request/model_directory.h"

#include <gtest/gtest.h>

namespace lorry {
namespace {

ModelDirectory Directory() {
  return ModelDirectory({"base", "alias"}, "/models/base", {{"sql", "./sql"}}, 2048, 0);
}

TEST(ModelDirectoryTest, ResolvesEveryForm) {
  const ModelDirectory directory = Directory();
  EXPECT_FALSE(directory.Resolve("")->is_adapter());
  EXPECT_EQ(directory.Resolve("")->name, "base");
  EXPECT_FALSE(directory.Resolve("alias")->is_adapter());
  EXPECT_TRUE(directory.Resolve("sql")->is_adapter());
  EXPECT_EQ(directory.Resolve("alias:sql")->name, "sql");
}

TEST(ModelDirectoryTest, Sums) {
  const ModelDirectory directory({"base", "my+base"}, "/models/base", {{"a"}, {"b"}}, 2048, 0);
  for (const char* text : {"a+0.5*b", "base:a+0.5*b", "my+base:a+0.5*b"}) {
    const auto choice = directory.Resolve(text);
    ASSERT_TRUE(choice) << text;
    EXPECT_EQ(choice->name, text) << "it comes back as it was sent";
    ASSERT_EQ(choice->adapters.size(), 2u);
    EXPECT_EQ(choice->adapters[1].name, "b");
    EXPECT_EQ(choice->adapters[1].weight, 0.5f);
  }
  EXPECT_FALSE(directory.Resolve("my+base")->is_adapter()) << "a name goes before a sum";
  EXPECT_EQ(directory.Resolve("a+c").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(directory.Resolve("a+base").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(directory.Resolve("x*a").error().code, ErrorCode::kInvalidArgument);
}

TEST(ModelDirectoryTest, UnknownNamesAreNotFound) {
  const ModelDirectory directory = Directory();
  for (const char* name : {"sqll", "base:", "base:x", "other:sql", ":sql", "sql:base"}) {
    const auto choice = directory.Resolve(name);
    ASSERT_FALSE(choice) << name;
    EXPECT_EQ(choice.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(choice.error().param, "model");
  }
}

TEST(ModelDirectoryTest, AdapterNames) {
  EXPECT_TRUE(CheckAdapterName("org/my.adapter-1_x"));
  EXPECT_FALSE(CheckAdapterName(""));
  EXPECT_FALSE(CheckAdapterName("-x"));
  EXPECT_FALSE(CheckAdapterName("a:b"));
  EXPECT_FALSE(CheckAdapterName("a b"));
  EXPECT_FALSE(CheckAdapterName(std::string(257, 'a')));
}

}  // namespace
}  // namespace lorry
