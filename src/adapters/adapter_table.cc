#include "adapters/adapter_table.h"

namespace lorry::adapters {

Status AdapterTable::Add(std::string name, std::string root,
                         std::shared_ptr<const AdapterImage> image) {
  for (const AdapterAlias& alias : aliases_) {
    if (alias.name == name) {
      return Fail(ErrorCode::kConflict, fmt::format("adapter name `{}` is given twice: {} and {}",
                                                    name, alias.root, root));
    }
  }
  auto [entry, inserted] = images_.try_emplace(image->id, image);
  aliases_.push_back({std::move(name), std::move(root), entry->second});
  return {};
}

const model::AdapterWeights* AdapterTable::Find(const AdapterId& id) const {
  const auto found = images_.find(id);
  return found == images_.end() ? nullptr : &found->second->weights;
}

size_t AdapterTable::resident_bytes() const {
  size_t total = 0;
  for (const auto& [id, image] : images_) total += image->buffer.num_bytes();
  return total;
}

}  // namespace lorry::adapters
