// A model's chat template: messages to the text, and to the ids, that the model was trained on.
// Owns: the compiled template. Thread: any, all methods are const. Never: throws; runs or writes
// without limit, whatever the template says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/text_backend.h"
#include "text/tokenizer.h"

namespace lorry::text {

// A conversation; all texts are JSON, as a client sent them.
struct Chat {
  std::string messages_json;   // [{"role": …, "content": …}, …]
  std::string tools_json;      // an array; empty: none
  std::string documents_json;  // an array; empty: none
  std::string
      variables_json;  // further variables of the template (chat_template_kwargs); empty: none
  bool add_generation_prompt = true;
  // The text of a special token in a message stays text: nobody can type a turn of the chat.
  bool guard_special_tokens = true;
  int64_t now_unix_s = 0;  // for templates that write the date; 0: the clock
  // What is longer is kTooLarge and not tokenised, which takes 100 times its memory.
  size_t max_rendered_bytes = size_t{64} << 20;
};

struct RenderedChat {
  std::string text;
  std::vector<TokenId> ids;
};

// Of one rendering. When to change: a real conversation is refused with "ran for too many steps".
struct ChatTemplateLimits {
  // Instructions of the template engine. Templates take about 50 per message, those that look at
  // all messages for each of them 4,600 with 1,200 messages; a step takes some 0.1 us.
  uint64_t base_steps = 300'000;
  uint64_t steps_per_message = 6'000;
  uint64_t max_steps = 10'000'000;
  size_t max_output_bytes = size_t{64} << 20;
};

class ChatTemplate {
 public:
  // From `file` if given, else where formats/chat_template_files.h finds one in `dir`. kNotFound if
  // there is none.
  static Result<ChatTemplate> Load(const std::string& dir, const Tokenizer& tokenizer,
                                   const std::string& file = {},
                                   const ChatTemplateLimits& limits = {});

  static Result<ChatTemplate> FromSource(std::string_view source,
                                         const SpecialTokens& special_tokens,
                                         std::string_view where,
                                         const ChatTemplateLimits& limits = {});

  // "chat_template" of these fields: a string, or a list of named templates.
  static Result<ChatTemplate> FromFields(const formats::JsonFields& fields,
                                         const Tokenizer& tokenizer,
                                         TextBackend& backend = InProcess());

  // The same template for a tokenizer with other special tokens, which it may write.
  Result<ChatTemplate> WithTokens(const Tokenizer& tokenizer, TextBackend& backend) const;

  Result<std::string> Render(const Chat& chat) const;
  Result<RenderedChat> RenderAndEncode(const Chat& chat, const Tokenizer& tokenizer) const;

 private:
  using Handle = std::shared_ptr<const TemplateBackend>;
  struct Origin {
    std::string main;
    std::string tool_use;  // empty: none
    std::string where;
    std::string tool_use_where;  // empty: the same
    ChatTemplateLimits limits;
  };

  ChatTemplate() = default;
  static Result<ChatTemplate> Compile(Origin origin, const SpecialTokens& special_tokens,
                                      const TokenizerBackend* tokens, TextBackend& backend);
  const TemplateBackend& For(const Chat& chat) const;

  std::shared_ptr<const Origin> origin_;
  Handle default_;
  Handle tool_use_;  // for chats with tools, where the model has one of its own
};

}  // namespace lorry::text
