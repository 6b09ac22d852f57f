// Adapter management as SageMaker's containers know it: POST /adapters with a JSON body and DELETE
// /adapters/{name}; and as DJL Serving does, whose parameters stand in the query string and whose
// paths begin with /models/{model}.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/adapter_fields.h"

namespace lorry::api::sagemaker {

// {"name", "src", "preload", "pin", "load_inplace"}
Result<AdapterRegistration> ParseRegistration(std::string_view body);
// The same from ?name=&src=&preload=&pin=.
Result<AdapterRegistration> ParseRegistrationQuery(const QueryLookup& query);
// ?pin=&preload=; a source cannot be changed so.
Result<AdapterUpdate> ParseUpdateQuery(const QueryLookup& query);

struct ListQuery {
  int limit = 100;
  int begin = 0;  // ?next_page_token=
};
Result<ListQuery> ParseListQuery(const QueryLookup& query);

// "Adapter sql registered": what SageMaker gets as plain text, and DJL's clients as
// {"status": …}. `shown_name` is the alias where there is one.
enum class Change { kRegistered, kUpdated, kUnregistered };
std::string ChangeText(Change change, std::string_view shown_name);
std::string FormatStatus(std::string_view text);

// [{"name","src","preload","pin"}]
std::string FormatDescription(const AdapterStatus& adapter);
// {"adapters":[…],"nextPageToken":…}
std::string FormatList(std::vector<AdapterStatus> adapters, const ListQuery& query);

// {"code":…,"type":…,"message":…} with the status of error_map.
std::string FormatError(const Error& error);

}  // namespace lorry::api::sagemaker
