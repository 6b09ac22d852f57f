// The input as choices among the steps that tokenizers have, and as a tokenizer.json of its own:
// each must load, be refused, or be ended in a worker, and a call must not take longer than its
// budget. The library is not built for fuzzing, so the grammar, not the coverage, leads to what may
// grow.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "text/testing/random_tokenizer.h"
#include "text/text_sandbox.h"
#include "text/tokenizer.h"
#include "text/worker_frames.h"
#include "text/worker_main.h"

namespace {

using lorry::Clock;
using lorry::ErrorCode;
using lorry::Micros;
using lorry::text::RandomTokenizer;
using lorry::text::SandboxOptions;
using lorry::text::TextSandbox;
using lorry::text::Tokenizer;

// Short, so that much is tried; what takes no longer than these is of no interest.
SandboxOptions Options() {
  SandboxOptions options;
  options.call.cpu_us = 100'000;
  options.load.cpu_us = 500'000;
  options.load.memory_bytes = options.call.memory_bytes;
  options.pause_us = 0;
  return options;
}

// By the wall clock a call may take ten times its budget and that of loading.
constexpr Micros kMaxCallUs = 8'000'000;

void Try(TextSandbox& sandbox, const std::string& tokenizer_json, RandomTokenizer& texts) {
  const auto tokenizer = Tokenizer::FromJson(tokenizer_json, "", "fuzz", sandbox);
  if (!tokenizer) {
    if (tokenizer.error().code == ErrorCode::kInternal) std::abort();
    return;
  }
  for (const int number : {1, 2, 3, 7, 18}) {
    const std::string text = texts.Text(number);
    const Micros begin_us = Clock::Steady().NowUs();
    const auto ids = tokenizer->Encode(text);
    if (Clock::Steady().NowUs() - begin_us > kMaxCallUs) std::abort();
    if (!ids && ids.error().code == ErrorCode::kInternal) std::abort();
    if (ids) tokenizer->Decode(*ids);
  }
}

}  // namespace

// This program is the worker's too.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc > 1 && lorry::text::kWorkerCommand == (*argv)[1]) _exit(lorry::text::RunTextWorker());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<TextSandbox> sandbox = TextSandbox::Create(Options());
  RandomTokenizer random({data, size});
  Try(*sandbox, random.Json(), random);
  Try(*sandbox, std::string(reinterpret_cast<const char*>(data), size), random);
  return 0;
}
