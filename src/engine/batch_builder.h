// Packs the chunks of a plan into the model's batch.
// Owns: the arrays that the batch points to, sized once.
// Thread: the engine's.
//
// Worked example: three sequences and two adapters; A decodes on the base, B's prompt of 20 tokens
// ends on adapter P, C decodes on adapter Q. The plan's chunks are A=1 B=4 C=1, in this order
// because rows of an adapter lie together:
//     row                0     1   2   3   4     5
//     tokens             A40   B16 B17 B18 B19   C7
//     sequences          {row 0, 1 row, position 40} {row 1, 4 rows, position 16} {row 5, 1 row,
//     position 7} segments           {rows 1-5: P} {rows 5-6: Q} logit_rows         0 4     5 one
//     for each sequence whose known tokens end in this step logits             {A, 40, draws} {B,
//     19, draws} {C, 7, draws}
// Had B asked for the log-probabilities of its prompt, rows 1 to 3 would have logits too, {B, 16,
// false} and so on.
#pragma once

#include <span>
#include <vector>

#include "engine/sequence.h"
#include "model/adapter_weights.h"
#include "model/forward_batch.h"
#include "sched/plan.h"

namespace lorry::engine {

// Whom a row of logits belongs to.
struct LogitRow {
  Sequence* sequence = nullptr;
  int position = 0;    // of the token that it follows
  bool draws = false;  // the sequence's next token is drawn from it; else it is a log-probability
                       // of the prompt's
};

class BatchBuilder {
 public:
  BatchBuilder(int max_rows, int max_sequences, int max_logit_rows, kernels::KvView kv);

  // `running` as the plan's chunks count it; pages must have room for the chunks. Valid until the
  // next Build.
  const model::ForwardBatch& Build(std::span<Sequence* const> running,
                                   std::span<const sched::Chunk> chunks);

  std::span<const LogitRow> logits() const { return logits_; }  // [batch.logit_rows]
  int num_adapters() const { return num_adapters_; }            // distinct
  int num_decode_rows() const { return num_decode_rows_; }

 private:
  void AddRows(Sequence* sequence, int num_rows);
  void AddSegments(const RequestState& state, int row_begin, int num_rows);
  int CountAdapters();
  void AddLogits(Sequence* sequence, int row_begin, int num_rows);

  const int max_rows_;
  const int max_logit_rows_;
  std::vector<TokenId> tokens_;
  std::vector<kernels::SequenceRows> sequences_;
  std::vector<model::AdapterSegment> segments_;
  std::vector<int32_t> logit_rows_;
  std::vector<LogitRow> logits_;
  std::vector<const model::AdapterWeights*> adapters_;  // scratch
  int last_adapter_idx_ = 0;                            // of the rows so far
  int num_adapters_ = 0;
  int num_decode_rows_ = 0;
  model::ForwardBatch batch_;
};

}  // namespace lorry::engine
