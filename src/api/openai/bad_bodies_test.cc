// Runs tests/api/openai/bad_bodies.json: bodies that must be refused, with the field that is named
// and words that the message must have.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>

#include "api/error_map.h"
#include "api/openai/parse.h"
#include "base/testing/source_dir.h"

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

std::optional<Error> ErrorOf(std::string_view endpoint, std::string_view body) {
  constexpr int kVocabSize = 1000;
  const ParseLimits limits;
  const auto error = [](const auto& parsed) {
    return parsed ? std::nullopt : std::optional<Error>(parsed.error());
  };
  const auto checked = [&](const auto& parsed) {
    if (!parsed) return error(parsed);
    return error(CheckTokenIds(*parsed, kVocabSize));
  };
  if (endpoint == "completions") return checked(ParseCompletion(body, limits));
  if (endpoint == "chat") return checked(ParseChat(body, limits));
  if (endpoint == "tokenize") return error(ParseTokenize(body, limits));
  return checked(ParseDetokenize(body, limits));
}

TEST(BadBodies, AreRefusedByName) {
  std::ifstream file(SourcePath("tests/api/openai/bad_bodies.json"));
  std::stringstream text;
  text << file.rdbuf();
  const json::value table = json::parse(text.str());
  EXPECT_GE(table.as_array().size(), 60u);
  for (const json::value& row : table.as_array()) {
    // A body given as a string is sent as it is: it may not be JSON.
    const json::value& body_value = row.at("body");
    const std::string body = body_value.is_string() ? std::string(body_value.get_string().c_str())
                                                    : json::serialize(body_value);
    const std::optional<Error> error = ErrorOf(row.at("endpoint").as_string().c_str(), body);
    ASSERT_TRUE(error) << body << " was accepted";
    EXPECT_EQ(error->param, row.at("param").as_string().c_str()) << body << "\n" << error->message;
    EXPECT_NE(error->message.find(row.at("says").as_string().c_str()), std::string::npos)
        << body << "\n"
        << error->message;
    EXPECT_EQ(HttpErrorOf(*error).status, 400) << body;
  }
}

}  // namespace
}  // namespace lorry::api::openai
