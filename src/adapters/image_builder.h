// What an adapter changes, as the parts of its image: sizes first, then the bytes. Owns: vectors
// that were computed from the base (DoRA's scales, biases). Thread: any. Never: copies what the
// base has already.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "adapters/adapter_image.h"
#include "device/arena.h"
#include "formats/checkpoint.h"

namespace lorry::adapters {

class ImageBuilder {
 public:
  ImageBuilder(const formats::PeftAdapter& adapter, const model::ModelSpec& spec,
               const formats::Checkpoint& base)
      : adapter_(adapter), spec_(spec), base_(base) {}

  // Decides on the parts and their places.
  Status Plan();

  const std::vector<AdapterPart>& parts() const { return parts_; }
  size_t blob_bytes() const { return arena_.used_bytes(); }
  size_t weight_bytes() const { return weight_bytes_; }  // without what aligning them takes

  // Fills a zeroed blob.
  void Write(std::byte* blob) const;

 private:
  using Writer = std::function<void(std::byte*)>;

  // All that an adapter says of one linear layer or the embedding.
  struct Site {
    const formats::AdapterModule* lora = nullptr;
    const formats::TensorView* weight = nullptr;  // in place of the base's
    const formats::TensorView* bias = nullptr;    // in place of the base's
    bool base_has_bias = false;
  };

  void Add(AdapterPart part, Writer write);
  void AddLora(const formats::AdapterModule& module);
  void AddWeight(const formats::SavedParameter& parameter);
  void AddVector(AdapterPart part, std::vector<float> values);
  Status AddChanges(const formats::BaseModule& module, const Site& site);
  void AddTokenRows(const formats::TokenRows& tokens);

  std::string BaseName(const formats::BaseModule& module, bool is_bias) const;
  Result<bool> SameAsBase(const formats::SavedParameter& parameter) const;
  // magnitude / the norms of W + s B A.
  Result<std::vector<float>> DoraScale(const formats::BaseModule& module, const Site& site) const;
  Result<std::vector<float>> BaseBias(const formats::BaseModule& module) const;

  const formats::PeftAdapter& adapter_;
  const model::ModelSpec& spec_;
  const formats::Checkpoint& base_;
  Arena arena_{nullptr};
  std::vector<AdapterPart> parts_;
  std::vector<Writer> writers_;  // of the parts, in their order; none: shares another's bytes
  size_t weight_bytes_ = 0;
};

}  // namespace lorry::adapters
