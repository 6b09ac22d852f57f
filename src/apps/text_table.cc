#include "apps/text_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace lorry::apps {
namespace {

bool BeginsCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

size_t NumCharacters(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), BeginsCharacter));
}

std::string Shown(const std::string& cell) { return cell.empty() ? "-" : cell; }

}  // namespace

std::string AlignedTable(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : columns) lines[0].push_back(column.heading);
  lines.insert(lines.end(), rows.begin(), rows.end());
  std::vector<size_t> widths(columns.size());
  for (const auto& cells : lines) {
    for (size_t i = 0; i < columns.size(); ++i) {
      widths[i] = std::max(widths[i], NumCharacters(Shown(cells[i])));
    }
  }
  std::string table;
  for (const auto& cells : lines) {
    std::string line;
    for (size_t i = 0; i < columns.size(); ++i) {
      const std::string cell = Shown(cells[i]);
      const std::string pad(widths[i] - NumCharacters(cell), ' ');
      line += (i == 0 ? "" : "  ") + (columns[i].is_number ? pad + cell : cell + pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + "\n";
  }
  return table;
}

std::string AgeShown(int64_t then_s, int64_t now_s) {
  constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  if (then_s == 0) return "never";
  const int64_t age_s = now_s - then_s;
  if (age_s < kMinute) return "now";
  if (age_s < kHour) return fmt::format("{}m ago", age_s / kMinute);
  if (age_s < kDay) return fmt::format("{}h ago", age_s / kHour);
  return fmt::format("{}d ago", age_s / kDay);
}

std::string KeptEnd(const std::string& text, size_t width) {
  size_t num_left = NumCharacters(text);
  if (num_left <= width) return text;
  size_t at = 0;
  for (; at < text.size(); ++at) {
    if (BeginsCharacter(text[at]) && num_left-- < width) break;
  }
  return "…" + text.substr(at);
}

std::string KeptBegin(const std::string& text, size_t width) {
  if (NumCharacters(text) <= width) return text;
  size_t num_kept = 0, at = 0;
  for (; at < text.size(); ++at) {
    if (BeginsCharacter(text[at]) && ++num_kept == width) break;
  }
  return text.substr(0, at) + "…";
}

}  // namespace lorry::apps
