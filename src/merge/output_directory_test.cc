#include "merge/output_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "formats/test_files.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;
using formats::TempDir;
using testing::HasSubstr;

size_t NumEntries(const std::string& dir) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
}

TEST(OutputDirectoryTest, AppearsWholeOrNotAtAll) {
  const TempDir temp;
  {
    auto directory = OutputDirectory::Create(temp.Path("out"), 10);
    ASSERT_TRUE(directory) << directory.error().message;
    std::ofstream(directory->partial_path() + "/file") << "x";
    EXPECT_FALSE(fs::exists(temp.Path("out")));
  }
  EXPECT_EQ(NumEntries(temp.path()), 0u);  // not published: nothing is left

  auto directory = OutputDirectory::Create(temp.Path("out/"), 10);
  ASSERT_TRUE(directory);
  std::ofstream(directory->partial_path() + "/file") << "x";
  ASSERT_TRUE(directory->Publish());
  EXPECT_EQ(formats::ReadWhole(temp.Path("out/file")), "x");
  EXPECT_EQ(NumEntries(temp.path()), 1u);
  EXPECT_NE(fs::status(temp.Path("out")).permissions() & fs::perms::group_read, fs::perms::none);
}

TEST(OutputDirectoryTest, AnEmptyDirectoryIsFilled) {
  const TempDir temp;
  fs::create_directory(temp.Path("out"));
  auto directory = OutputDirectory::Create(temp.Path("out"), 0);
  ASSERT_TRUE(directory);
  std::ofstream(directory->partial_path() + "/file") << "x";
  ASSERT_TRUE(directory->Publish());
  EXPECT_EQ(NumEntries(temp.Path("out")), 1u);
}

TEST(OutputDirectoryTest, WhatIsThereIsNotTouched) {
  const TempDir temp;
  temp.Write("full/file", "mine");
  temp.Write("plain", "mine");
  EXPECT_THAT(CheckOutput(temp.Path("full"), 0).error().message, HasSubstr("is not empty"));
  EXPECT_THAT(CheckOutput(temp.Path("plain"), 0).error().message, HasSubstr("no directory"));
  EXPECT_THAT(CheckOutput(temp.Path("no/such/parent"), 0).error().message,
              HasSubstr("no/such: no such directory"));
  EXPECT_THAT(CheckOutput("", 0).error().message, HasSubstr("-o DIR"));

  // Something came into it after the check.
  fs::create_directory(temp.Path("out"));
  auto directory = OutputDirectory::Create(temp.Path("out"), 0);
  ASSERT_TRUE(directory);
  temp.Write("out/file", "mine");
  EXPECT_FALSE(directory->Publish());
  EXPECT_EQ(formats::ReadWhole(temp.Path("out/file")), "mine");
}

TEST(OutputDirectoryTest, TooLittleSpaceIsMetBeforeTheWork) {
  const TempDir temp;
  const Status status = CheckOutput(temp.Path("out"), uint64_t{1} << 60);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(status.error().message, HasSubstr("1152921504607895552 bytes are needed"));
}

}  // namespace
}  // namespace lorry::merge
