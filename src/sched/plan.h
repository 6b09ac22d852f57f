// What the next step computes, as a pure function of what is there: no clock, no device, no I/O.
//
// Sequences are as old as their first step: running[0] is the oldest, waiting[0] the next to be
// admitted (waiting_line.h), and every running sequence is older than every waiting one that has
// not run yet. Plan admits from the front of `waiting` and preempts from the back of `running`.
//
// An eighth of max_num_seqs and of the pages is for requests of which nothing runs, so that a
// newcomer finds room at once, however many sequences another request has: a further sequence of a
// request that runs is passed over as long as it would take of these. While such a newcomer waits
// and a slot is free, an eighth of the step's rows is kept from prompts that run.
//
// Worked example, page_tokens 16, budget 8, free pages 1:
//     running   A decode at 31 of 32 tokens (2 pages)   B decode at 32 of 33 (2 pages)   C prompt,
//     16 of 40 (1 page) waiting   D A fits its page; B needs a page and gets the free one; C, the
//     newest, gets 6 rows of the budget and no page: it keeps what it has and waits. D is not
//     admitted while someone lacks pages. plan      chunks {A, 1} {B, 1}
// Had B not found the free page, C would have been preempted: its page goes to B, and C is to run
// again from its first token, before D.
#pragma once

#include <span>
#include <vector>

namespace lorry::sched {

struct SchedOptions {
  int max_num_seqs = 256;
  int max_num_batched_tokens = 512;  // rows of a step, at least max_num_seqs
  int max_logit_rows = 256;          // at least max_num_seqs
  int max_prompt_chunk = 0;          // rows of one prompt in a step; 0: no limit of its own
  int max_reserved_output_tokens = 512;
  int page_tokens = 16;
  int num_pages = 0;  // of the pool
};

struct SchedSeq {
  int num_computed = 0;     // tokens that are in the KV cache
  int num_tokens = 0;       // prompt and output so far; at least one of them is not computed
  int num_pages = 0;        // held
  int max_new_tokens = 1;   // that it may still draw, at least 1
  int adapter_idx = 0;      // 0: the base
  bool all_logits = false;  // each of its prompt rows takes a row of logits, not the last one only
  // Of a waiting one: another of the same request runs, or stands before it in `waiting`.
  bool is_further = false;
};

struct SchedView {
  std::span<const SchedSeq> running;  // oldest first
  std::span<const SchedSeq> waiting;  // the next first, with enough of those that are not further
  int num_free_pages = 0;             // also those that idle adapters would give
  int num_held_pages = 0;             // of num_pages, those of adapters that stay
};

// The next `num_tokens` tokens of a sequence.
struct Chunk {
  int running_idx = 0;  // in `running` as it is after the preemptions and admissions of this plan
  int num_tokens = 0;
};

struct StepPlan {
  int num_preempted =
      0;  // the last ones of `running`: pages released, back to the front of `waiting`
  std::vector<int> admitted;  // indices into `waiting`, rising; put behind the rest of `running`
  std::vector<Chunk>
      chunks;  // in row order: by adapter, the base first; decode rows before prompts; by age
};

// Every step with a sequence in it computes at least one token of the oldest, and what is passed
// over has others of its request before it, so all finish, provided that each fits the pool alone:
// num_tokens + max_new_tokens - 1 tokens within num_pages less those held.
StepPlan Plan(const SchedView& view, const SchedOptions& options);

// The most pages that these sequences will hold together when each draws one token a step until its
// end or its reserve is used up: the admission rule of S-LoRA (arXiv 2311.03285), counted in pages.
int FuturePeakPages(std::span<const SchedSeq> seqs, const SchedOptions& options);

}  // namespace lorry::sched
