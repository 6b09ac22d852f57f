#include "server/testing/echo_generator.h"

#include <algorithm>

namespace lorry::server {

EchoGenerator::EchoGenerator(EchoOptions options)
    : options_(options), mailbox_(4096), submitted_(4096), thread_([this] { Run(); }) {}

EchoGenerator::~EchoGenerator() {
  stopping_ = true;
  mailbox_.Close();
  thread_.join();
}

Status EchoGenerator::Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) {
  if (num_running_.fetch_add(1) >= options_.max_requests) {
    --num_running_;
    return Fail(ErrorCode::kResourceExhausted, "The queue is full.");
  }
  submitted_.SendAlways(GenerateRequest(request));
  const auto num_sequences = static_cast<size_t>(request.num_sequences);
  Message message;
  message.submit = Running{std::move(request), std::move(sink), std::vector<int>(num_sequences),
                           std::vector<bool>(num_sequences)};
  mailbox_.SendAlways(std::move(message));
  return {};
}

void EchoGenerator::Cancel(RequestId request, int seq_idx) {
  mailbox_.SendAlways({.submit = std::nullopt, .cancel = request, .cancel_seq_idx = seq_idx});
}

std::vector<GenerateRequest> EchoGenerator::TakeSubmitted() {
  std::vector<GenerateRequest> requests;
  submitted_.Drain(requests);
  return requests;
}

void EchoGenerator::Run() {
  while (!stopping_) {
    if (running_.empty()) mailbox_.WaitFor(std::chrono::seconds(1));
    Receive();
    for (Running& running : running_) Step(running);
    std::erase_if(running_, [this](const Running& running) {
      const bool is_done = std::ranges::all_of(running.is_done, [](bool done) { return done; });
      if (is_done) --num_running_;
      return is_done;
    });
    if (options_.token_time.count() > 0) std::this_thread::sleep_for(options_.token_time);
  }
}

void EchoGenerator::Receive() {
  mailbox_.Drain(inbox_);
  for (Message& message : inbox_) {
    if (message.submit) {
      running_.push_back(std::move(*message.submit));
    } else {
      HandleCancel(message.cancel, message.cancel_seq_idx);
    }
  }
}

void EchoGenerator::HandleCancel(RequestId request, int seq_idx) {
  for (Running& running : running_) {
    if (running.request.id != request) continue;
    for (int i = 0; i < running.request.num_sequences; ++i) {
      if (running.is_done[i] || (seq_idx >= 0 && seq_idx != i)) continue;
      ++num_cancelled_;
      End(running, {.request = request, .seq_idx = i, .finish = FinishReason::kCancelled});
    }
  }
}

void EchoGenerator::End(Running& running, TokenEvent event) {
  running.is_done[event.seq_idx] = true;
  running.sink->OnEvent(std::move(event));
}

void EchoGenerator::Step(Running& running) {
  for (int i = 0; i < running.request.num_sequences; ++i) {
    if (!running.is_done[i]) EmitToken(running, i);
  }
}

// The log probability of token t is -t, and the most likely others are t + 1, t + 2, ….
void EchoGenerator::EmitToken(Running& running, int seq_idx) {
  const GenerateRequest& request = running.request;
  const SamplingParams& sampling = request.sampling;
  TokenEvent event = {.request = request.id, .seq_idx = seq_idx};
  const auto output_of = [&](TokenId token) {
    TokenOutput output = {.token = token, .logprob = -static_cast<float>(token)};
    for (int k = 1; k <= sampling.num_logprobs; ++k) {
      output.top.push_back({token + k, -static_cast<float>(token + k)});
    }
    return output;
  };
  int& num_drawn = running.num_drawn[seq_idx];
  if (num_drawn == 0 && sampling.prompt_logprobs) {
    for (const TokenId token : request.prompt) event.prompt_logprobs.push_back(output_of(token));
  }
  if (options_.fail_at == num_drawn) {
    event.finish = FinishReason::kError;
    event.error = Error{ErrorCode::kInternal, "The echo broke.", ""};
    return End(running, std::move(event));
  }
  if (num_drawn < sampling.max_tokens) {
    const TokenId token = request.prompt[num_drawn % request.prompt.size()];
    const auto& stop_ids = sampling.stop_token_ids;
    const bool is_stop = (token == options_.eos && !sampling.ignore_eos) ||
                         std::ranges::find(stop_ids, token) != stop_ids.end();
    if (is_stop && num_drawn >= sampling.min_tokens) {
      event.finish = FinishReason::kStop;
      event.stop_token = output_of(token);
      return End(running, std::move(event));
    }
    event.tokens.push_back(output_of(token));
    ++num_drawn;
  }
  if (num_drawn < sampling.max_tokens) return running.sink->OnEvent(std::move(event));
  event.finish = FinishReason::kLength;
  End(running, std::move(event));
}

}  // namespace lorry::server
