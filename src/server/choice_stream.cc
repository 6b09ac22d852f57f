#include "server/choice_stream.h"

#include <algorithm>

#include "text/text_offsets.h"

namespace lorry::server {
namespace {

using api::openai::LogprobRow;
using api::openai::TokenText;

}  // namespace

ChoiceStream::ChoiceStream(const GenerationPlan& plan, const text::Tokenizer& tokenizer,
                           int choice_idx)
    : plan_(plan),
      request_(plan.requests[static_cast<size_t>(choice_idx / plan.n())]),
      tokenizer_(tokenizer),
      choice_idx_(choice_idx),
      detokenizer_(tokenizer,
                   {.skip_special_tokens = plan.skip_special_tokens, .at_text_start = false}),
      stop_(plan.stop, plan.include_stop_in_output) {}

void ChoiceStream::Take(TokenEvent event) {
  if (is_finished()) return;
  if (!is_started_) {
    is_started_ = true;
    TakePrompt(std::move(event.prompt_logprobs));
  }
  for (const TokenOutput& output : event.tokens) {
    if (TakeToken(output)) return EndByStopString();
  }
  if (event.finish) TakeEnd(event);
}

void ChoiceStream::TakePrompt(std::vector<TokenOutput> prompt_logprobs) {
  const size_t prompt_idx = static_cast<size_t>(choice_idx_ / plan_.n());
  if (!plan_.echoes.empty()) text_ += plan_.echoes[prompt_idx].text;
  if (plan_.wants_logprobs()) characters_ = text::NumCharacters(text_);
  for (size_t i = 0; i < prompt_logprobs.size(); ++i) {
    AddLogprobRow(prompt_logprobs[i], plan_.echoes[prompt_idx].offsets[i], /*has_logprob=*/i > 0);
  }
}

void ChoiceStream::AppendPiece(TokenId token) {
  const size_t before = piece_.size();
  detokenizer_.Push(token, &piece_);
  if (!plan_.wants_logprobs()) return;
  characters_ += text::NumCharacters(std::string_view(piece_).substr(before));
}

bool ChoiceStream::TakeToken(const TokenOutput& output) {
  ++completion_tokens_;
  if (plan_.return_token_ids) token_ids_.push_back(output.token);
  if (plan_.wants_logprobs()) AddLogprobRow(output, NextOffset(), /*has_logprob=*/true);
  piece_.clear();
  AppendPiece(output.token);
  // Text of the first min_tokens can't end the answer, so it does not pass the matcher.
  if (completion_tokens_ <= request_.sampling.min_tokens) {
    text_ += piece_;
    return false;
  }
  return detokenizer_.Hides(output.token) ? TakeHidden(output.token) : stop_.Push(piece_, &text_);
}

// What is not shown may be, or hold, what the client gave as a stop string.
bool ChoiceStream::TakeHidden(TokenId token) {
  return stop_.PushHidden(tokenizer_.TokenBytes(token), &text_);
}

void ChoiceStream::EndByStopString() {
  finish_ = FinishReason::kStop;
  stop_reason_ = plan_.stop[*stop_.matched()];
  // Tokens of the stop string are not in the text: they stand at its end.
  const int64_t end = sent_characters_ + text::NumCharacters(text_);
  for (LogprobRow& row : rows_) row.text_offset = std::min(row.text_offset, end);
}

void ChoiceStream::TakeEnd(const TokenEvent& event) {
  finish_ = event.finish;
  piece_.clear();
  bool is_eos = false;
  if (event.stop_token) {
    // An end-of-sequence or stop id was generated and counts, though it is not shown.
    const TokenId token = event.stop_token->token;
    ++completion_tokens_;
    if (plan_.return_token_ids) token_ids_.push_back(token);
    if (plan_.wants_logprobs()) AddLogprobRow(*event.stop_token, NextOffset(), true);
    const auto& ids = request_.sampling.stop_token_ids;
    is_eos = std::ranges::find(ids, token) == ids.end();
    if (!is_eos) stop_reason_ = token;
    if (!is_eos && plan_.include_stop_in_output) AppendPiece(token);
  }
  detokenizer_.Flush(&piece_);
  if (stop_.Push(piece_, &text_) || (is_eos && TakeHidden(event.stop_token->token))) {
    return EndByStopString();
  }
  stop_.Flush(&text_);
}

void ChoiceStream::AddLogprobRow(const TokenOutput& output, int64_t text_offset, bool has_logprob) {
  const auto text_of = [this](TokenId token, float logprob) {
    const std::string_view bytes = tokenizer_.TokenBytes(token);
    row_bytes_ += sizeof(TokenText) + kWrittenBytes * bytes.size();
    return TokenText{std::string(bytes), logprob};
  };
  LogprobRow row;
  row.token = text_of(output.token, output.logprob);
  row.has_logprob = has_logprob;
  row.text_offset = text_offset;
  row.top.reserve(output.top.size());
  for (const TokenLogprob& top : output.top) row.top.push_back(text_of(top.token, top.logprob));
  row_bytes_ += sizeof(LogprobRow);
  rows_.push_back(std::move(row));
}

api::openai::Choice ChoiceStream::Pending() const {
  api::openai::Choice choice;
  choice.index = choice_idx_;
  choice.text = text_;
  choice.logprobs = plan_.wants_logprobs() ? &rows_ : nullptr;
  choice.finish = finish_;
  choice.stop_reason = stop_reason_;
  choice.token_ids = plan_.return_token_ids ? &token_ids_ : nullptr;
  return choice;
}

bool ChoiceStream::HasPending() const {
  return !text_.empty() || !rows_.empty() || !token_ids_.empty() || finish_.has_value();
}

void ChoiceStream::ClearPending() {
  if (plan_.wants_logprobs()) sent_characters_ += text::NumCharacters(text_);
  text_.clear();
  rows_.clear();
  row_bytes_ = 0;
  token_ids_.clear();
}

}  // namespace lorry::server
