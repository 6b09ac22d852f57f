#include "request/model_directory.h"

#include <gtest/gtest.h>

namespace lorry {
namespace {

ModelDirectory Directory() {
  AdapterId sql;
  sql.bytes[0] = 1;
  return ModelDirectory({"base", "alias"}, "/models/base", {{"sql", sql, "./sql"}}, 2048, 0);
}

TEST(ModelDirectoryTest, ResolvesEveryForm) {
  const ModelDirectory directory = Directory();
  EXPECT_TRUE(directory.Resolve("")->adapter.IsBase());
  EXPECT_TRUE(directory.Resolve("alias")->adapter.IsBase());
  EXPECT_EQ(directory.Resolve("sql")->adapter.bytes[0], 1);
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
