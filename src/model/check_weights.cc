#include "model/check_weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_set>

#include "formats/json.h"

namespace lorry::model {
namespace {

using formats::Projection;
using formats::Quoted;
using formats::TensorEntry;

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kHead[] = "lm_head.weight";

class Check {
 public:
  Check(const formats::Checkpoint& checkpoint, const ModelSpec& spec)
      : checkpoint_(checkpoint), spec_(spec) {}

  Result<std::vector<std::string>> Run() {
    Need(kEmbedding, {spec_.vocab_size, spec_.hidden});
    if (!spec_.tied_embeddings || checkpoint_.Has(kHead)) {
      Need(kHead, {spec_.vocab_size, spec_.hidden});
    }
    Need("model.norm.weight", {spec_.hidden});
    for (int layer = 0; layer < spec_.num_layers; ++layer) NeedLayer(layer);
    RefuseLeftovers();
    if (spec_.tied_embeddings && checkpoint_.Has(kHead) && problems_.empty()) {
      RETURN_IF_ERROR(CompareTied());
    }
    return std::move(problems_);
  }

 private:
  void NeedLayer(int layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    Need(prefix + "input_layernorm.weight", {spec_.hidden});
    Need(prefix + "post_attention_layernorm.weight", {spec_.hidden});
    for (int p = 0; p < formats::kNumProjections; ++p) {
      const auto projection = static_cast<Projection>(p);
      const std::string name = formats::ProjectionModuleName(layer, projection);
      Need(name + ".weight", {spec_.OutFeatures(projection), spec_.InFeatures(projection)});
      if (spec_.HasBias(projection)) Need(name + ".bias", {spec_.OutFeatures(projection)});
    }
  }

  void Need(const std::string& name, const std::vector<int64_t>& shape) {
    needed_.insert(name);
    const auto tensor = checkpoint_.Get(name);
    if (!tensor) {
      problems_.push_back(fmt::format("tensor {} is missing", Quoted(name)));
    } else if (!formats::IsFloatWeight(tensor->dtype) || tensor->shape != shape) {
      problems_.push_back(
          fmt::format("tensor {} is {}, config.json needs F64, F32, BF16 or F16 [{}]", Quoted(name),
                      tensor->Describe(), fmt::join(shape, ", ")));
    }
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
    ASSIGN_OR_RETURN(const TensorEntry embedding, checkpoint_.Get(kEmbedding));
    ASSIGN_OR_RETURN(const TensorEntry head, checkpoint_.Get(kHead));
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
                      Quoted(kHead), Quoted(kEmbedding)));
    }
    return {};
  }

  const formats::Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  std::unordered_set<std::string> needed_;
  std::vector<std::string> problems_;
};

}  // namespace

Result<std::vector<std::string>> CheckWeights(const formats::Checkpoint& checkpoint,
                                              const ModelSpec& spec) {
  return Check(checkpoint, spec).Run();
}

}  // namespace lorry::model
