// ChoiceStream: one sequence's events as the text, log probabilities and ids of one choice.
// Owns: the unfinished character and held-back text of its sequence, and what has not been sent
// yet. Thread: the session's. Never: sends, or asks the engine for anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/openai/format.h"
#include "request/token_event.h"
#include "server/generation_plan.h"
#include "text/detokenizer.h"
#include "text/stop.h"

namespace lorry::server {

class ChoiceStream {
 public:
  static constexpr size_t kWrittenBytes = 8;

  // The plan and the tokenizer outlive it.
  ChoiceStream(const GenerationPlan& plan, const text::Tokenizer& tokenizer, int choice_idx);

  // Events that come after the end are dropped. kError is the caller's to handle.
  void Take(TokenEvent event);

  // What has come since the last Clear, as a choice; views last until the next call of a method
  // that is not const.
  api::openai::Choice Pending() const;
  // Whether there is anything in it to send.
  bool HasPending() const;
  void ClearPending();

  // What waits to be sent takes so much, and its JSON: the text, and the rows of log probabilities
  // with up to kWrittenBytes for each byte of a token.
  size_t pending_bytes() const { return kWrittenBytes * text_.size() + row_bytes_; }

  bool is_finished() const { return finish_.has_value(); }
  int64_t completion_tokens() const { return completion_tokens_; }
  int choice_idx() const { return choice_idx_; }

 private:
  void TakePrompt(std::vector<TokenOutput> prompt_logprobs);
  bool TakeToken(const TokenOutput& output);  // true: a stop string is complete
  void TakeEnd(const TokenEvent& event);
  bool TakeHidden(TokenId token);  // the same
  void EndByStopString();
  void AddLogprobRow(const TokenOutput& output, int64_t text_offset, bool has_logprob);
  int64_t NextOffset() const { return characters_ + detokenizer_.is_within_character(); }
  void AppendPiece(TokenId token);  // its text to piece_

  const GenerationPlan& plan_;
  const GenerateRequest& request_;
  const text::Tokenizer& tokenizer_;
  const int choice_idx_;
  text::Detokenizer detokenizer_;
  text::StopMatcher stop_;
  bool is_started_ = false;

  int64_t completion_tokens_ = 0;
  // With log probabilities: characters of the echo and the tokens so far, and of what was sent.
  int64_t characters_ = 0;
  int64_t sent_characters_ = 0;

  // Pending.
  std::string text_;
  std::string piece_;  // scratch: one token's text
  std::vector<api::openai::LogprobRow> rows_;
  size_t row_bytes_ = 0;  // that rows_ take, their texts kWrittenBytes times
  std::vector<TokenId> token_ids_;
  std::optional<FinishReason> finish_;
  api::openai::StopReason stop_reason_;
};

}  // namespace lorry::server
