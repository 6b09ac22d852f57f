#include "server/journal.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <boost/json.hpp>

namespace lorry::server {
namespace {

JournalEntry Entry() {
  JournalEntry entry;
  entry.request_id = "r1";
  entry.method = "POST";
  entry.path = "/v1/completions";
  entry.route = "/v1/completions";
  entry.remote_address = "127.0.0.1:5";
  entry.status = 200;
  entry.received_us = 1000;
  entry.ended_us = 13500;
  entry.model = "sql";
  entry.queued_us = 1500;
  entry.first_token_us = 3250;
  entry.prompt_tokens = 7;
  entry.completion_tokens = 9;
  return entry;
}

TEST(Journal, Text) {
  EXPECT_EQ(
      AccessText(Entry()),
      "127.0.0.1:5 POST /v1/completions 200 in 12.5 ms, sql: 7 + 9 tokens, queued after 0.5 ms, "
      "first after 2.2 ms, id r1");
  JournalEntry plain = Entry();
  plain.model = "";
  plain.queued_us.reset();
  plain.first_token_us.reset();
  plain.path = "/a\nb\x1b[31m";
  EXPECT_EQ(AccessText(plain), "127.0.0.1:5 POST /a\\nb\\u001b[31m 200 in 12.5 ms, id r1");
}

TEST(Journal, RefusedRequestsSayWhy) {
  JournalEntry entry = Entry();
  entry.status = 404;
  entry.model = "";
  entry.queued_us.reset();
  entry.first_token_us.reset();
  entry.error_code = "model_not_found";
  entry.error_param = "model";
  entry.asked_model = "no\x1b[31m";
  entry.error_message = "There is\nnone.";
  EXPECT_EQ(AccessText(entry),
            "127.0.0.1:5 POST /v1/completions 404 in 12.5 ms, model_not_found, param model, model "
            "no\\u001b[31m: There is\\nnone., id r1");
  const boost::json::value value = boost::json::parse("{" + AccessJson(entry) + "}");
  EXPECT_EQ(value.at("error_code").as_string(), "model_not_found");
  EXPECT_EQ(value.at("error_param").as_string(), "model");
  EXPECT_EQ(value.at("error_message").as_string(), "There is\nnone.");
  EXPECT_EQ(value.at("model").as_string(), "no\x1b[31m");
  entry.model = "sql";  // known by then: it has its place in the line
  EXPECT_EQ(AccessText(entry),
            "127.0.0.1:5 POST /v1/completions 404 in 12.5 ms, sql: 7 + 9 tokens, model_not_found, "
            "param model: There is\\nnone., id r1");
}

TEST(Journal, ManagementNamesTheAdapter) {
  JournalEntry entry;
  entry.request_id = "r1";
  entry.method = "DELETE";
  entry.path = "/v1/adapters/s\nql";
  entry.remote_address = "127.0.0.1:5";
  entry.status = 200;
  entry.adapter = "s\nql";
  EXPECT_EQ(AccessText(entry),
            "127.0.0.1:5 DELETE /v1/adapters/s\\nql 200 in 0.0 ms, adapter s\\nql, id r1");
  const boost::json::value value = boost::json::parse("{" + AccessJson(entry) + "}");
  EXPECT_EQ(value.at("adapter").as_string(), "s\nql");
}

TEST(Journal, JsonMembersAreJson) {
  JournalEntry entry = Entry();
  entry.path = "/\"\xff";
  const boost::json::value value = boost::json::parse("{" + AccessJson(entry) + "}");
  EXPECT_EQ(value.at("path").as_string(), "/\"\uFFFD");
  EXPECT_EQ(value.at("total_ms").to_number<double>(), 12.5);
  EXPECT_EQ(value.at("queued_ms").to_number<double>(), 0.5);
  EXPECT_EQ(value.at("ttft_ms").to_number<double>(), 2.25);
  EXPECT_EQ(value.at("completion_tokens").as_int64(), 9);
}

TEST(Journal, CountsByHandlerMethodAndStatus) {
  prometheus::Registry registry;
  Journal journal(registry, /*access_log=*/false);
  journal.Write(Entry());
  JournalEntry odd = Entry();
  odd.route = "";
  odd.method = "BREW";
  odd.status = 404;
  journal.Write(odd);
  const std::string text = prometheus::TextSerializer().Serialize(registry.Collect());
  EXPECT_NE(
      text.find(
          R"(lorry:http_requests_total{handler="/v1/completions",method="POST",status="200"} 1)"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("lorry:request_queued_seconds_count 2"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(lorry:http_requests_total{handler="none",method="other",status="404"} 1)"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace lorry::server
