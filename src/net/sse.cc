#include "net/sse.h"

namespace lorry::net {

void AppendSseEvent(std::string& out, std::string_view data) {
  while (true) {
    const size_t line_end = data.find('\n');
    out.append("data: ").append(data.substr(0, line_end)).push_back('\n');
    if (line_end == std::string_view::npos) break;
    data.remove_prefix(line_end + 1);
  }
  out.push_back('\n');
}

bool SseParser::Feed(std::string_view bytes,
                     const std::function<bool(std::string_view data)>& on_data) {
  while (!bytes.empty()) {
    if (last_was_cr_ && bytes.front() == '\n') {  // the second half of a CRLF
      last_was_cr_ = false;
      bytes.remove_prefix(1);
      continue;
    }
    last_was_cr_ = false;
    const size_t line_end = bytes.find_first_of("\r\n");
    line_.append(bytes.substr(0, line_end));
    if (line_.size() + data_.size() > kMaxEventBytes) return false;
    if (line_end == std::string_view::npos) return true;
    last_was_cr_ = bytes[line_end] == '\r';
    bytes.remove_prefix(line_end + 1);
    if (!EndLine(on_data)) return false;
  }
  return true;
}

bool SseParser::EndLine(const std::function<bool(std::string_view)>& on_data) {
  std::string_view line = line_;
  bool go_on = true;
  if (line.empty()) {  // the end of an event
    if (has_data_) go_on = on_data(data_);
    has_data_ = false;
    data_.clear();
  } else if (line.starts_with("data") && (line.size() == 4 || line[4] == ':')) {
    line.remove_prefix(line.size() == 4 ? 4 : 5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data_) data_.push_back('\n');
    data_.append(line);
    has_data_ = true;
  }  // comments, event:, id: and retry: carry nothing that we use
  line_.clear();
  return go_on;
}

}  // namespace lorry::net
