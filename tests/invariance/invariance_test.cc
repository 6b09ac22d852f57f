// A sequence's logits are bitwise the same alone and beside any others, whatever the chunking of
// its prompt and whether it was preempted. On a model with K of 576 and 1536: where K is small, an
// order of summation that depends on the batch can hide.
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>

#include "adapters/adapter_image.h"
#include "bench/make_model.h"
#include "engine/engine.h"
#include "engine/model_step.h"
#include "formats/hf_config.h"
#include "formats/peft_adapter.h"
#include "invariance/form_adapters.h"
#include "kernels/isa.h"
#include "model/model.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

constexpr int kVocab = 1024;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LORRY_SANITIZED
#endif
#endif
#ifdef LORRY_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// The events of one request, gathered until all its sequences ended.
class Collector : public EventSink {
 public:
  explicit Collector(int num_sequences) : outputs(num_sequences), left_(num_sequences) {}

  void OnEvent(TokenEvent event) override {
    std::lock_guard lock(mutex_);
    for (TokenOutput& token : event.tokens) outputs[event.seq_idx].push_back(std::move(token));
    if (event.finish) {
      reasons.push_back(*event.finish);
      if (--left_ == 0) done_.notify_all();
    }
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(done_.wait_for(lock, std::chrono::minutes(5), [this] { return left_ == 0; }));
  }

  std::vector<std::vector<TokenOutput>> outputs;
  std::vector<FinishReason> reasons;

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  int left_;
};

// Keeps every row of logits, as (request, sequence, position) to the bits.
class LogitsKeeper : public engine::EngineObserver {
 public:
  using Key = std::tuple<uint64_t, int, int>;

  void OnStep(const engine::StepInfo& step) override {
    max_adapters = std::max(max_adapters, step.num_adapters);
    preempted += step.num_preempted;
  }
  void OnLogits(RequestId request, int seq_idx, int position,
                std::span<const float> logits) override {
    rows[{request.value, seq_idx, position}].assign(logits.begin(), logits.end());
  }

  std::map<Key, std::vector<float>> rows;
  int max_adapters = 0;
  int preempted = 0;
};

struct EngineSetup {
  int max_num_seqs = 64;
  int max_num_batched_tokens = 64;
  int max_prompt_chunk = 0;
  int num_kv_pages = 2048;
  int num_threads = 2;
};

class InvarianceTest : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    root_ = fs::temp_directory_path() / ("lorry_invariance_" + std::to_string(getpid()));
    // Nine adapters of mixed ranks, the ranks' directories come with a base of their own, which
    // nobody uses; and one of each form that goes beyond plain LoRA.
    const std::vector<int> ranks = {1, 8, 17, 64};
    ASSERT_TRUE(bench::MakeModel(
        {.shape = "invariance", .num_adapters = 0, .output_dir = root_ / "model"}));
    for (size_t i = 0; i < ranks.size(); ++i) {
      ASSERT_TRUE(bench::MakeModel({.shape = "invariance",
                                    .num_adapters = i == 0 ? 3 : 2,
                                    .rank = ranks[i],
                                    .output_dir = root_ / ("rank" + std::to_string(ranks[i])),
                                    .seed = 100 * (i + 1)}));
    }
    const auto base = formats::ReadHfConfig(root_ / "model" / "base");
    ASSERT_TRUE(base) << base.error().message;
    ASSERT_TRUE(FormAdapterWriter(root_ / "forms", *base).WriteAll());
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  void SetUp() override { ASSERT_TRUE(kernels::SelectIsa(GetParam())); }
  void TearDown() override { ASSERT_TRUE(kernels::SelectIsa("auto")); }

  std::unique_ptr<engine::Engine> MakeEngine(const EngineSetup& setup,
                                             engine::EngineObserver* observer) {
    const Stream stream(2);
    const model::LoadOptions load{.max_step_rows = setup.max_num_batched_tokens,
                                  .max_logit_rows = setup.max_num_seqs};
    auto model = model::Model::Load(root_ / "model" / "base", load, stream);
    EXPECT_TRUE(model) << model.error().message;
    images_ = {nullptr};
    composable_.clear();
    const size_t page_bytes = (*model)->spec().Kv(16).PageBytes();
    size_t adapter_bytes = 0;  // in whole pages
    std::vector<fs::path> dirs;
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      if (entry.path().filename() == "adapter_config.json")
        dirs.push_back(entry.path().parent_path());
    }
    std::sort(dirs.begin(), dirs.end());
    for (const fs::path& dir : dirs) {
      auto adapter = formats::OpenPeftAdapter(dir, (*model)->config());
      EXPECT_TRUE(adapter) << adapter.error().message;
      images_.push_back(
          *adapters::MakeAdapterImage(*adapter, (*model)->spec(), (*model)->checkpoint()));
      if (images_.back()->weights->WhyNotComposable() == nullptr) {
        composable_.push_back(images_.back());
      }
      adapter_bytes += (images_.back()->blob.size() + page_bytes - 1) / page_bytes * page_bytes;
    }
    engine::EngineOptions options{.model_name = "invariance",
                                  .num_threads = setup.num_threads,
                                  .max_model_len = 256,
                                  .max_num_seqs = setup.max_num_seqs,
                                  .max_num_batched_tokens = setup.max_num_batched_tokens,
                                  .max_prompt_chunk = setup.max_prompt_chunk,
                                  .max_reserved_output_tokens = 8,
                                  .pool_bytes = setup.num_kv_pages * page_bytes + adapter_bytes,
                                  .adapter_floor_bytes = adapter_bytes,
                                  .observer = observer};
    auto engine =
        engine::Engine::Create(options, engine::MakeStepModel(std::move(*model)), &registry_);
    EXPECT_TRUE(engine) << engine.error().message;
    return std::move(*engine);
  }

  // Request i: base or one of the adapters, greedy or sampled with a seed, prompts of 1 to 90
  // tokens.
  GenerateRequest Request(int i) const {
    std::mt19937 random(i);
    const auto draw = [&random](int low, int high) {
      return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
    };
    GenerateRequest request{.id = {static_cast<uint64_t>(i + 1)}};
    if (const auto& image = images_[i % images_.size()]) request.adapters = {{.handle = image}};
    // The last ones are sums, some of them the same.
    for (int part = 0; i >= 48 && part < 1 + i % 3; ++part) {
      const auto& image = composable_[(i / 3 + part) % composable_.size()];
      if (part == 0) request.adapters.clear();
      request.adapters.push_back({.weight = 0.5f + part, .handle = image});
    }
    request.prompt.resize(draw(1, 90));
    for (TokenId& token : request.prompt) token = draw(0, kVocab - 1);
    request.sampling.max_tokens = draw(1, 40);
    request.sampling.ignore_eos = true;
    request.sampling.num_logprobs = 2;
    request.sampling.seed = i;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.8f;
    if (i % 4 == 3) request.sampling.top_p = 0.9f;
    if (i % 8 == 5) request.sampling.repetition_penalty = 1.2f;
    request.num_sequences = i % 7 == 0 ? 2 : 1;
    return request;
  }

  static inline fs::path root_;
  std::vector<std::shared_ptr<const adapters::AdapterImage>> images_, composable_;
  prometheus::Registry registry_;
};

bool SameBits(float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

void ExpectSameOutputs(const Collector& lone, const Collector& batched, int request_idx) {
  ASSERT_EQ(lone.outputs.size(), batched.outputs.size());
  for (size_t s = 0; s < lone.outputs.size(); ++s) {
    const auto& expected = lone.outputs[s];
    const auto& got = batched.outputs[s];
    ASSERT_EQ(expected.size(), got.size()) << "request " << request_idx;
    for (size_t t = 0; t < expected.size(); ++t) {
      ASSERT_EQ(expected[t].token, got[t].token) << "request " << request_idx << " token " << t;
      ASSERT_TRUE(SameBits(expected[t].logprob, got[t].logprob)) << "request " << request_idx;
      ASSERT_EQ(expected[t].top.size(), got[t].top.size());
      for (size_t k = 0; k < expected[t].top.size(); ++k) {
        ASSERT_EQ(expected[t].top[k].token, got[t].top[k].token);
        ASSERT_TRUE(SameBits(expected[t].top[k].logprob, got[t].top[k].logprob));
      }
    }
  }
}

// 64 requests over the base and sixteen adapters of all forms: alone first, then 20 times all at
// once in shuffled order, under budgets, chunk sizes, thread counts and page counts of all kinds.
TEST_P(InvarianceTest, ManyRequestsAtOnceAnswerAsTheLoneOnes) {
  constexpr int kRequests = 64;
  // The full count for the kernels that a server here would use; each setup once for the slower
  // ones and under sanitizers.
  const bool full = kernels::SelectedIsa() == kernels::BestIsa() && !kSanitized;
  const int rounds = full ? 20 : 4;
  std::vector<std::shared_ptr<Collector>> lone;
  LogitsKeeper lone_logits;
  {
    auto engine = MakeEngine({.max_num_batched_tokens = 128}, &lone_logits);
    for (int i = 0; i < kRequests; ++i) {
      const GenerateRequest request = Request(i);
      lone.push_back(std::make_shared<Collector>(request.num_sequences));
      ASSERT_TRUE(engine->Submit(request, lone.back()));
      lone.back()->Wait();
    }
    engine->Stop(std::chrono::seconds(10));
  }
  const EngineSetup setups[] = {
      {.max_num_batched_tokens = 512},
      {.max_num_batched_tokens = 64, .max_prompt_chunk = 7},
      {.max_num_batched_tokens = 96, .max_prompt_chunk = 33, .num_threads = 1},
      {.max_num_batched_tokens = 256, .num_kv_pages = 40, .num_threads = 3}};
  int max_adapters = 0, preempted = 0;
  size_t compared = 0;
  std::mt19937 random(1);
  for (int round = 0; round < rounds; ++round) {
    LogitsKeeper logits;
    auto engine = MakeEngine(setups[round % 4], &logits);
    std::vector<int> order(kRequests);
    for (int i = 0; i < kRequests; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    std::vector<std::shared_ptr<Collector>> batched(kRequests);
    for (int i : order) {
      const GenerateRequest request = Request(i);
      batched[i] = std::make_shared<Collector>(request.num_sequences);
      ASSERT_TRUE(engine->Submit(request, batched[i]));
    }
    for (auto& collector : batched) collector->Wait();
    engine->Stop(std::chrono::seconds(10));
    for (int i = 0; i < kRequests; ++i) ExpectSameOutputs(*lone[i], *batched[i], i);
    for (const auto& [key, row] : logits.rows) {
      const auto expected = lone_logits.rows.find(key);
      ASSERT_NE(expected, lone_logits.rows.end());
      ASSERT_EQ(std::memcmp(expected->second.data(), row.data(), row.size() * sizeof(float)), 0)
          << "request " << std::get<0>(key) << " position " << std::get<2>(key);
      ++compared;
    }
    max_adapters = std::max(max_adapters, logits.max_adapters);
    preempted += logits.preempted;
  }
  EXPECT_GE(max_adapters, 8) << "the adapters never really shared a step";
  EXPECT_GT(preempted, 0) << "no round ran out of pages, so preemption was not tried";
  EXPECT_GT(compared, static_cast<size_t>(kRequests * rounds * 10));
}

std::vector<std::string> IsaNames() {
  std::vector<std::string> names = {"portable"};
  if (kernels::BestIsa() >= kernels::Isa::kAvx2) names.push_back("avx2");
  if (kernels::BestIsa() >= kernels::Isa::kAvx512Bf16) names.push_back("avx512bf16");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Isas, InvarianceTest, testing::ValuesIn(IsaNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lorry
