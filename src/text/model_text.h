// The text side of what a model name stands for: tokenizer, chat template, the ids that end a text.
// Of the base there is one; an adapter may bring one of its own, or parts of it.
// Owns: these; tokens that an adapter does not change it shares with the base. Thread: any,
// read-only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lorry::text {

struct ModelText {
  ModelText(Tokenizer of_model, std::optional<ChatTemplate> of_chats);

  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;  // none: chats are refused
  std::vector<TokenId> eos_ids;               // of an adapter: they end its texts beside the base's
  size_t max_token_bytes = 1;                 // of the longest token
};

// Of a model's directory; `chat_template_file`, where given, in place of its own template.
Result<std::shared_ptr<const ModelText>> LoadModelText(const std::string& dir,
                                                       const std::string& chat_template_file = {});

// The base's with an adapter's changes, as formats::AdapterText has them; empty texts change
// nothing. `backend`: where what it brings is run. kUnfit: it cannot be used.
// kUnavailable, kResourceExhausted: there was no worker to ask.
Result<std::shared_ptr<const ModelText>> ChangeText(const ModelText& base,
                                                    std::string_view tokenizer_json,
                                                    std::string_view config_json,
                                                    TextBackend& backend);

}  // namespace lorry::text
