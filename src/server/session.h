// Session: one request that generates, from its plan to the end of its answer.
// Owns: the exchange with the client and the choices' streams. Thread: Create on a text thread;
// everything else on its session thread, to which events and hang-ups come as messages. Never: does
// anything after its answer is complete.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "api/openai/format.h"
#include "request/generator.h"
#include "server/choice_stream.h"
#include "server/exchange.h"
#include "server/generation_plan.h"
#include "server/session_thread.h"

namespace lorry::server {

// What sessions share; outlives the session thread.
struct SessionContext {
  Generator& generator;
  std::shared_ptr<SessionMailbox> mailbox;
  std::shared_ptr<SessionMailbox> mailbox_of_large;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // `first_id` and those after it, one a prompt, are this session's alone.
  static std::shared_ptr<Session> Create(const SessionContext& context, GenerationPlan plan,
                                         std::unique_ptr<Exchange> exchange, RequestId first_id);

  // Sends itself to its session thread, where it submits its requests.
  void Launch();

  // On the session thread.
  void Handle(std::variant<StartSession, TokenEvent, ClientGone>& what);
  void Flush();  // sends what the messages handled since the last Flush have left

 private:
  Session(const SessionContext& context, GenerationPlan plan, std::unique_ptr<Exchange> exchange,
          RequestId first_id);

  void Submit();
  void TakeEvent(TokenEvent event);
  // kInvalidArgument: what is kept for one whole answer has more text than a server should hold.
  Status TakeTokens(ChoiceStream& choice, TokenEvent event);
  void FailWith(const Error& error);
  void HangUp();
  void CancelAll();
  ChoiceStream* StreamOf(const TokenEvent& event);
  RequestId IdOf(size_t prompt_idx) const { return {first_id_.value + prompt_idx}; }

  void AppendChunk(ChoiceStream& choice);
  void AppendEvent();  // chunk_ as one event
  void FinishStream();
  void SendAnswer();
  bool AllFinished() const { return num_finished_ == choices_.size(); }
  api::openai::Usage CountUsage();
  const std::vector<TokenId>* PromptIdsOf(const ChoiceStream& choice) const;

  const SessionContext& context_;
  const std::shared_ptr<SessionMailbox> mailbox_;
  GenerationPlan plan_;
  const std::unique_ptr<Exchange> exchange_;
  const RequestId first_id_;
  const api::openai::AnswerHead head_;
  const api::openai::ChunkWriter chunks_;
  std::vector<ChoiceStream> choices_;
  size_t pending_bytes_ = 0;    // of all choices
  std::vector<bool> is_begun_;  // by choice: its first chunk has been written
  std::string chunk_;           // scratch
  size_t num_finished_ = 0;
  size_t num_submitted_ = 0;  // requests that the engine has taken
};

}  // namespace lorry::server
