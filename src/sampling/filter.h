// RowFilter: which tokens of one row survive temperature, min_p, top_k and top_p; the draw among
// them; the best few. The survivors are always a prefix of the tokens in falling order of logit
// (the lower id first), so that they are described by a Cut. What may be in it is gathered through
// the maxima of blocks: a block whose maximum is below the cut is skipped. Owns: scratch. Thread:
// one.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "base/ids.h"
#include "sampling/row_scan.h"

namespace lorry::sampling {

struct Candidate {
  float logit = 0;
  float weight = 0;
  TokenId id = 0;
};

// Survivors: logit > cut.logit, or equal and id <= cut.last_id. Never -inf or NaN.
struct Cut {
  float logit = -std::numeric_limits<float>::infinity();
  TokenId last_id = std::numeric_limits<TokenId>::max();
};

struct FilterParams {
  float temperature = 1;
  float min_p = 0;
  int top_k = 0;
  float top_p = 1;
};

class RowFilter {
 public:
  explicit RowFilter(int max_vocab_size);

  // Takes a row of at most max_vocab_size and finds its maximum; the other functions work on the
  // row last taken, which must stay.
  void Take(std::span<const float> logits);
  float max() const { return max_; }  // -inf: nothing but -inf and NaN

  TokenId Best() const;  // the first of the largest; 0 if max() is -inf

  // max() must be finite. u in [0, 1).
  TokenId Draw(const FilterParams& params, double u);

  // The num_best largest, best first; fewer if there are not as many above -inf.
  std::span<const Candidate> Top(int num_best);

  // log(sum(exp(logit - max))); max() must be finite.
  double LogSum();

 private:
  Cut FindCut(const FilterParams& params);
  Cut CutTopP(std::span<Candidate> candidates, double mass) const;
  Cut CutTopPOfAll(double top_p);
  Cut CutWideTopP(double mass);
  TokenId DrawAmongAll(double u);
  TokenId DrawAmong(const Cut& cut, double u);
  // Into candidates_, in the order of ids, with weights; returns the sum of those.
  double Gather(const Cut& cut);
  // At least num_tokens tokens (above -inf, if there are as many) have logits >= the result.
  float Threshold(int num_tokens);
  double SumWeights();

  int vocab_size_ = 0;
  const float* logits_ = nullptr;
  float max_ = 0;
  WeightScale scale_;
  std::vector<float> block_max_;
  std::vector<float> block_sum_;
  std::vector<float> selection_;  // of Threshold
  std::vector<Candidate> candidates_;
};

}  // namespace lorry::sampling
