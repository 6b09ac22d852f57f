#include "apps/answer.h"

#include <chrono>
#include <memory>
#include <random>

#include "base/clock.h"
#include "base/mailbox.h"
#include "text/detokenizer.h"

namespace lorry::apps {
namespace {

class MailboxSink : public EventSink {
 public:
  void OnEvent(TokenEvent event) override { mailbox.SendAlways(std::move(event)); }
  Mailbox<TokenEvent> mailbox{1024};
};

RequestId NextRequestId() {
  static uint64_t last = 0;
  return RequestId{++last};
}

}  // namespace

SamplingParams MakeSampling(const formats::GenerationConfig& generation,
                            const SamplingChoice& choice) {
  SamplingParams params;
  const bool samples = generation.do_sample.value_or(generation.temperature.has_value());
  params.temperature = static_cast<float>(
      choice.temperature.value_or(samples ? generation.temperature.value_or(1.0) : 0.0));
  if (samples || choice.temperature) {
    params.top_k = static_cast<int>(generation.top_k.value_or(params.top_k));
    params.top_p = static_cast<float>(generation.top_p.value_or(params.top_p));
    params.min_p = static_cast<float>(generation.min_p.value_or(params.min_p));
  }
  params.repetition_penalty =
      static_cast<float>(generation.repetition_penalty.value_or(params.repetition_penalty));
  params.seed = choice.seed ? static_cast<uint64_t>(*choice.seed) : std::random_device()();
  params.max_tokens = choice.max_tokens;
  return params;
}

Result<Answer> Generate(Stack& stack, const Speaker& speaker, std::vector<TokenId> prompt,
                        SamplingParams sampling,
                        const std::function<void(std::string_view)>& on_text,
                        const std::atomic<bool>& interrupted) {
  Answer answer;
  answer.num_prompt_tokens = static_cast<int>(prompt.size());
  const int room = stack.engine->max_model_len() - answer.num_prompt_tokens;
  if (room <= 0) {
    return Fail(ErrorCode::kTooLarge, fmt::format("the conversation has {} tokens, the limit is {}",
                                                  prompt.size(), stack.engine->max_model_len()));
  }
  sampling.max_tokens = sampling.max_tokens > 0 ? std::min(sampling.max_tokens, room) : room;

  GenerateRequest request;
  request.id = NextRequestId();
  request.adapters = speaker.model.adapters;
  request.eos_ids = speaker.text->eos_ids;
  request.prompt = std::move(prompt);
  request.sampling = std::move(sampling);
  request.arrival_us = Clock::Steady().NowUs();
  const RequestId id = request.id;
  const Micros start_us = request.arrival_us;
  const auto elapsed_s = [&] { return SecondsBetween(start_us, Clock::Steady().NowUs()); };

  auto sink = std::make_shared<MailboxSink>();
  RETURN_IF_ERROR(stack.engine->Submit(std::move(request), sink));

  text::Detokenizer detokenizer(speaker.text->tokenizer);
  bool cancelled = false;
  std::optional<FinishReason> finish;
  std::vector<TokenEvent> events;
  const auto emit = [&](const std::string& piece) {
    if (piece.empty()) return;
    answer.text += piece;
    on_text(piece);
  };
  while (!finish) {
    sink->mailbox.WaitFor(std::chrono::milliseconds(50));
    sink->mailbox.Drain(events);
    for (TokenEvent& event : events) {
      if (event.error) return tl::unexpected<Error>(std::move(*event.error));
      std::string piece;
      for (const TokenOutput& token : event.tokens) {
        if (answer.num_tokens++ == 0) answer.first_token_s = elapsed_s();
        detokenizer.Push(token.token, &piece);
      }
      emit(piece);
      if (event.finish) finish = event.finish;
    }
    if (interrupted && !cancelled) {
      stack.engine->Cancel(id);
      cancelled = true;
    }
  }
  std::string rest;
  detokenizer.Flush(&rest);
  emit(rest);
  answer.finish = *finish;
  answer.total_s = elapsed_s();
  return answer;
}

}  // namespace lorry::apps
