#include "config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry::config {
namespace {

using testing::ElementsAre;

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    registry_.Group("Server", {"serve"});
    registry_.Integer({.name = "port", .help = "TCP port."}, &port_, 0, 65535);
    registry_.Switch({.name = "enable-lora", .help = "Accepted."}, &enable_lora_);
    registry_.List({.name = "adapter", .help = "An adapter."}, &adapters_);
    registry_.List({.name = "lora-modules", .help = "Adapters."}, &modules_, Arity::kGreedy);
    registry_.Group("Inspect", {"inspect"});
    registry_.Text({.name = "base", .help = "The base."}, &base_);
  }
  Result<CommandLine> Split(const std::vector<std::string>& args) {
    return SplitCommandLine(registry_, "serve", args);
  }
  std::string ErrorOf(const std::vector<std::string>& args) {
    const auto line = Split(args);
    return line ? "no error" : line.error().message;
  }

  Registry registry_;
  int port_ = 8000;
  bool enable_lora_ = false;
  std::string base_;
  std::vector<std::string> adapters_, modules_;
};

TEST_F(CommandLineTest, FormsOfFlags) {
  const auto line = Split({"model", "--port=1", "--port", "2", "--enable_lora", "--adapter", "a=b",
                           "--adapter=c=d", "words", "--", "--port"});
  ASSERT_TRUE(line);
  EXPECT_THAT(line->words, ElementsAre("model", "words", "--port"));
  EXPECT_THAT(line->values.at("port"), ElementsAre("1", "2"));
  EXPECT_THAT(line->values.at("enable-lora"), ElementsAre("true"));
  EXPECT_THAT(line->values.at("adapter"), ElementsAre("a=b", "c=d"));
}

TEST_F(CommandLineTest, GreedyListEndsAtTheNextFlag) {
  const auto line = Split({"model", "--lora-modules", "a=b", "c=d", "--port", "1"});
  ASSERT_TRUE(line);
  EXPECT_THAT(line->values.at("lora-modules"), ElementsAre("a=b", "c=d"));
  EXPECT_THAT(line->words, ElementsAre("model"));
}

TEST_F(CommandLineTest, SwitchesTurnOff) {
  EXPECT_THAT(Split({"--no-enable-lora"})->values.at("enable-lora"), ElementsAre("false"));
  EXPECT_THAT(Split({"--enable-lora=off"})->values.at("enable-lora"), ElementsAre("off"));
}

TEST_F(CommandLineTest, ErrorsSayWhatWasMeant) {
  EXPECT_EQ(ErrorOf({"--prot", "80"}), "unknown option --prot, did you mean --port?");
  EXPECT_EQ(ErrorOf({"--banana"}), "unknown option --banana, `lorry serve --help` lists them");
  EXPECT_EQ(ErrorOf({"-port"}), "unknown option -port, did you mean --port?");
  EXPECT_EQ(ErrorOf({"--port"}), "--port needs a value: --port N");
  EXPECT_EQ(ErrorOf({"--port", "--enable-lora"}), "--port needs a value: --port N");
  // It is the option that says what is wrong with it.
  EXPECT_THAT(Split({"--port", "-1"})->values.at("port"), ElementsAre("-1"));
  EXPECT_EQ(ErrorOf({"--base", "x"}),
            "--base is not an option of `lorry serve`, but of `lorry inspect`");
}

TEST_F(CommandLineTest, Help) {
  EXPECT_TRUE(Split({"-h"})->help);
  EXPECT_TRUE(Split({"--port", "1", "--help"})->help);
}

}  // namespace
}  // namespace lorry::config
