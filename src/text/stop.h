// Finds stop strings in a text that arrives in pieces.
// Owns: the stop strings and text that may yet begin one. Thread: one at a time. Never: depends on
// how the text was cut into pieces; takes more than linear time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorry::text {

class StopMatcher {
 public:
  // Empty stop strings match nothing.
  explicit StopMatcher(std::vector<std::string> stops, bool include_stop_in_output = false);

  // Appends to *out what can't belong to a stop string any more. True once one is complete: the
  // text then ends before it (or after it, if so asked), and later text is dropped. Of several, the
  // one that completes first counts, and of those the longest.
  bool Push(std::string_view text, std::string* out);

  // The same for the text of a special token that the client does not get to see. A stop string may
  // be it or hold it, but not a part of it; stop strings go on across it as if it were not there.
  bool PushHidden(std::string_view text, std::string* out);

  // At the end of the text: what was held back is text after all.
  void Flush(std::string* out);

  // Index of the stop string that was found.
  std::optional<size_t> matched() const { return matched_; }

 private:
  // A trie of the stop strings; state n stands for the text on the way from the root to node n.
  struct Node {
    std::vector<std::pair<char, int32_t>> children;
    int32_t fallback = 0;   // the longest proper end of this text that is in the trie as well
    int32_t depth = 0;      // bytes
    int32_t stop_idx = -1;  // the longest stop string that this text ends in
  };
  enum class Kind : char { kShown, kHiddenBegin, kHidden };  // of a byte

  int32_t Child(int32_t node, char c) const;
  int32_t Next(int32_t node, char c) const;
  void Insert(std::string_view stop, int32_t stop_idx);
  void LinkFallbacks();

  bool Take(char c, Kind kind, bool is_token_end, std::string* out);
  int32_t StopInAll(bool is_token_end) const;
  size_t BeginOfShown(size_t num_shown) const;
  void End(int32_t stop_idx, size_t begin, std::string* out);
  void Release(size_t num_bytes, std::string* out);
  void Settle(std::string* out);

  std::vector<std::string> stops_;
  bool include_stop_in_output_;
  std::vector<Node> nodes_;
  int32_t shown_state_ = 0;  // of what the client sees
  int32_t all_state_ = 0;    // of that with the hidden tokens
  std::string held_;         // the text of both states
  std::string kinds_;        // of the bytes in held_; empty: all are shown
  std::optional<size_t> matched_;
};

}  // namespace lorry::text
