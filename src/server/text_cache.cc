#include "server/text_cache.h"

#include <algorithm>
#include <utility>

namespace lorry::server {

TextCache::TextCache(Text base, text::TextBackend& sandbox, size_t max_bytes, const Clock& clock)
    : base_(std::move(base)), sandbox_(sandbox), max_bytes_(max_bytes), clock_(clock) {
  entries_.Set(std::make_shared<const Entries>());
}

Result<TextCache::Text> TextCache::Find(std::span<const AdapterTerm> adapters) {
  if (adapters.size() != 1 || adapters[0].handle->text.empty()) return base_;
  const auto entry = FindEntry(adapters[0].handle->text);
  if (entry->text) return *entry->text;
  const Error& error = entry->text.error();
  if (error.code != ErrorCode::kUnfit) return tl::unexpected(error);
  return Fail(error.code,
              fmt::format("The adapter `{}` brings a tokenizer or chat template of its own that "
                          "cannot be used: {}",
                          adapters[0].name, error.message),
              "model");
}

std::shared_ptr<const TextCache::Entry> TextCache::FindEntry(const AdapterText& text) {
  const auto entries = entries_.Get();
  const auto found = entries->find(text.id);
  if (found != entries->end() && !found->second->is_due(clock_.NowUs())) {
    found->second->last_use = ++num_uses_;
    return found->second;
  }
  const size_t num_bytes = text.tokenizer_json.size() + text.config_json.size();
  const auto entry = std::make_shared<const Entry>(
      text::ChangeText(*base_, text.tokenizer_json, text.config_json, sandbox_),
      std::max(num_bytes, kMinBytes), clock_.NowUs());
  const bool may_change = !entry->text && entry->text.error().code != ErrorCode::kUnfit;
  return may_change ? entry : Insert(text.id, entry);
}

// If another thread was faster its entry counts.
std::shared_ptr<const TextCache::Entry> TextCache::Insert(const AdapterId& id,
                                                          std::shared_ptr<const Entry> entry) {
  entry->last_use = ++num_uses_;
  auto before = entries_.Get();
  while (true) {
    auto after = std::make_shared<Entries>(*before);
    const auto [place, is_new] = after->try_emplace(id, entry);
    if (!is_new && !place->second->is_due(clock_.NowUs())) return place->second;
    place->second = entry;
    Trim(id, *after);
    if (entries_.ReplaceIf(before, std::move(after))) return entry;
  }
}

void TextCache::Trim(const AdapterId& newest, Entries& entries) const {
  size_t num_bytes = 0;
  for (const auto& [id, entry] : entries) num_bytes += entry->num_bytes;
  while (num_bytes > max_bytes_ && entries.size() > 1) {
    const auto use_of = [&](const auto& item) {
      return item.first == newest ? UINT64_MAX : item.second->last_use.load();
    };
    const auto oldest =
        std::min_element(entries.begin(), entries.end(),
                         [&](const auto& a, const auto& b) { return use_of(a) < use_of(b); });
    num_bytes -= oldest->second->num_bytes;
    entries.erase(oldest);
  }
}

}  // namespace lorry::server
