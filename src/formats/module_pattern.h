// Regular expressions of adapter configs, matched as Python's `re` would (PCRE2).
// Owns: the compiled expression.
// Thread: any after construction; a budget belongs to one thread.
// Never: means something else than Python, or runs without bound. What cannot be said in PCRE2 is
// refused by name, and all expressions of one adapter share a budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;
struct pcre2_real_match_data_8;

namespace lorry::formats {

// Deletes what PCRE2 allocates.
struct PcreDelete {
  void operator()(pcre2_real_code_8* code) const;
  void operator()(pcre2_real_match_context_8* context) const;
  void operator()(pcre2_real_match_data_8* data) const;
};

// What the expressions of one adapter may take together: bytes when they are compiled, steps when
// they are matched.
class MatchBudget {
 public:
  MatchBudget();
  MatchBudget(const MatchBudget&) = delete;
  MatchBudget& operator=(const MatchBudget&) = delete;

  // An error that names the expression and the limit, once one went beyond it: from then on nothing
  // matches, and what was answered means nothing.
  Status Check() const { return status_; }

 private:
  friend class ModulePattern;

  int64_t bytes_left_;
  int64_t steps_left_;
  std::unique_ptr<pcre2_real_match_context_8, PcreDelete> context_;
  std::unique_ptr<pcre2_real_match_data_8, PcreDelete> captures_;  // of the last match
  Status status_;
};

class ModulePattern {
 public:
  // re.fullmatch(pattern, name)
  static Result<ModulePattern> Full(std::string_view pattern, MatchBudget& budget);
  // re.match(rf"(.*\.)?({pattern})$", name): a key of rank_pattern or alpha_pattern.
  static Result<ModulePattern> Suffix(std::string_view pattern, MatchBudget& budget);
  // re.match(rf"(^|.*\.){pattern}($|\..*)", name): an entry of modules_to_save, which keeps LoRA
  // off the module and all below it.
  static Result<ModulePattern> Subtree(std::string_view pattern, MatchBudget& budget);
  // re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", name): an entry of layers_pattern.
  static Result<ModulePattern> LayerIndex(std::string_view pattern, MatchBudget& budget);
  // re.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", name): any layers_pattern.
  static ModulePattern AnyLayerIndex(MatchBudget& budget);

  bool Matches(std::string_view name, MatchBudget& budget) const;
  struct Layer {
    bool matched = false;
    std::optional<int64_t> index;  // the number that `idx` captured, if it took part in the match
  };
  // For LayerIndex and AnyLayerIndex.
  Layer FindLayer(std::string_view name, MatchBudget& budget) const;

 private:
  struct Frame {
    std::string_view before;
    std::string_view after;
    bool whole_name;  // fullmatch, not match
  };

  ModulePattern() = default;
  static Result<ModulePattern> Compile(std::string_view pattern, const Frame& frame,
                                       MatchBudget& budget);
  bool Run(std::string_view name, MatchBudget& budget) const;

  std::string source_;  // as in the config, for messages
  std::unique_ptr<pcre2_real_code_8, PcreDelete> code_;
  int index_group_ = 0;
  bool whole_name_ = false;
  // A Suffix pattern of letters, digits, "_" and "." alone, as nearly all are: matched without
  // code_.
  std::string plain_suffix_;
};

}  // namespace lorry::formats
