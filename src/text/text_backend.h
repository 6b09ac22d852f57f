// What makes tokenizers and chat templates work: the library in this process for the base, whose
// files are the operator's; a worker process for what an adapter brings (text_sandbox.h).
// Owns: nothing.
// Thread: any, all objects are read-only.
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
#include "textkit/textkit.h"

namespace lorry::text {

struct Chat;

class TokenizerBackend {
 public:
  virtual ~TokenizerBackend() = default;

  // The table of what each id stands for; its views last as long as this.
  virtual tk_vocab vocab() const = 0;
  // The contents of the special tokens, a JSON array.
  virtual Result<std::string> SpecialTokens() const = 0;
  // The library's own object; null: it is in another process.
  virtual const tk_tokenizer* handle() const = 0;
  // Nothing: no token has this name.
  virtual Result<std::optional<TokenId>> Find(std::string_view name) const = 0;
  // Both append to *ids. `flags`: TK_ADD_SPECIAL, TK_PARSE_SPECIAL.
  virtual Status Encode(std::string_view text, uint32_t flags, std::vector<TokenId>* ids) const = 0;
  virtual Status EncodeTyped(std::string_view text, std::span<const uint32_t> typed,
                             std::vector<TokenId>* ids) const = 0;
};

// tk_template_render says what these are.
struct Rendering {
  std::string text;
  std::vector<uint32_t> typed;
  bool has_typed = false;
};

class TemplateBackend {
 public:
  virtual ~TemplateBackend() = default;
  // `tokens`: whose special tokens nobody may type; null: all may be typed.
  virtual Result<Rendering> Render(const Chat& chat, const TokenizerBackend* tokens) const = 0;
};

class TextBackend {
 public:
  virtual ~TextBackend() = default;

  // tk_tokenizer_new and tk_template_new say what the arguments are. `tokens`: of the tokenizer
  // that the template writes for.
  virtual Result<std::shared_ptr<const TokenizerBackend>> NewTokenizer(
      std::string_view json, std::string_view more_tokens) = 0;
  virtual Result<std::shared_ptr<const TemplateBackend>> NewTemplate(
      std::string_view source, std::string_view variables, const tk_limits& limits,
      const TokenizerBackend* tokens) = 0;
};

// The library in this process.
TextBackend& InProcess();

}  // namespace lorry::text
