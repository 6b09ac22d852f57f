#include "text/stop.h"

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
  held_.append(text);
  const size_t first_new = held_.size() - text.size();
  for (size_t i = first_new; i < held_.size(); ++i) {
    state_ = Next(state_, held_[i]);
    const int32_t stop_idx = nodes_[state_].stop_idx;
    if (stop_idx < 0) continue;
    matched_ = stop_idx;
    const size_t stop_bytes = stops_[stop_idx].size();
    out->append(held_, 0, i + 1 - (include_stop_in_output_ ? 0 : stop_bytes));
    held_.clear();
    return true;
  }
  const size_t ready_bytes = held_.size() - nodes_[state_].depth;
  out->append(held_, 0, ready_bytes);
  held_.erase(0, ready_bytes);
  return false;
}

void StopMatcher::Flush(std::string* out) {
  out->append(held_);
  held_.clear();
  state_ = 0;
}

}  // namespace lorry::text
