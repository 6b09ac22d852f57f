// A Hugging Face tokenizer: tokenizer.json with what tokenizer_config.json says about it.
// Owns: the vocabulary. Thread: any, all methods are const. Never: throws, or lets a text or file
// crash the process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/text_backend.h"

namespace lorry::formats {
class JsonFields;
}

namespace lorry::text {

struct EncodeOptions {
  // Adds what the model expects around a text (mostly BOS). Not for rendered chats: templates write
  // it.
  bool add_special_tokens = true;
  // The text "<|im_end|>" becomes that token; else it is tokenized as any other text.
  bool parse_special_tokens = true;
};

struct DecodeOptions {
  bool skip_special_tokens = true;
  // False: the ids continue a text, so a leading space is theirs. True: they are a text of their
  // own.
  bool at_text_start = true;
};

// Tokens by role, as tokenizer_config.json names them; absent ones are empty.
struct SpecialTokens {
  std::string bos;
  std::string eos;
  std::string unk;
  std::string pad;
  std::vector<std::string> additional;
};

class Tokenizer {
 public:
  // Reads tokenizer.json and, where they exist, tokenizer_config.json and special_tokens_map.json.
  static Result<Tokenizer> Load(const std::string& dir);

  // The same from texts; an empty config is none. `where` names the source in errors.
  static Result<Tokenizer> FromJson(std::string_view tokenizer_json,
                                    std::string_view tokenizer_config_json, std::string_view where,
                                    TextBackend& backend = InProcess());

  // The same tokens with other roles and another add_bos_token, as this config says.
  Result<Tokenizer> WithConfig(const formats::JsonFields& config) const;

  // kTooLarge: a text of over 64 MiB. kInvalidArgument: not UTF-8. kUnfit: a tokenizer that an
  // adapter brings went beyond a limit.
  Result<std::vector<TokenId>> Encode(std::string_view text,
                                      const EncodeOptions& options = {}) const;

  // What a template wrote, to which nothing is added.
  Result<std::vector<TokenId>> EncodeRendering(const Rendering& rendering) const;

  // Ids outside the vocabulary add nothing. What isn't UTF-8 becomes U+FFFD.
  std::string Decode(std::span<const TokenId> ids, const DecodeOptions& options = {}) const;

  // The bytes that a token adds to a text; not always whole characters. Empty for an unknown id.
  std::string_view TokenBytes(TokenId id) const;

  // Largest id + 1, added tokens included. Ids in between may be unused.
  int32_t vocab_size() const;
  bool Exists(TokenId id) const;
  bool IsSpecial(TokenId id) const;

  // By the name in tokenizer.json: "<s>", "Ġthe"; nothing: there is none. kUnfit: who knows it, a
  // worker, could not be asked.
  Result<std::optional<TokenId>> Find(std::string_view name) const;

  const SpecialTokens& special_tokens() const { return special_tokens_; }
  std::optional<TokenId> eos_id() const { return eos_id_; }

  // Whether decoding a text of its own drops one leading space (SentencePiece adds one).
  bool strips_leading_space() const;

  const TokenizerBackend& backend() const { return *backend_; }

 private:
  Tokenizer() = default;
  Status ReadConfig(const formats::JsonFields& config);
  Status FindSpecialIds();
  Status ReadAddBosToken(const formats::JsonFields& config);
  uint8_t Flags(TokenId id) const;

  std::shared_ptr<const TokenizerBackend> backend_;
  tk_vocab vocab_{};  // views into backend_
  SpecialTokens special_tokens_;
  std::optional<TokenId> bos_id_;
  std::optional<TokenId> eos_id_;
  // What tokenizer_config.json's add_bos_token asks for beyond the post-processor of
  // tokenizer.json.
  bool prepend_bos_ = false;
  bool drop_bos_ = false;
};

}  // namespace lorry::text
