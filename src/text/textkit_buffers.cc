#include "text/textkit_buffers.h"

#include <utility>

namespace lorry::text {

Error TextkitError(tk_status status, const OwnedText& reason, std::string param) {
  std::string message(reason.view());
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
      return {ErrorCode::kInternal, std::move(message), {}};
  }
  return {ErrorCode::kInvalidArgument, std::move(message), std::move(param)};
}

}  // namespace lorry::text
