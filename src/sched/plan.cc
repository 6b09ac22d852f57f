#include "sched/plan.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace lorry::sched {
namespace {

int PagesForTokens(int num_tokens, int page_tokens) {
  return (num_tokens + page_tokens - 1) / page_tokens;
}

bool IsDecode(const SchedSeq& seq) { return seq.num_tokens - seq.num_computed == 1; }

// Steps after the next token that a sequence is expected to take. The last token drawn is never
// computed.
int ReservedSteps(const SchedSeq& seq, const SchedOptions& options) {
  return std::min(seq.max_new_tokens, options.max_reserved_output_tokens) - 1;
}

// Of slots, pages and rows, what others leave to sequences of requests of which nothing runs.
int NewcomersShare(int all) { return (all + 7) / 8; }

// One call of Plan.
class Planner {
 public:
  Planner(const SchedView& view, const SchedOptions& options);
  StepPlan Run();

 private:
  void DivideBudget();
  void FindPages();
  void Admit();
  bool TryAdmit(const SchedSeq& seq);
  int ReservedPages(const SchedSeq& seq) const;
  int PromptRows(const SchedSeq& seq, bool is_newcomer) const;
  void KeepRowsForNewcomers();
  void Spend(const SchedSeq& seq, int num_rows);
  void OrderRows();

  const SchedView& view_;
  const SchedOptions& options_;
  std::vector<SchedSeq> seqs_;  // running, then admitted
  std::vector<int> rows_;       // [seqs_]
  int rows_left_;
  int logit_rows_left_;                      // beyond the one that each running sequence may need
  int kept_rows_ = 0, kept_logit_rows_ = 0;  // of these, what only newcomers may take
  int free_pages_;
  bool short_of_pages_ = false;
  int reserved_pages_ = 0;  // that all hold when all have used up their reserve
  StepPlan plan_;
};

Planner::Planner(const SchedView& view, const SchedOptions& options)
    : view_(view),
      options_(options),
      seqs_(view.running.begin(), view.running.end()),
      rows_(seqs_.size(), 0),
      rows_left_(options.max_num_batched_tokens),
      logit_rows_left_(options.max_logit_rows - static_cast<int>(seqs_.size())),
      free_pages_(view.num_free_pages) {
  CHECK_LE(options.max_num_seqs, options.max_num_batched_tokens);
  CHECK_LE(options.max_num_seqs, options.max_logit_rows);
  CHECK_LE(static_cast<int>(seqs_.size()), options.max_num_seqs);
}

StepPlan Planner::Run() {
  DivideBudget();
  FindPages();
  if (!short_of_pages_) Admit();
  OrderRows();
  return std::move(plan_);
}

// Rows of its prompt that a sequence may compute with the budget that is left.
int Planner::PromptRows(const SchedSeq& seq, bool is_newcomer) const {
  const int rows_left = rows_left_ - (is_newcomer ? 0 : kept_rows_);
  const int logit_rows_left = logit_rows_left_ - (is_newcomer ? 0 : kept_logit_rows_);
  int rows = std::min(seq.num_tokens - seq.num_computed, std::max(rows_left, 0));
  if (options_.max_prompt_chunk > 0) rows = std::min(rows, options_.max_prompt_chunk);
  if (seq.all_logits) rows = std::min(rows, 1 + std::max(logit_rows_left, 0));
  return rows;
}

// A prompt takes as many steps as it has rows for: beside a long one a short one takes one step all
// the same.
void Planner::KeepRowsForNewcomers() {
  const bool any_waits = std::any_of(view_.waiting.begin(), view_.waiting.end(),
                                     [](const SchedSeq& seq) { return !seq.is_further; });
  if (!any_waits || static_cast<int>(seqs_.size()) == options_.max_num_seqs) return;
  const int share = NewcomersShare(options_.max_num_batched_tokens);
  kept_rows_ = std::max(0, std::min(share, rows_left_ - 1));
  kept_logit_rows_ = NewcomersShare(options_.max_logit_rows);
}

int Planner::ReservedPages(const SchedSeq& seq) const {
  return PagesForTokens(seq.num_tokens + ReservedSteps(seq, options_), options_.page_tokens);
}

void Planner::Spend(const SchedSeq& seq, int num_rows) {
  rows_left_ -= num_rows;
  if (seq.all_logits && num_rows > 0) logit_rows_left_ -= num_rows - 1;
}

// Every decoding sequence moves in every step; prompts share the rest of the rows, the oldest
// first.
void Planner::DivideBudget() {
  for (size_t i = 0; i < seqs_.size(); ++i) {
    CHECK_LT(seqs_[i].num_computed, seqs_[i].num_tokens);
    CHECK_GE(seqs_[i].max_new_tokens, 1);
    if (!IsDecode(seqs_[i])) continue;
    rows_[i] = 1;
    Spend(seqs_[i], 1);
  }
  KeepRowsForNewcomers();
  for (size_t i = 0; i < seqs_.size(); ++i) {
    if (IsDecode(seqs_[i])) continue;
    rows_[i] = PromptRows(seqs_[i], false);
    Spend(seqs_[i], rows_[i]);
  }
}

// The oldest first; who lacks pages takes those of the newest. The newest of all keeps its pages
// and waits: giving them up would help nobody who does not ask for them.
void Planner::FindPages() {
  for (size_t i = 0; i < seqs_.size(); ++i) {
    const SchedSeq& seq = seqs_[i];
    const auto missing = [&] {
      return PagesForTokens(seq.num_computed + rows_[i], options_.page_tokens) - seq.num_pages;
    };
    while (missing() > free_pages_ && seqs_.size() > i + 1) {
      free_pages_ += seqs_.back().num_pages;
      seqs_.pop_back();
      ++plan_.num_preempted;
      short_of_pages_ = true;
    }
    if (missing() > free_pages_) {
      rows_[i] = (seq.num_pages + free_pages_) * options_.page_tokens - seq.num_computed;
      short_of_pages_ = true;
    }
    free_pages_ -= std::max(0, missing());
  }
  rows_.resize(seqs_.size());
}

// False: it does not fit, and nothing has changed.
bool Planner::TryAdmit(const SchedSeq& seq) {
  const int all_pages = options_.num_pages - view_.num_held_pages;
  const int max_seqs =
      options_.max_num_seqs - (seq.is_further ? NewcomersShare(options_.max_num_seqs) : 0);
  const int max_pages = all_pages - (seq.is_further ? NewcomersShare(all_pages) : 0);
  if (static_cast<int>(seqs_.size()) >= max_seqs || logit_rows_left_ == 0) return false;
  --logit_rows_left_;
  const int rows = PromptRows(seq, !seq.is_further);
  const int pages = PagesForTokens(rows, options_.page_tokens);
  seqs_.push_back(seq);
  reserved_pages_ += ReservedPages(seq);
  // If all may reach their reserve at once, the exact peak need not be known.
  const bool fits = rows > 0 && pages <= free_pages_ &&
                    (reserved_pages_ <= max_pages || FuturePeakPages(seqs_, options_) <= max_pages);
  if (!fits) {
    reserved_pages_ -= ReservedPages(seq);
    seqs_.pop_back();
    ++logit_rows_left_;
    return false;
  }
  rows_.push_back(rows);
  Spend(seq, rows);
  free_pages_ -= pages;
  return true;
}

// Who does not fit holds up those behind. Further sequences of requests don't: from the first on
// that does not fit, all of them are passed over.
void Planner::Admit() {
  for (const SchedSeq& seq : seqs_) reserved_pages_ += ReservedPages(seq);
  bool is_room_for_further = true;
  for (size_t i = 0; i < view_.waiting.size(); ++i) {
    const SchedSeq& seq = view_.waiting[i];
    CHECK_EQ(seq.num_computed, 0);
    CHECK_EQ(seq.num_pages, 0);
    if (seq.is_further && !is_room_for_further) continue;
    if (TryAdmit(seq)) {
      plan_.admitted.push_back(static_cast<int>(i));
    } else if (seq.is_further) {
      is_room_for_further = false;
    } else {
      break;
    }
  }
}

void Planner::OrderRows() {
  plan_.chunks.reserve(seqs_.size());
  for (size_t i = 0; i < seqs_.size(); ++i) {
    if (rows_[i] > 0) plan_.chunks.push_back({static_cast<int>(i), rows_[i]});
  }
  const auto key = [this](const Chunk& chunk) {
    const SchedSeq& seq = seqs_[chunk.running_idx];
    return std::tuple(seq.adapter_idx, !IsDecode(seq), chunk.running_idx);
  };
  std::sort(plan_.chunks.begin(), plan_.chunks.end(),
            [&key](const Chunk& a, const Chunk& b) { return key(a) < key(b); });
}

}  // namespace

int FuturePeakPages(std::span<const SchedSeq> seqs, const SchedOptions& options) {
  struct Future {
    int steps;   // until its last
    int tokens;  // that it holds after the next step
  };
  std::vector<Future> futures;
  futures.reserve(seqs.size());
  for (const SchedSeq& seq : seqs) futures.push_back({ReservedSteps(seq, options), seq.num_tokens});
  std::sort(futures.begin(), futures.end(),
            [](const Future& a, const Future& b) { return a.steps > b.steps; });

  // The sum can only peak where a sequence is at its last step: those with no fewer steps left are
  // still there.
  int peak = 0;
  for (size_t k = 0; k < futures.size(); ++k) {
    if (k + 1 < futures.size() && futures[k + 1].steps == futures[k].steps) continue;
    int pages = 0;
    for (size_t i = 0; i <= k; ++i) {
      pages += PagesForTokens(futures[i].tokens + futures[k].steps, options.page_tokens);
    }
    peak = std::max(peak, pages);
  }
  return peak;
}

StepPlan Plan(const SchedView& view, const SchedOptions& options) {
  return Planner(view, options).Run();
}

}  // namespace lorry::sched
