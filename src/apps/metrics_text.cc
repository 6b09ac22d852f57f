#include "apps/metrics_text.h"

#include <cmath>
#include <optional>

#include "config/value.h"

namespace lorry::apps {
namespace {

// {a="b",c="d\"e"} from `line` on, which is left behind its brace; nullopt: it is none.
std::optional<MetricsText::Labels> TakeLabels(std::string_view& line) {
  MetricsText::Labels labels;
  if (!line.starts_with('{')) return labels;
  line.remove_prefix(1);
  while (!line.starts_with('}')) {
    const size_t equals = line.find("=\"");
    if (equals == std::string_view::npos) return std::nullopt;
    std::string& value = labels[std::string(line.substr(0, equals))];
    line.remove_prefix(equals + 2);
    for (; !line.starts_with('"'); line.remove_prefix(1)) {
      const bool is_escaped = line.starts_with('\\');
      if (is_escaped) line.remove_prefix(1);
      if (line.empty()) return std::nullopt;
      value += is_escaped && line[0] == 'n' ? '\n' : line[0];
    }
    line.remove_prefix(1);
    if (line.starts_with(',')) line.remove_prefix(1);
    if (line.empty()) return std::nullopt;
  }
  line.remove_prefix(1);
  return labels;
}

}  // namespace

MetricsText MetricsText::Parse(std::string_view page) {
  MetricsText metrics;
  while (!page.empty()) {
    std::string_view line = page.substr(0, page.find('\n'));
    page.remove_prefix(std::min(line.size() + 1, page.size()));
    if (line.empty() || line[0] == '#') continue;
    const std::string name(line.substr(0, line.find_first_of("{ ")));
    line.remove_prefix(name.size());
    auto labels = TakeLabels(line);
    if (!labels || !line.starts_with(' ')) continue;
    line.remove_prefix(1);
    const auto value = config::ParseNumber(line.substr(0, line.find(' ')));
    if (value && std::isfinite(*value)) {
      metrics.samples_[name].push_back({std::move(*labels), *value});
    }
  }
  return metrics;
}

double MetricsText::Sum(std::string_view name, std::string_view label,
                        std::string_view value) const {
  const auto samples = samples_.find(name);
  if (samples == samples_.end()) return 0;
  double sum = 0;
  for (const Sample& sample : samples->second) {
    const auto found = sample.labels.find(label);
    if (label.empty() || (found != sample.labels.end() && found->second == value)) {
      sum += sample.value;
    }
  }
  return sum;
}

std::map<std::string, double> MetricsText::By(std::string_view name, std::string_view label) const {
  std::map<std::string, double> sums;
  const auto samples = samples_.find(name);
  if (samples == samples_.end()) return sums;
  for (const Sample& sample : samples->second) {
    const auto found = sample.labels.find(label);
    if (found != sample.labels.end()) sums[found->second] += sample.value;
  }
  return sums;
}

}  // namespace lorry::apps
