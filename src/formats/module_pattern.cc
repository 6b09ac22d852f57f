#include "formats/module_pattern.h"

#include <re2/re2.h>

#include <charconv>
#include <map>
#include <vector>

#include "base/check.h"
#include "formats/json.h"

namespace lorry::formats {
namespace {

constexpr size_t kMaxPatternBytes = 4096;
constexpr int64_t kMaxProgramBytes =
    1 << 20;  // bounds the time of a match together with the name's length

re2::StringPiece Piece(std::string_view text) { return {text.data(), text.size()}; }

bool IsHex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Walks over a pattern and stops at the first construct that does not mean the same to Python's
// `re` and to RE2.
class SubsetCheck {
 public:
  // `at_start`: the pattern is the whole expression, so flags may stand at its beginning.
  SubsetCheck(std::string_view pattern, bool at_start) : pattern_(pattern), at_start_(at_start) {}

  // What is wrong; empty if nothing is.
  std::string Run() {
    while (pos_ < pattern_.size()) {
      const char c = pattern_[pos_];
      if (static_cast<unsigned char>(c) >= 0x80 || c == '\0') return "a character beyond ASCII";
      if (c == '\\') {
        if (!Escape()) return fmt::format("the escape {}", Quoted(pattern_.substr(pos_, 2)));
      } else if (c == '[' && !in_class_) {
        in_class_ = true;
        // A bracket right after the opening one stands for itself.
        pos_ += Next("[^]") ? 3 : Next("[]") || Next("[^") ? 2 : 1;
      } else if (c == ']' && in_class_) {
        in_class_ = false;
        ++pos_;
      } else if (in_class_ && Next("[:")) {
        return "a POSIX class";
      } else if (!in_class_ && Next("{,")) {
        return "a repetition without a lower bound";
      } else if (!in_class_ && Next("(?")) {
        if (!Group()) return fmt::format("the group {}", Quoted(pattern_.substr(pos_, 4)));
      } else {
        ++pos_;
      }
    }
    return "";
  }

 private:
  bool Next(std::string_view text) const { return pattern_.substr(pos_).starts_with(text); }

  bool Escape() {
    if (pos_ + 1 >= pattern_.size()) return false;
    const char c = pattern_[pos_ + 1];
    if (c == 'x') {
      if (pos_ + 3 >= pattern_.size() || !IsHex(pattern_[pos_ + 2]) || !IsHex(pattern_[pos_ + 3])) {
        return false;
      }
      pos_ += 4;
      return true;
    }
    // Inside a class \b is a backspace.
    const std::string_view letters = in_class_ ? "dDwWsSntrfv" : "dDwWsSntrfvbBA";
    if (IsAlphanumeric(c) && letters.find(c) == std::string_view::npos) return false;
    pos_ += 2;
    return true;
  }

  bool Group() {
    if (Next("(?:")) {
      pos_ += 3;
      return true;
    }
    size_t end = pos_ + 2;
    while (end < pattern_.size() &&
           std::string_view("ims").find(pattern_[end]) != std::string_view::npos) {
      ++end;
    }
    if (end == pos_ + 2 || end >= pattern_.size()) return false;
    const bool scoped = pattern_[end] == ':';
    const bool leading_flags = pattern_[end] == ')' && pos_ == 0 && at_start_;
    if (!scoped && !leading_flags) return false;
    pos_ = end + 1;
    return true;
  }

  std::string_view pattern_;
  bool at_start_;
  size_t pos_ = 0;
  bool in_class_ = false;
};

tl::unexpected<Error> Refused(std::string_view pattern, std::string_view why) {
  return Fail(ErrorCode::kUnsupported,
              fmt::format("the regular expression {} is not supported: {}", Quoted(pattern), why));
}

// Letters, digits, "_" and ".": the dot, any character, is all that is special.
bool IsPlain(std::string_view pattern) {
  for (char c : pattern) {
    if (!IsAlphanumeric(c) && c != '_' && c != '.') return false;
  }
  return !pattern.empty();
}

bool MatchesPlainSuffix(std::string_view suffix, std::string_view name) {
  if (suffix.size() > name.size()) return false;
  const size_t begin = name.size() - suffix.size();
  if (begin > 0 && name[begin - 1] != '.') return false;
  for (size_t i = 0; i < suffix.size(); ++i) {
    if (suffix[i] != '.' && suffix[i] != name[begin + i]) return false;
  }
  return true;
}

}  // namespace

ModulePattern::ModulePattern(ModulePattern&&) noexcept = default;
ModulePattern& ModulePattern::operator=(ModulePattern&&) noexcept = default;
ModulePattern::~ModulePattern() = default;

// The text is put together exactly as PEFT does it, so that a pattern with an odd parenthesis means
// here what it means there.
Result<ModulePattern> ModulePattern::Compile(std::string_view pattern, const Frame& frame) {
  if (pattern.size() > kMaxPatternBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("the regular expression {} has {} bytes, the limit is {}",
                            Quoted(pattern), pattern.size(), kMaxPatternBytes));
  }
  // Python refuses flags that do not lead the whole expression.
  const std::string problem = SubsetCheck(pattern, frame.before.empty()).Run();
  if (!problem.empty()) return Refused(pattern, problem);
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxProgramBytes);
  ModulePattern result;
  result.whole_name_ = frame.whole_name;
  const std::string whole = fmt::format("{}{}{}", frame.before, pattern, frame.after);
  result.regex_ = std::make_unique<RE2>(Piece(whole), options);
  if (!result.regex_->ok()) return Refused(pattern, result.regex_->error());
  return result;
}

Result<ModulePattern> ModulePattern::Full(std::string_view pattern) {
  return Compile(pattern, {.before = "", .after = "", .whole_name = true});
}

Result<ModulePattern> ModulePattern::Suffix(std::string_view pattern) {
  if (IsPlain(pattern) && pattern.size() <= kMaxPatternBytes) {
    ModulePattern result;
    result.plain_suffix_ = pattern;
    return result;
  }
  return Compile(pattern, {.before = R"((.*\.)?()", .after = ")$", .whole_name = false});
}

Result<ModulePattern> ModulePattern::Subtree(std::string_view pattern) {
  return Compile(pattern, {R"((^|.*\.))", R"(($|\..*))", false});
}

Result<ModulePattern> ModulePattern::LayerIndex(std::string_view pattern) {
  return Compile(pattern, {R"((?:^|.*?\.))", R"(\.(?P<idx>\d+)\.)", false});
}

ModulePattern ModulePattern::AnyLayerIndex() {
  Result<ModulePattern> result = Compile("", {R"(.*?\.[^.]*)", R"(\.(?P<idx>\d+)\.)", false});
  CHECK(result.has_value());
  return std::move(*result);
}

bool ModulePattern::Matches(std::string_view name) const {
  if (regex_ == nullptr) return MatchesPlainSuffix(plain_suffix_, name);
  const RE2::Anchor anchor = whole_name_ ? RE2::ANCHOR_BOTH : RE2::ANCHOR_START;
  return regex_->Match(Piece(name), 0, name.size(), anchor, nullptr, 0);
}

std::optional<int64_t> ModulePattern::Index(std::string_view name) const {
  CHECK(regex_ != nullptr);
  const std::map<std::string, int>& groups = regex_->NamedCapturingGroups();
  const auto group = groups.find("idx");
  CHECK(group != groups.end());
  std::vector<re2::StringPiece> captured(static_cast<size_t>(group->second) + 1);
  if (!regex_->Match(Piece(name), 0, name.size(), RE2::ANCHOR_START, captured.data(),
                     static_cast<int>(captured.size()))) {
    return std::nullopt;
  }
  const re2::StringPiece digits = captured.back();
  int64_t index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return index;
}

}  // namespace lorry::formats
