// OpenAI's requests as plain data: what a body said, checked, before any text is tokenised.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "request/adapter_term.h"
#include "request/sampling_params.h"

namespace lorry::api::openai {

// Which model is to answer.
struct ModelRequest {
  std::string model;                  // "": the base
  std::vector<AdapterTerm> adapters;  // summed on top of the base; empty: as `model` says
  std::string adapter_id;             // by another server's field: a name, or what a source has
  std::string adapter_field = "adapter_id";  // that field
  bool is_adapter_name = false;              // it can only be the name of a registered adapter
  std::string adapter_source;                // "": the Hub, or what the id says
  std::string api_token;                     // for that source
};

// What completions and chat completions share.
struct CommonRequest : ModelRequest {
  int n = 1;
  bool stream = false;
  bool include_usage = false;     // stream_options: one more chunk at the end, with the counts
  SamplingParams sampling;        // max_tokens and seed are set from the two below
  std::optional<int> max_tokens;  // as asked for; see ResolveMaxTokens
  std::optional<int64_t> seed;
  std::vector<std::string> stop;
  bool include_stop_in_output = false;
  bool skip_special_tokens = true;
  bool return_token_ids = false;
};

using Prompt = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest : CommonRequest {
  std::vector<Prompt> prompts;   // at least one
  bool has_prompt_list = false;  // not a lone list of ids
  bool echo = false;
  bool add_special_tokens = true;
};

// A conversation, kept as JSON for the chat template, which decides whether it goes through the
// text parts of a content, and what the arguments of earlier tool calls are.
struct ChatPrompt {
  std::string messages_json;
  std::string tools_json;            // "": none
  std::string template_kwargs_json;  // "": none; an object
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::string final_content;  // of the last message, where the answer goes on
};

struct ChatRequest : CommonRequest {
  ChatPrompt chat;
};

struct TokenizeRequest : ModelRequest {
  std::variant<std::string, ChatPrompt> input;
  bool add_special_tokens = true;  // of a plain prompt
  bool return_token_strings = false;
};

struct DetokenizeRequest : ModelRequest {
  std::vector<TokenId> tokens;
};

}  // namespace lorry::api::openai
