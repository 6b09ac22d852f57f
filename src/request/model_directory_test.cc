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
