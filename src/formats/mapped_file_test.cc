#include "formats/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/test_files.h"

namespace lorry::formats {
namespace {

std::string Text(const MappedFile& file) {
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

TEST(MappedFileTest, MapsMovesAndReleases) {
  TempDir dir;
  const std::string content(3 * 4096 + 100, 'x');
  Result<MappedFile> opened = MappedFile::Open(dir.Write("a", content));
  ASSERT_TRUE(opened.has_value());
  MappedFile moved = std::move(*opened);
  EXPECT_EQ(Text(moved), content);
  moved.ReleasePages(moved.bytes());
  moved.ReleasePages(moved.bytes().subspan(10, 20));
  EXPECT_EQ(Text(moved), content);  // read again from the file
  moved = MappedFile::Open(dir.Write("b", "other")).value();
  EXPECT_EQ(Text(moved), "other");
}

TEST(MappedFileTest, ACopyOutlivesWhatHappensToTheFile) {
  TempDir dir;
  const std::string content(3 * 4096 + 100, 'x');
  const std::string path = dir.Write("a", content);
  Result<MappedFile> copy = MappedFile::Read(path);
  ASSERT_TRUE(copy.has_value());
  ASSERT_EQ(::truncate(path.c_str(), 10), 0);
  const MappedFile moved = std::move(*copy);
  moved.ReleasePages(moved.bytes());
  EXPECT_EQ(Text(moved), content);
}

TEST(MappedFileTest, AnEmptyFileHasNoBytes) {
  TempDir dir;
  EXPECT_TRUE(MappedFile::Open(dir.Write("a", "")).value().bytes().empty());
  EXPECT_TRUE(MappedFile::Read(dir.Write("a", "")).value().bytes().empty());
}

TEST(MappedFileTest, RefusesWhatIsNoRegularFile) {
  TempDir dir;
  EXPECT_EQ(MappedFile::Open(dir.Path("absent")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(MappedFile::Open(dir.path()).error().code, ErrorCode::kInvalidArgument);
  ASSERT_EQ(::mkfifo(dir.Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(dir.Path("pipe")).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open(std::string("a\0b", 3)).error().code, ErrorCode::kInvalidArgument);
}

TEST(MappedFileTest, SmallFilesHaveALimit) {
  TempDir dir;
  const std::string path = dir.Write("a", "12345");
  EXPECT_EQ(ReadSmallFile(path, 5).value(), "12345");
  EXPECT_EQ(ReadSmallFile(path, 4).error().code, ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace lorry::formats
