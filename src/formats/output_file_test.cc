#include "formats/output_file.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

size_t NumEntries(const TempDir& dir) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()),
                                           std::filesystem::directory_iterator()));
}

TEST(OutputFile, AppearsWholeOrNotAtAll) {
  const TempDir dir;
  dir.Write("file", "before");
  {
    Result<OutputFile> file = OutputFile::Create(dir.Path("file"));
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE(file->Reserve(10));
    ASSERT_TRUE(file->WriteAt(4, Bytes("after!")));
    ASSERT_TRUE(file->WriteAt(0, Bytes("4567")));
    EXPECT_EQ(ReadWhole(dir.Path("file")), "before");
    EXPECT_EQ(NumEntries(dir), 2u);
    ASSERT_TRUE(file->Sync());
    ASSERT_TRUE(file->Publish());
  }
  EXPECT_EQ(ReadWhole(dir.Path("file")), "4567after!");
  EXPECT_EQ(NumEntries(dir), 1u);
}

TEST(OutputFile, LeavesNothingWhenGivenUp) {
  const TempDir dir;
  {
    Result<OutputFile> file = OutputFile::Create(dir.Path("file"));
    ASSERT_TRUE(file);
    OutputFile moved = std::move(*file);
    ASSERT_TRUE(moved.WriteAt(0, Bytes("half")));
    EXPECT_EQ(NumEntries(dir), 1u);
  }
  EXPECT_EQ(NumEntries(dir), 0u);
}

TEST(OutputFile, OnlyWhatIsAbandonedGoes) {
  const TempDir dir;
  dir.Write("file.1-0.part", "of a writer that crashed");
  Result<OutputFile> file = OutputFile::Create(dir.Path("file"));
  ASSERT_TRUE(file);
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    RemoveIfAbandoned(entry.path());
  }
  EXPECT_FALSE(std::filesystem::exists(dir.Path("file.1-0.part")));
  ASSERT_TRUE(file->WriteAt(0, Bytes("whole")));
  ASSERT_TRUE(file->Publish());
  EXPECT_EQ(ReadWhole(dir.Path("file")), "whole");
}

TEST(OutputFile, TwoWritersOfOneNameDoNotMix) {
  const TempDir dir;
  Result<OutputFile> first = OutputFile::Create(dir.Path("file"));
  Result<OutputFile> second = OutputFile::Create(dir.Path("file"));
  ASSERT_TRUE(first && second);
  ASSERT_TRUE(first->WriteAt(0, Bytes("first")));
  ASSERT_TRUE(second->WriteAt(0, Bytes("second")));
  ASSERT_TRUE(second->Publish());
  EXPECT_EQ(ReadWhole(dir.Path("file")), "second");
  ASSERT_TRUE(first->Publish());
  EXPECT_EQ(ReadWhole(dir.Path("file")), "first");
}

TEST(OutputFile, TheSystemsReasonsHaveCodes) {
  const TempDir dir;
  EXPECT_EQ(OutputFile::Create(dir.Path("absent/file")).error().code, ErrorCode::kNotFound);
  std::filesystem::create_directory(dir.Path("is_directory"));
  EXPECT_FALSE(WriteTextFile(dir.Path("is_directory"), "text", false));
  EXPECT_EQ(NumEntries(dir), 1u) << "the partial file must be gone";
}

// A limit on file sizes stands in for a disk without room.
TEST(OutputFile, AFullDiskIsNamed) {
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const TempDir dir;
  Result<OutputFile> file = OutputFile::Create(dir.Path("file"));
  ASSERT_TRUE(file);
  const Status reserved = file->Reserve(2000);
  const Status written = file->WriteAt(0, Bytes(std::string(2000, 'x')));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_FALSE(reserved);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(written.error().message, HasSubstr(dir.Path("file")));
}

}  // namespace
}  // namespace lorry::formats
