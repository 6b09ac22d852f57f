#include "server/choice_stream.h"

#include <algorithm>

namespace lorry::server {
namespace {

using api::openai::LogprobRow;
using api::openai::TokenText;

// Characters that begin in these bytes, which may cut one at either end.
int64_t NumCharacters(std::string_view bytes) {
  return std::ranges::count_if(
      bytes, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

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
    if (!plan_.echoes.empty()) {
      text_ += plan_.echoes[static_cast<size_t>(choice_idx_ / plan_.n())];
    }
    TakePrompt(std::move(event.prompt_logprobs));
  }
  for (const TokenOutput& output : event.tokens) {
    if (!TakeToken(output)) continue;
    finish_ = FinishReason::kStop;
    stop_reason_ = plan_.stop[*stop_.matched()];
    return;
  }
  if (event.finish) TakeEnd(event);
}

void ChoiceStream::TakePrompt(std::vector<TokenOutput> prompt_logprobs) {
  for (size_t i = 0; i < prompt_logprobs.size(); ++i) {
    AddLogprobRow(prompt_logprobs[i], /*has_logprob=*/i > 0);
  }
}

bool ChoiceStream::TakeToken(const TokenOutput& output) {
  ++completion_tokens_;
  if (plan_.return_token_ids) token_ids_.push_back(output.token);
  if (plan_.wants_logprobs()) AddLogprobRow(output, /*has_logprob=*/true);
  // Text of the first min_tokens can't end the answer, so it does not pass the matcher.
  if (completion_tokens_ <= request_.sampling.min_tokens) {
    detokenizer_.Push(output.token, &text_);
    return false;
  }
  piece_.clear();
  detokenizer_.Push(output.token, &piece_);
  return stop_.Push(piece_, &text_);
}

void ChoiceStream::TakeEnd(const TokenEvent& event) {
  finish_ = event.finish;
  piece_.clear();
  if (event.stop_token >= 0) {
    // An end-of-sequence or stop id was generated and counts, though it is not shown.
    ++completion_tokens_;
    if (plan_.return_token_ids) token_ids_.push_back(event.stop_token);
    const auto& ids = request_.sampling.stop_token_ids;
    if (std::ranges::find(ids, event.stop_token) != ids.end()) {
      stop_reason_ = event.stop_token;
      if (plan_.include_stop_in_output) detokenizer_.Push(event.stop_token, &piece_);
    }
  }
  detokenizer_.Flush(&piece_);
  if (stop_.Push(piece_, &text_)) {
    finish_ = FinishReason::kStop;
    stop_reason_ = plan_.stop[*stop_.matched()];
  } else {
    stop_.Flush(&text_);
  }
}

void ChoiceStream::AddLogprobRow(const TokenOutput& output, bool has_logprob) {
  const auto text_of = [this](TokenId token, float logprob) {
    return TokenText{std::string(tokenizer_.TokenBytes(token)), logprob};
  };
  LogprobRow row;
  row.token = text_of(output.token, output.logprob);
  row.has_logprob = has_logprob;
  row.text_offset = text_offset_;
  row.top.reserve(output.top.size());
  for (const TokenLogprob& top : output.top) row.top.push_back(text_of(top.token, top.logprob));
  text_offset_ += NumCharacters(row.token.text);
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
  text_.clear();
  rows_.clear();
  token_ids_.clear();
}

}  // namespace lorry::server
