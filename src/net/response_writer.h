// ResponseWriter: how a handler answers one request, now or later.
// Thread: any; calls of one response are to come in order (one thread at a time). Never blocks,
// never throws.
#pragma once

#include <functional>
#include <string_view>

#include "net/http_message.h"

namespace lorry::net {

class ResponseWriter {
 public:
  // Destroyed without an answer: the client gets a 500; with an unfinished stream: the connection
  // is cut, so that the client sees the answer is not whole.
  virtual ~ResponseWriter() = default;

  // The whole answer. Either this or StartStream, once; what comes after a complete answer is
  // ignored.
  virtual void Send(HttpResponse response) = 0;

  // An answer in pieces: chunked, or for HTTP/1.0 up to the end of the connection. Headers go out
  // at once.
  virtual void StartStream(int status, HttpHeaders headers) = 0;
  // Queues a piece; pieces queued while the socket is busy go out together. False: the client is
  // gone or was cut off since it reads too slowly (HttpServerOptions::max_queued_bytes); then the
  // rest need not be produced.
  virtual bool Write(std::string_view chunk) = 0;
  virtual void Finish() = 0;

  // `callback` runs once if the client goes away, or is cut off, before the answer is complete
  // (Send or Finish was called): on an io thread, or within this call when it has happened already.
  // It is dropped unrun when the answer is complete. It must not block. One per response; a later
  // one replaces it.
  virtual void OnClosed(std::function<void()> callback) = 0;
  virtual bool closed() const = 0;
};

}  // namespace lorry::net
