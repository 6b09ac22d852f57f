#include "base/spelling.h"

#include <algorithm>
#include <vector>

namespace lorry {

int EditDistance(std::string_view a, std::string_view b) {
  const size_t width = b.size() + 1;
  // Rows i-2, i-1 and i of the table d[i][j]: the distance of a's first i to b's first j
  // characters.
  std::vector<int> before(width), last(width), row(width);
  for (size_t j = 0; j < width; ++j) last[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j < width; ++j) {
      const int substitution = last[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitution});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string Nearest(std::string_view word, std::span<const std::string> known) {
  const int allowed = std::max(1, static_cast<int>(word.size()) / 3);
  const std::string* nearest = nullptr;
  int nearest_distance = allowed + 1;
  for (const std::string& candidate : known) {
    const int distance = EditDistance(word, candidate);
    if (distance < nearest_distance) {
      nearest = &candidate;
      nearest_distance = distance;
    }
  }
  if (nearest == nullptr && word.size() >= 3) {
    const auto starts = [&](const std::string& candidate) { return candidate.starts_with(word); };
    const auto found = std::find_if(known.begin(), known.end(), starts);
    if (found != known.end()) nearest = &*found;
  }
  return nearest == nullptr ? std::string() : *nearest;
}

}  // namespace lorry
