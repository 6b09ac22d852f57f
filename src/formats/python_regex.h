// A regular expression of Python's `re` written in PCRE2's words, so that it means the same.
// Owns: nothing.
// Thread: any. Pure.
// Never: passes on a construct whose meaning is another or not known to be the same. Such a one is
// refused by name, as is what `re` itself refuses.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry::formats {

struct PythonRegex {
  std::string pcre2;  // to be compiled without options, for text in ASCII
  std::map<std::string, int, std::less<>> groups;  // the numbers of named groups
};

// The error says what is wrong with the expression, without naming it.
Result<PythonRegex> TranslatePythonRegex(std::string_view pattern);

}  // namespace lorry::formats
