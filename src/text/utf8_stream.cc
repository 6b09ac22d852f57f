#include "text/utf8_stream.h"

#include <algorithm>

namespace lorry::text {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The length of a character by its first byte; 0 for a byte that can't begin one.
int SequenceBytes(uint8_t first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 0;
}

}  // namespace

void Utf8Stream::Push(std::string_view bytes, std::string* out) {
  size_t at = 0;
  while (at < bytes.size()) {
    const uint8_t byte = bytes[at];
    if (held_bytes_ > 0) {
      if (byte < low_ || byte > high_) {
        Flush(out);  // and look at this byte again, as a first one
        continue;
      }
      held_[held_bytes_++] = bytes[at++];
      low_ = 0x80;
      high_ = 0xBF;
      if (held_bytes_ == needed_bytes_) {
        out->append(held_, held_bytes_);
        held_bytes_ = 0;
      }
      continue;
    }
    if (byte < 0x80) {
      const auto* end =
          std::find_if(bytes.begin() + at, bytes.end(), [](char c) { return c & 0x80; });
      const size_t ascii_bytes = end - (bytes.begin() + at);
      out->append(bytes.substr(at, ascii_bytes));
      at += ascii_bytes;
      continue;
    }
    ++at;
    needed_bytes_ = SequenceBytes(byte);
    if (needed_bytes_ == 0) {
      out->append(kReplacement);
      continue;
    }
    // Second bytes that would make an overlong form, a surrogate or a code above U+10FFFF.
    low_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
    high_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
    held_[0] = static_cast<char>(byte);
    held_bytes_ = 1;
  }
}

void Utf8Stream::Flush(std::string* out) {
  if (held_bytes_ > 0) out->append(kReplacement);
  held_bytes_ = 0;
}

}  // namespace lorry::text
