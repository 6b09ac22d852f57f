// What a body is that is no JSON text in UTF-8: clients compress without saying so, or write in
// their system's encoding.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>
#include <string_view>

namespace lorry::api::openai {

// The body without a UTF-8 byte order mark at its beginning, which PowerShell and others write and
// a reader may ignore (RFC 8259, 8.1).
std::string_view WithoutByteOrderMark(std::string_view body);

// By its first bytes, as the end of "The body is not valid JSON: …"; "": it may be JSON.
std::string_view OtherForm(std::string_view body);

// That some of it is not UTF-8, likewise; "": all of it is.
std::string OtherEncoding(std::string_view body);

}  // namespace lorry::api::openai
