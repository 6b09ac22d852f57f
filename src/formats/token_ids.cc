#include "formats/token_ids.h"

#include <limits>

namespace lorry::formats {

Result<std::vector<TokenId>> ParseTokenIds(const JsonFields& fields, std::string_view key) {
  const boost::json::value* value = fields.Find(key);
  if (value == nullptr) return std::vector<TokenId>();
  std::vector<int64_t> ids;
  if (value->is_array()) {
    ASSIGN_OR_RETURN(ids, fields.Required<std::vector<int64_t>>(key));
  } else {
    ASSIGN_OR_RETURN(const int64_t id, fields.Required<int64_t>(key));
    ids.push_back(id);
  }
  std::vector<TokenId> result;
  for (int64_t id : ids) {
    if (id < 0 || id > std::numeric_limits<TokenId>::max()) {
      return fields.FieldError(key, fmt::format("{} is not a token id", id));
    }
    result.push_back(static_cast<TokenId>(id));
  }
  return result;
}

}  // namespace lorry::formats
