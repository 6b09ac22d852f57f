// A chat with the model, turn by turn: keeps the messages and makes the prompt of the next answer.
// Owns: the messages. Thread: one.
#pragma once

#include <boost/json/array.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "apps/stack.h"
#include "base/result.h"

namespace lorry::apps {

class Conversation {
 public:
  // `system`: the system message; empty: none.
  Conversation(const Stack& stack, std::string system);

  void Reset();
  // The tokens with `question` as the user's next turn. Without a chat template: the texts as they
  // are.
  Result<std::vector<TokenId>> Ask(std::string_view question);
  void Answered(std::string_view answer);
  void TakeBack();  // the question, when it got no answer

 private:
  const Stack& stack_;
  const std::string system_;
  boost::json::array messages_;
};

}  // namespace lorry::apps
