#include "text/stop.h"

#include <algorithm>
#include <utility>

namespace lorry::text {

// The trie with fallbacks is the automaton of Aho and Corasick (1975), over bytes.
StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop_in_output)
    : stops_(std::move(stops)), include_stop_in_output_(include_stop_in_output), nodes_(1) {
  for (size_t i = 0; i < stops_.size(); ++i) {
    if (!stops_[i].empty()) Insert(stops_[i], static_cast<int32_t>(i));
  }
  LinkFallbacks();
}

void StopMatcher::Insert(std::string_view stop, int32_t stop_idx) {
  int32_t node = 0;
  for (const char c : stop) {
    int32_t child = Child(node, c);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_[node].children.emplace_back(c, child);
      nodes_.push_back({.children = {}, .depth = nodes_[node].depth + 1});
    }
    node = child;
  }
  if (nodes_[node].stop_idx < 0) nodes_[node].stop_idx = stop_idx;
}

void StopMatcher::LinkFallbacks() {
  // Breadth first, so that a node's fallback, which is shorter, is done before it.
  std::vector<int32_t> order = {0};
  for (size_t i = 0; i < order.size(); ++i) {
    const int32_t node = order[i];
    for (const auto& [c, child] : nodes_[node].children) {
      nodes_[child].fallback = node == 0 ? 0 : Next(nodes_[node].fallback, c);
      if (nodes_[child].stop_idx < 0) {
        nodes_[child].stop_idx = nodes_[nodes_[child].fallback].stop_idx;
      }
      order.push_back(child);
    }
  }
}

int32_t StopMatcher::Child(int32_t node, char c) const {
  for (const auto& [child_c, child] : nodes_[node].children) {
    if (child_c == c) return child;
  }
  return -1;
}

int32_t StopMatcher::Next(int32_t node, char c) const {
  while (true) {
    const int32_t child = Child(node, c);
    if (child >= 0) return child;
    if (node == 0) return 0;
    node = nodes_[node].fallback;
  }
}

bool StopMatcher::Push(std::string_view text, std::string* out) {
  if (matched_) return true;
  if (nodes_.size() == 1) {
    out->append(text);
    return false;
  }
  for (const char c : text) {
    if (Take(c, Kind::kShown, false, out)) return true;
  }
  Settle(out);
  return false;
}

bool StopMatcher::PushHidden(std::string_view text, std::string* out) {
  if (matched_) return true;
  if (nodes_.size() == 1) return false;
  if (kinds_.empty()) kinds_.assign(held_.size(), static_cast<char>(Kind::kShown));
  for (size_t i = 0; i < text.size(); ++i) {
    const Kind kind = i == 0 ? Kind::kHiddenBegin : Kind::kHidden;
    if (Take(text[i], kind, i + 1 == text.size(), out)) return true;
  }
  Settle(out);
  return false;
}

// One more byte; true: it completes a stop string.
bool StopMatcher::Take(char c, Kind kind, bool is_token_end, std::string* out) {
  held_ += c;
  if (kind != Kind::kShown || !kinds_.empty()) kinds_ += static_cast<char>(kind);
  const bool is_shown = kind == Kind::kShown;
  if (is_shown) shown_state_ = Next(shown_state_, c);
  // Without hidden bytes in what is held the two are the same.
  all_state_ = kinds_.empty() ? shown_state_ : Next(all_state_, c);
  int32_t stop_idx = is_shown ? nodes_[shown_state_].stop_idx : -1;
  size_t begin = stop_idx < 0 ? 0 : BeginOfShown(stops_[stop_idx].size());
  if (!kinds_.empty()) {
    const int32_t in_all = StopInAll(is_shown || is_token_end);
    if (in_all >= 0 && (stop_idx < 0 || stops_[in_all].size() > stops_[stop_idx].size())) {
      stop_idx = in_all;
      begin = held_.size() - stops_[in_all].size();
    }
  }
  if (stop_idx < 0) return false;
  End(stop_idx, begin, out);
  return true;
}

// The longest stop string that all bytes now end in and that begins and ends no hidden token in its
// middle.
int32_t StopMatcher::StopInAll(bool ends_whole) const {
  if (!ends_whole) return -1;
  int32_t node = all_state_;
  while (nodes_[node].stop_idx >= 0) {
    const int32_t stop_idx = nodes_[node].stop_idx;
    const size_t stop_bytes = stops_[stop_idx].size();
    if (kinds_[held_.size() - stop_bytes] != static_cast<char>(Kind::kHidden)) return stop_idx;
    while (nodes_[node].depth >= static_cast<int32_t>(stop_bytes)) node = nodes_[node].fallback;
  }
  return -1;
}

// Where the last num_shown bytes that the client sees begin in held_.
size_t StopMatcher::BeginOfShown(size_t num_shown) const {
  if (kinds_.empty()) return held_.size() - num_shown;
  size_t begin = held_.size();
  while (num_shown > 0) num_shown -= kinds_[--begin] == static_cast<char>(Kind::kShown);
  return begin;
}

void StopMatcher::End(int32_t stop_idx, size_t begin, std::string* out) {
  matched_ = stop_idx;
  Release(begin, out);
  held_.clear();
  kinds_.clear();
  if (include_stop_in_output_) out->append(stops_[stop_idx]);
}

// Takes the first bytes off held_; those that are shown are text.
void StopMatcher::Release(size_t num_bytes, std::string* out) {
  if (kinds_.empty()) {
    out->append(held_, 0, num_bytes);
  } else {
    for (size_t i = 0; i < num_bytes; ++i) {
      if (kinds_[i] == static_cast<char>(Kind::kShown)) out->push_back(held_[i]);
    }
    kinds_.erase(0, num_bytes);
  }
  held_.erase(0, num_bytes);
}

// After a piece: what neither state needs goes, so that no more is held than two stop strings have.
void StopMatcher::Settle(std::string* out) {
  const size_t shown_begin = BeginOfShown(nodes_[shown_state_].depth);
  if (kinds_.empty()) return Release(shown_begin, out);
  const size_t all_begin = held_.size() - nodes_[all_state_].depth;
  Release(std::min(shown_begin, all_begin), out);
  const size_t num_needless = all_begin - std::min(shown_begin, all_begin);
  size_t kept = 0;
  for (size_t i = 0; i < held_.size(); ++i) {
    if (i < num_needless && kinds_[i] != static_cast<char>(Kind::kShown)) continue;
    held_[kept] = held_[i];
    kinds_[kept++] = kinds_[i];
  }
  held_.resize(kept);
  kinds_.resize(kept);
  const bool is_all_shown = kinds_.find_first_not_of('\0') == std::string::npos;
  if (is_all_shown && shown_state_ == all_state_) kinds_.clear();
}

void StopMatcher::Flush(std::string* out) {
  Release(held_.size(), out);
  kinds_.clear();
  shown_state_ = all_state_ = 0;
}

}  // namespace lorry::text
