// What a /metrics page says, by name and label.
// Owns: the samples. Thread: any, read-only. Never: trusts the page; a line that it cannot read is
// passed over.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lorry::apps {

class MetricsText {
 public:
  using Labels = std::map<std::string, std::string, std::less<>>;

  // Prometheus' text format.
  static MetricsText Parse(std::string_view page);

  // The sum of a metric's samples that have this label, or of all where `label` is empty; 0 without
  // any.
  double Sum(std::string_view name, std::string_view label = {}, std::string_view value = {}) const;
  // The sums of a metric's samples by the values of one label.
  std::map<std::string, double> By(std::string_view name, std::string_view label) const;
  bool empty() const { return samples_.empty(); }

 private:
  struct Sample {
    Labels labels;
    double value = 0;
  };

  std::map<std::string, std::vector<Sample>, std::less<>> samples_;
};

}  // namespace lorry::apps
