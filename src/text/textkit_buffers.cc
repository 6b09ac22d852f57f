#include "text/textkit_buffers.h"

#include <utility>

#include "base/log.h"
#include "text/chat_template.h"

namespace lorry::text {

Error TextkitError(tk_status status, std::string_view reason, std::string param) {
  std::string message(reason);
  switch (status) {
    case TK_OK:
    case TK_INVALID:
      break;
    case TK_RAISED:
      message = fmt::format("the model's chat template refuses this conversation: {}", message);
      break;
    case TK_LIMIT:
      return {ErrorCode::kTooLarge, std::move(message), std::move(param)};
    case TK_PANIC:
      log::Warning("the text library gave up: {}", message);
      return {ErrorCode::kInternal, "the text library failed on it; the log says where", {}};
  }
  return {ErrorCode::kInvalidArgument, std::move(message), std::move(param)};
}

tk_chat ChatView(const Chat& chat) {
  return {.messages = View(chat.messages_json),
          .tools = View(chat.tools_json),
          .documents = View(chat.documents_json),
          .variables = View(chat.variables_json),
          .add_generation_prompt = chat.add_generation_prompt,
          .now_unix_s = chat.now_unix_s};
}

}  // namespace lorry::text
