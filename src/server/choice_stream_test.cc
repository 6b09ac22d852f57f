#include "server/choice_stream.h"

#include <gtest/gtest.h>

#include "server/testing/test_server.h"

namespace lorry::server {
namespace {

using api::openai::StopReason;

class ChoiceStreamTest : public testing::Test {
 protected:
  ChoiceStreamTest() {
    GenerateRequest request;
    request.prompt = BytesOf("Q");
    plan_.requests.push_back(request);
  }

  SamplingParams& sampling() { return plan_.requests[0].sampling; }

  ChoiceStream Make() const { return ChoiceStream(plan_, tokenizer_, 0); }

  static TokenEvent Event(std::string_view bytes) {
    TokenEvent event;
    for (const TokenId token : BytesOf(bytes)) event.tokens.push_back({token, -0.5f, {}});
    return event;
  }

  static TokenEvent End(FinishReason reason, TokenId stop_token = -1) {
    TokenEvent event;
    event.finish = reason;
    if (stop_token >= 0) event.stop_token = TokenOutput{stop_token, -0.125f, {}};
    return event;
  }

  // The text that a choice's pending part holds now, taken.
  static std::string Taken(ChoiceStream& choice) {
    std::string text(choice.Pending().text);
    choice.ClearPending();
    return text;
  }

  const text::Tokenizer tokenizer_ = MakeByteTokenizer();
  GenerationPlan plan_;
};

TEST_F(ChoiceStreamTest, TextComesAsItIsWhole) {
  ChoiceStream choice = Make();
  choice.Take(Event("h\xC3"));
  EXPECT_EQ(Taken(choice), "h");
  EXPECT_FALSE(choice.HasPending());
  choice.Take(Event("\xA9"));
  EXPECT_EQ(Taken(choice), "é");
  choice.Take(Event("\xE6\xBC"));
  choice.Take(End(FinishReason::kLength));
  EXPECT_EQ(Taken(choice), "\uFFFD");
  EXPECT_EQ(choice.Pending().finish, FinishReason::kLength);
  EXPECT_EQ(choice.completion_tokens(), 5);
}

TEST_F(ChoiceStreamTest, AStopStringCutsTheText) {
  plan_.stop = {"\n\n", "END"};
  ChoiceStream choice = Make();
  choice.Take(Event("abE"));
  EXPECT_EQ(Taken(choice), "ab");  // "E" may begin a stop string
  choice.Take(Event("NxEN"));
  EXPECT_EQ(Taken(choice), "ENx");
  choice.Take(Event("D and more"));
  EXPECT_EQ(Taken(choice), "");
  EXPECT_TRUE(choice.is_finished());
  EXPECT_EQ(choice.Pending().finish, FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(choice.Pending().stop_reason), "END");
  EXPECT_EQ(choice.completion_tokens(), 8);  // up to the one that completed it
  choice.Take(Event("late"));
  EXPECT_EQ(Taken(choice), "");
}

TEST_F(ChoiceStreamTest, AStopStringMayStayInTheText) {
  plan_.stop = {"END"};
  plan_.include_stop_in_output = true;
  ChoiceStream choice = Make();
  choice.Take(Event("abENDx"));
  EXPECT_EQ(Taken(choice), "abEND");
}

TEST_F(ChoiceStreamTest, WhatIsHeldBackIsTextAtTheEnd) {
  plan_.stop = {"END"};
  ChoiceStream choice = Make();
  choice.Take(Event("abEN"));
  EXPECT_EQ(Taken(choice), "ab");
  choice.Take(End(FinishReason::kStop, kEndToken));
  EXPECT_EQ(Taken(choice), "EN");
}

TEST_F(ChoiceStreamTest, StopStringsWaitForMinTokens) {
  plan_.stop = {"b"};
  sampling().min_tokens = 3;
  ChoiceStream choice = Make();
  choice.Take(Event("abbcbz"));
  EXPECT_EQ(Taken(choice), "abbc");
  EXPECT_TRUE(choice.is_finished());
}

TEST_F(ChoiceStreamTest, TheEndTokenCountsAndIsNotShown) {
  plan_.return_token_ids = true;
  ChoiceStream choice = Make();
  choice.Take(Event("a"));
  choice.Take(End(FinishReason::kStop, kEndToken));
  EXPECT_EQ(choice.completion_tokens(), 2);
  EXPECT_EQ(*choice.Pending().token_ids, (std::vector<TokenId>{'a', kEndToken}));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(choice.Pending().stop_reason));
  EXPECT_EQ(Taken(choice), "a");
}

TEST_F(ChoiceStreamTest, AStopIdIsTheReason) {
  sampling().stop_token_ids = {'z'};
  ChoiceStream hidden = Make();
  hidden.Take(End(FinishReason::kStop, 'z'));
  EXPECT_EQ(std::get<TokenId>(hidden.Pending().stop_reason), 'z');
  EXPECT_EQ(Taken(hidden), "");
  plan_.include_stop_in_output = true;
  ChoiceStream shown = Make();
  shown.Take(End(FinishReason::kStop, 'z'));
  EXPECT_EQ(Taken(shown), "z");
}

TEST_F(ChoiceStreamTest, SpecialTokensAreSkippedOrShown) {
  TokenEvent event;
  event.tokens = {{'a', 0, {}}, {kUserToken, 0, {}}};
  ChoiceStream skipped = Make();
  skipped.Take(event);
  EXPECT_EQ(Taken(skipped), "a");
  plan_.skip_special_tokens = false;
  ChoiceStream shown = Make();
  shown.Take(event);
  EXPECT_EQ(Taken(shown), "a<|user|>");
}

TEST_F(ChoiceStreamTest, EchoAndLogprobsOfThePrompt) {
  plan_.echoes = {{"Qé", {0, 1, 2}}};
  sampling().num_logprobs = 1;
  ChoiceStream choice = Make();
  TokenEvent event = Event("a");
  event.tokens[0].top = {{'b', -0.25f}};
  event.prompt_logprobs = {{'Q', 0, {}}, {0xC3, -1, {{'c', -0.75f}}}, {0xA9, -2, {}}};
  choice.Take(event);
  EXPECT_EQ(choice.Pending().text, "Qéa");
  const auto& rows = *choice.Pending().logprobs;
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_FALSE(rows[0].has_logprob);
  EXPECT_EQ(rows[1].token.text, "\xC3");
  EXPECT_EQ(rows[1].top[0].text, "c");
  EXPECT_EQ(rows[3].top[0].logprob, -0.25f);
  // é begins in the second token, the third ends it.
  EXPECT_EQ(rows[1].text_offset, 1);
  EXPECT_EQ(rows[2].text_offset, 2);
  EXPECT_EQ(rows[3].text_offset, 2);
}

TEST_F(ChoiceStreamTest, EveryIdHasARowTheEndTokenToo) {
  plan_.return_token_ids = true;
  sampling().num_logprobs = 0;
  for (const TokenId last : {kEndToken, TokenId{'z'}, TokenId{-1}}) {
    sampling().stop_token_ids = {'z'};
    ChoiceStream choice = Make();
    choice.Take(Event("aé"));
    choice.Take(End(FinishReason::kStop, last));
    const auto& rows = *choice.Pending().logprobs;
    ASSERT_EQ(rows.size(), choice.Pending().token_ids->size()) << last;
    EXPECT_EQ(static_cast<int64_t>(rows.size()), choice.completion_tokens());
    if (last < 0) continue;
    EXPECT_EQ(rows[3].token.text, tokenizer_.TokenBytes(last));
    EXPECT_EQ(rows[3].token.logprob, -0.125f);
    EXPECT_EQ(rows[3].text_offset, 2);
  }
  plan_.stop = {"b"};
  ChoiceStream stopped = Make();
  stopped.Take(Event("abc"));
  EXPECT_EQ(stopped.Pending().logprobs->size(), 2u);
  EXPECT_EQ(stopped.Pending().token_ids->size(), 2u);
}

TEST_F(ChoiceStreamTest, OffsetsPointIntoTheTextThatIsSent) {
  sampling().num_logprobs = 0;
  const auto offsets = [](const ChoiceStream& choice) {
    std::vector<int64_t> all;
    for (const auto& row : *choice.Pending().logprobs) all.push_back(row.text_offset);
    return all;
  };
  TokenEvent event = Event("a");
  event.tokens.push_back({kUserToken, 0, {}});
  for (const TokenId token : BytesOf("\xE6"
                                     "b\x80"
                                     "é!"))
    event.tokens.push_back({token, 0, {}});
  ChoiceStream hidden = Make();
  hidden.Take(event);
  EXPECT_EQ(hidden.Pending().text, "a\uFFFDb\uFFFDé!");
  EXPECT_EQ(offsets(hidden), (std::vector<int64_t>{0, 1, 1, 2, 3, 4, 5, 5}));

  plan_.skip_special_tokens = false;
  ChoiceStream shown = Make();
  shown.Take(event);
  EXPECT_EQ(offsets(shown), (std::vector<int64_t>{0, 1, 9, 10, 11, 12, 13, 13}));

  // In a stream they go on; those of a stop string stand at the end of the text.
  plan_.stop = {"END"};
  ChoiceStream stopped = Make();
  stopped.Take(Event("é"));
  EXPECT_EQ(Taken(stopped), "é");
  stopped.Take(Event("xEND"));
  EXPECT_EQ(stopped.Pending().text, "x");
  EXPECT_EQ(offsets(stopped), (std::vector<int64_t>{1, 2, 2, 2}));

  plan_.stop = {};
  plan_.echoes = {{"Qé", {}}};
  ChoiceStream echoed = Make();
  echoed.Take(Event("a"));
  EXPECT_EQ(offsets(echoed), (std::vector<int64_t>{2}));
}

TEST_F(ChoiceStreamTest, AStopStringMayBeASpecialToken) {
  const auto answer = [&](std::vector<std::string> stop, std::string_view before, TokenId token,
                          std::string_view after) {
    plan_.stop = std::move(stop);
    ChoiceStream choice = Make();
    choice.Take(Event(before));
    TokenEvent event = Event(after);
    event.tokens.insert(event.tokens.begin(), {token, 0, {}});
    choice.Take(event);
    const api::openai::Choice pending = choice.Pending();
    const auto* reason = std::get_if<std::string>(&pending.stop_reason);
    return std::pair(std::string(pending.text), reason ? *reason : "");
  };
  using Pair = std::pair<std::string, std::string>;
  for (const bool skip : {true, false}) {
    plan_.skip_special_tokens = skip;
    EXPECT_EQ(answer({"<|user|>"}, "ab", kUserToken, "cd"), Pair("ab", "<|user|>"));
    EXPECT_EQ(answer({"b<|user|>"}, "ab", kUserToken, "cd"), Pair("a", "b<|user|>"));
    EXPECT_EQ(answer({"<|user|>c"}, "ab", kUserToken, "cd"), Pair("ab", "<|user|>c"));
    EXPECT_EQ(answer({"b<|user|>c"}, "ab", kUserToken, "cd"), Pair("a", "b<|user|>c"));
    EXPECT_EQ(answer({"<|end|>"}, "<|end", kUserToken, "|>"),
              Pair(skip ? "" : "<|end<|user|>|>", skip ? "<|end|>" : ""));
  }
  plan_.skip_special_tokens = true;
  EXPECT_EQ(answer({"user"}, "ab", kUserToken, "cd"),
            Pair("abcd", ""));  // a part of one is not seen
  EXPECT_EQ(answer({"bc"}, "ab", kUserToken, "cd"), Pair("a", "bc"));
  plan_.include_stop_in_output = true;
  EXPECT_EQ(answer({"b<|user|>"}, "ab", kUserToken, "cd"), Pair("ab<|user|>", "b<|user|>"));
}

TEST_F(ChoiceStreamTest, TheEndTokenMayBeTheStopString) {
  plan_.stop = {"b<|end|>"};
  ChoiceStream choice = Make();
  choice.Take(Event("ab"));
  EXPECT_EQ(Taken(choice), "a");
  choice.Take(End(FinishReason::kStop, kEndToken));
  EXPECT_EQ(Taken(choice), "");
  EXPECT_EQ(std::get<std::string>(choice.Pending().stop_reason), "b<|end|>");
  plan_.stop = {"<|end|>x", "b<|user|>"};
  ChoiceStream other = Make();
  other.Take(Event("ab"));
  other.Take(End(FinishReason::kStop, kEndToken));
  EXPECT_EQ(Taken(other), "ab");
  EXPECT_EQ(other.Pending().finish, FinishReason::kStop);
}

TEST_F(ChoiceStreamTest, LaterChoicesTakeTheirOwnPrompt) {
  plan_.requests[0].num_sequences = 2;
  plan_.requests.push_back(plan_.requests[0]);
  plan_.echoes = {{"first", {}}, {"second", {}}};
  ChoiceStream choice(plan_, tokenizer_, 2);
  choice.Take(End(FinishReason::kLength));
  EXPECT_EQ(Taken(choice), "second");
}

TEST_F(ChoiceStreamTest, CountsTheBytesThatWait) {
  sampling().num_logprobs = 1;
  ChoiceStream choice = Make();
  TokenEvent event = Event("ab");
  for (TokenOutput& output : event.tokens) output.top = {{kUserToken, -1.0f}};
  choice.Take(std::move(event));
  const size_t text_bytes = 2 + 2 + 2 * std::string_view("<|user|>").size();
  const size_t row_bytes = sizeof(api::openai::LogprobRow) + 2 * sizeof(api::openai::TokenText);
  EXPECT_EQ(choice.pending_bytes(), 8 * text_bytes + 2 * row_bytes);
  choice.ClearPending();
  EXPECT_EQ(choice.pending_bytes(), 0u);
}

}  // namespace
}  // namespace lorry::server
