// Token ids that arrive one by one, as text that is whole at every moment.
// Owns: an unfinished character. Thread: one at a time; the tokenizer is shared and must outlive
// it. Never: emits U+FFFD for a character that may yet be finished; looks back at earlier tokens.
#pragma once

#include <string>

#include "base/ids.h"
#include "text/tokenizer.h"
#include "text/utf8_stream.h"

namespace lorry::text {

class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer,
                       const DecodeOptions& options = {.skip_special_tokens = true,
                                                       .at_text_start = false});

  // Appends to *out the text that is complete with this token.
  void Push(TokenId id, std::string* out);

  // At the end of the sequence: an unfinished character becomes U+FFFD.
  void Flush(std::string* out) { utf8_.Flush(out); }

  // Whether a token adds nothing to the text, being special.
  bool Hides(TokenId id) const { return skip_special_tokens_ && tokenizer_->IsSpecial(id); }
  // Whether the text ends within a character, which is not in *out yet.
  bool is_within_character() const { return !utf8_.empty(); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  bool strip_space_;  // still at the start, where one space is dropped
  Utf8Stream utf8_;
};

}  // namespace lorry::text
