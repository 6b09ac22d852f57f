#include "server/testing/test_server.h"

#include <gtest/gtest.h>

#include <thread>

namespace lorry::server {
namespace {

namespace json = boost::json;

// GPT-2's names for bytes: printable ones stand for themselves, the others for 256, 257, … in their
// order.
json::object ByteVocabulary() {
  json::object vocab;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int code = is_printable ? byte : next++;
    std::string name;
    if (code < 0x80) {
      name = static_cast<char>(code);
    } else {
      name = {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
    }
    vocab[name] = byte;
  }
  return vocab;
}

json::value Special(TokenId id, std::string_view content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::string MakeByteTokenizerJson(std::string_view more) {
  const json::object byte_level = {{"type", "ByteLevel"},
                                   {"add_prefix_space", false},
                                   {"trim_offsets", true},
                                   {"use_regex", false}};
  const json::object model = {
      {"type", "BPE"}, {"vocab", ByteVocabulary()}, {"merges", json::array()}};
  json::array added = {Special(kEndToken, "<|end|>"), Special(kUserToken, "<|user|>"),
                       Special(kAssistantToken, "<|assistant|>")};
  if (!more.empty()) added.push_back(Special(kAssistantToken + 1, more));
  const json::object tokenizer = {
      {"version", "1.0"},          {"truncation", nullptr}, {"padding", nullptr},
      {"added_tokens", added},     {"normalizer", nullptr}, {"pre_tokenizer", byte_level},
      {"post_processor", nullptr}, {"decoder", byte_level}, {"model", model}};
  return json::serialize(tokenizer);
}

text::Tokenizer MakeByteTokenizer() {
  auto loaded =
      text::Tokenizer::FromJson(MakeByteTokenizerJson(), R"({"eos_token":"<|end|>"})", "test");
  EXPECT_TRUE(loaded) << loaded.error().message;
  return *loaded;
}

text::ChatTemplate MakeChatTemplate() {
  auto loaded = text::ChatTemplate::FromSource(
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}",
      {.bos = "", .eos = "<|end|>"}, "test");
  EXPECT_TRUE(loaded) << loaded.error().message;
  return *loaded;
}

std::shared_ptr<const text::ModelText> MakeText() {
  return std::make_shared<text::ModelText>(MakeByteTokenizer(), MakeChatTemplate());
}

std::vector<TokenId> BytesOf(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TestServer::TestServer(EchoOptions echo, ServerOptions options)
    : echo_(std::make_unique<EchoGenerator>(echo)) {
  adapters_.AddStatic("sql", "/adapters/sql");
  adapters_.AddStatic("team/fr", "/adapters/fr");
  options.access_log = false;
  options.version = "1.2.3";
  server_ = std::make_unique<Server>(std::move(options), adapters_, MakeText(), *echo_, registry_);
  const Result<int> port = server_->Start();
  EXPECT_TRUE(port) << port.error().message;
  port_ = port.value_or(0);
}

TestServer::~TestServer() { server_->Stop(); }

net::HttpResponse TestServer::Call(net::HttpCall call) {
  net::HttpClient client("127.0.0.1", port_);
  Result<net::HttpResponse> response = client.Send(call);
  EXPECT_TRUE(response) << response.error().message;
  return response.value_or(net::HttpResponse{.status = 0});
}

net::HttpResponse TestServer::Get(const std::string& path, net::HttpHeaders headers) {
  return Call({.method = "GET", .target = path, .headers = std::move(headers)});
}

net::HttpResponse TestServer::Post(const std::string& path, std::string body,
                                   net::HttpHeaders headers) {
  return Call(
      {.method = "POST", .target = path, .headers = std::move(headers), .body = std::move(body)});
}

json::object TestServer::PostJson(const std::string& path, std::string body) {
  const net::HttpResponse response = Post(path, std::move(body));
  EXPECT_EQ(response.status, 200) << response.body;
  json::error_code error;
  json::value value = json::parse(response.body, error);
  EXPECT_FALSE(error) << response.body;
  return value.is_object() ? value.get_object() : json::object();
}

std::vector<std::string> TestServer::PostEvents(const std::string& path, std::string body) {
  net::HttpClient client("127.0.0.1", port_);
  std::vector<std::string> events;
  const auto response = client.StreamEvents(
      {.method = "POST", .target = path, .body = std::move(body)}, [&](std::string_view data) {
        events.emplace_back(data);
        return true;
      });
  EXPECT_TRUE(response && response->status == 200)
      << (response ? response->body : response.error().message);
  return events;
}

}  // namespace lorry::server
