// Values that cross the C interface of textkit: views in, owned buffers out, errors.
// Owns: what textkit returned, until destruction. Thread: any. Never: throws.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "textkit/textkit.h"

namespace lorry::text {

struct Chat;

inline tk_view View(std::string_view text) { return {text.data(), text.size()}; }

struct OwnedText {
  OwnedText() = default;
  OwnedText(const OwnedText&) = delete;
  OwnedText& operator=(const OwnedText&) = delete;
  ~OwnedText() { tk_text_free(text); }
  std::string_view view() const { return {text.data, text.size}; }
  tk_text text{};
};

struct OwnedIds {
  OwnedIds() = default;
  OwnedIds(const OwnedIds&) = delete;
  OwnedIds& operator=(const OwnedIds&) = delete;
  ~OwnedIds() { tk_ids_free(ids); }
  tk_ids ids{};
};

// The error of a call that did not return TK_OK; `param` is the request field at fault.
Error TextkitError(tk_status status, std::string_view reason, std::string param = {});

// Views into `chat`.
tk_chat ChatView(const Chat& chat);

}  // namespace lorry::text
