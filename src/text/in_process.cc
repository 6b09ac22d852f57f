#include <utility>

#include "base/check.h"
#include "text/chat_template.h"
#include "text/text_backend.h"
#include "text/textkit_buffers.h"

namespace lorry::text {
namespace {

// Of a text that a normalizer has made longer: cutting it takes some twenty times as much.
constexpr uint64_t kMaxNormalizedBytes = uint64_t{256} << 20;
// Beyond that a tokenizer is not what its model was trained with: the usual ones have 1 to 500.
constexpr uint64_t kMaxGrowth = 4096;

class LocalTokenizer final : public TokenizerBackend {
 public:
  LocalTokenizer(tk_tokenizer* handle, uint64_t growth) : handle_(handle), growth_(growth) {}
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

  Result<std::optional<TokenId>> Find(std::string_view name) const override {
    const int64_t id = tk_tokenizer_token_id(handle_, View(name));
    if (id < 0) return std::optional<TokenId>();
    return std::optional(static_cast<TokenId>(id));
  }

  Status Encode(std::string_view text, uint32_t flags, std::vector<TokenId>* ids) const override {
    RETURN_IF_ERROR(CheckSize(text));
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
    RETURN_IF_ERROR(CheckSize(text));
    OwnedIds found;
    OwnedText reason;
    const tk_status status = tk_tokenizer_encode_typed(handle_, View(text), typed.data(),
                                                       typed.size(), &found.ids, &reason.text);
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    ids->insert(ids->end(), found.ids.data, found.ids.data + found.ids.size);
    return {};
  }

 private:
  Status CheckSize(std::string_view text) const {
    if (text.size() < kMaxNormalizedBytes / growth_) return {};
    return Fail(
        ErrorCode::kTooLarge,
        fmt::format("the text has {} bytes; the limit is {}, of which this tokenizer's "
                    "normalizer may make {} MiB",
                    text.size(), kMaxNormalizedBytes / growth_ - 1, kMaxNormalizedBytes >> 20));
  }

  tk_tokenizer* const handle_;
  const uint64_t growth_;  // tk_tokenizer_growth
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
    uint64_t growth = 1;
    OwnedText reason;
    tk_status status = tk_tokenizer_growth(View(json), &growth, &reason.text);
    if (status == TK_OK && growth > kMaxGrowth) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("its normalizer may make {} bytes of one; the limit is {}", growth,
                              kMaxGrowth));
    }
    if (status == TK_OK) {
      status = tk_tokenizer_new(View(json), View(more_tokens), &handle, &reason.text);
    }
    if (status != TK_OK) return tl::unexpected(TextkitError(status, reason.view()));
    return std::make_shared<const LocalTokenizer>(handle, growth);
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
