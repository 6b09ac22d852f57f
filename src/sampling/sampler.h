// Sampler: logits to tokens.
//
// A row goes through logit_bias, repetition penalty (prompt and output), presence and frequency
// penalties (output), banned ids, temperature, min_p, top_k and top_p, in this order; then one of
// the survivors is drawn by inverse CDF over them in the order of their ids, with the number that
// (seed, seq_idx, position) fixes. Equal logits: the lower id is the better one. NaN counts as
// -inf. A row's result depends on this row alone, bit for bit, whatever the processor and the
// thread. Rows may differ in the size of their vocabulary: adapters can bring their own.
//
// Owns: scratch for each thread. Thread: the stream's caller.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "device/stream.h"
#include "request/sampling_params.h"
#include "request/token_event.h"
#include "sampling/filter.h"

namespace lorry::sampling {

struct RowInput {
  const SamplingParams* params = nullptr;
  std::span<const TokenId> prompt;
  std::span<const TokenId> output;  // its size is the position of the token to draw
  int seq_idx = 0;
  std::span<const TokenId>
      banned;  // end-of-sequence and stop ids, while output is shorter than min_tokens
};

class Sampler {
 public:
  using Row = std::span<const float>;  // [the row's vocabulary] f32

  Sampler(int max_vocab_size, int max_rows, int num_threads);

  // The logits are not modified. Sets out[i].token; and if the row's params.num_logprobs >= 0, also
  // its logprob and top, as Logprobs does.
  void Sample(const Stream& stream, std::span<const RowInput> rows, std::span<const Row> logits,
              std::span<TokenOutput> out);

  // out[i] = tokens[i] with its log-softmax of the logits as they are (before everything above),
  // and the num_top best. At least kMinLogprob, since JSON knows no infinity.
  void Logprobs(const Stream& stream, std::span<const Row> logits, std::span<const TokenId> tokens,
                int num_top, std::span<TokenOutput> out);

  static constexpr float kMinLogprob = -9999.0f;

 private:
  struct Scratch {
    std::vector<float> adjusted;  // [max vocab]
    std::vector<int32_t> counts;  // [max vocab] occurrences in the output; all zero between rows
    std::vector<bool> seen;       // [max vocab] in prompt or output; all false between rows
    RowFilter filter;
  };

  static TokenId SampleRow(const RowInput& row, Row logits, Scratch& scratch);
  static Row Adjust(const RowInput& row, Row logits, Scratch& scratch);
  static void RowLogprobs(Row logits, int num_top, Scratch& scratch, TokenOutput& out);

  int max_vocab_size_;
  int max_rows_;
  std::vector<Scratch> scratch_;  // [num_threads]
};

}  // namespace lorry::sampling
