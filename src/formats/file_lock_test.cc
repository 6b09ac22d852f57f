#include "formats/file_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/test_files.h"

namespace lorry::formats {
namespace {

bool IsFree(const std::string& path) { return FileLock::TryAcquire(path)->has_value(); }

TEST(FileLockTest, OneHolderAtATime) {
  const TempDir dir;
  const std::string path = dir.Path("lock");
  {
    const auto first = FileLock::Acquire(path);
    ASSERT_TRUE(first);
    EXPECT_FALSE(IsFree(path));
    EXPECT_TRUE(IsFree(path + "2"));
    const std::atomic<bool> cancelled = true;
    EXPECT_EQ(FileLock::Acquire(path, &cancelled).error().code, ErrorCode::kCancelled);
  }
  EXPECT_TRUE(IsFree(path));
}

TEST(FileLockTest, ADeadHolderHoldsNothing) {
  const TempDir dir;
  const std::string path = dir.Path("lock");
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto lock = FileLock::Acquire(path);
    const char byte = lock.has_value();
    if (write(ready[1], &byte, 1) == 1) pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_FALSE(IsFree(path));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(IsFree(path));
}

TEST(FileLockTest, ADirectoryMustExist) {
  EXPECT_EQ(FileLock::Acquire("/no/such/directory/lock").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace lorry::formats
