#include "config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace lorry::config {
namespace {

using testing::ElementsAre;

class LoadTest : public testing::Test {
 protected:
  LoadTest() {
    registry_.Group("Server", {"serve"});
    registry_.Text({.name = "config", .value_name = "FILE", .help = "The file."}, &config_);
    registry_.Integer({.name = "port", .help = "TCP port."}, &port_, 0, 65535);
    registry_.Integer({.name = "threads", .help = "Threads."}, &threads_, 0, 1024);
    registry_.Bytes({.name = "kv-memory", .help = "Bytes of KV."}, &kv_memory_);
    registry_.Duration({.name = "drain-timeout", .help = "Time."}, &drain_us_);
    registry_.Duration({.name = "idle-timeout", .help = "Time."}, &idle_);
    registry_.Switch({.name = "skip-bad-adapters", .help = "Goes on."}, &skip_);
    registry_.Choice({.name = "log-format", .help = "Form."}, &log_format_, {"text", "json"});
    registry_.List({.name = "adapter", .help = "An adapter."}, &adapters_);
    registry_.List({.name = "key", .help = "A key.", .guards = true}, &keys_);
    registry_.Text({.name = "host", .help = "Address.", .guards = true}, &host_);
    registry_.Text({.name = "system", .help = "A message."}, &system_);
    registry_.Group("Inspect", {"inspect"});
    registry_.Text({.name = "base", .help = "The base."}, &base_);
  }
  ~LoadTest() override { std::filesystem::remove(file_); }

  const std::string& File(const std::string& text) {
    std::ofstream(file_) << text;
    return file_;
  }
  std::string ErrorOf(const std::vector<std::string>& args, const Environment& environment = {}) {
    const auto loaded = Load(registry_, "serve", args, environment);
    return loaded ? "no error" : loaded.error().message;
  }

  Registry registry_;
  const std::string file_ = testing::TempDir() + "load_test_" + std::to_string(getpid()) + ".toml";
  std::string config_, log_format_ = "text", base_, host_ = "127.0.0.1", system_ = "default";
  int port_ = 8000, threads_ = 0;
  size_t kv_memory_ = 0;
  Micros drain_us_ = 30000000;
  std::chrono::milliseconds idle_{75000};
  bool skip_ = false;
  std::vector<std::string> adapters_, keys_;
};

TEST_F(LoadTest, LaterLayersWin) {
  const std::string file = File(
      "port = 1\nthreads = 1\nkv_memory = \"1GiB\"\nskip-bad-adapters = true\n"
      "adapter = [\"a=x\", \"b=y\"]\nidle-timeout = 0.25\nbase = \"another command's\"\n");
  const auto loaded = Load(registry_, "serve", {"--config", file, "--port", "3", "model"},
                           {{"LORRY_PORT", "2"}, {"LORRY_THREADS", "2"}});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(port_, 3);
  EXPECT_EQ(threads_, 2);
  EXPECT_EQ(kv_memory_, size_t{1} << 30);
  EXPECT_EQ(drain_us_, 30000000);
  EXPECT_EQ(idle_.count(), 250);
  EXPECT_TRUE(skip_);
  EXPECT_THAT(adapters_, ElementsAre("a=x", "b=y"));
  EXPECT_EQ(base_, "");
  EXPECT_THAT(loaded->words, ElementsAre("model"));
  EXPECT_EQ(registry_.Origin("port"), "--port");
  EXPECT_EQ(registry_.Origin("threads"), "LORRY_THREADS");
  EXPECT_EQ(registry_.Origin("kv-memory"), file + ":3");
  EXPECT_EQ(registry_.Origin("drain-timeout"), "--drain-timeout");
}

TEST_F(LoadTest, ErrorsNameTheSource) {
  EXPECT_EQ(ErrorOf({"--port", "99999"}), "--port: 99999 is not between 0 and 65535");
  EXPECT_EQ(ErrorOf({"--port", "-1"}), "--port: -1 is not between 0 and 65535");
  EXPECT_EQ(ErrorOf({}, {{"LORRY_LOG_FORMAT", "xml"}}),
            "LORRY_LOG_FORMAT: 'xml' is not one of text, json");
  const std::string file = File("\ndrain-timeout = \"soon\"\n");
  EXPECT_EQ(ErrorOf({"--config", file}), file + ":2: 'soon' is not a time like 500ms, 30s or 5m");
  EXPECT_EQ(ErrorOf({}, {{"LORRY_CONFIG", file}}),
            file + ":2: 'soon' is not a time like 500ms, 30s or 5m");
}

TEST_F(LoadTest, WhatGuardsIsNeverEmpty) {
  const std::string hint = "; was a variable never set? Leave it out, or give it a value";
  const std::pair<std::string, std::string> values[] = {// and as TOML writes them
                                                        {"", "''"},
                                                        {" ", "' '"},
                                                        {"\t\n", R"("\t\n")"},
                                                        {"\"\"", "'\"\"'"},
                                                        {"''", "\"''\""}};
  for (const auto& [empty, in_toml] : values) {
    const bool is_blank = empty.find_first_not_of(" \t\n") == std::string::npos;
    for (const std::string name : {"host", "key"}) {
      const std::string variable = name == "host" ? "LORRY_HOST" : "LORRY_KEY";
      const std::string what = name == "key" && is_blank ? ": an empty entry" : ": an empty value";
      EXPECT_EQ(ErrorOf({"--" + name, empty}), "--" + name + what + hint) << empty;
      EXPECT_EQ(ErrorOf({"--" + name + "=" + empty}), "--" + name + what + hint) << empty;
      EXPECT_EQ(ErrorOf({}, {{variable, empty}}), variable + what + hint) << empty;
      EXPECT_EQ(ErrorOf({"--config", File(name + " = " + in_toml + "\n")}),
                file_ + ":1" + what + hint);
    }
  }
  EXPECT_EQ(host_, "127.0.0.1");
  EXPECT_TRUE(keys_.empty());
}

TEST_F(LoadTest, AnEmptyKeyBesideGoodOnesIsAnErrorToo) {
  const std::string empty =
      ": an empty entry; was a variable never set? Leave it out, or give it a value";
  EXPECT_EQ(ErrorOf({"--key", "good", "--key", ""}), "--key" + empty);
  EXPECT_EQ(ErrorOf({}, {{"LORRY_KEY", "good,,better"}}), "LORRY_KEY" + empty);
  EXPECT_EQ(ErrorOf({}, {{"LORRY_KEY", "good,"}}), "LORRY_KEY" + empty);
  EXPECT_EQ(ErrorOf({}, {{"LORRY_KEY", ","}}), "LORRY_KEY" + empty);
  EXPECT_EQ(ErrorOf({"--config", File("key = [\"good\", \"\"]\n")}), file_ + ":1" + empty);
  EXPECT_THAT(ErrorOf({"--config", File("\nkey = []\n")}),
              testing::StartsWith(file_ + ":2: an empty list"));
  EXPECT_EQ(ErrorOf({}, {{"LORRY_KEY", "good, better"}}),
            "LORRY_KEY: the value begins or ends with white space");
  EXPECT_TRUE(keys_.empty());
  EXPECT_TRUE(Load(registry_, "serve", {"--key", "a b", "--key", "c"}, {}));
  EXPECT_THAT(keys_, ElementsAre("a b", "c"));
}

TEST_F(LoadTest, ElsewhereEmptyMeansNoneOrUnset) {
  ASSERT_TRUE(Load(registry_, "serve", {}, {{"LORRY_SYSTEM", ""}, {"LORRY_ADAPTER", ""}}));
  EXPECT_EQ(system_, "default");
  ASSERT_TRUE(Load(registry_, "serve", {"--system", "", "--config", File("adapter = []\n")}, {}));
  EXPECT_EQ(system_, "");
  EXPECT_THAT(ErrorOf({"--adapter", " "}), testing::StartsWith("--adapter: an empty entry"));
}

TEST_F(LoadTest, BadFiles) {
  EXPECT_EQ(ErrorOf({"--config", "/no/such.toml"}), "--config: /no/such.toml: no such file");
  EXPECT_EQ(ErrorOf({}, {{"LORRY_CONFIG", "/no/such.toml"}}),
            "LORRY_CONFIG: /no/such.toml: no such file");
  EXPECT_EQ(ErrorOf({"--config", File("prot = 1\n")}),
            file_ + ":1: unknown key prot, did you mean port?");
  EXPECT_EQ(ErrorOf({"--config", File("port = [1, 2]\n")}),
            file_ + ":1: port takes one value, not an array");
  EXPECT_EQ(ErrorOf({"--config", File("[port]\nx = 1\n")}),
            file_ + ":1: port must be a string, number, true, false or an array of these");
  EXPECT_THAT(ErrorOf({"--config", File("port = = 1\n")}), testing::StartsWith(file_ + ":1: "));
}

TEST_F(LoadTest, VariablesOfOtherRegistriesArePassedOver) {
  Registry elsewhere;
  int streams = 0;
  elsewhere.Integer({.name = "streams"}, &streams, 0, 9);
  const Environment environment = {{"LORRY_STREAMS", "2"}, {"LORRY_STREAM", "2"}};
  const auto loaded = Load(registry_, "serve", {}, environment, &elsewhere);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT(loaded->warnings, ElementsAre(testing::HasSubstr("LORRY_STREAM means")));
  EXPECT_EQ(streams, 0);
}

TEST_F(LoadTest, EnvironmentListsAndUnknownVariables) {
  const auto loaded = Load(registry_, "serve", {},
                           {{"LORRY_ADAPTER", "a=x,b=y"},
                            {"LORRY_PROT", "1"},
                            {"LORRY_TEST_DATA", "/data"},
                            {"LORRY_BASE", "another command's"},
                            {"HOME", "/root"},
                            {"LORRY_PORT", ""}});
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT(adapters_, ElementsAre("a=x", "b=y"));
  EXPECT_THAT(
      loaded->warnings,
      ElementsAre("the environment variable LORRY_PROT means nothing to lorry, did you mean "
                  "LORRY_PORT?"));
}

TEST_F(LoadTest, HelpStoresNothing) {
  const auto loaded = Load(registry_, "serve", {"--port", "1", "--help"}, {{"LORRY_PORT", "x"}});
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(loaded->help);
  EXPECT_EQ(port_, 8000);
}

}  // namespace
}  // namespace lorry::config
