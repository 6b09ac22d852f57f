#include "apps/merge_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/testing/source_dir.h"
#include "formats/archive_testing.h"
#include "formats/checkpoint.h"
#include "formats/test_files.h"
#include "formats/torch_file_testing.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;
using formats::OraclePath;
using formats::TempDir;
using testing::AllOf;
using testing::HasSubstr;
using testing::internal::CaptureStderr;
using testing::internal::CaptureStdout;
using testing::internal::GetCapturedStderr;
using testing::internal::GetCapturedStdout;

const std::string kModel = OraclePath("qwen2");  // three shards
const std::string kAdapter = OraclePath("qwen2/adapters/full-r8");
const std::string kOther = OraclePath("qwen2/adapters/r64");

struct Outcome {
  int status;
  std::string out, err;
};

Outcome Merge(const std::vector<std::string>& args) {
  CaptureStdout();
  CaptureStderr();
  const int status = RunMergeCommand(args);
  return {status, GetCapturedStdout(), GetCapturedStderr()};
}

TEST(ParseWeightedAdapterTest, WeightsAndDirectories) {
  EXPECT_EQ(ParseWeightedAdapter("a/b")->weight, 1.0);
  const auto weighted = ParseWeightedAdapter("a/b@-0.5");
  EXPECT_EQ(weighted->dir, "a/b");
  EXPECT_EQ(weighted->weight, -0.5);
  EXPECT_EQ(ParseWeightedAdapter("team@home/b")->dir, "team@home/b");
  EXPECT_THAT(ParseWeightedAdapter("a@b").error().message, HasSubstr("--adapter a@b: the weight"));
  EXPECT_EQ(ParseWeightedAdapter("hf://org/a@0.5")->dir, "hf://org/a");
  EXPECT_EQ(ParseWeightedAdapter("hf://org/a@main")->dir, "hf://org/a@main");
  EXPECT_EQ(ParseWeightedAdapter("hf://org/a@main@0.5")->dir, "hf://org/a@main");
  EXPECT_EQ(ParseWeightedAdapter("hf://org/a@main@0.5")->weight, 0.5);
  const TempDir temp;
  temp.Write("a@2/adapter_config.json", "{}");
  EXPECT_EQ(ParseWeightedAdapter(temp.Path("a@2"))->weight, 1.0);
  EXPECT_EQ(ParseWeightedAdapter(temp.Path("a@2") + "@3")->dir, temp.Path("a@2"));
}

TEST(MergeCommandTest, WritesAModel) {
  const TempDir temp;
  const Outcome outcome = Merge({kModel, "--adapter", kAdapter + "@0.5", "--adapter", kOther, "-o",
                                 temp.Path("out"), "--max-shard-size", "200kB"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("full-r8, weight 0.5, 21 modules, rank 8"),
                                 HasSubstr("method    cat"), HasSubstr("done      in ")));
  const auto merged = formats::Checkpoint::Open(temp.Path("out"));
  ASSERT_TRUE(merged) << merged.error().message;
  EXPECT_GT(merged->num_shards(), 2u);
  EXPECT_TRUE(fs::exists(temp.Path("out/config.json")));
}

TEST(MergeCommandTest, WritesAnAdapter) {
  const TempDir temp;
  const Outcome outcome = Merge({kModel, "--adapter=" + kAdapter, "--adapter=" + kOther, "--method",
                                 "svd", "--as-adapter", "--output", temp.Path("out")});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(fs::exists(temp.Path("out/adapter_config.json")));
  EXPECT_TRUE(fs::exists(temp.Path("out/adapter_model.safetensors")));
  EXPECT_FALSE(fs::exists(temp.Path("out/config.json")));
}

TEST(MergeCommandTest, ADryRunChecksAndWritesNothing) {
  const TempDir temp;
  const Outcome outcome =
      Merge({kModel, "--adapter", kAdapter, "-o", temp.Path("out"), "--dry-run"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("changes   21 modules"), HasSubstr("1 file of weights")));
  EXPECT_TRUE(fs::is_empty(temp.path()));
  EXPECT_THAT(
      Merge({kModel, "--adapter", kAdapter, "-o", temp.path() + "/no/out", "--dry-run"}).err,
      HasSubstr("no such directory"));
}

// As a server reads it: adapter_model.bin alone, or an archive.
TEST(MergeCommandTest, TakesWhatAServerTakes) {
  const TempDir temp;
  ::setenv("XDG_CACHE_HOME", temp.Path("cache").c_str(), 1);
  const std::string config = formats::ReadWhole(kAdapter + "/adapter_config.json");
  temp.Write("torch/adapter_config.json", config);
  temp.Write("torch/adapter_model.bin",
             formats::pickle::TorchZipOf(kAdapter + "/adapter_model.safetensors"));
  formats::MakeArchive(temp.Path("packed.zip"), formats::TestFormat::kZip,
                       {{"a/adapter_config.json", config},
                        {"a/adapter_model.safetensors",
                         formats::ReadWhole(kAdapter + "/adapter_model.safetensors")}});
  const auto merge = [&](const std::string& source, const std::string& out) {
    return Merge({kModel, "--adapter", source + "@0.5", "--adapter", source + "@0.25", "-o",
                  temp.Path(out)});
  };
  const auto weights = [&](const std::string& out) {
    return formats::ReadWhole(temp.Path(out) + "/model.safetensors");
  };
  ASSERT_EQ(merge(kAdapter, "plain").status, 0);
  for (const std::string source : {"torch", "packed.zip"}) {
    const Outcome outcome = merge(temp.Path(source), "out-" + source);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(weights("out-" + source) == weights("plain")) << source;
    EXPECT_THAT(outcome.out, HasSubstr("adapter   " + temp.Path(source) + ", weight 0.5"));
    EXPECT_THAT(formats::ReadWhole(temp.Path("out-" + source) + "/README.md"),
                HasSubstr("| " + source + " | 0.5 |"));
  }
  temp.Write("torch/adapter_model.bin",
             formats::ReadWhole(SourcePath("tests/data/torch/os_system.bin")));
  const Outcome refused =
      Merge({kModel, "--adapter", temp.Path("torch"), "-o", temp.Path("refused")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("system"));
  EXPECT_FALSE(fs::exists(temp.Path("refused")));
  ::unsetenv("XDG_CACHE_HOME");
}

TEST(MergeCommandTest, MistakesAreNamed) {
  const auto error = [](const std::vector<std::string>& args, int status) {
    const Outcome outcome = Merge(args);
    EXPECT_EQ(outcome.status, status);
    return outcome.err;
  };
  EXPECT_THAT(error({}, 2), HasSubstr("which model?"));
  EXPECT_THAT(error({kModel, "--adapter", kAdapter}, 2), HasSubstr("where to? -o DIR"));
  EXPECT_THAT(error({kModel, "-o", "/tmp/x"}, 2), HasSubstr("which adapter?"));
  EXPECT_THAT(error({kModel, "x", "-o", "/tmp/x"}, 2), HasSubstr("unexpected word 'x'"));
  EXPECT_THAT(error({kModel, "--method", "dare"}, 2), HasSubstr("'dare' is not one of linear"));
  EXPECT_THAT(error({kModel, "--method", "ties", "-o", "/tmp/x"}, 2),
              HasSubstr("method ties needs --density"));
  EXPECT_THAT(error({kModel, "--density", "0.5", "-o", "/tmp/x"}, 2),
              HasSubstr("--density is of no use with method cat"));
  EXPECT_THAT(error({kModel, "--density", "0"}, 2), HasSubstr("--density: density 0"));
  EXPECT_THAT(error({kModel, "--adpater", kAdapter}, 2), HasSubstr("did you mean --adapter?"));
  EXPECT_THAT(
      error({kModel, "--adapter", OraclePath("llama-biases/adapters/full-r8"), "-o", "/tmp/x"}, 1),
      HasSubstr("does not fit the base model"));
  EXPECT_THAT(error({kModel, "--adapter", kAdapter, "-o", kModel}, 1), HasSubstr("is not empty"));
}

TEST(MergeCommandTest, HelpListsTheMethods) {
  EXPECT_THAT(Merge({"--help"}).out,
              AllOf(HasSubstr("lorry merge MODEL --adapter SOURCE[@weight]"),
                    HasSubstr("--density D"), HasSubstr("--max-shard-size SIZE  [5.00 GB]")));
}

}  // namespace
}  // namespace lorry::apps
