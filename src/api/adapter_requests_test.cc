// Runs tests/api/<dialect>/adapter_requests.json: a body or a query string, and what it must become
// or how it must be refused. A pair names the fields it is about; the others are not looked at.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>

#include "api/error_map.h"
#include "api/native/adapters.h"
#include "api/sagemaker/adapters.h"
#include "api/sglang/adapters.h"
#include "api/vllm/adapters.h"
#include "base/testing/source_dir.h"

namespace lorry::api {
namespace {

namespace json = boost::json;

// What a call gets: one of the two.
struct Input {
  std::string body;
  QueryLookup query;
};
using Parser = std::function<Result<json::object>(const Input&)>;

json::object Show(const AdapterRegistration& adapter) {
  return {{"name", adapter.name},     {"source", adapter.source}, {"token", adapter.token},
          {"pin", adapter.is_pinned}, {"load", adapter.load},     {"replace", adapter.replace}};
}

json::object Show(const AdapterUpdate& update) {
  return {{"pin", update.is_pinned ? json::value(*update.is_pinned) : json::value()},
          {"alias_of", update.alias_of ? json::value(*update.alias_of) : json::value()},
          {"reload", update.reload}};
}

json::object Show(const std::string& name) { return {{"name", name}}; }

json::object Show(const native::ListQuery& list) {
  return {{"prefix", list.prefix}, {"after", list.after}, {"limit", list.limit}};
}

json::object Show(const sagemaker::ListQuery& list) {
  return {{"limit", list.limit}, {"begin", list.begin}};
}

template <typename Parse>
Parser OfBody(Parse parse) {
  return [parse](const Input& input) {
    return parse(input.body).map([](const auto& parsed) { return Show(parsed); });
  };
}

template <typename Parse>
Parser OfQuery(Parse parse) {
  return [parse](const Input& input) {
    return parse(input.query).map([](const auto& parsed) { return Show(parsed); });
  };
}

Input InputOf(const json::object& row) {
  Input input;
  if (const json::value* body = row.if_contains("body")) {
    // A body given as a string is sent as it is: it may not be JSON.
    input.body = body->is_string() ? std::string(body->get_string()) : json::serialize(*body);
  }
  if (const json::value* query = row.if_contains("query")) {
    input.query = [object = query->as_object()](std::string_view name) {
      const json::value* value = object.if_contains(json::string_view(name.data(), name.size()));
      return value ? std::optional(std::string(value->as_string())) : std::nullopt;
    };
  }
  return input;
}

void CheckRow(const json::object& row, const Result<json::object>& parsed) {
  const std::string shown_row = json::serialize(row);
  if (const json::value* expected = row.if_contains("expect")) {
    ASSERT_TRUE(parsed) << shown_row << "\n" << parsed.error().message;
    for (const auto& [field, value] : expected->as_object()) {
      ASSERT_TRUE(parsed->contains(field)) << field;
      EXPECT_EQ(parsed->at(field), value) << shown_row << "\n" << field;
    }
    return;
  }
  ASSERT_FALSE(parsed) << shown_row << " was accepted";
  EXPECT_EQ(parsed.error().param, std::string(row.at("param").as_string())) << shown_row;
  EXPECT_NE(parsed.error().message.find(std::string(row.at("says").as_string())), std::string::npos)
      << shown_row << "\n"
      << parsed.error().message;
  EXPECT_EQ(HttpErrorOf(parsed.error()).status, row.at("status").as_int64()) << shown_row;
}

void RunPairs(const std::string& dialect, size_t least,
              const std::map<std::string, Parser>& parsers) {
  std::ifstream file(SourcePath("tests/api/") + dialect + "/adapter_requests.json");
  std::stringstream text;
  text << file.rdbuf();
  const json::value table = json::parse(text.str());
  EXPECT_GE(table.as_array().size(), least);
  for (const json::value& row : table.as_array()) {
    const std::string call(row.at("call").as_string());
    ASSERT_TRUE(parsers.contains(call)) << call;
    CheckRow(row.as_object(), parsers.at(call)(InputOf(row.as_object())));
  }
}

TEST(AdapterRequests, Native) {
  RunPairs("native", 30,
           {{"register", OfBody(native::ParseRegistration)},
            {"update", OfBody(native::ParseUpdate)},
            {"list", OfQuery(native::ParseListQuery)}});
}

TEST(AdapterRequests, Vllm) {
  RunPairs("vllm", 15, {{"load", OfBody(vllm::ParseLoad)}, {"unload", OfBody(vllm::ParseUnload)}});
}

TEST(AdapterRequests, Sglang) {
  RunPairs("sglang", 9,
           {{"load", OfBody(sglang::ParseLoad)}, {"unload", OfBody(sglang::ParseUnload)}});
}

TEST(AdapterRequests, Sagemaker) {
  RunPairs("sagemaker", 18,
           {{"register", OfBody(sagemaker::ParseRegistration)},
            {"register_query", OfQuery(sagemaker::ParseRegistrationQuery)},
            {"update_query", OfQuery(sagemaker::ParseUpdateQuery)},
            {"list", OfQuery(sagemaker::ParseListQuery)}});
}

TEST(AdapterRequests, HaveLimits) {
  const std::string huge(kManagementLimits.max_bytes + 1, ' ');
  EXPECT_EQ(native::ParseRegistration(huge).error().code, ErrorCode::kTooLarge);
  const std::string body = R"({"name":"a","source":")" + std::string(4097, 'x') + R"("})";
  const auto parsed = native::ParseRegistration(body);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().param, "source");
  EXPECT_EQ(parsed.error().message, "'source' has 4097 bytes; the limit is 4096.");
}

}  // namespace
}  // namespace lorry::api
