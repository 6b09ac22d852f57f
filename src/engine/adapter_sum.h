// Sums of adapters as the engine computes them.
// Owns: the numbers of the sums that live requests run on. Thread: SumOf any, AdapterSums one.
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/sequence.h"
#include "model/model_spec.h"
#include "request/adapter_term.h"

namespace lorry::engine {

// Equal contents are one, with their weights added; what has no weight is left out; the rest stands
// in the order of ids. So "a+0.5*b" and "0.5*b+a" are the same bits, whatever their names.
std::vector<SummedAdapter> SumOf(std::span<const AdapterTerm> terms);

// kInvalidArgument: an adapter that only stands alone and with weight 1.
Status CheckSum(std::span<const AdapterTerm> terms);

// Tokens that sequences on this sum may hold and draw.
int VocabSize(std::span<const SummedAdapter> sum, const model::ModelSpec& base);

// Numbers for sums: equal ones have the same, so that their rows can lie together.
class AdapterSums {
 public:
  // 0: the base. Ends with GiveBack.
  int Take(std::span<const SummedAdapter> sum);
  void GiveBack(int number);
  int num_taken() const { return static_cast<int>(numbers_.size()); }  // distinct sums

 private:
  using Key = std::vector<std::pair<AdapterId, float>>;
  struct Use {
    int number = 0;
    int count = 0;
  };
  using Numbers = std::map<Key, Use>;

  Numbers numbers_;
  std::vector<Numbers::iterator> by_number_;  // [number - 1]
  std::vector<int> free_;                     // numbers that nobody has
};

}  // namespace lorry::engine
