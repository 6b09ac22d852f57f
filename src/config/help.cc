#include "config/help.h"

#include <fmt/format.h>

namespace lorry::config {
namespace {

constexpr size_t kColumns = 100;
constexpr size_t kHelpIndent = 6;

// Breaks at spaces so that lines stay within kColumns; every line is indented.
std::string Wrapped(std::string_view text) {
  std::string result;
  std::string line(kHelpIndent, ' ');
  bool empty = true;
  const auto put = [&](std::string_view word) {
    if (!empty && line.size() + 1 + word.size() > kColumns) {
      result += line + "\n";
      line.assign(kHelpIndent, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  };
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    if (space > 0) put(text.substr(0, space));
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return result + line + "\n";
}

std::string FlagForm(const Option& option) {
  switch (option.arity) {
    case Arity::kSwitch:
      return option.Flag();
    case Arity::kOne:
    case Arity::kMany:
      return fmt::format("{} {}", option.Flag(), option.text.value_name);
    case Arity::kGreedy:
      return fmt::format("{} {} ...", option.Flag(), option.text.value_name);
  }
  return option.Flag();
}

std::string DefaultForm(const Option& option) {
  return option.text.default_text.empty() ? "none" : option.text.default_text;
}

// A cell of a Markdown table.
std::string Cell(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace

std::string HelpText(const Registry& registry, std::string_view command) {
  std::string result;
  std::string group;
  for (const Option* option : registry.Of(command)) {
    if (option->group != group) {
      group = option->group;
      result += fmt::format("\n{}\n", group);
    }
    result +=
        fmt::format("  {}  [{}]  {}{}\n", FlagForm(*option), DefaultForm(*option),
                    option->Variable(), option->arity == Arity::kMany ? "  (repeatable)" : "");
    std::string text = option->text.help;
    if (!option->text.when.empty()) text += " " + option->text.when;
    result += Wrapped(text);
  }
  return result;
}

std::string MarkdownTables(const Registry& registry) {
  std::string result;
  const Option* previous = nullptr;
  for (const Option& option : registry.options()) {
    const bool is_new_group = previous == nullptr || option.group != previous->group;
    if (is_new_group) result += fmt::format("\n## {}\n", option.group);
    if (is_new_group || option.commands != previous->commands) {
      result += fmt::format("\nOf `lorry {}`.\n\n", fmt::join(option.commands, "`, `lorry "));
      result += "| option | default | what it does, and when to change it |\n|---|---|---|\n";
    }
    previous = &option;
    std::string text = option.text.help;
    if (!option.text.when.empty()) text += " " + option.text.when;
    result += fmt::format("| `{}` | {} | {} |\n", Cell(FlagForm(option)), Cell(DefaultForm(option)),
                          Cell(text));
  }
  return result;
}

std::string MarkdownText(const Registry& registry) {
  return "# Options\n\n"
         "<!-- Made by `lorry help --markdown`; `make docs` writes it anew, CI checks that it is "
         "current. -->\n\n"
         "Each option has one name, which is a flag (`--max-num-seqs 64`), an environment variable "
         "(`LORRY_MAX_NUM_SEQS=64`)\nand a key of the TOML file that `--config` names "
         "(`max-num-seqs = 64`). Flags win over variables, these over the\nfile, the file over the "
         "defaults. Sizes are written `4096`, `512MB` or `2GiB`, times `500ms`, `30s` or `5m`;\n"
         "lists are arrays in the file and separated by commas in variables. An empty variable "
         "counts "
         "as unset; but of options\nthat keep something out, or something else in (keys, "
         "addresses, "
         "`--config`, `--model`), an empty value is an error in every\nform, and so is an empty "
         "entry of any list. Of vLLM's variables `VLLM_API_KEY` and "
         "`VLLM_ALLOW_RUNTIME_LORA_UPDATING`\nare read where Lorry's own are not set.\n" +
         MarkdownTables(registry);
}

}  // namespace lorry::config
