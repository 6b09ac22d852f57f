#include <limits>

#include "api/openai/json_values.h"
#include "api/openai/parse_common.h"

namespace lorry::api::openai {
namespace {

namespace json = boost::json;

constexpr size_t kMaxRoleBytes = 64;

// Parts of text, under the names that OpenAI's APIs have for them, become what templates know:
// {"type": "text", "text": …}. Whether they are joined is for the template.
void ReadPart(FieldReader& fields, const std::string& name, json::value& value) {
  if (!value.is_object()) return fields.Wrong(name, "an object", value);
  json::object& part = value.get_object();
  const json::value* type = part.if_contains("type");
  const std::string_view kind =
      type != nullptr && type->is_string() ? std::string_view(type->get_string()) : "";
  const bool is_refusal = kind == "refusal";
  if (kind != "text" && kind != "input_text" && kind != "output_text" && !is_refusal) {
    return fields.Fail(
        ErrorCode::kUnsupported, name + ".type",
        fmt::format("'{}.type' {} is not supported; this server reads parts of type 'text' only.",
                    name, type == nullptr ? "null" : Describe(*type)));
  }
  const char* text_name = is_refusal ? "refusal" : "text";
  const json::value* text = part.if_contains(text_name);
  if (text == nullptr || !text->is_string()) {
    return fields.Wrong(fmt::format("{}.{}", name, text_name), "a string",
                        text == nullptr ? json::value() : *text);
  }
  if (is_refusal) {
    json::value copy = *text;  // since a new key moves what `text` points to
    part["text"] = std::move(copy);
  }
  part["type"] = "text";
}

// The function of a tool or of a call, which must be there; null: the error says that it is not.
const json::object* ReadFunction(FieldReader& fields, const std::string& name,
                                 const json::value& value) {
  constexpr std::string_view kForm = R"({"type": "function", "function": {"name": …}})";
  if (!value.is_object()) {
    fields.Wrong(name, fmt::format("an object as {}", kForm), value);
    return nullptr;
  }
  const json::value* function = value.get_object().if_contains("function");
  if (function != nullptr && function->is_object()) return &function->get_object();
  const std::string path = name + ".function";
  if (function == nullptr || function->is_null()) {
    fields.Fail(ErrorCode::kInvalidArgument, path,
                fmt::format("'{}' is missing; '{}' must be {}.", path, name, kForm));
  } else {
    fields.Wrong(path, "an object", *function);
  }
  return nullptr;
}

// What a model wrote as arguments is its own: cut off, empty, no object. The template's form
// decides what it reads as.
void CheckToolCalls(FieldReader& fields, const std::string& name, JsonValues& values,
                    const json::value& value) {
  if (!value.is_array()) return fields.Wrong(name, "a list", value);
  for (size_t i = 0; i < value.get_array().size(); ++i) {
    const std::string call_name = fmt::format("{}[{}]", name, i);
    const json::object* function = ReadFunction(fields, call_name, value.get_array()[i]);
    if (function == nullptr) return;
    const json::value* arguments = function->if_contains("arguments");
    if (arguments == nullptr || !arguments->is_string()) continue;
    if (!values.Take(arguments->get_string())) {
      return fields.Fail(ErrorCode::kTooLarge, call_name + ".function.arguments",
                         fmt::format("The arguments of the tool calls have too many lists, objects "
                                     "and values in them: the limit is {} together.",
                                     values.max_count()));
    }
  }
}

// Turns that are replayed may have nothing to say: an assistant's beside calls of tools, a tool's
// without a result.
bool MayHaveNoContent(const json::object& message) {
  const json::string& role = message.at("role").get_string();
  return role == "assistant" || role == "tool" || role == "function";
}

void ReadContent(FieldReader& fields, const std::string& name, json::object& message) {
  json::value* content = message.if_contains("content");
  if (content == nullptr || content->is_null()) {
    if (MayHaveNoContent(message)) return;
    return fields.Wrong(name, "a string or a list of text parts", json::value());
  }
  if (content->is_string()) return;
  if (!content->is_array()) {
    return fields.Wrong(name, "a string or a list of text parts", *content);
  }
  json::array& parts = content->get_array();
  for (size_t i = 0; i < parts.size(); ++i) {
    ReadPart(fields, fmt::format("{}[{}]", name, i), parts[i]);
  }
}

// The text that the answer goes on with.
std::string FinalContent(const json::object& message) {
  const json::value* content = message.if_contains("content");
  if (content == nullptr) return {};
  if (content->is_string()) return std::string(content->get_string());
  if (!content->is_array() || content->get_array().empty()) return {};
  return std::string(content->get_array().back().at("text").as_string());
}

void ReadMessages(FieldReader& fields, const ParseLimits& limits, ChatPrompt& chat) {
  const json::value* value = fields.Find("messages");
  const auto max_messages = static_cast<size_t>(limits.max_messages);
  if (value == nullptr || !value->is_array() || value->get_array().empty() ||
      value->get_array().size() > max_messages) {
    return fields.Wrong("messages", fmt::format("a list of 1 to {} messages", max_messages),
                        value == nullptr ? json::value() : *value);
  }
  json::array messages = value->get_array();
  JsonValues argument_values(limits.json.max_values);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string name = fmt::format("messages[{}]", i);
    if (!messages[i].is_object()) return fields.Wrong(name, "an object", messages[i]);
    json::object& message = messages[i].get_object();
    const json::value* role = message.if_contains("role");
    if (role == nullptr || !role->is_string() || role->get_string().empty() ||
        role->get_string().size() > kMaxRoleBytes) {
      return fields.Wrong(name + ".role", fmt::format("a string of 1 to {} bytes", kMaxRoleBytes),
                          role == nullptr ? json::value() : *role);
    }
    ReadContent(fields, name + ".content", message);
    const json::value* calls = message.if_contains("tool_calls");
    if (calls != nullptr && !calls->is_null()) {
      CheckToolCalls(fields, name + ".tool_calls", argument_values, *calls);
    }
  }
  chat.messages_json = json::serialize(messages);
  if (fields.ok()) chat.final_content = FinalContent(messages.back().get_object());
}

// The model is told of the tools by its template; nothing makes it call one, so only "auto" and
// "none" can be kept.
void ReadTools(FieldReader& fields, ChatPrompt& chat) {
  const json::value* choice = fields.Find("tool_choice");
  const bool is_none = choice != nullptr && choice->is_string() && choice->get_string() == "none";
  const bool is_auto = choice != nullptr && choice->is_string() && choice->get_string() == "auto";
  if (choice != nullptr && !is_none && !is_auto) {
    return fields.Fail(ErrorCode::kUnsupported, "tool_choice",
                       fmt::format("'tool_choice' must be 'auto' or 'none', not {}: this server "
                                   "cannot force a call.",
                                   Describe(*choice)));
  }
  const json::value* tools = fields.Find("tools");
  if (tools == nullptr) return;
  if (!tools->is_array()) return fields.Wrong("tools", "a list of tools", *tools);
  for (size_t i = 0; i < tools->get_array().size(); ++i) {
    if (ReadFunction(fields, fmt::format("tools[{}]", i), tools->get_array()[i]) == nullptr) return;
  }
  if (!is_none && !tools->get_array().empty()) chat.tools_json = json::serialize(*tools);
}

// max_completion_tokens is the name that OpenAI uses now; if both are there it counts.
void ReadMaxTokens(FieldReader& fields, ChatRequest& request) {
  constexpr IntRange kRange = {1, std::numeric_limits<int>::max()};
  fields.Int("max_tokens", kRange, request.max_tokens);
  fields.Int("max_completion_tokens", kRange, request.max_tokens);
}

void ReadLogprobs(FieldReader& fields, const ParseLimits& limits, SamplingParams& sampling) {
  bool logprobs = false;
  std::optional<int> top_logprobs;
  fields.Bool("logprobs", logprobs);
  fields.Int("top_logprobs", {0, limits.max_logprobs}, top_logprobs);
  if (logprobs) {
    sampling.num_logprobs = top_logprobs.value_or(0);
  } else if (top_logprobs.value_or(0) > 0) {
    fields.Fail(ErrorCode::kInvalidArgument, "top_logprobs",
                "'top_logprobs' is only allowed with 'logprobs': true.");
  }
}

}  // namespace

void ReadChatPrompt(FieldReader& fields, const ParseLimits& limits, ChatPrompt& chat) {
  ReadMessages(fields, limits, chat);
  ReadTools(fields, chat);
  fields.Bool("continue_final_message", chat.continue_final_message);
  chat.add_generation_prompt = !chat.continue_final_message;
  fields.Bool("add_generation_prompt", chat.add_generation_prompt);
  RefuseUnsupported(fields, {{"add_special_tokens", "false"}});  // templates write their own
  if (chat.continue_final_message && chat.add_generation_prompt) {
    fields.Fail(ErrorCode::kInvalidArgument, "continue_final_message",
                "'continue_final_message' and 'add_generation_prompt' cannot both be true.");
  }
  const json::value* kwargs = fields.Find("chat_template_kwargs");
  if (kwargs == nullptr) return;
  if (!kwargs->is_object()) return fields.Wrong("chat_template_kwargs", "an object", *kwargs);
  chat.template_kwargs_json = json::serialize(*kwargs);
}

Result<ChatRequest> ParseChat(std::string_view body, const ParseLimits& limits) {
  ASSIGN_OR_RETURN(const json::object object, ParseBody(body, limits.json));
  FieldReader fields(object);
  ChatRequest request;
  ReadChatPrompt(fields, limits, request.chat);
  ReadCommon(fields, limits, request);
  ReadMaxTokens(fields, request);
  ReadMinTokens(fields, request);
  ReadLogprobs(fields, limits, request.sampling);
  RefuseUnsupported(fields, {{"functions", ""},
                             {"function_call", "\"none\""},
                             {"audio", ""},
                             {"modalities", "[\"text\"]"},
                             {"web_search_options", ""},
                             {"chat_template", ""},
                             {"documents", ""},
                             {"echo", "false"},
                             {"best_of", "1"}});
  fields.RefuseMisspelt();
  RETURN_IF_ERROR(fields.status());
  return request;
}

}  // namespace lorry::api::openai
