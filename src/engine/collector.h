// For tests: a sink that keeps what it is told, and checks that events obey request/generator.h.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "request/token_event.h"

namespace lorry::engine {

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::vector<TokenOutput> prompt_logprobs;
  std::optional<FinishReason> finish;
  TokenId stop_token = -1;
  float stop_logprob = 0;
};

class Collector final : public EventSink {
 public:
  explicit Collector(int num_sequences = 1) : answers_(num_sequences) {}

  void OnEvent(TokenEvent event) override {
    std::lock_guard lock(mutex_);
    Answer& answer = answers_.at(event.seq_idx);
    EXPECT_FALSE(answer.finish.has_value()) << "an event after the last one";
    EXPECT_TRUE(event.finish.has_value() || !event.tokens.empty()) << "an event without news";
    if (!event.prompt_logprobs.empty()) {
      EXPECT_TRUE(answer.tokens.empty()) << "not with the first event";
      answer.prompt_logprobs = std::move(event.prompt_logprobs);
    }
    for (const TokenOutput& output : event.tokens) {
      answer.tokens.push_back(output.token);
      answer.logprobs.push_back(output.logprob);
    }
    answer.finish = event.finish;
    if (event.stop_token) {
      answer.stop_token = event.stop_token->token;
      answer.stop_logprob = event.stop_token->logprob;
    }
    if (event.finish) ++num_finished_;
    changed_.notify_all();
  }

  // Waits for the end of all sequences.
  std::vector<Answer> Answers() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return num_finished_ == answers_.size(); });
    return answers_;
  }
  Answer Get() { return Answers().at(0); }

  void WaitForTokens(size_t num_tokens) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return answers_[0].tokens.size() >= num_tokens || answers_[0].finish.has_value();
    });
  }

  bool is_finished() {
    std::lock_guard lock(mutex_);
    return num_finished_ == answers_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Answer> answers_;
  size_t num_finished_ = 0;
};

}  // namespace lorry::engine
