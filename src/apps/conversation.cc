#include "apps/conversation.h"

#include <boost/json.hpp>

namespace lorry::apps {

namespace json = boost::json;

Conversation::Conversation(const Stack& stack, std::string system)
    : stack_(stack), system_(std::move(system)) {
  Reset();
}

void Conversation::Reset() {
  messages_.clear();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
}

Result<std::vector<TokenId>> Conversation::Ask(std::string_view question) {
  messages_.push_back({{"role", "user"}, {"content", question}});
  if (!stack_.chat_template) {
    std::string text;
    for (const json::value& message : messages_) text += message.at("content").as_string();
    return stack_.tokenizer->Encode(text);
  }
  text::Chat chat;
  chat.messages_json = json::serialize(messages_);
  ASSIGN_OR_RETURN(text::RenderedChat rendered,
                   stack_.chat_template->RenderAndEncode(chat, *stack_.tokenizer));
  return std::move(rendered.ids);
}

void Conversation::Answered(std::string_view answer) {
  messages_.push_back({{"role", "assistant"}, {"content", answer}});
}

void Conversation::TakeBack() { messages_.pop_back(); }

}  // namespace lorry::apps
