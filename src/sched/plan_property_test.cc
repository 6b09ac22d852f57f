// Random worlds run step by step under Plan; after each step all that Plan promises is checked.
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "base/check.h"
#include "sched/plan.h"
#include "sched/waiting_line.h"

namespace lorry::sched {
namespace {

class World {
 public:
  World(unsigned seed, const SchedOptions& options)
      : random_(seed), options_(options), free_pages_(options.num_pages) {}

  void Arrive() {
    const int capacity = options_.num_pages * options_.page_tokens;
    SchedSeq seq;
    seq.num_tokens = 1 + Random(std::min(capacity, 120));
    seq.max_new_tokens = 1 + Random(capacity - seq.num_tokens + 1);
    seq.adapter_idx = Random(4);
    seq.all_logits = Random(8) == 0;
    Arrive(seq, Random(4) == 0 ? 2 + Random(8) : 1);
  }

  RequestId Arrive(const SchedSeq& view, int num_sequences) {
    const Seq seq = {.view = view, .request = RequestId{++last_request_}};
    for (int i = 0; i < num_sequences; ++i) {
      line_.Add(seq.request, &seqs_.emplace_back(seq));
      ++num_waiting_;
      work_tokens_ += view.num_tokens + view.max_new_tokens;
    }
    return seq.request;
  }

  bool has_begun(RequestId request) const {
    return std::any_of(seqs_.begin(), seqs_.end(), [request](const Seq& seq) {
      return seq.request == request && seq.turn > 0;
    });
  }
  bool has_ended(RequestId request) const {
    return std::all_of(seqs_.begin(), seqs_.end(), [request](const Seq& seq) {
      return seq.request != request || seq.view.max_new_tokens == 0;
    });
  }

  void Step() {
    std::sort(running_.begin(), running_.end(), IsOlder);
    std::vector<SchedSeq> running, waiting;
    for (const Seq* seq : running_) running.push_back(seq->view);
    const std::vector<Seq*> shown = Shown();
    for (const Seq* seq : shown) waiting.push_back(seq->view);
    const Seq* oldest = running_.empty() ? nullptr : running_.front();
    const StepPlan plan = Plan({running, waiting, free_pages_}, options_);
    CheckPreemptions(plan);
    CheckAdmissions(plan, shown);
    Apply(plan, shown);
    if (running_.empty()) {
      ASSERT_EQ(num_waiting_, 0) << "waiting, and nobody runs";
      return;
    }
    if (oldest != nullptr) {
      ASSERT_EQ(running_.front(), oldest) << "the oldest was preempted";
    }
    CheckRows(plan);
    const Seq* first = running_.front();
    const int before = first->view.num_computed;
    Compute(plan);
    if (first->view.max_new_tokens > 0) {
      ASSERT_GT(first->view.num_computed, before);
    }
  }

  bool idle() const { return running_.empty() && num_waiting_ == 0; }
  int num_waiting() const { return num_waiting_; }
  int64_t work_tokens() const { return work_tokens_; }
  int64_t num_preempted() const { return num_preempted_; }
  int most_running() const { return most_running_; }
  int64_t num_passed_over() const { return num_passed_over_; }

 private:
  struct Seq {
    SchedSeq view;
    RequestId request;
    uint64_t turn = 0;
  };

  static bool IsOlder(const Seq* a, const Seq* b) { return a->turn < b->turn; }
  // Those that wait, preempted ones first; as many as could begin if no further one does.
  std::vector<Seq*> Shown() {
    std::vector<bool> is_before(last_request_ + 1);
    for (const Seq* seq : running_) is_before[seq->request.value] = true;
    std::vector<Seq*> shown;
    int num_first = 0;
    const auto show = [&](Seq* seq, size_t) {
      if (num_first + static_cast<int>(running_.size()) == options_.max_num_seqs ||
          static_cast<int>(shown.size()) == 2 * options_.max_num_seqs) {
        return WaitingLine<Seq>::Answer::kStop;
      }
      shown.push_back(seq);
      seq->view.is_further = is_before[seq->request.value];
      is_before[seq->request.value] = true;
      num_first += !seq->view.is_further;
      return WaitingLine<Seq>::Answer::kNext;
    };
    for (Seq* seq : preempted_) show(seq, 0);
    line_.ForEach(show);
    return shown;
  }

  // Only further sequences are passed over, and those admitted leave an eighth of the slots.
  void CheckAdmissions(const StepPlan& plan, const std::vector<Seq*>& shown) {
    int next = 0, num_running = static_cast<int>(running_.size()) - plan.num_preempted;
    for (int idx : plan.admitted) {
      for (; next < idx; ++next) {
        ASSERT_TRUE(shown[next]->view.is_further) << "passed over";
        ++num_passed_over_;
      }
      ++next;
      ++num_running;
      if (shown[idx]->view.is_further) {
        ASSERT_LE(num_running, options_.max_num_seqs - (options_.max_num_seqs + 7) / 8);
      }
    }
  }

  int Random(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
  int Pages(int tokens) const { return (tokens + options_.page_tokens - 1) / options_.page_tokens; }

  // One victim fewer would not have been enough for those that stay.
  void CheckPreemptions(const StepPlan& plan) {
    if (plan.num_preempted == 0) return;
    num_preempted_ += plan.num_preempted;
    ASSERT_TRUE(plan.admitted.empty());
    const size_t num_kept = running_.size() - plan.num_preempted;
    ASSERT_GE(num_kept, 1u);
    int available = free_pages_;
    for (size_t i = num_kept + 1; i < running_.size(); ++i)
      available += running_[i]->view.num_pages;
    int missing = 0;
    for (const Chunk& chunk : plan.chunks) {
      const SchedSeq& seq = running_[chunk.running_idx]->view;
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
    const SchedSeq& seq = running_[num_kept - 1]->view;
    return rows < seq.num_tokens - seq.num_computed;
  }

  void Apply(const StepPlan& plan, const std::vector<Seq*>& shown) {
    for (int i = 0; i < plan.num_preempted; ++i) {
      Seq* seq = running_.back();
      running_.pop_back();
      free_pages_ += seq->view.num_pages;
      seq->view.num_pages = seq->view.num_computed = 0;
      preempted_.push_back(seq);
      ++num_waiting_;
    }
    std::sort(preempted_.begin(), preempted_.end(), IsOlder);
    for (int idx : plan.admitted) {
      Seq* seq = shown[idx];
      running_.push_back(seq);
      --num_waiting_;
      if (seq->turn > 0) {
        std::erase(preempted_, seq);
      } else {
        seq->turn = ++last_turn_;
        line_.Take(seq->request, seq);
      }
    }
    most_running_ = std::max(most_running_, static_cast<int>(running_.size()));
    ASSERT_LE(static_cast<int>(running_.size()), options_.max_num_seqs);
  }

  void CheckRows(const StepPlan& plan) const {
    ASSERT_FALSE(plan.chunks.empty());
    int rows = 0, logit_rows = 0, last_adapter = -1;
    bool prompts = false;
    std::vector<bool> seen(running_.size(), false);
    for (const Chunk& chunk : plan.chunks) {
      ASSERT_FALSE(seen[chunk.running_idx]);
      seen[chunk.running_idx] = true;
      const SchedSeq& seq = running_[chunk.running_idx]->view;
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
      Seq& seq = *running_[chunk.running_idx];
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
    std::erase_if(running_, [this](const Seq* seq) {
      if (seq->view.max_new_tokens > 0) return false;
      free_pages_ += seq->view.num_pages;
      return true;
    });
  }

  std::mt19937 random_;
  const SchedOptions options_;
  int free_pages_;
  std::deque<Seq> seqs_;  // all that ever were
  std::vector<Seq*> running_, preempted_;
  WaitingLine<Seq> line_;
  int num_waiting_ = 0;
  uint64_t last_request_ = 0, last_turn_ = 0;
  int64_t work_tokens_ = 0;
  int64_t num_preempted_ = 0;
  int most_running_ = 0;
  int64_t num_passed_over_ = 0;
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

// A request of many sequences beside newcomers without end, one of which would always take what is
// free: it goes on all the same, and a newcomer that finds the line empty begins in the next step.
TEST(PlanProperties, ManySequencesAndNewcomersBothGoOn) {
  const SchedOptions options = {
      .max_num_seqs = 16, .max_num_batched_tokens = 32, .max_logit_rows = 16, .num_pages = 1000};
  World world(1, options);
  const SchedSeq seq = {.num_tokens = 4, .max_new_tokens = 20};
  const RequestId large = world.Arrive(seq, 100);
  for (int i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(world.Step());
  const RequestId newcomer = world.Arrive(seq, 1);
  ASSERT_NO_FATAL_FAILURE(world.Step());
  EXPECT_TRUE(world.has_begun(newcomer));
  int steps = 0;
  for (; !world.has_ended(large); ++steps) {
    // Each of its sequences waits for one round of the line at most, and 16 slots change hands
    // every 20 steps; twice that.
    ASSERT_LT(steps, 2 * 100 * (100 + 16) * 20 / 16);
    if (world.num_waiting() < 100) world.Arrive(seq, 1);
    ASSERT_NO_FATAL_FAILURE(world.Step());
  }
}

TEST(PlanProperties, RandomWorlds) {
  std::mt19937 random(11);
  int64_t num_steps = 0, num_preempted = 0, num_passed_over = 0;
  int most_running = 0;
  for (unsigned trial = 0; trial < 800; ++trial) {
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
    num_passed_over += world.num_passed_over();
    most_running = std::max(most_running, world.most_running());
  }
  EXPECT_GT(num_steps, 1'000'000);
  EXPECT_GT(num_preempted, 1000);
  EXPECT_GT(num_passed_over, 1000);
  EXPECT_EQ(most_running, 12) << "the worlds have become too small";
}

}  // namespace
}  // namespace lorry::sched
