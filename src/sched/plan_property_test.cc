// Random worlds run step by step under Plan; after each step all that Plan promises is checked.
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "base/check.h"
#include "sched/plan.h"

namespace lorry::sched {
namespace {

class World {
 public:
  World(unsigned seed, const SchedOptions& options)
      : random_(seed), options_(options), free_pages_(options.num_pages) {}

  void Arrive() {
    const int capacity = options_.num_pages * options_.page_tokens;
    Seq seq;
    seq.arrival = num_arrived_++;
    seq.view.num_tokens = 1 + Random(std::min(capacity, 120));
    seq.view.max_new_tokens = 1 + Random(capacity - seq.view.num_tokens + 1);
    seq.view.adapter_idx = Random(4);
    seq.prompt_tokens = seq.view.num_tokens;
    seq.view.all_logits = Random(8) == 0;
    waiting_.push_back(seq);
    work_tokens_ += seq.view.num_tokens + seq.view.max_new_tokens;
  }

  void Step() {
    std::vector<SchedSeq> running, waiting;
    for (const Seq& seq : running_) running.push_back(seq.view);
    for (const Seq& seq : waiting_) waiting.push_back(seq.view);
    const int oldest = running_.empty() ? -1 : running_.front().arrival;
    const StepPlan plan = Plan({running, waiting, free_pages_}, options_);
    CheckPreemptions(plan);
    Apply(plan);
    if (running_.empty()) {
      ASSERT_TRUE(waiting_.empty()) << "waiting, and nobody runs";
      return;
    }
    if (oldest >= 0) {
      ASSERT_EQ(running_.front().arrival, oldest) << "the oldest was preempted";
    }
    CheckOrder();
    CheckRows(plan);
    const int before = running_.front().view.num_computed;
    Compute(plan);
    if (!finished_oldest_) {
      ASSERT_GT(running_.front().view.num_computed, before);
    }
  }

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int64_t work_tokens() const { return work_tokens_; }
  int64_t num_preempted() const { return num_preempted_; }
  int most_running() const { return most_running_; }

 private:
  struct Seq {
    SchedSeq view;
    int arrival = 0;
    int prompt_tokens = 0;
  };

  int Random(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
  int Pages(int tokens) const { return (tokens + options_.page_tokens - 1) / options_.page_tokens; }

  // One victim fewer would not have been enough for those that stay.
  void CheckPreemptions(const StepPlan& plan) {
    if (plan.num_preempted == 0) return;
    num_preempted_ += plan.num_preempted;
    ASSERT_EQ(plan.num_admitted, 0);
    const size_t num_kept = running_.size() - plan.num_preempted;
    ASSERT_GE(num_kept, 1u);
    int available = free_pages_;
    for (size_t i = num_kept + 1; i < running_.size(); ++i) available += running_[i].view.num_pages;
    int missing = 0;
    for (const Chunk& chunk : plan.chunks) {
      const SchedSeq& seq = running_[chunk.running_idx].view;
      missing += std::max(0, Pages(seq.num_computed + chunk.num_tokens) - seq.num_pages);
    }
    ASSERT_TRUE(missing > available || WantsMore(plan, num_kept)) << missing << " " << available;
  }

  // The last one that stays was cut for lack of pages even with all victims gone.
  bool WantsMore(const StepPlan& plan, size_t num_kept) const {
    int rows = 0;
    for (const Chunk& chunk : plan.chunks) {
      if (chunk.running_idx == static_cast<int>(num_kept) - 1) rows = chunk.num_tokens;
    }
    const SchedSeq& seq = running_[num_kept - 1].view;
    return rows < seq.num_tokens - seq.num_computed;
  }

  void Apply(const StepPlan& plan) {
    for (int i = 0; i < plan.num_preempted; ++i) {
      Seq seq = running_.back();
      running_.pop_back();
      free_pages_ += seq.view.num_pages;
      seq.view.num_pages = seq.view.num_computed = 0;
      waiting_.push_front(seq);
    }
    ASSERT_LE(plan.num_admitted, static_cast<int>(waiting_.size()));
    for (int i = 0; i < plan.num_admitted; ++i) {
      running_.push_back(waiting_.front());
      waiting_.pop_front();
    }
    most_running_ = std::max(most_running_, static_cast<int>(running_.size()));
    ASSERT_LE(static_cast<int>(running_.size()), options_.max_num_seqs);
  }

  void CheckOrder() const {
    int last = -1;
    for (const auto* list : {&running_, &waiting_}) {
      for (const Seq& seq : *list) {
        ASSERT_LT(last, seq.arrival) << "served out of order";
        last = seq.arrival;
      }
    }
  }

  void CheckRows(const StepPlan& plan) const {
    ASSERT_FALSE(plan.chunks.empty());
    int rows = 0, logit_rows = 0, last_adapter = -1;
    bool prompts = false;
    std::vector<bool> seen(running_.size(), false);
    for (const Chunk& chunk : plan.chunks) {
      ASSERT_FALSE(seen[chunk.running_idx]);
      seen[chunk.running_idx] = true;
      const SchedSeq& seq = running_[chunk.running_idx].view;
      const int left = seq.num_tokens - seq.num_computed;
      ASSERT_GE(chunk.num_tokens, 1);
      ASSERT_LE(chunk.num_tokens, left);
      rows += chunk.num_tokens;
      logit_rows += seq.all_logits ? chunk.num_tokens : chunk.num_tokens == left;
      ASSERT_GE(seq.adapter_idx, last_adapter);
      if (seq.adapter_idx > last_adapter) prompts = false;
      last_adapter = seq.adapter_idx;
      ASSERT_FALSE(prompts && left == 1) << "a decode row behind a prompt";
      prompts = left > 1;
    }
    ASSERT_LE(rows, options_.max_num_batched_tokens);
    ASSERT_LE(logit_rows, options_.max_logit_rows);
  }

  void Compute(const StepPlan& plan) {
    for (const Chunk& chunk : plan.chunks) {
      Seq& seq = running_[chunk.running_idx];
      seq.view.num_computed += chunk.num_tokens;
      const int more = Pages(seq.view.num_computed) - seq.view.num_pages;
      if (more > 0) {
        free_pages_ -= more;
        seq.view.num_pages += more;
      }
      ASSERT_GE(free_pages_, 0) << "more pages than there are";
      if (seq.view.num_computed < seq.view.num_tokens) continue;
      seq.view.all_logits = false;
      ++seq.view.num_tokens;
      --seq.view.max_new_tokens;
      if (Random(60) == 0) seq.view.max_new_tokens = 0;  // its end-of-sequence id
    }
    finished_oldest_ = running_.front().view.max_new_tokens == 0;
    std::erase_if(running_, [this](const Seq& seq) {
      if (seq.view.max_new_tokens > 0) return false;
      free_pages_ += seq.view.num_pages;
      return true;
    });
  }

  std::mt19937 random_;
  const SchedOptions options_;
  int free_pages_;
  std::deque<Seq> running_, waiting_;
  int num_arrived_ = 0;
  int64_t work_tokens_ = 0;
  int64_t num_preempted_ = 0;
  int most_running_ = 0;
  bool finished_oldest_ = false;
};

SchedOptions RandomOptions(std::mt19937& random) {
  SchedOptions options;
  options.max_num_seqs = 1 + random() % 12;
  options.max_num_batched_tokens = options.max_num_seqs + random() % 40;
  options.max_logit_rows = options.max_num_seqs + random() % 20;
  options.max_prompt_chunk = random() % 3 == 0 ? 1 + random() % 20 : 0;
  options.max_reserved_output_tokens = random() % 2 == 0 ? 1 + random() % 16 : 512;
  options.num_pages = 2 + random() % 60;
  return options;
}

TEST(PlanProperties, RandomWorlds) {
  std::mt19937 random(11);
  int64_t num_steps = 0, num_preempted = 0;
  int most_running = 0;
  for (unsigned trial = 0; trial < 3000; ++trial) {
    World world(trial, RandomOptions(random));
    const int num_arrivals = 1 + random() % 40;
    const unsigned gap = 1 + random() % 8;
    int arrived = 0;
    int64_t steps = 0;
    while (arrived < num_arrivals || !world.idle()) {
      if (arrived < num_arrivals && (world.idle() || random() % gap == 0)) {
        world.Arrive();
        ++arrived;
      }
      ASSERT_NO_FATAL_FAILURE(world.Step()) << "trial " << trial << " step " << steps;
      // The oldest moves in every step and is never preempted, so nothing can take longer than one
      // by one.
      ASSERT_LE(++steps, world.work_tokens()) << "trial " << trial;
    }
    num_steps += steps;
    num_preempted += world.num_preempted();
    most_running = std::max(most_running, world.most_running());
  }
  EXPECT_GT(num_steps, 1'000'000);
  EXPECT_GT(num_preempted, 1000);
  EXPECT_EQ(most_running, 12) << "the worlds have become too small";
}

}  // namespace
}  // namespace lorry::sched
