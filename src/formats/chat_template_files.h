// The chat templates that a directory has, in every place where transformers looks for one.
// Owns: nothing. Thread: any.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>

#include "base/result.h"
#include "formats/json.h"

namespace lorry::formats {

inline constexpr size_t kMaxChatTemplateBytes = size_t{256} << 10;  // of each; real ones have 40 KB

struct ChatTemplates {
  std::string main;            // "default"; empty: none
  std::string tool_use;        // for chats with tools; empty: the main one's
  std::string where;           // the file
  std::string tool_use_where;  // empty: the same

  bool empty() const { return main.empty() && tool_use.empty(); }
  bool operator==(const ChatTemplates& other) const {
    return main == other.main && tool_use == other.tool_use;
  }
};

// Of a model's or adapter's directory with this tokenizer_config.json: chat_template.jinja and
// additional_chat_templates/<name>.jinja go before "chat_template" of the config, and that before
// a processor's chat_template.json.
Result<ChatTemplates> ReadChatTemplates(const std::string& dir,
                                        const boost::json::object& tokenizer_config);

// "chat_template" of these fields: a template, a list of {name, template}, or an object by name.
Result<ChatTemplates> ParseChatTemplates(const JsonFields& fields);

// A template, or a list of {name, template}; null for none.
boost::json::value ToJson(const ChatTemplates& templates);

}  // namespace lorry::formats
