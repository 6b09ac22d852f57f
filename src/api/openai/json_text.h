// Appends JSON to a string, without a tree in between: answers are written once per token and
// stream. Owns: nothing. Thread: any. Never: writes text that is not JSON, whatever the bytes
// given.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace lorry::api::openai {

// Quotes and escapes; bytes that are not UTF-8 become U+FFFD.
void AppendJsonString(std::string& out, std::string_view text);
// "" becomes null.
void AppendJsonStringOrNull(std::string& out, std::string_view text);
// The shortest form that reads back to the same float. What JSON cannot say (infinities, NaN)
// becomes -9999, OpenAI's figure for a token that cannot come.
void AppendJsonFloat(std::string& out, float value);
void AppendJsonInt(std::string& out, int64_t value);
// Where the first byte is that belongs to no UTF-8 character; npos: it is all UTF-8.
size_t FindInvalidUtf8(std::string_view text);

}  // namespace lorry::api::openai
