#include "request/adapter_expression.h"

#include <gtest/gtest.h>

#include <utility>

namespace lorry {
namespace {

using Parts = std::vector<std::pair<std::string, float>>;

Parts PartsOf(std::string_view text) {
  const auto terms = ParseAdapterExpression(text);
  EXPECT_TRUE(terms) << text << ": " << terms.error().message;
  Parts parts;
  if (terms) {
    for (const AdapterTerm& term : *terms) parts.emplace_back(term.name, term.weight);
  }
  return parts;
}

TEST(AdapterExpressionTest, ReadsSums) {
  EXPECT_EQ(PartsOf("a"), (Parts{{"a", 1}}));
  EXPECT_EQ(PartsOf("a+0.5*b"), (Parts{{"a", 1}, {"b", 0.5f}}));
  EXPECT_EQ(PartsOf("-2*team/x-1 + 1000*b+.25*c"),
            (Parts{{"team/x-1", -2}, {"b", 1000}, {"c", 0.25f}}));
  EXPECT_EQ(PartsOf("a+a"), (Parts{{"a", 1}, {"a", 1}}));
  EXPECT_EQ(PartsOf("a+b+c+d+e+f+g+h").size(), 8u);
}

TEST(AdapterExpressionTest, RefusesWhatIsNone) {
  for (const char* text :
       {"",         "+",     "a+",       "+a",      "a++b",  "*a",    "0.5*",
        "0.5**a",   "a*b",   "a*0.5",    "1e3*a",   "nan*a", "inf*a", "-inf*a",
        "0x1*a",    "1,5*a", "1000.1*a", "-1001*a", "1 2*a", "--1*a", "a+b+c+d+e+f+g+h+i",
        "0.5*0.5*a"}) {
    const auto terms = ParseAdapterExpression(text);
    ASSERT_FALSE(terms) << text;
    EXPECT_EQ(terms.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_EQ(terms.error().param, "model") << text;
  }
}

}  // namespace
}  // namespace lorry
