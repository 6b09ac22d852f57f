// Tokenizers put together at random from all that the library has, each with texts that mean harm:
// each call ends within its budget, whatever comes out.
// LORRY_RANDOM_TOKENIZERS=N: so many of them, 1,000 taking some minutes; without it a share.
#include <gmock/gmock.h>

#include <cstdlib>
#include <map>
#include <string>

#include "base/testing/sanitized.h"
#include "text/testing/random_tokenizer.h"
#include "text/text_sandbox.h"
#include "text/tokenizer.h"

namespace lorry::text {
namespace {

constexpr int kNumTexts = 20;

TEST(RandomTokenizersTest, EveryCallIsWithinItsBudget) {
  const char* number = std::getenv("LORRY_RANDOM_TOKENIZERS");
  const int usual = kSanitized ? 20 : 120;
  const int num_tokenizers = number == nullptr ? usual : std::atoi(number);
  SandboxOptions options;
  options.pause_us = 0;           // each text is to be tried
  options.call.cpu_us = 300'000;  // much is to be tried
  options.load.cpu_us = 1'000'000;
  const auto sandbox = TextSandbox::Create(options);
  // By the wall clock ten times as much, and twice, where the worker has to be made anew.
  const Micros wall_us = 10 * (2 * options.call.cpu_us + options.load.cpu_us);
  int num_loaded = 0, num_calls = 0, num_encoded = 0;
  std::map<std::string, int> refusals;
  Micros longest_us = 0;
  for (int seed = 0; seed < num_tokenizers; ++seed) {
    const auto choices = RandomTokenizer::Choices(static_cast<uint64_t>(seed));
    RandomTokenizer random(choices);
    const std::string tokenizer_json = random.Json();
    const auto tokenizer = Tokenizer::FromJson(tokenizer_json, "", "tokenizer.json", *sandbox);
    if (!tokenizer) continue;
    ++num_loaded;
    for (int i = 0; i < kNumTexts; ++i) {
      const std::string text = random.Text(i);
      const Micros begin_us = Clock::Steady().NowUs();
      const auto ids = tokenizer->Encode(text);
      longest_us = std::max(longest_us, Clock::Steady().NowUs() - begin_us);
      ++num_calls;
      num_encoded += ids.has_value();
      if (ids) {
        tokenizer->Decode(*ids);
        continue;
      }
      ++refusals[ids.error().message.substr(0, 80)];
      EXPECT_NE(ids.error().code, ErrorCode::kInternal) << seed << ": " << ids.error().message;
      EXPECT_EQ(ids.error().message.find('/'), std::string::npos) << ids.error().message;
    }
  }
  EXPECT_LT(longest_us, wall_us);
  EXPECT_GT(num_loaded, num_tokenizers / 3);
  EXPECT_GT(num_encoded, num_calls / 2);
  const SandboxStats& stats = sandbox->stats();
  const auto ends = [&](WorkerEnd end) { return stats.num_ends[static_cast<size_t>(end)].load(); };
  fmt::print(
      "{} of {} loaded; {} of {} calls encoded; ended by time {}, memory {}, crash {}; longest "
      "{:.2f} s\n",
      num_loaded, num_tokenizers, num_encoded, num_calls, ends(WorkerEnd::kTime),
      ends(WorkerEnd::kMemory), ends(WorkerEnd::kCrash), SecondsBetween(0, longest_us));
  for (const auto& [message, count] : refusals) fmt::print("  {:6} {}\n", count, message);
}

}  // namespace
}  // namespace lorry::text
