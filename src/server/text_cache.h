// TextCache: the parsed texts of adapters that bring their own, by their content, so that adapters
// with the same tokenizer and template share one.
// Owns: the base's text, and the others as far as they fit into a budget; who uses one keeps it.
// Thread: any; a text that is not there is parsed on the caller's thread, which is a text thread.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/shared_value.h"
#include "request/adapter_term.h"
#include "text/model_text.h"

namespace lorry::server {

class TextCache {
 public:
  using Text = std::shared_ptr<const text::ModelText>;

  // What the smallest text counts, since compiled it is larger than its file.
  static constexpr size_t kMinBytes = 64 << 10;

  // max_bytes: of the files that the texts kept were parsed from. `sandbox`: where they run.
  TextCache(Text base, text::TextBackend& sandbox, size_t max_bytes,
            const Clock& clock = Clock::Steady());

  const Text& base() const { return base_; }

  // Of a lone adapter that has a text of its own that; else the base's, for sums of adapters too.
  // kUnfit: it cannot be used, which is remembered for a minute.
  Result<Text> Find(std::span<const AdapterTerm> adapters);

 private:
  struct Entry {
    Entry(Result<Text> parsed, size_t bytes, Micros now_us)
        : text(std::move(parsed)), num_bytes(bytes), made_us(now_us) {}
    // What cannot be used is tried again after a while: its process may have been ended from
    // outside.
    bool is_due(Micros now_us) const { return !text && now_us > made_us + kRetryUs; }

    static constexpr Micros kRetryUs = 60'000'000;
    const Result<Text> text;
    const size_t num_bytes;
    const Micros made_us;
    mutable std::atomic<uint64_t> last_use = 0;
  };
  // Replaced as a whole: texts come seldom and are asked for all the time.
  using Entries = std::unordered_map<AdapterId, std::shared_ptr<const Entry>>;

  std::shared_ptr<const Entry> FindEntry(const AdapterText& text);
  std::shared_ptr<const Entry> Insert(const AdapterId& id, std::shared_ptr<const Entry> entry);
  void Trim(const AdapterId& newest, Entries& entries) const;

  const Text base_;
  text::TextBackend& sandbox_;
  const size_t max_bytes_;
  const Clock& clock_;
  std::atomic<uint64_t> num_uses_ = 0;
  SharedValue<Entries> entries_;
};

}  // namespace lorry::server
