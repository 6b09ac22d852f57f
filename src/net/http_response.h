// HttpResponseWriter: the ResponseWriter of one request of an HttpConnection; HTTP/1.1's syntax of
// answers. Thread: one at a time, as ResponseWriter.
#pragma once

#include "net/http_connection.h"

namespace lorry::net {

// What of the request decides the form of its answer.
struct ResponseForm {
  bool head_only = false;  // the request was a HEAD
  bool http_1_0 = false;   // knows no chunks
  bool keep_alive = true;
};

class HttpResponseWriter final : public ResponseWriter {
 public:
  HttpResponseWriter(std::shared_ptr<HttpConnection> connection, ResponseForm form)
      : connection_(std::move(connection)), form_(form) {}
  ~HttpResponseWriter() override;

  void Send(HttpResponse response) override;
  void StartStream(int status, HttpHeaders headers) override;
  bool Write(std::string_view chunk) override;
  void Finish() override;
  void OnClosed(std::function<void()> callback) override;
  bool closed() const override { return connection_->gone(); }

 private:
  enum class Phase { kUnanswered, kStreaming, kDone };

  const std::shared_ptr<HttpConnection> connection_;
  ResponseForm form_;
  Phase phase_ = Phase::kUnanswered;
};

// The whole of a short answer, head and body.
std::string FormatResponse(const HttpResponse& response, const ResponseForm& form);
// The head of a streamed one.
std::string FormatStreamHead(int status, const HttpHeaders& headers, const ResponseForm& form);

}  // namespace lorry::net
