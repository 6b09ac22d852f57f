#include "text/detokenizer.h"

#include <string_view>

namespace lorry::text {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, const DecodeOptions& options)
    : tokenizer_(&tokenizer),
      skip_special_tokens_(options.skip_special_tokens),
      strip_space_(options.at_text_start && tokenizer.strips_leading_space()) {}

void Detokenizer::Push(TokenId id, std::string* out) {
  if (Hides(id)) return;
  std::string_view bytes = tokenizer_->TokenBytes(id);
  if (bytes.empty()) return;
  if (strip_space_ && bytes.front() == ' ') bytes.remove_prefix(1);
  strip_space_ = false;
  utf8_.Push(bytes, out);
}

}  // namespace lorry::text
