// Server-sent events: framing and its reverse.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lorry::net {

// Appends "data: <data>\n\n"; each line of `data` gets a "data: " of its own.
void AppendSseEvent(std::string& out, std::string_view data);

// Cuts a byte stream into events, however it was split on its way.
class SseParser {
 public:
  // Calls on_data with the data of each event that is complete now. False from on_data ends the
  // feeding; then, and when an event grows beyond kMaxEventBytes, Feed returns false.
  bool Feed(std::string_view bytes, const std::function<bool(std::string_view data)>& on_data);

  static constexpr size_t kMaxEventBytes = 64 << 20;

 private:
  bool EndLine(const std::function<bool(std::string_view)>& on_data);

  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool last_was_cr_ = false;
};

}  // namespace lorry::net
