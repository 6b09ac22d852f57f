// Which adapters are resident, by identity, and the names that point to them.
// Owns: the images. Thread: filled before the engine starts, then read-only.
// Never: two copies of the same content; two names of it share one image.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "adapters/adapter_image.h"
#include "base/ids.h"
#include "base/result.h"

namespace lorry::adapters {

struct AdapterAlias {
  std::string name;
  std::string root;  // the directory, as the operator gave it
  std::shared_ptr<const AdapterImage> image;
};

class AdapterTable {
 public:
  // kConflict when the name is taken. Content that is resident already is shared, and `image`
  // dropped.
  Status Add(std::string name, std::string root, std::shared_ptr<const AdapterImage> image);

  // nullptr if there is none.
  const model::AdapterWeights* Find(const AdapterId& id) const;

  const std::vector<AdapterAlias>& aliases() const { return aliases_; }
  size_t resident_bytes() const;  // of the distinct images

 private:
  std::vector<AdapterAlias> aliases_;  // in the order in which they were added
  std::unordered_map<AdapterId, std::shared_ptr<const AdapterImage>> images_;
};

}  // namespace lorry::adapters
