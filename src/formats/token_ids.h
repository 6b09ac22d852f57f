// A field that is a token id or a list of them, as eos_token_id is in config.json and
// generation_config.json. Owns: nothing. Thread: any.
#pragma once

#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "formats/json.h"

namespace lorry::formats {

// Empty if the field is absent or null.
Result<std::vector<TokenId>> ParseTokenIds(const JsonFields& fields, std::string_view key);

}  // namespace lorry::formats
