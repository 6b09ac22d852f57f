#include "api/openai/json_values.h"

#include <algorithm>

namespace lorry::api::openai {
namespace {

// Where the string that begins at `at`, behind its quote, ends; the end of the text if it doesn't.
size_t EndOfString(std::string_view text, size_t at) {
  while (true) {
    const size_t quote = text.find('"', at);
    if (quote == std::string_view::npos) return text.size();
    size_t num_backslashes = 0;
    while (quote - num_backslashes > at && text[quote - num_backslashes - 1] == '\\') {
      ++num_backslashes;
    }
    if (num_backslashes % 2 == 0) return quote;
    at = quote + 1;
  }
}

bool IsPlainName(std::string_view key) {
  constexpr size_t kMaxBytes = 64;
  return key.size() <= kMaxBytes && std::ranges::all_of(key, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

}  // namespace

bool JsonValues::Take(std::string_view text) {
  int depth = 0;
  std::string_view last_string;
  std::string_view field;
  ++count_;  // the outermost one; each comma and each beginning of a list or object adds one
  for (size_t i = 0; i < text.size() && count_ <= max_count_; ++i) {
    switch (text[i]) {
      case '"': {
        const size_t end = EndOfString(text, i + 1);
        last_string = text.substr(i + 1, end - i - 1);
        i = end;
        break;
      }
      case ':':
        if (depth == 1) field = last_string;
        break;
      case '[':
      case '{':
        ++depth;
        ++count_;
        break;
      case ']':
      case '}':
        --depth;
        break;
      case ',':
        ++count_;
        break;
      default:
        break;
    }
  }
  if (count_ <= max_count_) return true;
  last_field_ = IsPlainName(field) ? field : std::string_view();
  return false;
}

}  // namespace lorry::api::openai
