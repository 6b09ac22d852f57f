// A weighted sum of adapters as clients write it: "a", "a+0.5*b", "a + -1*b".
// Owns: nothing. Thread: any.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "request/adapter_term.h"

namespace lorry {

// The terms as they stand there, names and weights alone. kInvalidArgument, param "model": more
// than kMaxAdapterTerms, an empty name, a weight that is no decimal number or beyond the limit.
Result<std::vector<AdapterTerm>> ParseAdapterExpression(std::string_view text);

// No name has one of these, so whatever does is a sum.
inline bool IsAdapterExpression(std::string_view text) {
  return text.find_first_of("+*") != std::string_view::npos;
}

}  // namespace lorry
