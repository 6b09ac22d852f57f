#include "apps/dispatch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "apps/options.h"
#include "config/help.h"
#include "config/load.h"

namespace lorry::apps {
namespace {

using testing::HasSubstr;
using testing::internal::CaptureStderr;
using testing::internal::CaptureStdout;
using testing::internal::GetCapturedStderr;
using testing::internal::GetCapturedStdout;

std::string ErrorOf(const std::vector<std::string>& args, int expected_status) {
  CaptureStderr();
  EXPECT_EQ(Dispatch(args), expected_status);
  return GetCapturedStderr();
}

TEST(DispatchTest, MistypedCommandsAndOptions) {
  EXPECT_EQ(ErrorOf({"sevre"}, 2), "lorry: unknown command sevre, did you mean serve?\n");
  EXPECT_EQ(ErrorOf({"serve", "--prot", "1"}, 2),
            "lorry serve: unknown option --prot, did you mean --port?\n");
  EXPECT_THAT(ErrorOf({"serve", "a", "b"}, 2), HasSubstr("unexpected word 'b'"));
  EXPECT_THAT(ErrorOf({"serve", ""}, 2), HasSubstr("a word is empty"));
  EXPECT_THAT(ErrorOf({"top", ""}, 2), HasSubstr("a word is empty"));
  EXPECT_EQ(ErrorOf({"serve", "/a", "--model", "/b"}, 2),
            "lorry serve: two models: the word /a and --model /b\n");
  EXPECT_THAT(ErrorOf({"run", "/a", "prompt", "--model=/b"}, 2), HasSubstr("two models"));
  EXPECT_THAT(ErrorOf({"serve", "--model", ""}, 2), HasSubstr("--model: an empty value"));
  EXPECT_THAT(ErrorOf({"inspect"}, 2), HasSubstr("usage: lorry inspect SOURCE"));
  EXPECT_THAT(ErrorOf({}, 2), HasSubstr("lorry serve"));
}

TEST(DispatchTest, EveryCommandHasHelp) {
  for (const char* command :
       {"serve", "run", "inspect", "version", "pull", "ls", "rm", "pin", "top"}) {
    CaptureStdout();
    EXPECT_EQ(Dispatch({command, "--help"}), 0);
    const std::string help = GetCapturedStdout();
    EXPECT_THAT(help, HasSubstr(std::string("lorry ") + command));
    CaptureStdout();
    EXPECT_EQ(Dispatch({"help", command}), 0);
    EXPECT_EQ(GetCapturedStdout(), help);
  }
  CaptureStdout();
  EXPECT_EQ(Dispatch({"help", "bench", "serve"}), 0);
  EXPECT_EQ(Dispatch({"help", "merge"}), 0);
  EXPECT_THAT(GetCapturedStdout(), testing::AllOf(HasSubstr("--streams"), HasSubstr("--method")));
  EXPECT_THAT(ErrorOf({"help", "sevre"}, 2), HasSubstr("did you mean serve?"));
}

TEST(DispatchTest, VersionNamesTheKernels) {
  CaptureStdout();
  EXPECT_EQ(Dispatch({"--version"}), 0);
  EXPECT_THAT(GetCapturedStdout(), HasSubstr("kernels: "));
}

TEST(DispatchTest, MissingFilesEndWithTheReason) {
  EXPECT_THAT(ErrorOf({"serve", "/no/such/model", "--port", "0"}, 1),
              HasSubstr("/no/such/model: no such directory"));
  EXPECT_THAT(ErrorOf({"inspect", "/no/such/adapter"}, 1), HasSubstr("/no/such/adapter"));
  EXPECT_THAT(ErrorOf({"pull"}, 2), HasSubstr("usage: lorry pull SOURCE"));
}

TEST(OptionsTest, EveryOptionOfTheProjectIsUnderstood) {
  Options options;
  config::Registry registry;
  RegisterOptions(registry, &options);
  const auto loaded = config::Load(registry, "serve",
                                   {"model",
                                    "--enable-lora",
                                    "--lora-modules",
                                    "a=/a",
                                    R"({"name": "b", "path": "/b"})",
                                    "--max-lora-rank",
                                    "64",
                                    "--max-model-len",
                                    "512",
                                    "--max-num-seqs",
                                    "8",
                                    "--max-num-batched-tokens",
                                    "128",
                                    "--served-model-name",
                                    "x",
                                    "y",
                                    "--api-key",
                                    "k",
                                    "--dtype",
                                    "float32",
                                    "--host",
                                    "0.0.0.0",
                                    "--port",
                                    "0",
                                    "--kv-memory",
                                    "1GiB",
                                    "--log-format",
                                    "json",
                                    "--log-level",
                                    "warning",
                                    "--drain-timeout",
                                    "1s",
                                    "--skip-bad-adapters"},
                                   {});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(options.stack.lora_modules.size(), 2u);
  EXPECT_EQ(options.stack.served_model_names.size(), 2u);
  EXPECT_EQ(options.stack.engine.max_num_seqs, 8);
  EXPECT_EQ(options.stack.kv_memory_bytes, size_t{1} << 30);
  EXPECT_EQ(options.serve.http.http.host, "0.0.0.0");
  EXPECT_EQ(options.log.level, log::Level::kWarning);
}

TEST(OptionsTest, VllmsKeyIsTheKey) {
  const auto keys_of = [](const std::vector<std::string>& args,
                          const config::Environment& environment) {
    Options options;
    config::Registry registry;
    RegisterOptions(registry, &options);
    const auto loaded = config::Load(registry, "serve", args, environment);
    return loaded ? options.serve.http.api_keys : std::vector{loaded.error().message};
  };
  using Keys = std::vector<std::string>;
  EXPECT_EQ(keys_of({}, {{"VLLM_API_KEY", "a,b"}}), Keys{"a,b"});  // one, as there
  EXPECT_EQ(keys_of({}, {{"LORRY_API_KEY", "own"}, {"VLLM_API_KEY", "other"}}), Keys{"own"});
  EXPECT_EQ(keys_of({"--api-key", "flag"}, {{"VLLM_API_KEY", "other"}}), Keys{"flag"});
  EXPECT_THAT(keys_of({}, {{"VLLM_API_KEY", ""}})[0], HasSubstr("VLLM_API_KEY: an empty entry"));
}

TEST(OptionsTest, TypesAndTemperaturesThatAreNoneSaySo) {
  const auto error_of = [](const std::string& command, const std::vector<std::string>& args) {
    Options options;
    config::Registry registry;
    RegisterOptions(registry, &options);
    const auto loaded = config::Load(registry, command, args, {});
    return loaded ? options.stack.dtype : loaded.error().message;
  };
  EXPECT_EQ(error_of("serve", {"--dtype", "float"}), "float32");
  EXPECT_THAT(error_of("serve", {"--dtype", "half"}), HasSubstr("--dtype: 'half': nothing is"));
  EXPECT_THAT(error_of("pull", {"--dtype", "float16"}), HasSubstr("bfloat16 takes as much"));
  EXPECT_THAT(error_of("serve", {"--dtype", "int8"}), HasSubstr("one of auto, bfloat16, float32"));
  EXPECT_EQ(error_of("run", {"--temperature", "5"}), "--temperature: 5 is not between 0 and 2");
  EXPECT_EQ(error_of("run", {"--temperature", "-1"}), "--temperature: -1 is not between 0 and 2");
}

// What an empty value of each option means: whoever adds one decides here.
TEST(OptionsTest, EmptyIsNotOpen) {
  const std::set<std::string> none_if_empty = {
      // the others refuse an empty value
      "adapter-cache", "source-token", "step-log", "system"};
  const std::set<std::string> refused_as_variables = {
      "admin-host", "admin-key", "api-key", "base",  "chat-template",
      "config",     "host",      "metrics", "model", "url"};
  Options names_only;
  config::Registry names;
  RegisterOptions(names, &names_only);
  for (const config::Option& described : names.options()) {
    const std::string& name = described.text.name;
    const std::string& command = described.commands.front();
    const bool may_be_empty = none_if_empty.contains(name);
    for (const char* empty : {"", " ", "\t "}) {
      Options options;
      config::Registry registry;
      RegisterOptions(registry, &options);
      const auto loaded = config::Load(registry, command, {described.Flag() + "=" + empty}, {});
      EXPECT_EQ(loaded.has_value(), may_be_empty) << name;
      if (!loaded) {
        EXPECT_THAT(loaded.error().message, HasSubstr(described.Flag()));
      }
    }
    Options options;
    config::Registry registry;
    RegisterOptions(registry, &options);
    const auto loaded = config::Load(registry, command, {}, {{described.Variable(), ""}});
    EXPECT_EQ(!loaded.has_value(), refused_as_variables.contains(name)) << name;
    if (!loaded) {
      EXPECT_THAT(loaded.error().message, HasSubstr(described.Variable()));
    }
  }
}

TEST(OptionsTest, EveryOptionIsExplained) {
  Options options;
  config::Registry registry;
  RegisterOptions(registry, &options);
  for (const config::Option& option : registry.options()) {
    EXPECT_TRUE(option.text.help.ends_with('.')) << option.text.name;
    EXPECT_FALSE(option.commands.empty()) << option.text.name;
  }
}

}  // namespace
}  // namespace lorry::apps
