// The input's parts as stop strings and as a text in pieces: the text that comes out must not
// depend on the pieces. The rest as a stream of server-sent events, which must parse alike whole
// and byte by byte.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "net/sse.h"
#include "text/stop.h"

namespace {

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::string Matched(const std::vector<std::string>& stops, std::string_view text, size_t piece) {
  lorry::text::StopMatcher matcher(stops);
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) {
    if (matcher.Push(text.substr(at, piece), &out)) return out;
  }
  matcher.Flush(&out);
  return out;
}

std::vector<std::string> Events(std::string_view bytes, size_t piece) {
  lorry::net::SseParser parser;
  std::vector<std::string> events;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (!parser.Feed(bytes.substr(at, piece), [&](std::string_view data) {
          events.emplace_back(data);
          return true;
        })) {
      break;
    }
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> parts = Split(input, '\xff');
  const std::string text = parts.back();
  parts.pop_back();
  const std::string whole = Matched(parts, text, text.size() + 1);
  if (Matched(parts, text, 1) != whole || Matched(parts, text, 3) != whole) std::abort();
  if (Events(input, 1) != Events(input, size + 1)) std::abort();
  return 0;
}
