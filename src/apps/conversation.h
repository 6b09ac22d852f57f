// A chat with the model, turn by turn: keeps the messages and makes the prompt of the next answer.
// Owns: the messages. Thread: one.
#pragma once

#include <boost/json/array.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/model_text.h"

namespace lorry::apps {

class Conversation {
 public:
  // `system`: the system message; empty: none.
  explicit Conversation(std::string system);

  void Reset();
  // The tokens with `question` as the user's next turn, for a model of this text. Without a chat
  // template: the texts as they are.
  Result<std::vector<TokenId>> Ask(std::string_view question, const text::ModelText& text);
  void Answered(std::string_view answer);
  void TakeBack();  // the question, when it got no answer

 private:
  const std::string system_;
  boost::json::array messages_;
};

}  // namespace lorry::apps
