// Plans of small situations, written as text.
//     run  A 31/32 pages 2 new 5 adapter 1      a running sequence: computed/known tokens; `all`:
//     all_logits wait D 0/10                               a waiting one
// and the plan as "preempt 1 admit 2: A=1 C=6", chunks in row order.
#include "sched/plan.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "base/check.h"

namespace lorry::sched {
namespace {

struct Situation {
  std::vector<SchedSeq> running, waiting;
  std::string names;  // of running, then waiting
};

Situation Parse(const std::string& text, int page_tokens) {
  Situation situation;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string kind, name, word;
    SchedSeq seq{.max_new_tokens = 10};
    char slash;
    if (!(words >> kind >> name >> seq.num_computed >> slash >> seq.num_tokens)) continue;
    seq.num_pages = (seq.num_computed + page_tokens - 1) / page_tokens;
    while (words >> word) {
      if (word == "pages") words >> seq.num_pages;
      if (word == "new") words >> seq.max_new_tokens;
      if (word == "adapter") words >> seq.adapter_idx;
      if (word == "all") seq.all_logits = true;
      if (word == "further") seq.is_further = true;
    }
    (kind == "run" ? situation.running : situation.waiting).push_back(seq);
    situation.names += name;
  }
  return situation;
}

std::string PlanOf(const std::string& text, const SchedOptions& options, int num_free_pages) {
  const Situation situation = Parse(text, options.page_tokens);
  const StepPlan plan = Plan({situation.running, situation.waiting, num_free_pages}, options);
  std::string result =
      fmt::format("preempt {} admit {}:", plan.num_preempted, plan.admitted.size());
  const int num_kept = static_cast<int>(situation.running.size()) - plan.num_preempted;
  for (const Chunk& chunk : plan.chunks) {
    const int idx = chunk.running_idx < num_kept ? chunk.running_idx
                                                 : num_kept + plan.num_preempted +
                                                       plan.admitted[chunk.running_idx - num_kept];
    result += fmt::format(" {}={}", situation.names[idx], chunk.num_tokens);
  }
  return result;
}

SchedOptions Options(int num_pages) {
  return {.max_num_seqs = 4,
          .max_num_batched_tokens = 16,
          .max_logit_rows = 4,
          .page_tokens = 16,
          .num_pages = num_pages};
}

TEST(Plan, NothingToDo) { EXPECT_EQ(PlanOf("", Options(4), 4), "preempt 0 admit 0:"); }

TEST(Plan, DecodeRowsComeBeforeOlderPrompts) {
  EXPECT_EQ(PlanOf(R"(run A 0/40
                      run B 20/21
                      run C 30/31)",
                   Options(20), 10),
            "preempt 0 admit 0: B=1 C=1 A=14");
}

TEST(Plan, PromptsShareTheBudgetOldestFirst) {
  EXPECT_EQ(PlanOf(R"(run A 0/10
                      run B 0/10)",
                   Options(20), 10),
            "preempt 0 admit 0: A=10 B=6");
}

TEST(Plan, ChunkLimitLeavesRoomForOthers) {
  SchedOptions options = Options(20);
  options.max_prompt_chunk = 7;
  EXPECT_EQ(PlanOf(R"(run A 0/30
                      run B 0/30
                      run C 0/30)",
                   options, 10),
            "preempt 0 admit 0: A=7 B=7 C=2");
}

TEST(Plan, RowsOfAnAdapterLieTogether) {
  EXPECT_EQ(PlanOf(R"(run A 3/4 adapter 2
                      run B 0/3 adapter 1
                      run C 3/4 adapter 2
                      run D 3/4 adapter 1)",
                   Options(20), 10),
            "preempt 0 admit 0: D=1 B=3 A=1 C=1");
  EXPECT_EQ(PlanOf(R"(run A 3/4 adapter 2
                      run B 0/3
                      run C 3/4)",
                   Options(20), 10),
            "preempt 0 admit 0: C=1 B=3 A=1");
}

TEST(Plan, AdmitsInOrderWithWhatIsLeftOfTheBudget) {
  EXPECT_EQ(PlanOf(R"(run  A 3/4
                      wait B 0/10
                      wait C 0/10
                      wait D 0/10)",
                   Options(20), 19),
            "preempt 0 admit 2: A=1 B=10 C=5");
}

TEST(Plan, AdmitsUpToTheNumberOfSequences) {
  EXPECT_EQ(PlanOf(R"(run  A 3/4
                      run  B 3/4
                      run  C 3/4
                      wait D 0/2
                      wait E 0/2)",
                   Options(20), 17),
            "preempt 0 admit 1: A=1 B=1 C=1 D=2");
}

TEST(Plan, TheHeadOfTheQueueIsNotPassed) {
  // B would need 3 pages at its end, and A holds 2 of the 4; C would fit.
  EXPECT_EQ(PlanOf(R"(run  A 20/21
                      wait B 0/30 new 10
                      wait C 0/2 new 1)",
                   Options(4), 2),
            "preempt 0 admit 0: A=1");
}

// One of four slots is for requests of which nothing runs.
TEST(Plan, FurtherSequencesLeaveASlotToNewcomers) {
  EXPECT_EQ(PlanOf(R"(run  A 3/4
                      run  B 3/4
                      wait C 0/2 further
                      wait D 0/2 further
                      wait E 0/2
                      wait F 0/2)",
                   Options(20), 18),
            "preempt 0 admit 2: A=1 B=1 C=2 E=2");
}

// Two of 16 rows, and one of the rows of logits.
TEST(Plan, PromptsLeaveRowsToNewcomers) {
  EXPECT_EQ(PlanOf(R"(run  A 0/40
                      run  B 0/40
                      wait C 0/2 further
                      wait D 0/2)",
                   Options(20), 18),
            "preempt 0 admit 1: A=14 D=2");
  EXPECT_EQ(PlanOf(R"(run  A 0/40
                      wait C 0/20 further)",
                   Options(20), 18),
            "preempt 0 admit 0: A=16");
  SchedOptions options = Options(20);
  options.max_logit_rows = 6;
  EXPECT_EQ(PlanOf(R"(run  A 0/40 all
                      wait D 0/2)",
                   options, 18),
            "preempt 0 admit 1: A=5 D=2");
  options.max_num_seqs = 2;  // the oldest goes on
  options.max_num_batched_tokens = 2;
  EXPECT_EQ(PlanOf(R"(run  A 0/40
                      wait D 0/2)",
                   options, 18),
            "preempt 0 admit 1: A=1 D=1");
  options = Options(20);
  options.max_num_seqs = 2;  // no slot is free: the rows would be nobody's
  EXPECT_EQ(PlanOf(R"(run  A 0/40
                      run  B 0/40
                      wait D 0/2)",
                   options, 18),
            "preempt 0 admit 0: A=16");
}

TEST(Plan, FurtherSequencesLeavePagesToNewcomers) {
  // Two of ten pages are left to others: C would be the ninth, though all of them are free.
  EXPECT_EQ(PlanOf(R"(run  A 63/64 new 2
                      run  B 62/63 new 2
                      wait C 0/16 new 1 further
                      wait D 0/32 new 1)",
                   Options(10), 2),
            "preempt 0 admit 1: A=1 B=1 D=14");
  // D does not fit, and holds up those behind it; E would fit.
  EXPECT_EQ(PlanOf(R"(run  A 63/64 new 2
                      run  B 62/63 new 2
                      wait C 0/16 new 1 further
                      wait D 0/33 new 1
                      wait E 0/2 new 1)",
                   Options(10), 2),
            "preempt 0 admit 0: A=1 B=1");
}

TEST(Plan, AdmitsByFuturePeak) {
  // A ends in 2 steps with 2 pages, B would then grow into a third page: never more than 4
  // together.
  EXPECT_EQ(PlanOf(R"(run  A 29/30 new 2
                      wait B 0/14 new 25)",
                   Options(4), 2),
            "preempt 0 admit 1: A=1 B=14");
  // If A may go on for 20, both grow: 4 pages of A at the end, 3 of B.
  EXPECT_EQ(PlanOf(R"(run  A 29/30 new 20
                      wait B 0/14 new 25)",
                   Options(4), 2),
            "preempt 0 admit 0: A=1");
}

TEST(Plan, LongOutputsAreReservedForInPart) {
  SchedOptions options = Options(4);
  options.max_reserved_output_tokens = 3;
  EXPECT_EQ(PlanOf(R"(run  A 20/21 new 40
                      wait B 0/14 new 40)",
                   options, 2),
            "preempt 0 admit 1: A=1 B=14");
}

TEST(Plan, TheWorkedExample) {
  SchedOptions options = Options(6);
  options.max_num_batched_tokens = 8;
  const std::string text = R"(run  A 31/32
                              run  B 32/33
                              run  C 16/40
                              wait D 0/5)";
  EXPECT_EQ(PlanOf(text, options, 1), "preempt 0 admit 0: A=1 B=1");
  EXPECT_EQ(PlanOf(text, options, 0), "preempt 1 admit 0: A=1 B=1");
}

TEST(Plan, TheNewestIsPreemptedFirst) {
  EXPECT_EQ(PlanOf(R"(run A 16/17
                      run B 16/17
                      run C 16/17
                      run D 16/17)",
                   Options(4), 0),
            "preempt 2 admit 0: A=1 B=1");
}

TEST(Plan, TheNewestWaitsWithItsPages) {
  EXPECT_EQ(PlanOf("run A 16/17 \n run B 16/17", Options(3), 1), "preempt 0 admit 0: A=1");
}

TEST(Plan, AChunkShrinksToTheFreePages) {
  EXPECT_EQ(PlanOf(R"(run A 3/4
                      run B 10/40)",
                   Options(3), 0),
            "preempt 0 admit 0: A=1 B=6");
}

TEST(Plan, LogitsOfWholePromptsAreLimited) {
  SchedOptions options = Options(20);
  options.max_logit_rows = 6;  // one for each of A and B, four more for B
  EXPECT_EQ(PlanOf(R"(run A 3/4
                      run B 0/40 all)",
                   options, 10),
            "preempt 0 admit 0: A=1 B=5");
  EXPECT_EQ(PlanOf(R"(run  A 3/4
                      wait B 0/40 all
                      wait C 0/2)",
                   options, 10),
            "preempt 0 admit 1: A=1 B=5");  // none is left for C
}

TEST(FuturePeak, MatchesSimulation) {
  const SchedOptions options = Options(1000);
  unsigned random = 7;
  const auto next = [&random](unsigned limit) {
    random = random * 1664525u + 1013904223u;
    return static_cast<int>((random >> 8) % limit);
  };
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<SchedSeq> seqs(1 + next(6));
    int last = 0;
    for (SchedSeq& seq : seqs) {
      seq.num_tokens = 1 + next(70);
      seq.max_new_tokens = 1 + next(80);
      last = std::max(last, seq.max_new_tokens);
    }
    int peak = 0;
    for (int step = 0; step < last; ++step) {
      int pages = 0;
      for (const SchedSeq& seq : seqs) {
        if (step < seq.max_new_tokens) pages += (seq.num_tokens + step + 15) / 16;
      }
      peak = std::max(peak, pages);
    }
    ASSERT_EQ(FuturePeakPages(seqs, options), peak) << "trial " << trial;
  }
}

}  // namespace
}  // namespace lorry::sched
