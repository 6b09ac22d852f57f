#include "request/adapter_expression.h"

#include <charconv>
#include <cmath>

namespace lorry {
namespace {

tl::unexpected<Error> Wrong(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message), "model");
}

std::string_view Trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

Result<float> ParseWeight(std::string_view text) {
  double weight = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, weight, std::chars_format::fixed);
  if (read.ec != std::errc() || read.ptr != end || !std::isfinite(weight) ||
      std::abs(weight) > kMaxAdapterWeight) {
    return Wrong(
        fmt::format("The weight `{}` of an adapter must be a decimal number from -{} to {}.", text,
                    kMaxAdapterWeight, kMaxAdapterWeight));
  }
  return static_cast<float>(weight);
}

Result<AdapterTerm> ParseTerm(std::string_view text) {
  AdapterTerm term;
  if (const size_t star = text.find('*'); star != std::string_view::npos) {
    ASSIGN_OR_RETURN(term.weight, ParseWeight(Trim(text.substr(0, star))));
    text.remove_prefix(star + 1);
  }
  term.name = Trim(text);
  if (term.name.empty() || term.name.find('*') != std::string::npos) {
    return Wrong("A sum of adapters is written name+0.5*name: a weight and a * before each name.");
  }
  return term;
}

}  // namespace

Result<std::vector<AdapterTerm>> ParseAdapterExpression(std::string_view text) {
  std::vector<AdapterTerm> terms;
  while (true) {
    const size_t plus = text.find('+');
    if (terms.size() == kMaxAdapterTerms) {
      return Wrong(fmt::format("A request may sum at most {} adapters.", kMaxAdapterTerms));
    }
    ASSIGN_OR_RETURN(AdapterTerm term, ParseTerm(text.substr(0, plus)));
    terms.push_back(std::move(term));
    if (plus == std::string_view::npos) return terms;
    text.remove_prefix(plus + 1);
  }
}

}  // namespace lorry
