#include <utility>

#include "base/check.h"
#include "text/chat_template.h"
#include "text/text_backend.h"
#include "text/textkit_buffers.h"

namespace lorry::text {
namespace {

class LocalTokenizer final : public TokenizerBackend {
 public:
  explicit LocalTokenizer(tk_tokenizer* handle) : handle_(handle) {}
  LocalTokenizer(const LocalTokenizer&) = delete;
  LocalTokenizer& operator=(const LocalTokenizer&) = delete;
  ~LocalTokenizer() override { tk_tokenizer_free(handle_); }

  tk_vocab vocab() const override { return tk_tokenizer_vocab(handle_); }

  Result<std::string> SpecialTokens() const override {
    OwnedText json;
    OwnedText reason;
    const tk_status status = tk_tokenizer_special_tokens(handle_, &json.text, &reason.text);
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    return std::string(json.view());
  }

  const tk_tokenizer* handle() const override { return handle_; }

  std::optional<TokenId> Find(std::string_view name) const override {
    const int64_t id = tk_tokenizer_token_id(handle_, View(name));
    if (id < 0) return std::nullopt;
    return static_cast<TokenId>(id);
  }

  Status Encode(std::string_view text, uint32_t flags, std::vector<TokenId>* ids) const override {
    OwnedIds found;
    OwnedText reason;
    const tk_status status =
        tk_tokenizer_encode(handle_, View(text), flags, &found.ids, &reason.text);
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    ids->insert(ids->end(), found.ids.data, found.ids.data + found.ids.size);
    return {};
  }

  Status EncodeTyped(std::string_view text, std::span<const uint32_t> typed,
                     std::vector<TokenId>* ids) const override {
    OwnedIds found;
    OwnedText reason;
    const tk_status status = tk_tokenizer_encode_typed(handle_, View(text), typed.data(),
                                                       typed.size(), &found.ids, &reason.text);
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    ids->insert(ids->end(), found.ids.data, found.ids.data + found.ids.size);
    return {};
  }

 private:
  tk_tokenizer* const handle_;
};

class LocalTemplate final : public TemplateBackend {
 public:
  explicit LocalTemplate(tk_template* handle) : handle_(handle) {}
  LocalTemplate(const LocalTemplate&) = delete;
  LocalTemplate& operator=(const LocalTemplate&) = delete;
  ~LocalTemplate() override { tk_template_free(handle_); }

  Result<Rendering> Render(const Chat& chat, const TokenizerBackend* tokens) const override {
    const tk_chat view = ChatView(chat);
    const tk_guard* guard = nullptr;
    OwnedText text;
    OwnedText reason;
    OwnedIds typed;
    int32_t has_typed = 0;
    tk_status status = TK_OK;
    if (tokens != nullptr) {
      CHECK_MSG(tokens->handle() != nullptr, "a template is made where its tokenizer is");
      status = tk_tokenizer_guard(tokens->handle(), &guard, &reason.text);
    }
    if (status == TK_OK) {
      status = tk_template_render(handle_, guard, &view, &text.text, &typed.ids, &has_typed,
                                  &reason.text);
    }
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view(), "messages"));
    return Rendering{.text = std::string(text.view()),
                     .typed = {typed.ids.data, typed.ids.data + typed.ids.size},
                     .has_typed = has_typed != 0};
  }

 private:
  tk_template* const handle_;
};

class LocalBackend final : public TextBackend {
 public:
  Result<std::shared_ptr<const TokenizerBackend>> NewTokenizer(
      std::string_view json, std::string_view more_tokens) override {
    tk_tokenizer* handle = nullptr;
    OwnedText reason;
    const tk_status status = tk_tokenizer_new(View(json), View(more_tokens), &handle, &reason.text);
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    return std::make_shared<const LocalTokenizer>(handle);
  }

  Result<std::shared_ptr<const TemplateBackend>> NewTemplate(
      std::string_view source, std::string_view variables, const tk_limits& limits,
      const TokenizerBackend* /*tokens*/) override {
    tk_template* handle = nullptr;
    OwnedText reason;
    const tk_status status =
        tk_template_new(View(source), View(variables), &limits, &handle, &reason.text);
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    return std::make_shared<const LocalTemplate>(handle);
  }
};

}  // namespace

TextBackend& InProcess() {
  static LocalBackend backend;
  return backend;
}

}  // namespace lorry::text
