// Bytes that arrive in pieces, as UTF-8 text that is whole at every moment.
// Owns: up to three bytes of an unfinished character. Thread: one at a time. Never: emits invalid
// UTF-8; what can't become a character is one U+FFFD per maximal part of one (Unicode 3.9, "best
// practice"), as in Rust's and Python's decoders.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lorry::text {

class Utf8Stream {
 public:
  // Appends to *out what is complete now.
  void Push(std::string_view bytes, std::string* out);

  // At the end: an unfinished character becomes U+FFFD.
  void Flush(std::string* out);

  bool empty() const { return held_bytes_ == 0; }

 private:
  // What is held begins a character of needed_bytes_, whose next byte must lie in [low_, high_].
  char held_[4];
  int held_bytes_ = 0;
  int needed_bytes_ = 0;
  uint8_t low_ = 0x80;
  uint8_t high_ = 0xBF;
};

}  // namespace lorry::text
