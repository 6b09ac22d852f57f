#include "base/background.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <future>
#include <memory>
#include <thread>

namespace lorry {
namespace {

int NiceOfThisThread() { return getpriority(PRIO_PROCESS, 0); }  // of the thread, on Linux

int NiceBeside() {
  auto nice = std::make_shared<std::promise<int>>();
  EXPECT_TRUE(RunBeside([nice] { nice->set_value(NiceOfThisThread()); }));
  return nice->get_future().get();
}

TEST(BackgroundTest, ABackgroundThreadLetsOthersGoFirst) {
  const int usual = NiceOfThisThread();
  std::thread([usual] {
    BecomeBackgroundThread();
    EXPECT_TRUE(NiceOfThisThread() > usual || usual == 19);  // 19: nobody goes later
    LetOthersRun();
  }).join();
  EXPECT_EQ(NiceOfThisThread(), usual);
}

TEST(BackgroundTest, WhatRunsBesideIsAsWhoAskedForIt) {
  const int usual = NiceOfThisThread();
  EXPECT_EQ(NiceBeside(), usual);
  std::thread([usual] {
    BecomeBackgroundThread();
    EXPECT_TRUE(NiceBeside() > usual || usual == 19);
  }).join();
}

}  // namespace
}  // namespace lorry
