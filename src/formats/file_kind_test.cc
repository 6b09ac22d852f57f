#include "formats/file_kind.h"

#include <gmock/gmock.h>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/test_files.h"
#include "formats/torch_file.h"

namespace lorry::formats {
namespace {

using ::testing::HasSubstr;

struct Mistaken {
  std::string content;
  std::string_view is_called;
};

std::vector<Mistaken> MistakenFiles() {
  return {
      {"", "empty"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n", "of 12 bytes"},
      {"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
      {"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page"},
      {"\xef\xbb\xbf  <!doctype HTML><title>x</title>", "an HTML page"},
      {"\n<HTML lang=en>", "an HTML page"},
      {"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>", "an XML text"},
      {"Entry not found", "refusal"},
      {"Invalid username or password.", "refusal"},
      {std::string("\x1f\x8b\x08\0\0\0\0\0", 8), "gzip"},
      {std::string("PK\x03\x04\0\0\0\0", 8), "zip"},
      {"\x80\x02}q\x01.", "pickle"},
      {"\x80\x04\x95......", "pickle"},
      {"GGUF\x03......", "GGUF"},
      {std::string("\xff\xfe{\0\"\0", 6), "UTF-16"},
      {std::string(3'000, '\0'), "zeros"},
  };
}

TEST(FileKindTest, SaysWhatAFileIs) {
  for (const Mistaken& file : MistakenFiles()) {
    EXPECT_THAT(KindOf(file.content), HasSubstr(file.is_called)) << file.content;
  }
  for (const std::string_view content : {"{\"a\": 1}", "abcdefgh", "\x80\x3f", "{{ bos }}"}) {
    EXPECT_EQ(KindOf(content), "") << content;
  }
}

// Whoever reads it says so, of weights and of texts alike.
TEST(FileKindTest, ReadersCallAFileWhatItIs) {
  const TempDir dir;
  for (const Mistaken& file : MistakenFiles()) {
    const std::string path = dir.Write("x", file.content);
    const auto weights = SafetensorsHeader::Read(path);
    ASSERT_FALSE(weights);
    EXPECT_THAT(weights.error().message, HasSubstr(file.is_called));
    EXPECT_THAT(weights.error().message, HasSubstr(path));
    const auto config = ReadJsonObject(path);
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().message, HasSubstr(file.is_called));
    EXPECT_THAT(config.error().message, HasSubstr(path));
  }
}

TEST(FileKindTest, ATorchFileThatIsNoneIsCalledWhatItIs) {
  const TempDir dir;
  for (const Mistaken& file : MistakenFiles()) {
    if (file.is_called == "zip" || file.is_called == "pickle") continue;  // so are torch's
    const auto torch = TorchFile::Open(dir.Write("adapter_model.bin", file.content));
    ASSERT_FALSE(torch);
    EXPECT_THAT(torch.error().message, HasSubstr(file.is_called));
  }
}

}  // namespace
}  // namespace lorry::formats
