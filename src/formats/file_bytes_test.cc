#include "formats/file_bytes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/test_files.h"

namespace lorry::formats {
namespace {

std::string Text(const FileBytes& file) {
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

TEST(FileBytesTest, ACopyOutlivesWhatHappensToTheFile) {
  TempDir dir;
  const std::string content(3 * 4096 + 100, 'x');
  const std::string path = dir.Write("a", content);
  Result<FileBytes> copy = FileBytes::Read(path);
  ASSERT_TRUE(copy.has_value());
  ASSERT_EQ(::truncate(path.c_str(), 10), 0);
  const FileBytes moved = std::move(*copy);
  EXPECT_EQ(Text(moved), content);
}

TEST(FileBytesTest, AnEmptyFileHasNoBytes) {
  TempDir dir;
  EXPECT_TRUE(FileBytes::Read(dir.Write("a", "")).value().bytes().empty());
}

TEST(FileBytesTest, RefusesWhatIsNoRegularFile) {
  TempDir dir;
  EXPECT_EQ(FileBytes::Read(dir.Path("absent")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(FileBytes::Read(dir.path()).error().code, ErrorCode::kUnfit);
  ASSERT_EQ(::mkfifo(dir.Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(FileBytes::Read(dir.Path("pipe")).error().code, ErrorCode::kUnfit);
  EXPECT_EQ(FileBytes::Read(std::string("a\0b", 3)).error().code, ErrorCode::kInvalidArgument);
}

TEST(FileBytesTest, AFileThatWasShortenedSinceItWasOpenedIsAnError) {
  TempDir dir;
  const std::string path = dir.Write("a", std::string(10'000, 'x'));
  const OpenedFile file = OpenRegular(path).value();
  for (const off_t size : {9'999, 4096, 0}) {
    ASSERT_EQ(::truncate(path.c_str(), size), 0);
    const auto bytes = FileBytes::Read(file, path);
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code, ErrorCode::kDataLoss);
    EXPECT_EQ(CheckUnchanged(file, path).error().code, ErrorCode::kDataLoss);
  }
}

TEST(FileBytesTest, AGitLfsPointerIsCalledOne) {
  TempDir dir;
  const std::string path =
      dir.Write("a", "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4567\n");
  const auto text = ReadSmallFile(path, 1000);
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message.find("Git LFS pointer to a file of 4567 bytes"),
            std::string::npos);
}

TEST(FileBytesTest, HolesAreSeen) {
  TempDir dir;
  const std::string path = dir.Write("a", std::string(2 << 20, 'x'));
  EXPECT_FALSE(IsMostlyHoles(OpenRegular(path).value()));
  std::filesystem::resize_file(path, 16 << 20);
  EXPECT_TRUE(IsMostlyHoles(OpenRegular(path).value()));
  std::filesystem::resize_file(dir.Write("small", "x"), 4096);
  EXPECT_FALSE(IsMostlyHoles(OpenRegular(dir.Path("small")).value()));
}

TEST(FileBytesTest, SmallFilesHaveALimit) {
  TempDir dir;
  const std::string path = dir.Write("a", "12345");
  EXPECT_EQ(ReadSmallFile(path, 5).value(), "12345");
  EXPECT_EQ(ReadSmallFile(path, 4).error().code, ErrorCode::kTooLarge);
}

TEST(ReadFileIfThereTest, ALinkToNothingIsThereAndCannotBeRead) {
  TempDir dir;
  EXPECT_EQ(ReadFileIfThere(dir.Path("absent"), 10).value(), std::nullopt);
  std::filesystem::create_symlink("/no/such/blob", dir.Path("link"));
  EXPECT_EQ(ReadFileIfThere(dir.Path("link"), 10).error().code, ErrorCode::kUnfit);
}

}  // namespace
}  // namespace lorry::formats
