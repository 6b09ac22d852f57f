// Archives whose makers meant harm, or whose bytes got lost on the way.
#include <gmock/gmock.h>

#include "formats/archive.h"
#include "formats/archive_testing.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kWeights[] = "adapter_model.safetensors";
constexpr char kConfig[] = "adapter_config.json";

class HostileArchive : public ::testing::Test {
 protected:
  HostileArchive() { std::filesystem::create_directory(dir_.Path("cache")); }

  // The refusal; nothing may be left anywhere, neither beside the target nor above it.
  Error Refusal(const ExtractOptions& options = {}) {
    const auto adapter = ExtractArchive(dir_.Path("archive"), dir_.Path("cache/target"), options);
    EXPECT_THAT(Left(), ElementsAre("archive", "cache"));
    return adapter ? Error{.message = "taken"} : adapter.error();
  }

  Error RefusalOf(TestFormat format, const std::vector<TestEntry>& entries,
                  const ExtractOptions& options = {}) {
    MakeArchive(dir_.Path("archive"), format, entries);
    return Refusal(options);
  }

  std::vector<std::string> Left() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
      names.push_back(std::filesystem::relative(entry.path(), dir_.path()).string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TempDir dir_;
};

TEST_F(HostileArchive, NamesThatLeadOutside) {
  const std::pair<std::string, std::string> kNames[] = {
      {"../adapter_config.json", "\"..\""},
      {"a/../../adapter_config.json", "\"..\""},
      {"a/..", "\"..\""},
      {"/tmp/adapter_config.json", "absolute"},
      {"//adapter_config.json", "absolute"},
      {std::string(5000, 'x') + "/adapter_config.json", "too long"},
  };
  for (const auto& [name, why] : kNames) {
    for (TestFormat format : {TestFormat::kTar, TestFormat::kTarGz, TestFormat::kZip}) {
      const Error error = RefusalOf(format, {{kConfig, "{}"}, {name, "{}"}});
      EXPECT_EQ(error.code, ErrorCode::kPermission) << FormatName(format) << " " << name;
      EXPECT_THAT(error.message, HasSubstr(why)) << FormatName(format);
    }
  }
}

// In a zip libarchive turns backslashes into slashes, and the case above applies.
TEST_F(HostileArchive, Backslashes) {
  const std::string name = "a\\..\\..\\adapter_config.json";
  EXPECT_THAT(RefusalOf(TestFormat::kTar, {{name, "{}"}}).message, HasSubstr("backslash"));
  EXPECT_THAT(RefusalOf(TestFormat::kZip, {{name, "{}"}}).message, HasSubstr("\"..\""));
}

TEST_F(HostileArchive, LinksDevicesAndPipes) {
  const std::pair<TestEntry, std::string> kEntries[] = {
      {{kWeights, "", AE_IFLNK, "/etc/passwd"}, "a symbolic link"},
      {{"unwanted", "", AE_IFLNK, "x"}, "a symbolic link"},
      {{kWeights, "", AE_IFREG, "/etc/passwd"}, "a hard link"},
      {{kWeights, "", AE_IFCHR}, "a device"},
      {{kWeights, "", AE_IFBLK}, "a device"},
      {{kWeights, "", AE_IFIFO}, "a pipe"},
  };
  for (const auto& [entry, why] : kEntries) {
    const Error error = RefusalOf(TestFormat::kTarGz, {{kConfig, "{}"}, entry});
    EXPECT_EQ(error.code, ErrorCode::kPermission) << why;
    EXPECT_THAT(error.message, HasSubstr(why));
  }
  const Error zipped = RefusalOf(TestFormat::kZip, {{kConfig, "{}"}, kEntries[0].first});
  EXPECT_THAT(zipped.message, HasSubstr("a symbolic link"));
}

TEST_F(HostileArchive, AFileThroughALink) {
  for (TestFormat format : {TestFormat::kTar, TestFormat::kZip}) {
    const Error error =
        RefusalOf(format, {{"a", "", AE_IFLNK, ".."}, {"a/adapter_config.json", "{}"}});
    EXPECT_EQ(error.code, ErrorCode::kPermission);
    EXPECT_THAT(error.message, HasSubstr("a symbolic link"));
  }
}

TEST_F(HostileArchive, OneNameTwice) {
  for (TestFormat format : {TestFormat::kTar, TestFormat::kZip}) {
    const Error error = RefusalOf(
        format, {{"a/adapter_config.json", "{}"}, {"a/adapter_config.json", "{\"r\":1}"}});
    EXPECT_THAT(error.message, HasSubstr("stands there twice"));
  }
  const Error otherwise_written =
      RefusalOf(TestFormat::kTar, {{kConfig, "{}"}, {"./adapter_config.json", "{}"}});
  EXPECT_THAT(otherwise_written.message, HasSubstr("stands there twice"));
}

TEST_F(HostileArchive, MoreEntriesThanTheLimit) {
  std::vector<TestEntry> entries = {{kConfig, "{}"}};
  for (int i = 0; i < 20; ++i) entries.push_back({"d" + std::to_string(i) + "/", "", AE_IFDIR});
  for (TestFormat format : {TestFormat::kTarGz, TestFormat::kZip}) {
    const Error error = RefusalOf(format, entries, {.limits = {.max_entries = 20}});
    EXPECT_EQ(error.code, ErrorCode::kTooLarge);
    EXPECT_THAT(error.message, HasSubstr("more than 20 entries"));
  }
}

// libarchive holds a zip's directory in memory; it must not come so far.
TEST_F(HostileArchive, ADirectoryBeyondAllMeasure) {
  std::vector<TestEntry> entries;
  for (int i = 0; i < 40'000; ++i) entries.push_back({"f" + std::to_string(i), ""});
  const Error error = RefusalOf(TestFormat::kZipStored, entries, {.limits = {.max_entries = 100}});
  EXPECT_EQ(error.code, ErrorCode::kTooLarge);
  EXPECT_THAT(error.message, HasSubstr("its directory is too long"));
}

// Ten gigabytes of zeros in about ten megabytes.
class ZeroBomb : public HostileArchive {
 protected:
  static constexpr uint64_t kChunkBytes = uint64_t{64} << 20;
  static constexpr uint64_t kNumChunks = 160;

  void WriteTarGz(const std::string& name) {
    const std::string chunk = Gzip(std::string(kChunkBytes, '\0'));
    std::string file = Gzip(TarHeader(kConfig, 2) + "{}" + std::string(510, '\0') +
                            TarHeader(name, kChunkBytes * kNumChunks));
    for (uint64_t i = 0; i < kNumChunks; ++i) file += chunk;
    dir_.Write("archive", file);
  }

  static std::string Deflated() {
    const std::string chunk = Deflate(std::string(kChunkBytes, '\0'), -15, false);
    std::string deflated;
    for (uint64_t i = 0; i < kNumChunks; ++i) deflated += chunk;
    return deflated + Deflate("", -15);
  }
};

TEST_F(ZeroBomb, ATarThatTellsItsSizeIsNotBegun) {
  WriteTarGz(kWeights);
  const Error error = Refusal({.limits = {.max_bytes = uint64_t{1} << 30}});
  EXPECT_EQ(error.code, ErrorCode::kTooLarge);
  EXPECT_THAT(error.message, HasSubstr("has 10737418240 bytes, the limit is 1073741824"));
}

TEST_F(ZeroBomb, ATarIsStoppedByItsRatio) {
  WriteTarGz(kWeights);
  const Error error = Refusal({.limits = {.max_ratio = 10}});
  EXPECT_EQ(error.code, ErrorCode::kTooLarge);
  EXPECT_THAT(error.message, HasSubstr("unpack to more than"));
}

TEST_F(ZeroBomb, WhatIsPassedOverCountsToo) {
  WriteTarGz("notes.txt");
  const Error error = Refusal({.limits = {.max_bytes = uint64_t{100} << 20}});
  EXPECT_EQ(error.code, ErrorCode::kTooLarge);
  EXPECT_THAT(error.message, HasSubstr("unpack to more than 104857600"));
}

TEST_F(ZeroBomb, AZipIsStoppedWhateverItSaysOfItself) {
  const std::string deflated = Deflated();
  for (uint32_t claimed : {100u, 50u << 20, 0xfffffffeu}) {
    dir_.Write("archive", RawZip(kWeights, deflated, claimed, 0));
    const Error error = Refusal({.limits = {.max_ratio = 10}});
    EXPECT_NE(error.message, "taken");
    EXPECT_TRUE(error.code == ErrorCode::kTooLarge || error.code == ErrorCode::kDataLoss)
        << error.message;
  }
}

TEST_F(HostileArchive, AHoleOfTenGigabytes) {
  // Written by hand: GNU's old sparse form, one block of data behind the hole.
  std::string header = TarHeader(kWeights, 512);
  header[156] = 'S';
  const auto octal = [&](size_t at, uint64_t value) {
    char digits[13];
    std::snprintf(digits, sizeof(digits), "%011llo", static_cast<unsigned long long>(value));
    header.replace(at, 12, digits, 12);
  };
  constexpr uint64_t kHole = (uint64_t{8} << 30) - 1024;
  octal(386, kHole);
  octal(398, 512);
  octal(483, kHole + 512);
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (char c : header) sum += static_cast<unsigned char>(c);
  char digits[8];
  std::snprintf(digits, sizeof(digits), "%06o", sum);
  header.replace(148, 7, digits, 7);
  dir_.Write("archive", TarHeader(kConfig, 2) + "{}" + std::string(510, '\0') + header +
                            std::string(512, 'x') + std::string(1024, '\0'));
  const Error by_size = Refusal({.limits = {.max_bytes = uint64_t{1} << 30}});
  EXPECT_EQ(by_size.code, ErrorCode::kTooLarge);
  EXPECT_THAT(by_size.message, HasSubstr("bytes, the limit is"));
  const Error by_ratio = Refusal();
  EXPECT_EQ(by_ratio.code, ErrorCode::kTooLarge);
  EXPECT_THAT(by_ratio.message, HasSubstr("unpacks to more than 67108864"));
}

class DamagedArchive : public HostileArchive, public ::testing::WithParamInterface<TestFormat> {
 protected:
  std::string Whole() {
    std::string weights;
    for (int i = 0; i < 3000; ++i) {
      weights.push_back(static_cast<char>((i * 2654435761u) >> 24));
    }
    MakeArchive(dir_.Path("archive"), GetParam(), {{kConfig, "{\"r\":8}"}, {kWeights, weights}});
    return ReadWhole(dir_.Path("archive"));
  }
};

INSTANTIATE_TEST_SUITE_P(Formats, DamagedArchive,
                         ::testing::Values(TestFormat::kTarGz, TestFormat::kZip,
                                           TestFormat::kZipStored),
                         [](const auto& info) { return FormatName(info.param); });

TEST_P(DamagedArchive, IsRefusedWhereverItIsCut) {
  const std::string whole = Whole();
  for (size_t kept = 0; kept < whole.size(); kept += 1 + kept / 40) {
    dir_.Write("archive", whole.substr(0, kept));
    EXPECT_NE(Refusal().message, "taken") << kept << " of " << whole.size();
  }
}

// A flipped bit gives the same content (it was in a time or an owner) or an error, never other
// content.
TEST_P(DamagedArchive, AFlippedBitNeverBecomesAWeight) {
  const std::string whole = Whole();
  ASSERT_TRUE(ExtractArchive(dir_.Path("archive"), dir_.Path("whole")));
  const std::string config = ReadWhole(dir_.Path("whole/adapter_config.json"));
  const std::string weights = ReadWhole(dir_.Path("whole/adapter_model.safetensors"));
  size_t num_refused = 0;
  for (size_t at = 0; at < whole.size(); at += 23) {
    std::string damaged = whole;
    damaged[at] ^= static_cast<char>(1 << (at % 8));
    dir_.Write("archive", damaged);
    const auto adapter = ExtractArchive(dir_.Path("archive"), dir_.Path("cache/target"));
    if (!adapter) {
      ++num_refused;
      continue;
    }
    EXPECT_EQ(ReadWhole(dir_.Path("cache/target/adapter_config.json")), config) << at;
    if (adapter->files.size() == 2) {  // else its name was hit, and the loader will miss it
      EXPECT_TRUE(ReadWhole(dir_.Path("cache/target/adapter_model.safetensors")) == weights) << at;
    }
    std::filesystem::remove_all(dir_.Path("cache/target"));
  }
  EXPECT_GT(num_refused, whole.size() / 23 / 2);
}

TEST_F(HostileArchive, AnEncryptedZip) {
  dir_.Write("archive", RawZip(kConfig, Deflate("{}", -15), 2, 0, 1));
  const Error error = Refusal();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("encrypted"));
}

}  // namespace
}  // namespace lorry::formats
