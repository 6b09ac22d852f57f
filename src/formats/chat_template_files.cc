#include "formats/chat_template_files.h"

#include <boost/json/array.hpp>
#include <optional>
#include <utility>

#include "formats/file_bytes.h"

namespace lorry::formats {
namespace {

namespace json = boost::json;

constexpr size_t kMaxProcessorBytes = size_t{1} << 20;  // chat_template.json: a template, escaped

// Empty if the file does not exist.
Result<std::string> ReadTemplate(const std::string& path) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, ReadFileIfThere(path, kMaxChatTemplateBytes));
  return std::move(text).value_or(std::string());
}

}  // namespace

Result<ChatTemplates> ParseChatTemplates(const JsonFields& fields) {
  constexpr std::string_view kField = "chat_template";
  ChatTemplates templates{.where = fields.where()};
  const json::value* value = fields.Find(kField);
  if (value == nullptr) return templates;
  const auto take = [&](std::string_view name, std::string source) {
    if (name == "default") templates.main = std::move(source);
    if (name == "tool_use") templates.tool_use = std::move(source);
  };
  if (const auto* text = value->if_string()) {
    take("default", std::string(*text));
    return templates;
  }
  const std::string where = fields.where() + ": chat_template";
  if (const auto* by_name = value->if_object()) {
    const JsonFields named(*by_name, where);
    for (const auto& item : *by_name) {
      ASSIGN_OR_RETURN(std::string source, named.Required<std::string>(item.key()));
      take(item.key(), std::move(source));
    }
    return templates;
  }
  const auto* list = value->if_array();
  if (list == nullptr) return fields.FieldError(kField, "is neither a string nor a list");
  for (const json::value& item : *list) {
    const auto* object = item.if_object();
    if (object == nullptr) return fields.FieldError(kField, "has an item that is no object");
    const JsonFields named(*object, where);
    ASSIGN_OR_RETURN(const std::string name, named.Required<std::string>("name"));
    ASSIGN_OR_RETURN(std::string source, named.Required<std::string>("template"));
    take(name, std::move(source));
  }
  return templates;
}

Result<ChatTemplates> ReadChatTemplates(const std::string& dir,
                                        const json::object& tokenizer_config) {
  const std::string more = dir + "/additional_chat_templates/";
  ChatTemplates templates{.where = more + "default.jinja",
                          .tool_use_where = more + "tool_use.jinja"};
  ASSIGN_OR_RETURN(templates.main, ReadTemplate(templates.where));
  if (templates.main.empty()) {
    templates.where = dir + "/chat_template.jinja";
    ASSIGN_OR_RETURN(templates.main, ReadTemplate(templates.where));
  }
  ASSIGN_OR_RETURN(templates.tool_use, ReadTemplate(templates.tool_use_where));
  if (!templates.main.empty()) return templates;

  ASSIGN_OR_RETURN(ChatTemplates others,
                   ParseChatTemplates({tokenizer_config, dir + "/tokenizer_config.json"}));
  if (others.empty()) {
    const std::string path = dir + "/chat_template.json";
    ASSIGN_OR_RETURN(const json::object processor,
                     ReadJsonIfThere(path, {.max_bytes = kMaxProcessorBytes}));
    ASSIGN_OR_RETURN(others, ParseChatTemplates({processor, path}));
  }
  if (!others.empty()) templates.where = others.where;
  templates.main = std::move(others.main);
  if (templates.tool_use.empty()) {
    templates.tool_use = std::move(others.tool_use);
    templates.tool_use_where.clear();
  }
  return templates;
}

json::value ToJson(const ChatTemplates& templates) {
  if (templates.empty()) return nullptr;
  if (templates.tool_use.empty()) return json::string(templates.main);
  json::array list;
  const auto add = [&](std::string_view name, const std::string& source) {
    if (!source.empty()) list.push_back(json::object{{"name", name}, {"template", source}});
  };
  add("default", templates.main);
  add("tool_use", templates.tool_use);
  return list;
}

}  // namespace lorry::formats
