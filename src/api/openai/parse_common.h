// The pieces of parsing that several endpoints share. Used inside api/openai only.
#pragma once

#include <boost/json.hpp>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "api/openai/field_reader.h"
#include "api/openai/parse.h"
#include "api/openai/request.h"

namespace lorry::api::openai {

// model, adapters, and the fields by which other servers choose an adapter.
void ReadModel(FieldReader& fields, ModelRequest& request);

// Everything that completions and chat completions share, but for max_tokens and logprobs.
void ReadCommon(FieldReader& fields, const ParseLimits& limits, CommonRequest& request);

// min_tokens, once max_tokens is known.
void ReadMinTokens(FieldReader& fields, CommonRequest& request);

// messages, tools and the template's switches.
void ReadChatPrompt(FieldReader& fields, const ParseLimits& limits, ChatPrompt& chat);

// A list of token ids, at most `max_count`; the vocabulary is checked later.
void ReadTokenIds(FieldReader& fields, std::string_view name, const boost::json::value& value,
                  size_t max_count, std::vector<TokenId>& out);

// A field that Lorry knows and does not apply: any value but null and the harmless one is refused.
struct Unsupported {
  std::string_view name;
  std::string_view harmless;  // as compact JSON; "": none but null
};
void RefuseUnsupported(FieldReader& fields, std::initializer_list<Unsupported> list);

}  // namespace lorry::api::openai
