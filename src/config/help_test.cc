#include "config/help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace lorry::config {
namespace {

using testing::HasSubstr;
using testing::Not;

class HelpTest : public testing::Test {
 protected:
  HelpTest() {
    registry_.Group("Server", {"serve"});
    registry_.Integer({.name = "port",
                       .help = "TCP port to listen on; 0 takes a free one and says which.",
                       .when = "Change it when another process has it, or to run several servers."},
                      &port_, 0, 65535);
    registry_.Group("Kernels", {"serve", "run"});
    registry_.Choice({.name = "cpu", .help = "Instruction set."}, &cpu_, {"auto", "portable"});
  }
  Registry registry_;
  int port_ = 8000;
  std::string cpu_ = "auto";
};

TEST_F(HelpTest, GroupsDefaultsAndVariables) {
  const std::string text = HelpText(registry_, "serve");
  EXPECT_THAT(text, HasSubstr("\nServer\n  --port N  [8000]  LORRY_PORT\n"));
  EXPECT_THAT(text, HasSubstr("\nKernels\n  --cpu auto|portable  [auto]  LORRY_CPU\n"));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST_F(HelpTest, OnlyTheCommandsOwnOptions) {
  EXPECT_THAT(HelpText(registry_, "run"), Not(HasSubstr("--port")));
  EXPECT_THAT(HelpText(registry_, "run"), HasSubstr("--cpu"));
}

TEST_F(HelpTest, DefaultsAreThoseBeforeLoading) {
  ASSERT_TRUE(registry_.Find("port")->set({"1"}));
  EXPECT_THAT(HelpText(registry_, "serve"), HasSubstr("[8000]"));
}

TEST_F(HelpTest, MarkdownEscapesBars) {
  const std::string text = MarkdownText(registry_);
  EXPECT_THAT(text, HasSubstr("## Kernels\n\nOf `lorry serve`, `lorry run`."));
  EXPECT_THAT(text, HasSubstr("| `--cpu auto\\|portable` | auto | Instruction set. |"));
}

}  // namespace
}  // namespace lorry::config
