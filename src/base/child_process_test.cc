#include "base/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <set>

#include "base/pool.h"

namespace lorry {
namespace {

std::string ReadAll(int socket) {
  std::string all;
  char buffer[4096];
  pollfd ready = {socket, POLLIN, 0};
  while (poll(&ready, 1, 10'000) == 1) {
    const ssize_t count = recv(socket, buffer, sizeof(buffer), 0);
    if (count <= 0) break;
    all.append(buffer, static_cast<size_t>(count));
  }
  return all;
}

std::string ShellSays(const std::string& script, const std::vector<std::string>& environment = {}) {
  auto child = ChildProcess::Start({"/bin/sh", "-c", script}, environment);
  EXPECT_TRUE(child) << child.error().message;
  return ReadAll(child->socket());
}

TEST(ChildProcessTest, SpeaksOverItsSocket) {
  auto child = ChildProcess::Start({"/bin/sh", "-c", "read line <&3; echo got $line >&3"}, {});
  ASSERT_TRUE(child) << child.error().message;
  ASSERT_EQ(send(child->socket(), "word\n", 5, MSG_NOSIGNAL), 5);
  EXPECT_EQ(ReadAll(child->socket()), "got word\n");
}

TEST(ChildProcessTest, HasNothingOfOurs) {
  const int ours = open("/dev/null", O_RDONLY);                     // not closed on exec
  EXPECT_EQ(ShellSays("ls /proc/self/fd >&3"), "0\n1\n2\n3\n4\n");  // 4: ls reads the directory
  close(ours);
  EXPECT_EQ(ShellSays("echo \"$HOME,$NAME\" >&3", {"NAME=value"}), ",value\n");
}

TEST(ChildProcessTest, EndsWithItsOwner) {
  pid_t pid = -1;
  {
    auto child = ChildProcess::Start({"/bin/sleep", "1000"}, {});
    ASSERT_TRUE(child);
    pid = child->pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(ChildProcessTest, SaysHowItEnded) {
  auto child = ChildProcess::Start({"/bin/sh", "-c", "exit 7"}, {});
  ASSERT_TRUE(child);
  EXPECT_EQ(ReadAll(child->socket()), "");
  const int status = child->Kill();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(child->Kill(), status);
  auto busy = ChildProcess::Start({"/bin/sh", "-c", "while true; do :; done"}, {});
  ASSERT_TRUE(busy);
  while (busy->CpuTimeUs() < 20'000) usleep(1000);
  EXPECT_TRUE(WIFSIGNALED(busy->Kill()));
}

TEST(ChildProcessTest, AProgramThatIsNotThereIsAnError) {
  const auto child = ChildProcess::Start({"/nowhere/program"}, {});
  ASSERT_FALSE(child);
  EXPECT_NE(child.error().message.find("/nowhere/program"), std::string::npos);
}

TEST(PoolTest, LendsTheBestThatWaits) {
  Pool<int> pool;
  const auto value = [](int number) { return number; };
  EXPECT_EQ(pool.Take(value), nullptr);
  for (int number : {1, 3, 2}) EXPECT_EQ(pool.Put(std::make_unique<int>(number), 3), nullptr);
  EXPECT_EQ(*pool.Put(std::make_unique<int>(9), 3), 9);
  EXPECT_EQ(pool.TakeIf([](int number) { return number > 3; }), nullptr);
  EXPECT_EQ(*pool.TakeIf([](int number) { return number == 1; }), 1);
  EXPECT_EQ(pool.Put(std::make_unique<int>(1), 3), nullptr);
  EXPECT_EQ(*pool.Take(value), 3);
  EXPECT_EQ(*pool.Take([](int) { return 0; }), 1);  // the last that came
  EXPECT_EQ(pool.TakeAll().size(), 1u);
  EXPECT_TRUE(pool.TakeAll().empty());
}

}  // namespace
}  // namespace lorry
