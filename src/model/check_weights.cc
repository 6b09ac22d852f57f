#include "model/check_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "formats/json.h"
#include "model/weight_table.h"

namespace lorry::model {
namespace {

using formats::Quoted;
using formats::TensorEntry;

class Check {
 public:
  Check(const formats::Checkpoint& checkpoint, const ModelSpec& spec)
      : checkpoint_(checkpoint), spec_(spec) {}

  Result<std::vector<std::string>> Run() {
    for (const WeightTensor& tensor : WeightTable(spec_)) Need(tensor);
    RefuseLeftovers();
    if (!tied_head_.empty() && problems_.empty()) {
      RETURN_IF_ERROR(CompareTied());
    }
    return std::move(problems_);
  }

 private:
  void Need(const WeightTensor& tensor) {
    if (tensor.is_optional && !checkpoint_.Has(tensor.name)) return;
    needed_.insert(tensor.name);
    if (tensor.role == WeightRole::kEmbedding) embedding_ = tensor.name;
    if (tensor.is_optional) tied_head_ = tensor.name;
    auto problem = checkpoint_.WeightProblem(tensor.name, tensor.shape);
    if (problem) problems_.push_back(std::move(*problem));
  }

  // A tensor that transformers would use and we would not must not pass in silence.
  void RefuseLeftovers() {
    for (const std::string& name : checkpoint_.TensorNames()) {
      if (needed_.contains(name)) continue;
      if (name.ends_with("rotary_emb.inv_freq")) continue;  // old writers keep this constant
      problems_.push_back(
          fmt::format("tensor {} is not part of the {} architecture as config.json describes it",
                      Quoted(name), spec_.family));
    }
  }

  // transformers 4 takes the embedding for both, 5 the two as they are.
  Status CompareTied() {
    ASSIGN_OR_RETURN(const TensorEntry embedding, checkpoint_.Get(embedding_));
    ASSIGN_OR_RETURN(const TensorEntry head, checkpoint_.Get(tied_head_));
    constexpr int64_t kBlockElements = 1 << 20;
    std::vector<std::byte> a, b;
    bool same = embedding.dtype == head.dtype;
    for (int64_t first = 0; same && first < head.num_elements(); first += kBlockElements) {
      const int64_t count = std::min(kBlockElements, head.num_elements() - first);
      RETURN_IF_ERROR(checkpoint_.Read(embedding, first, count, a));
      RETURN_IF_ERROR(checkpoint_.Read(head, first, count, b));
      same = a == b;
    }
    if (!same) {
      problems_.push_back(
          fmt::format("tensor {} is not the same as {}, but config.json ties them "
                      "(tie_word_embeddings): leave the tensor out, or set the flag to false",
                      Quoted(tied_head_), Quoted(embedding_)));
    }
    return {};
  }

  const formats::Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  std::unordered_set<std::string> needed_;
  std::string embedding_;
  std::string tied_head_;  // "": the checkpoint has none
  std::vector<std::string> problems_;
};

}  // namespace

Result<std::vector<std::string>> CheckWeights(const formats::Checkpoint& checkpoint,
                                              const ModelSpec& spec) {
  return Check(checkpoint, spec).Run();
}

}  // namespace lorry::model
