#include "server/session.h"

#include <utility>

#include "api/error_map.h"
#include "net/sse.h"

namespace lorry::server {
namespace {

using api::openai::AnswerHead;
using api::openai::Choice;
using api::openai::Endpoint;

AnswerHead MakeHead(const GenerationPlan& plan, const std::string& request_id) {
  const bool is_chat = plan.endpoint == Endpoint::kChat;
  return {.endpoint = plan.endpoint,
          .id = (is_chat ? "chatcmpl-" : "cmpl-") + request_id,
          .model = plan.model.name,
          .created_s = UnixSeconds()};
}

// Hands the engine's events to the session thread.
class SessionSink final : public EventSink {
 public:
  SessionSink(std::shared_ptr<SessionMailbox> mailbox, std::shared_ptr<Session> session)
      : mailbox_(std::move(mailbox)), session_(std::move(session)) {}

  void OnEvent(TokenEvent event) override { mailbox_->SendAlways({session_, std::move(event)}); }

 private:
  const std::shared_ptr<SessionMailbox> mailbox_;
  const std::shared_ptr<Session> session_;
};

}  // namespace

std::shared_ptr<Session> Session::Create(const SessionContext& context, GenerationPlan plan,
                                         std::unique_ptr<Exchange> exchange, RequestId first_id) {
  return std::shared_ptr<Session>(
      new Session(context, std::move(plan), std::move(exchange), first_id));
}

Session::Session(const SessionContext& context, GenerationPlan plan,
                 std::unique_ptr<Exchange> exchange, RequestId first_id)
    : context_(context),
      mailbox_(plan.MayAnswerLarge() ? context.mailbox_of_large : context.mailbox),
      plan_(std::move(plan)),
      exchange_(std::move(exchange)),
      first_id_(first_id),
      head_(MakeHead(plan_, exchange_->entry().request_id)),
      chunks_(head_, plan_.include_usage),
      is_begun_(static_cast<size_t>(plan_.num_choices())) {
  choices_.reserve(is_begun_.size());
  for (int i = 0; i < plan_.num_choices(); ++i) {
    choices_.emplace_back(plan_, plan_.text->tokenizer, i);
  }
  JournalEntry& entry = exchange_->entry();
  entry.model = plan_.model.name;
  for (const GenerateRequest& request : plan_.requests) {
    entry.prompt_tokens += static_cast<int64_t>(request.prompt.size());
  }
}

void Session::Launch() {
  // The callback holds the session, and the session the writer that holds the callback: the writer
  // drops it when the answer is complete or the client is gone, and one of the two always comes.
  exchange_->writer()->OnClosed([mailbox = mailbox_, self = shared_from_this()] {
    mailbox->SendAlways({self, ClientGone{}});
  });
  mailbox_->SendAlways({shared_from_this(), StartSession{}});
}

void Session::Handle(std::variant<StartSession, TokenEvent, ClientGone>& what) {
  if (exchange_->is_ended()) return;
  if (std::holds_alternative<StartSession>(what)) return Submit();
  if (auto* event = std::get_if<TokenEvent>(&what)) return TakeEvent(std::move(*event));
  HangUp();
}

void Session::Submit() {
  const std::shared_ptr<WaitingRequest> waiting = std::exchange(plan_.waiting, nullptr);
  const auto sink = std::make_shared<SessionSink>(mailbox_, shared_from_this());
  for (size_t i = 0; i < plan_.requests.size(); ++i) {
    GenerateRequest request = plan_.requests[i];
    request.id = IdOf(i);
    request.part_of = first_id_;
    request.arrival_us = exchange_->entry().received_us;
    request.waiting = waiting;
    const Status status = context_.generator.Submit(std::move(request), sink);
    if (!status) {
      FailWith(status.error());
      return;
    }
    ++num_submitted_;
  }
  exchange_->entry().queued_us = exchange_->NowUs();
}

ChoiceStream* Session::StreamOf(const TokenEvent& event) {
  const uint64_t prompt_idx = event.request.value - first_id_.value;
  const size_t choice_idx = prompt_idx * static_cast<size_t>(plan_.n()) + event.seq_idx;
  return choice_idx < choices_.size() ? &choices_[choice_idx] : nullptr;
}

void Session::TakeEvent(TokenEvent event) {
  ChoiceStream* choice = StreamOf(event);
  if (choice == nullptr || choice->is_finished()) return;
  if (event.finish == FinishReason::kError) {
    FailWith(event.error.value_or(Error{ErrorCode::kInternal, "The request failed.", ""}));
    return;
  }
  JournalEntry& entry = exchange_->entry();
  if (!entry.first_token_us && !event.tokens.empty()) entry.first_token_us = exchange_->NowUs();
  const RequestId request = event.request;
  const int seq_idx = event.seq_idx;
  const bool is_last = event.finish.has_value();
  if (const Status taken = TakeTokens(*choice, std::move(event)); !taken) {
    return FailWith(taken.error());
  }
  if (choice->is_finished()) {
    ++num_finished_;
    if (!is_last) context_.generator.Complete(request, seq_idx);  // a stop string ended it
  }
  if (plan_.stream) AppendChunk(*choice);
  if (!AllFinished()) return;
  if (plan_.stream) {
    FinishStream();
  } else {
    SendAnswer();
  }
}

Status Session::TakeTokens(ChoiceStream& choice, TokenEvent event) {
  constexpr size_t kMaxAnswerBytes = size_t{512} << 20;
  const size_t before = choice.pending_bytes();
  choice.Take(std::move(event));
  pending_bytes_ += choice.pending_bytes() - before;
  if (pending_bytes_ <= kMaxAnswerBytes) return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("The answer takes over {} bytes of memory, with its text and tokens "
                          "with log probabilities. Ask for fewer of them, or for a stream.",
                          kMaxAnswerBytes));
}

void Session::Flush() {
  if (!exchange_->is_streaming() || exchange_->is_ended()) return;
  if (!exchange_->FlushEvents()) HangUp();
}

void Session::HangUp() {
  CancelAll();
  CountUsage();
  exchange_->Abandon();
}

const std::vector<TokenId>* Session::PromptIdsOf(const ChoiceStream& choice) const {
  if (!plan_.return_token_ids) return nullptr;
  return &plan_.requests[static_cast<size_t>(choice.choice_idx() / plan_.n())].prompt;
}

void Session::AppendEvent() {
  net::AppendSseEvent(exchange_->pending_events(), chunk_);
  chunk_.clear();
}

void Session::AppendChunk(ChoiceStream& choice) {
  if (!choice.HasPending()) return;
  if (!exchange_->is_streaming()) exchange_->StartEvents();
  const size_t choice_idx = static_cast<size_t>(choice.choice_idx());
  const bool is_first = !is_begun_[choice_idx];
  is_begun_[choice_idx] = true;
  Choice pending = choice.Pending();
  if (is_first && plan_.endpoint == Endpoint::kChat) {
    chunks_.AppendRole(chunk_, choice.choice_idx(), PromptIdsOf(choice));
    AppendEvent();
  } else if (is_first) {
    pending.prompt_token_ids = PromptIdsOf(choice);
  }
  chunks_.AppendChoice(chunk_, pending);
  AppendEvent();
  pending_bytes_ -= choice.pending_bytes();
  choice.ClearPending();
}

void Session::FinishStream() {
  const api::openai::Usage usage = CountUsage();
  if (plan_.include_usage) {
    chunks_.AppendUsage(chunk_, usage);
    AppendEvent();
  }
  net::AppendSseEvent(exchange_->pending_events(), "[DONE]");
  exchange_->FinishEvents();
}

void Session::SendAnswer() {
  const api::openai::Usage usage = CountUsage();
  std::vector<Choice> choices;
  choices.reserve(choices_.size());
  for (const ChoiceStream& choice : choices_) {
    choices.push_back(choice.Pending());
    choices.back().prompt_token_ids = PromptIdsOf(choice);
  }
  exchange_->SendJson(FormatAnswer(head_, choices, usage));
}

api::openai::Usage Session::CountUsage() {
  JournalEntry& entry = exchange_->entry();
  entry.completion_tokens = 0;
  for (const ChoiceStream& choice : choices_) entry.completion_tokens += choice.completion_tokens();
  return {.prompt_tokens = entry.prompt_tokens, .completion_tokens = entry.completion_tokens};
}

void Session::FailWith(const Error& error) {
  CancelAll();
  CountUsage();
  exchange_->NoteError(error);
  if (!exchange_->is_streaming()) {
    exchange_->SendError(error);
    return;
  }
  net::AppendSseEvent(exchange_->pending_events(), api::ErrorBody(error));
  exchange_->FinishEvents();
}

void Session::CancelAll() {
  for (size_t i = 0; i < num_submitted_; ++i) context_.generator.Cancel(IdOf(i));
}

}  // namespace lorry::server
