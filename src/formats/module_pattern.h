// Regular expressions of adapter configs, matched as Python's `re` would, in linear time (RE2).
// Owns: the compiled expression. Thread: any after construction.
// Never: recurses or backtracks. What means one thing to Python and another to RE2, and what RE2
// cannot do (look-around, back references), is refused by name; so are named groups, whose names
// could clash with ours.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace re2 {
class RE2;
}

namespace lorry::formats {

class ModulePattern {
 public:
  // re.fullmatch(pattern, name)
  static Result<ModulePattern> Full(std::string_view pattern);
  // re.match(rf"(.*\.)?({pattern})$", name): a key of rank_pattern or alpha_pattern.
  static Result<ModulePattern> Suffix(std::string_view pattern);
  // re.match(rf"(^|.*\.){pattern}($|\..*)", name): an entry of modules_to_save, which keeps LoRA
  // off the module and all below it.
  static Result<ModulePattern> Subtree(std::string_view pattern);
  // re.match(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.", name): an entry of layers_pattern.
  static Result<ModulePattern> LayerIndex(std::string_view pattern);
  // re.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", name): any layers_pattern.
  static ModulePattern AnyLayerIndex();

  ModulePattern(ModulePattern&&) noexcept;
  ModulePattern& operator=(ModulePattern&&) noexcept;
  ~ModulePattern();

  bool Matches(std::string_view name) const;
  // The number that `idx` captured; nothing if the name does not match. For LayerIndex and
  // AnyLayerIndex.
  std::optional<int64_t> Index(std::string_view name) const;

 private:
  struct Frame {
    std::string_view before;
    std::string_view after;
    bool whole_name;  // fullmatch, not match
  };

  ModulePattern() = default;
  static Result<ModulePattern> Compile(std::string_view pattern, const Frame& frame);

  std::unique_ptr<re2::RE2> regex_;
  bool whole_name_ = false;
  // A Suffix pattern of letters, digits, "_" and "." alone, as nearly all are: matched without
  // regex_.
  std::string plain_suffix_;
};

}  // namespace lorry::formats
