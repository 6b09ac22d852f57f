// The one registry of options: every field of every options struct that a person may set, under one
// name that is at once a flag (--max-num-seqs), an environment variable (LORRY_MAX_NUM_SEQS) and a
// key of the TOML file (max-num-seqs). Owns: descriptions. The fields belong to the options
// structs, which must outlive the registry; a field's value when it is added is its default.
// Thread: one, before anything starts. Never: repeats a default, or reads a flag, file or variable
// itself (config/load.h).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace lorry::config {

// What a person reads about an option.
struct OptionText {
  std::string name;  // lower case words joined by '-'
  std::string
      value_name;    // "FILE"; empty: as the type says ("N", "SIZE", "TIME"), and none for a switch
  std::string help;  // what it does, one sentence
  std::string when;  // when to change it; may be empty
  std::string default_text = {};  // shown in place of the field's value, for "chosen at start"
  // An empty value would let in, or reach, what the option is there to keep out, or stand for
  // another thing than was meant: it is an error in every form, an empty variable too.
  bool guards = false;
};

enum class Arity {
  kSwitch,  // --name, --no-name, --name=false
  kOne,     // --name VALUE; the last one counts
  kMany,    // --name VALUE --name VALUE
  kGreedy,  // --name VALUE VALUE ... up to the next flag
};

struct Option {
  OptionText text;
  std::string group;
  std::vector<std::string> commands;  // those that take it
  std::vector<std::string> choices;   // of values; empty: any
  Arity arity = Arity::kOne;
  // Parses and stores the values of one source; of kOne only the last.
  std::function<Status(const std::vector<std::string>&)> set;
  std::string set_by;  // "--port", "LORRY_PORT", "lorry.toml:3"; empty: the default holds

  bool TakenBy(std::string_view command) const;
  std::string Flag() const { return "--" + text.name; }
  std::string Variable() const;  // LORRY_MAX_NUM_SEQS
};

// What no option means: an empty entry of a list, and of an option that guards, any value that is
// empty, quotes around nothing, or has white space around it.
Status CheckNotEmpty(const Option& option, const std::vector<std::string>& values);

class Registry {
 public:
  // The options added from here on stand under `heading` in --help and are taken by `commands`.
  void Group(std::string heading, std::vector<std::string> commands);

  void Switch(OptionText text, bool* field);
  void Integer(OptionText text, int* field, int64_t min, int64_t max);
  void Bytes(OptionText text, size_t* field);
  void Duration(OptionText text, Micros* field);
  void Duration(OptionText text, std::chrono::milliseconds* field);
  void Text(OptionText text, std::string* field);
  void Choice(OptionText text, std::string* field, std::vector<std::string> choices);
  void List(OptionText text, std::vector<std::string>* field, Arity arity = Arity::kMany);
  // For a field of a type that is none of these: `set` stores the one value.
  void Custom(OptionText text, std::vector<std::string> choices, std::string default_text,
              std::function<Status(const std::string&)> set);

  // nullptr if unknown. '_' counts as '-', as it does for vLLM.
  Option* Find(std::string_view name);
  const Option* Find(std::string_view name) const;

  const std::vector<Option>& options() const { return options_; }
  // Those that the command takes, by group in the order added.
  std::vector<const Option*> Of(std::string_view command) const;
  // Names for suggestions.
  std::vector<std::string> NamesOf(std::string_view command) const;
  // The name of whoever set an option last, for messages: "--port" if nobody did.
  std::string Origin(std::string_view name) const;

 private:
  Option& Add(OptionText text, Arity arity, std::string value_name, std::string default_text);

  std::string group_;
  std::vector<std::string> commands_;
  std::vector<Option> options_;
};

// LORRY_MAX_NUM_SEQS for "max-num-seqs".
std::string VariableOf(std::string_view option_name);

}  // namespace lorry::config
