#include "apps/top_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/text_table.h"
#include "config/value.h"

namespace lorry::apps {
namespace {

std::string Rate(double per_second) {
  return per_second < 100 ? fmt::format("{:.1f}", per_second) : fmt::format("{:.0f}", per_second);
}

std::string Bytes(double num_bytes) {
  return config::RoundBytes(static_cast<size_t>(std::max(num_bytes, 0.0)));
}

std::string Count(double count) { return fmt::format("{:.0f}", count); }

// "98 %" of those who got so far; empty if nobody did.
std::string Share(double part, double all) {
  return all > 0 ? fmt::format("{:.0f} %", 100 * part / all) : "";
}

class Picture {
 public:
  Picture(const TopLook& before, const TopLook& now)
      : before_(before), now_(now), seconds_(std::max(now.at_s - before.at_s, 1e-3)) {}

  void AddServer(const std::string& url) {
    const auto models = now_.metrics.By("vllm:num_requests_running", "model_name");
    Line("{}  {}", url, models.empty() ? "" : models.begin()->first);
  }

  void AddStreams() {
    const MetricsText& metrics = now_.metrics;
    Line("streams   {} running, {} waiting, {} of them for an adapter",
         Count(metrics.Sum("vllm:num_requests_running")),
         Count(metrics.Sum("vllm:num_requests_waiting")),
         Count(metrics.Sum("lorry:adapter_waiting_requests")));
    Line("tokens/s  {} in, {} out; {} requests/s", Rate(PerSecond("vllm:prompt_tokens_total")),
         Rate(PerSecond("vllm:generation_tokens_total")),
         Rate(PerSecond("lorry:adapter_requests_total")));
    Line("KV cache  {:.0f} % in use, {} preemptions/s",
         100 * metrics.Sum("vllm:kv_cache_usage_perc"),
         Rate(PerSecond("vllm:num_preemptions_total")));
  }

  // Of those who asked a tier, how many found their adapter there: who did not went on below.
  void AddTiers() {
    const MetricsText& metrics = now_.metrics;
    const auto hits = [&](std::string_view tier) {
      return metrics.Sum("lorry:adapter_hits_total", "tier", tier);
    };
    const double below_host = hits("disk") + hits("none");
    const std::map<std::string, double> asked = {
        {"pool", hits("pool") + metrics.Sum("lorry:adapter_loads_total", "tier", "pool")},
        {"host", hits("host") + below_host},
        {"disk", below_host}};
    std::vector<std::vector<std::string>> rows;
    for (const char* tier : {"pool", "host", "disk"}) {
      rows.push_back({tier, Count(metrics.Sum("lorry:adapter_tier_count", "tier", tier)),
                      Bytes(metrics.Sum("lorry:adapter_tier_bytes", "tier", tier)),
                      Share(hits(tier), asked.at(tier)),
                      Rate(PerSecond("lorry:adapter_loads_total", "tier", tier)),
                      Bytes(PerSecond("lorry:adapter_moved_bytes_total", "tier", tier)),
                      Rate(PerSecond("lorry:adapter_evictions_total", "tier", tier)),
                      Count(metrics.Sum("lorry:adapter_evictions_total", "tier", tier))});
    }
    AddTable({{"TIER"},
              {"ADAPTERS", true},
              {"SIZE", true},
              {"HITS", true},
              {"LOADS/S", true},
              {"MOVED/S", true},
              {"EVICTED/S", true},
              {"EVICTED", true}},
             rows);
  }

  void AddHottest(size_t max_rows) {
    struct Row {
      double tokens_per_s, requests;
      std::string name;
    };
    std::vector<Row> hottest;
    const auto requests = now_.metrics.By("lorry:adapter_requests_total", "adapter");
    for (const auto& [name, count] : requests) {
      hottest.push_back({Generated(name), count, name});
    }
    std::sort(hottest.begin(), hottest.end(), [](const Row& a, const Row& b) {
      return std::tie(b.tokens_per_s, b.requests, a.name) <
             std::tie(a.tokens_per_s, a.requests, b.name);
    });
    if (hottest.size() > max_rows) hottest.resize(max_rows);
    std::vector<std::vector<std::string>> rows;
    for (const Row& row : hottest) rows.push_back(AdapterRow(row.name, row.requests));
    Line("{} adapters can be asked for; the busiest:",
         Count(now_.metrics.Sum("lorry:adapter_names")));
    std::vector<Column> columns = {
        {"ADAPTER"}, {"TOKENS/S", true}, {"REQUESTS/S", true}, {"REQUESTS", true}};
    if (!now_.adapters.empty()) {
      columns.insert(columns.end(),
                     {{"TIER"}, {"RANK", true}, {"SIZE", true}, {"WAITING", true}, {"NOTE"}});
    }
    AddTable(columns, rows);
  }

  void Gap() { lines_.emplace_back(); }
  size_t num_lines() const { return lines_.size(); }

  std::vector<std::string> Fitted(const TopSize& size) && {
    for (std::string& line : lines_) line = KeptBegin(line, static_cast<size_t>(size.columns));
    lines_.resize(std::min(lines_.size(), static_cast<size_t>(size.rows)));
    return std::move(lines_);
  }

 private:
  template <typename... Args>
  void Line(fmt::format_string<Args...> format, Args&&... args) {
    lines_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  void AddTable(const std::vector<Column>& columns,
                const std::vector<std::vector<std::string>>& rows) {
    const std::string table = AlignedTable(columns, rows);
    for (size_t at = 0; at < table.size();) {
      const size_t end = table.find('\n', at);
      lines_.push_back(table.substr(at, end - at));
      at = end + 1;
    }
  }

  // A counter that went back belongs to a server that was started anew.
  double PerSecond(std::string_view name, std::string_view label = {},
                   std::string_view value = {}) const {
    const double step =
        now_.metrics.Sum(name, label, value) - before_.metrics.Sum(name, label, value);
    return std::max(step, 0.0) / seconds_;
  }
  double Generated(const std::string& adapter) const {
    return PerSecond("lorry:adapter_generation_tokens_total", "adapter", adapter);
  }

  std::vector<std::string> AdapterRow(const std::string& name, double num_requests) const {
    constexpr size_t kMaxNameWidth = 40;
    std::vector<std::string> row = {
        KeptEnd(name, kMaxNameWidth), Rate(Generated(name)),
        Rate(PerSecond("lorry:adapter_requests_total", "adapter", name)), Count(num_requests)};
    if (now_.adapters.empty()) return row;
    const auto found = now_.adapters.find(name);  // not there: the base, or a name that has gone
    const TopAdapter adapter = found == now_.adapters.end() ? TopAdapter() : found->second;
    const bool was_read = adapter.num_bytes > 0;
    row.insert(row.end(),
               {adapter.tier, was_read ? fmt::format("{}", adapter.rank) : "",
                was_read ? Bytes(static_cast<double>(adapter.num_bytes)) : "",
                adapter.tier.empty() ? "" : fmt::format("{}", adapter.num_waiting), adapter.note});
    return row;
  }

  const TopLook& before_;
  const TopLook& now_;
  const double seconds_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> RenderTop(const std::string& url, const TopLook& before,
                                   const TopLook& now, const TopSize& size) {
  Picture picture(before, now);
  picture.AddServer(url);
  picture.Gap();
  picture.AddStreams();
  picture.Gap();
  picture.AddTiers();
  picture.Gap();
  constexpr size_t kHeadingLines = 2;
  const size_t used = picture.num_lines() + kHeadingLines;
  const auto rows = static_cast<size_t>(size.rows);
  if (rows > used) picture.AddHottest(rows - used);
  return std::move(picture).Fitted(size);
}

}  // namespace lorry::apps
