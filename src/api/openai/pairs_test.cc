// Runs tests/api/openai/*_pairs.json: a body, and what it must become. A pair names the fields it
// is about; the others are not looked at.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>

#include "api/openai/parse.h"
#include "base/testing/source_dir.h"

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

json::array ReadArray(const std::string& name) {
  std::ifstream file(SourcePath("tests/api/openai/") + name);
  std::stringstream text;
  text << file.rdbuf();
  return json::parse(text.str()).as_array();
}

json::array Ids(const std::vector<TokenId>& ids) { return json::array(ids.begin(), ids.end()); }

json::value ShowOptional(const std::optional<int>& value) {
  return value ? json::value(*value) : json::value();
}

void ShowCommon(const CommonRequest& request, json::object& out) {
  const SamplingParams& sampling = request.sampling;
  out["model"] = request.model;
  out["adapter_id"] = request.adapter_id;
  out["adapter_field"] = request.adapter_field;
  out["is_adapter_name"] = request.is_adapter_name;
  out["adapter_source"] = request.adapter_source;
  out["api_token"] = request.api_token;
  out["n"] = request.n;
  out["stream"] = request.stream;
  out["include_usage"] = request.include_usage;
  out["max_tokens"] = ShowOptional(request.max_tokens);
  out["seed"] = request.seed ? json::value(*request.seed) : json::value();
  out["stop"] = json::value_from(request.stop);
  out["include_stop_in_output"] = request.include_stop_in_output;
  out["skip_special_tokens"] = request.skip_special_tokens;
  out["return_token_ids"] = request.return_token_ids;
  out["temperature"] = sampling.temperature;
  out["top_k"] = sampling.top_k;
  out["top_p"] = sampling.top_p;
  out["min_p"] = sampling.min_p;
  out["repetition_penalty"] = sampling.repetition_penalty;
  out["presence_penalty"] = sampling.presence_penalty;
  out["frequency_penalty"] = sampling.frequency_penalty;
  out["min_tokens"] = sampling.min_tokens;
  out["ignore_eos"] = sampling.ignore_eos;
  out["stop_token_ids"] = Ids(sampling.stop_token_ids);
  out["num_logprobs"] = sampling.num_logprobs;
  out["prompt_logprobs"] = sampling.prompt_logprobs;
  json::array biases;
  for (const auto& [token, bias] : sampling.logit_bias) biases.push_back({token, bias});
  out["logit_bias"] = std::move(biases);
}

json::object Show(const CompletionRequest& request) {
  json::object out;
  ShowCommon(request, out);
  out["echo"] = request.echo;
  out["add_special_tokens"] = request.add_special_tokens;
  json::array prompts;
  for (const Prompt& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    prompts.push_back(text ? json::value(*text)
                           : json::value(Ids(std::get<std::vector<TokenId>>(prompt))));
  }
  out["prompts"] = std::move(prompts);
  return out;
}

json::value ParsedOrNull(const std::string& text) {
  return text.empty() ? json::value() : json::parse(text);
}

json::object Show(const ChatPrompt& chat) {
  json::object out;
  out["messages"] = json::parse(chat.messages_json);
  out["tools"] = ParsedOrNull(chat.tools_json);
  out["template_kwargs"] = ParsedOrNull(chat.template_kwargs_json);
  out["add_generation_prompt"] = chat.add_generation_prompt;
  out["continue_final_message"] = chat.continue_final_message;
  out["final_content"] = chat.final_content;
  return out;
}

json::object Show(const ChatRequest& request) {
  json::object out = Show(request.chat);
  ShowCommon(request, out);
  return out;
}

json::object Show(const TokenizeRequest& request) {
  json::object out;
  if (const auto* chat = std::get_if<ChatPrompt>(&request.input)) {
    out = Show(*chat);
  } else {
    out["prompt"] = std::get<std::string>(request.input);
    out["add_special_tokens"] = request.add_special_tokens;
  }
  out["model"] = request.model;
  out["return_token_strings"] = request.return_token_strings;
  return out;
}

json::object Show(const DetokenizeRequest& request) {
  json::object out;
  out["model"] = request.model;
  out["tokens"] = Ids(request.tokens);
  return out;
}

// Numbers are equal if they are as floats: 1 and 1.0, 0.1 and 0.1f.
bool Same(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number() && (a.is_double() || b.is_double())) {
    return static_cast<float>(a.to_number<double>()) == static_cast<float>(b.to_number<double>());
  }
  if (a.is_array() && b.is_array()) {
    return std::equal(a.get_array().begin(), a.get_array().end(), b.get_array().begin(),
                      b.get_array().end(), Same);
  }
  return a == b;
}

template <typename Parse>
void RunPairs(const std::string& file, size_t least, Parse parse) {
  ParseLimits limits;
  const json::array pairs = ReadArray(file);
  EXPECT_GE(pairs.size(), least);
  for (const json::value& pair : pairs) {
    const std::string body = json::serialize(pair.at("request"));
    const auto parsed = parse(body, limits);
    ASSERT_TRUE(parsed) << body << "\n" << parsed.error().message;
    const json::object shown = Show(*parsed);
    for (const auto& [field, expected] : pair.at("expect").as_object()) {
      ASSERT_TRUE(shown.contains(field)) << field;
      EXPECT_TRUE(Same(shown.at(field), expected))
          << body << "\n"
          << field << " is " << shown.at(field) << ", not " << expected;
    }
  }
}

TEST(Pairs, Completions) { RunPairs("completion_pairs.json", 10, ParseCompletion); }
TEST(Pairs, Chat) { RunPairs("chat_pairs.json", 8, ParseChat); }
TEST(Pairs, Tokenize) { RunPairs("tokenize_pairs.json", 3, ParseTokenize); }
TEST(Pairs, Detokenize) { RunPairs("detokenize_pairs.json", 1, ParseDetokenize); }

}  // namespace
}  // namespace lorry::api::openai
