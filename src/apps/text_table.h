// Rows of text in aligned columns, for a terminal and for programs that cut at blanks.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lorry::apps {

struct Column {
  std::string heading;
  bool is_number = false;  // to the right
};

// A line each, two blanks between columns, none at the end. An empty cell is shown as "-".
std::string AlignedTable(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows);

// "now", "5m ago", "3h ago", "12d ago"; "never" for 0.
std::string AgeShown(int64_t then_s, int64_t now_s);

// At most `width` characters (>= 1); what is cut away shows as "…": its beginning, or its end.
std::string KeptEnd(const std::string& text, size_t width);
std::string KeptBegin(const std::string& text, size_t width);

}  // namespace lorry::apps
