// Exchange: one HTTP request and its answer, from arrival to the line in the journal.
// Owns: the response's writer. Thread: one at a time. Never: journals a request twice.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "net/http_message.h"
#include "net/response_writer.h"
#include "server/journal.h"

namespace lorry::server {

class Exchange {
 public:
  // The journal and the clock are used until the answer is complete, and not after.
  // Without a writer, for what is refused by its header: Close it.
  Exchange(const net::HttpRequest& request, std::shared_ptr<net::ResponseWriter> writer,
           Journal& journal, const Clock& clock);

  // The whole answer.
  void Send(net::HttpResponse response);
  void SendJson(std::string body) { Send(JsonResponse(200, std::move(body))); }
  void SendError(const Error& error);
  // The journal's line says why, whatever is sent.
  void NoteError(const Error& error);
  // The answer for somebody else to send, journaled.
  net::HttpResponse Close(net::HttpResponse response);

  // An answer as server-sent events.
  void StartEvents();
  // Appends an event to what goes out with the next FlushEvents.
  std::string& pending_events() { return pending_events_; }
  bool FlushEvents();  // false: the client is gone
  void FinishEvents();

  // The client went away: the journal gets what is known.
  void Abandon();

  bool is_streaming() const { return is_streaming_; }
  bool is_ended() const { return is_ended_; }
  Micros NowUs() const { return clock_.NowUs(); }
  JournalEntry& entry() { return entry_; }
  const std::shared_ptr<net::ResponseWriter>& writer() const { return writer_; }

  static net::HttpResponse JsonResponse(int status, std::string body);

 private:
  void End(int status);

  JournalEntry entry_;
  std::shared_ptr<net::ResponseWriter> writer_;
  Journal& journal_;
  const Clock& clock_;
  std::string pending_events_;
  bool is_streaming_ = false;
  bool is_ended_ = false;
};

// The answer to an error: OpenAI's body, the right status, Retry-After where trying again makes
// sense.
net::HttpResponse ErrorResponse(const Error& error);

}  // namespace lorry::server
