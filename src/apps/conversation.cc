#include "apps/conversation.h"

#include <boost/json.hpp>

namespace lorry::apps {

namespace json = boost::json;

Conversation::Conversation(std::string system) : system_(std::move(system)) { Reset(); }

void Conversation::Reset() {
  messages_.clear();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
}

Result<std::vector<TokenId>> Conversation::Ask(std::string_view question,
                                               const text::ModelText& text) {
  messages_.push_back({{"role", "user"}, {"content", question}});
  if (!text.chat_template) {
    std::string joined;
    for (const json::value& message : messages_) joined += message.at("content").as_string();
    return text.tokenizer.Encode(joined);
  }
  text::Chat chat;
  chat.messages_json = json::serialize(messages_);
  ASSIGN_OR_RETURN(text::RenderedChat rendered,
                   text.chat_template->RenderAndEncode(chat, text.tokenizer));
  return std::move(rendered.ids);
}

void Conversation::Answered(std::string_view answer) {
  messages_.push_back({{"role", "assistant"}, {"content", answer}});
}

void Conversation::TakeBack() { messages_.pop_back(); }

}  // namespace lorry::apps
