// Lorry's own adapter management, /v1/adapters: bodies to what the adapter service takes, and its
// answers to JSON.
// Owns: nothing. Thread: any. Pure. Never: shows a source's token.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/adapter_fields.h"

namespace lorry::api::native {

// {"name", "source", "token", "pin", "load", "replace"}; a field that is none of these is refused.
Result<AdapterRegistration> ParseRegistration(std::string_view body);

// {"pin", "alias_of", "reload"}: at least one of them, and not both of the last.
Result<AdapterUpdate> ParseUpdate(std::string_view body);

struct ListQuery {
  std::string prefix;  // ?name=: of the names
  std::string after;   // ?after=: the last name of the page before
  int limit = 100;     // ?limit=
};
Result<ListQuery> ParseListQuery(const QueryLookup& query);

std::string FormatAdapter(const AdapterStatus& status);
// {"object":"list","data":[…],"total":…,"next":…}: `next` is what `after` is to be for the page
// that follows, null on the last.
std::string FormatAdapters(std::vector<AdapterStatus> adapters, const ListQuery& query);
std::string FormatRemoved(std::string_view name);

}  // namespace lorry::api::native
