#include "text/text_offsets.h"

#include <algorithm>
#include <string>

#include "text/detokenizer.h"

namespace lorry::text {
namespace {

// How far ahead a token is sought behind one that the text does not have as it is.
constexpr size_t kMaxSkippedBytes = 64;
constexpr std::string_view kSpaces = " \t\r\n";

bool IsCharacterBegin(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

bool IsSpace(std::string_view token) {
  return token.find_first_not_of(kSpaces) == std::string_view::npos;
}

// Goes through a text token by token.
class Walk {
 public:
  explicit Walk(std::string_view text) : text_(text) {}

  // The offset of the next token.
  int64_t Take(std::string_view token, bool is_special) {
    const size_t begin = Find(token);
    if (begin != std::string_view::npos) {
      // The text may lack the space that the tokenizer has put in front of a word.
      const bool has_all = text_.substr(begin).starts_with(token);
      MoveTo(begin);
      const int64_t offset = characters_;
      MoveTo(begin + token.size() - (has_all ? 0 : 1));
      is_lost_ = is_special;
      return offset;
    }
    const int64_t offset = characters_;
    is_lost_ = true;
    // Spaces that the text lacks were put there by the tokenizer.
    if (!is_special && !IsSpace(token)) Skip(NumCharacters(token));
    return offset;
  }

 private:
  size_t Find(std::string_view token) const {
    if (token.empty()) return std::string_view::npos;
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with(token)) return at_;
    const bool has_space = token.size() > 1 && token.front() == ' ';
    const std::string_view bare = has_space ? token.substr(1) : token;
    if (rest.starts_with(bare)) return at_;
    // Special tokens may take the spaces around them.
    const size_t word = rest.substr(0, kMaxSkippedBytes).find_first_not_of(kSpaces);
    if (word != std::string_view::npos && rest.substr(word).starts_with(bare)) return at_ + word;
    if (!is_lost_ || IsSpace(bare) || !IsCharacterBegin(bare.front())) {
      return std::string_view::npos;
    }
    const size_t found = rest.substr(0, kMaxSkippedBytes + bare.size()).find(bare);
    return found == std::string_view::npos ? found : at_ + found;
  }

  void MoveTo(size_t at) {
    characters_ += NumCharacters(text_.substr(at_, at - at_));
    at_ = at;
  }

  void Skip(int64_t num_characters) {
    while (at_ < text_.size() && !IsCharacterBegin(text_[at_])) ++at_;
    for (; num_characters > 0 && at_ < text_.size(); --num_characters) {
      size_t next = at_ + 1;
      while (next < text_.size() && !IsCharacterBegin(text_[next])) ++next;
      MoveTo(next);
    }
  }

  const std::string_view text_;
  size_t at_ = 0;           // bytes
  int64_t characters_ = 0;  // that begin before at_
  // The token before was not found, or may have taken spaces of any kind.
  bool is_lost_ = false;
};

}  // namespace

int64_t NumCharacters(std::string_view bytes) {
  return std::ranges::count_if(bytes, IsCharacterBegin);
}

std::vector<int64_t> OffsetsOfDecoded(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                      const DecodeOptions& options) {
  std::vector<int64_t> offsets;
  offsets.reserve(ids.size());
  Detokenizer detokenizer(tokenizer, options);
  std::string piece;
  int64_t characters = 0;
  for (const TokenId id : ids) {
    offsets.push_back(characters + detokenizer.is_within_character());
    piece.clear();
    detokenizer.Push(id, &piece);
    characters += NumCharacters(piece);
  }
  return offsets;
}

std::vector<int64_t> OffsetsInText(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                   std::string_view text) {
  std::vector<int64_t> offsets;
  offsets.reserve(ids.size());
  Walk walk(text);
  for (const TokenId id : ids) {
    offsets.push_back(walk.Take(tokenizer.TokenBytes(id), tokenizer.IsSpecial(id)));
  }
  return offsets;
}

}  // namespace lorry::text
