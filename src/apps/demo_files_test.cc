#include "apps/demo_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;

class DemoFilesTest : public testing::Test {
 protected:
  DemoFilesTest() { fs::create_directories(dir_); }
  ~DemoFilesTest() override { fs::remove_all(dir_); }
  const fs::path dir_ = fs::path(testing::TempDir()) / ("demo_files_" + std::to_string(getpid()));
};

TEST_F(DemoFilesTest, FindsBaseAndAdaptersByName) {
  EXPECT_EQ(DemoFilesIn(dir_).error().code, ErrorCode::kNotFound);
  fs::create_directories(dir_ / "base");
  EXPECT_FALSE(DemoFilesIn(dir_)) << "no adapters";
  fs::create_directories(dir_ / "adapters/sql");
  fs::create_directories(dir_ / "adapters/json");
  const auto files = DemoFilesIn(dir_);
  ASSERT_TRUE(files);
  ASSERT_EQ(files->adapters.size(), 2u);
  EXPECT_EQ(files->adapters[0].name, "json");
  EXPECT_EQ(files->adapters[1].path, dir_ / "adapters/sql");
}

TEST_F(DemoFilesTest, FirstLoneQuestionOfEachAdapter) {
  const std::string file = dir_ / "prompts.jsonl";
  std::ofstream(file)
      << R"({"adapter":"a","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"user","content":"z"}],"answer":"0"})"
      << "\n"
      << R"({"adapter":"a","messages":[{"role":"user","content":"one"}],"answer":"1"})" << "\n"
      << R"({"adapter":"a","messages":[{"role":"user","content":"two"}],"answer":"2"})" << "\n"
      << R"({"adapter":"b","messages":[{"role":"user","content":"three"}],"answer":"3"})" << "\n";
  const auto prompts = FirstPrompts(file);
  ASSERT_TRUE(prompts) << prompts.error().message;
  ASSERT_EQ(prompts->size(), 2u);
  EXPECT_EQ(prompts->at(0).question, "one");
  EXPECT_EQ(prompts->at(1).adapter, "b");
  EXPECT_EQ(prompts->at(1).answer, "3");
}

TEST_F(DemoFilesTest, BadPromptsAreAnError) {
  const std::string file = dir_ / "prompts.jsonl";
  EXPECT_EQ(FirstPrompts(file).error().code, ErrorCode::kNotFound);
  for (const char* line : {"{", "[]", R"({"adapter": 1})"}) {
    std::ofstream(file) << line << "\n";
    EXPECT_EQ(FirstPrompts(file).error().code, ErrorCode::kDataLoss) << line;
  }
}

}  // namespace
}  // namespace lorry::apps
