// Runs tests/api/<dialect>/adapter_answers.json: what the adapter service said, and the answer that
// it must become.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <map>
#include <sstream>

#include "api/native/adapters.h"
#include "api/sagemaker/adapters.h"
#include "api/sglang/adapters.h"
#include "api/vllm/adapters.h"
#include "base/testing/source_dir.h"

namespace lorry::api {
namespace {

namespace json = boost::json;

struct Said {
  AdapterStatus adapter;
  std::vector<AdapterStatus> adapters;
  Error error;
};
struct Answer {
  std::string body;
  int status = 200;
};
using Formatter = std::function<Answer(const Said&)>;

Error ErrorOf(const json::value& value) {
  Error error;
  const std::string name(value.at("code").as_string());
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInternal); ++code) {
    if (ErrorCodeName(static_cast<ErrorCode>(code)) == name) {
      error.code = static_cast<ErrorCode>(code);
    }
  }
  EXPECT_EQ(ErrorCodeName(error.code), name);
  error.message = std::string(value.at("message").as_string());
  if (const json::value* param = value.as_object().if_contains("param")) {
    error.param = std::string(param->as_string());
  }
  return error;
}

AdapterTier TierOf(std::string_view name) {
  for (const AdapterTier tier : {AdapterTier::kDisk, AdapterTier::kHost, AdapterTier::kPool}) {
    if (AdapterTierName(tier) == name) return tier;
  }
  return AdapterTier::kNone;
}

// Reads the fields that a row names.
class RowReader {
 public:
  explicit RowReader(const json::object& row) : row_(row) {}
  template <typename T>
  void Read(std::string_view field, T& out) const {
    if (const json::value* value = row_.if_contains(field)) out = json::value_to<T>(*value);
  }
  const json::value* Find(std::string_view field) const { return row_.if_contains(field); }

 private:
  const json::object& row_;
};

AdapterStatus AdapterOf(const json::value& value) {
  AdapterStatus adapter;
  const RowReader row(value.as_object());
  int id = 0;
  std::string tier;
  row.Read("name", adapter.name);
  row.Read("source", adapter.source);
  row.Read("revision", adapter.revision);
  row.Read("id", id);
  row.Read("tier", tier);
  row.Read("is_loading", adapter.is_loading);
  row.Read("is_pinned", adapter.is_pinned);
  row.Read("is_static", adapter.is_static);
  row.Read("max_rank", adapter.max_rank);
  row.Read("num_modules", adapter.num_modules);
  row.Read("num_bytes", adapter.num_bytes);
  row.Read("num_requests", adapter.num_requests);
  row.Read("num_waiting", adapter.num_waiting);
  row.Read("created_s", adapter.created_s);
  row.Read("last_used_s", adapter.last_used_s);
  row.Read("failed_until_s", adapter.failed_until_s);
  row.Read("warnings", adapter.warnings);
  if (const json::value* error = row.Find("error")) adapter.error = ErrorOf(*error);
  adapter.id.bytes[0] = static_cast<uint8_t>(id);
  adapter.tier = TierOf(tier);
  return adapter;
}

Said SaidBy(const json::object& row) {
  Said said;
  if (const json::value* adapter = row.if_contains("adapter")) said.adapter = AdapterOf(*adapter);
  if (const json::value* adapters = row.if_contains("adapters")) {
    for (const json::value& each : adapters->as_array()) said.adapters.push_back(AdapterOf(each));
  }
  if (const json::value* error = row.if_contains("error")) said.error = ErrorOf(*error);
  return said;
}

void RunAnswers(const std::string& dialect, size_t least,
                const std::map<std::string, Formatter>& formatters) {
  std::ifstream file(SourcePath("tests/api/") + dialect + "/adapter_answers.json");
  std::stringstream text;
  text << file.rdbuf();
  const json::value table = json::parse(text.str());
  EXPECT_GE(table.as_array().size(), least);
  for (const json::value& row_value : table.as_array()) {
    const json::object& row = row_value.as_object();
    const std::string call(row.at("call").as_string());
    ASSERT_TRUE(formatters.contains(call)) << call;
    const Answer answer = formatters.at(call)(SaidBy(row));
    if (const json::value* expected = row.if_contains("text")) {
      EXPECT_EQ(answer.body, std::string(expected->as_string()));
    } else {
      EXPECT_EQ(json::parse(answer.body), row.at("answer")) << answer.body;
    }
    const json::value* status = row.if_contains("status");
    EXPECT_EQ(answer.status, status ? status->as_int64() : 200) << answer.body;
  }
}

Answer FromVllm(vllm::ErrorAnswer answer) { return {std::move(answer.body), answer.status}; }

AdapterRegistration RegistrationOf(const AdapterStatus& adapter) {
  return {.name = adapter.name, .source = adapter.source};
}

TEST(AdapterAnswers, Native) {
  RunAnswers(
      "native", 4,
      {{"adapter", [](const Said& said) { return Answer{native::FormatAdapter(said.adapter)}; }},
       {"removed",
        [](const Said& said) { return Answer{native::FormatRemoved(said.adapter.name)}; }}});
}

TEST(AdapterAnswers, Vllm) {
  RunAnswers(
      "vllm", 12,
      {{"loaded", [](const Said& said) { return Answer{vllm::LoadedText(said.adapter.name)}; }},
       {"unloaded", [](const Said& said) { return Answer{vllm::UnloadedText(said.adapter.name)}; }},
       {"load_error",
        [](const Said& said) {
          return FromVllm(vllm::FormatLoadError(said.error, RegistrationOf(said.adapter)));
        }},
       {"unload_error",
        [](const Said& said) {
          return FromVllm(vllm::FormatUnloadError(said.error, said.adapter.name));
        }},
       {"bad_request",
        [](const Said& said) { return FromVllm(vllm::FormatBadRequest(said.error)); }}});
}

TEST(AdapterAnswers, Sglang) {
  const auto result = [](const std::string& message, const Said& said) {
    return Answer{sglang::FormatResult(message, said.adapters)};
  };
  RunAnswers("sglang", 4,
             {{"success", [&](const Said& said) { return result("", said); }},
              {"load_error",
               [&](const Said& said) {
                 return result(sglang::LoadErrorText(said.error, said.adapter.name), said);
               }},
              {"unload_error", [&](const Said& said) {
                 return result(sglang::UnloadErrorText(said.error, said.adapter.name), said);
               }}});
}

TEST(AdapterAnswers, Sagemaker) {
  using sagemaker::Change;
  const auto change = [](Change what) {
    return [what](const Said& said) {
      return Answer{sagemaker::FormatStatus(sagemaker::ChangeText(what, said.adapter.name))};
    };
  };
  RunAnswers(
      "sagemaker", 9,
      {{"registered", change(Change::kRegistered)},
       {"updated", change(Change::kUpdated)},
       {"unregistered", change(Change::kUnregistered)},
       {"description",
        [](const Said& said) { return Answer{sagemaker::FormatDescription(said.adapter)}; }},
       {"error", [](const Said& said) { return Answer{sagemaker::FormatError(said.error)}; }}});
}

std::vector<AdapterStatus> Numbered(int count) {
  std::vector<AdapterStatus> adapters;
  for (int i = count - 1; i >= 0; --i) {
    AdapterStatus adapter;
    adapter.name = fmt::format("{}/{:04}", i % 2 == 0 ? "even" : "odd", i);
    adapters.push_back(adapter);
  }
  return adapters;
}

// The names of all pages, as a client collects them.
template <typename Fetch>
std::vector<std::string> AllPages(std::string_view list, std::string_view next, Fetch fetch) {
  std::vector<std::string> names;
  std::optional<std::string> token = "";
  for (int page = 0; token && page < 100; ++page) {
    const json::object answer = json::parse(fetch(*token)).as_object();
    for (const json::value& adapter : answer.at(list).as_array()) {
      names.emplace_back(adapter.at("name").as_string());
    }
    const json::value* more = answer.if_contains(next);
    token =
        more && more->is_string() ? std::optional(std::string(more->get_string())) : std::nullopt;
  }
  return names;
}

TEST(AdapterAnswers, NativePagesHaveEachNameOnce) {
  for (const int limit : {1, 7, 100, 250, 1000}) {
    const auto names = AllPages("data", "next", [&](const std::string& after) {
      return native::FormatAdapters(Numbered(500),
                                    {.prefix = "odd/", .after = after, .limit = limit});
    });
    if (limit >= 7) {
      ASSERT_EQ(names.size(), 250u) << limit;
    } else {
      ASSERT_EQ(names.size(), 100u) << "one a page, as many as AllPages asks for";
    }
    EXPECT_TRUE(std::ranges::is_sorted(names));
    EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
  }
  EXPECT_EQ(json::parse(native::FormatAdapters({}, {})),
            json::parse(R"({"object":"list","data":[],"total":0,"next":null})"));
  EXPECT_EQ(json::parse(native::FormatAdapters(Numbered(3), {.after = "zzz"})).at("total"), 3);
}

TEST(AdapterAnswers, SagemakerPagesHaveEachNameOnce) {
  for (const int limit : {7, 100}) {
    const auto names = AllPages("adapters", "nextPageToken", [&](const std::string& token) {
      const int begin = token.empty() ? 0 : std::stoi(token);
      return sagemaker::FormatList(Numbered(300), {.limit = limit, .begin = begin});
    });
    ASSERT_EQ(names.size(), 300u);
    EXPECT_TRUE(std::ranges::is_sorted(names));
  }
  EXPECT_EQ(sagemaker::FormatList(Numbered(3), {.begin = 1000}), R"({"adapters":[]})");
}

}  // namespace
}  // namespace lorry::api
