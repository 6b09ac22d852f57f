// TestServer: a Server over an EchoGenerator on a free loopback port, and a client for it. Tokens
// are bytes. Owns: all of it. Thread: one.
#pragma once

#include <prometheus/registry.h>

#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_client.h"
#include "server/server.h"
#include "server/testing/echo_generator.h"
#include "server/testing/fake_adapter_service.h"

namespace lorry::server {

constexpr TokenId kEndToken = 256;        // <|end|>, the end of sequence
constexpr TokenId kUserToken = 257;       // <|user|>
constexpr TokenId kAssistantToken = 258;  // <|assistant|>

// Ids 0 to 255 are bytes, then come the special tokens above.
text::Tokenizer MakeByteTokenizer();
// Its tokenizer.json, with one more special token (259) if given.
std::string MakeByteTokenizerJson(std::string_view more = {});
// "<|user|>text<|end|>" for each message, named by its role.
text::ChatTemplate MakeChatTemplate();
// Both.
std::shared_ptr<const text::ModelText> MakeText();

std::vector<TokenId> BytesOf(std::string_view text);

// True once `condition` holds, false after five seconds.
bool Eventually(const std::function<bool()>& condition);

// The base "demo" with the adapters "sql" and "team/fr"; 64 tokens of context.
class TestServer {
 public:
  explicit TestServer(EchoOptions echo = {.eos = kEndToken}, ServerOptions options = {});
  ~TestServer();

  net::HttpResponse Get(const std::string& path, net::HttpHeaders headers = {});
  net::HttpResponse Post(const std::string& path, std::string body, net::HttpHeaders headers = {});
  net::HttpResponse Call(net::HttpCall call);
  // The JSON answer of a POST that must succeed.
  boost::json::object PostJson(const std::string& path, std::string body);
  // The data of each server-sent event, "[DONE]" too.
  std::vector<std::string> PostEvents(const std::string& path, std::string body);

  int port() const { return port_; }
  EchoGenerator& echo() { return *echo_; }
  FakeAdapterService& adapters() { return adapters_; }
  Server& server() { return *server_; }

 private:
  prometheus::Registry registry_;
  FakeAdapterService adapters_{{"demo"}};
  std::unique_ptr<EchoGenerator> echo_;
  std::unique_ptr<Server> server_;
  int port_ = 0;
};

}  // namespace lorry::server
