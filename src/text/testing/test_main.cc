// The main of tests that speak to text workers: the test program is the worker's program too.
#include <gtest/gtest.h>

#include "text/worker_frames.h"
#include "text/worker_main.h"

int main(int argc, char** argv) {
  if (argc > 1 && lorry::text::kWorkerCommand == argv[1]) return lorry::text::RunTextWorker();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
