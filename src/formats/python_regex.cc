#include "formats/python_regex.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/ascii.h"

namespace lorry::formats {
namespace {

constexpr int kMaxDepth = 200;                   // PCRE2 nests no deeper than 250
constexpr int64_t kMaxRepeat = 65535;            // PCRE2's
constexpr int64_t kMaxWidth = int64_t{1} << 40;  // beyond any text

bool IsOctal(char c) { return c >= '0' && c <= '7'; }
bool IsHex(char c) { return IsAsciiDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsSpace(char c) { return std::string_view(" \t\n\r\v\f").find(c) != std::string_view::npos; }

bool IsIdentifier(std::string_view name) {
  return !name.empty() && !IsAsciiDigit(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return IsAsciiLetter(c) || IsAsciiDigit(c) || c == '_'; });
}

tl::unexpected<Error> Refuse(std::string what) {
  return Fail(ErrorCode::kUnsupported, std::move(what));
}
// What Python's `re` refuses too.
tl::unexpected<Error> Invalid(std::string_view what) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("Python refuses it: {}", what));
}

// A character, as one that nothing takes for an operator.
std::string Literal(int code) {
  const char c = static_cast<char>(code);
  if (code < 0x80 && (IsAsciiLetter(c) || IsAsciiDigit(c) || c == '_')) return std::string(1, c);
  return fmt::format("\\x{:02x}", code);
}

// The members of \d, \s and \w and of their opposites, for the inside of a class. What lies beyond
// ASCII is in no name.
struct Category {
  char letter;
  std::string_view members;
};
constexpr std::array kCategories = {
    Category{'d', "0-9"},
    Category{'D', R"(\x00-\x2f\x3a-\xff)"},
    Category{'s', R"(\x09-\x0d\x1c-\x20)"},
    Category{'S', R"(\x00-\x08\x0e-\x1b\x21-\xff)"},
    Category{'w', "0-9A-Za-z_"},
    Category{'W', R"(\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\xff)"},
};

std::optional<std::string_view> MembersOf(char letter) {
  for (const Category& category : kCategories) {
    if (category.letter == letter) return category.members;
  }
  return std::nullopt;
}

// How many characters something matches.
struct Width {
  int64_t min = 0;
  int64_t max = 0;

  Width operator+(const Width& other) const {
    return {std::min(min + other.min, kMaxWidth), std::min(max + other.max, kMaxWidth)};
  }
};

struct Group {
  bool open = true;
  Width width;
  bool referred_to = false;
  // In something repeated or negated, after which engines differ in what it holds.
  bool uncertain = false;
};

// Goes through a pattern as Python's parser does and writes it down anew.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<PythonRegex> Run() {
    for (char c : pattern_) {
      if (static_cast<unsigned char>(c) >= 0x80) {
        return Refuse("a character beyond ASCII, which names of modules do not have");
      }
    }
    ASSIGN_OR_RETURN(result_.pcre2, Alternatives(false, 0));
    if (pos_ < pattern_.size()) return Invalid("unbalanced parenthesis");
    for (const Group& group : groups_) {
      if (group.referred_to && group.uncertain) {
        return Refuse("a reference to a group that is repeated or negated");
      }
    }
    return std::move(result_);
  }

 private:
  // The last item of a sequence: what a quantifier after it repeats.
  struct Item {
    enum Kind { kNone, kPlain, kPlace, kRepeat, kAssertion };
    Kind kind = kNone;
    std::string text;
    Width width;
    size_t first_group = 0;  // the groups from here on lie in it
  };

  // What a construct is in PCRE2's words; its width is left in width_.
  using Text = Result<std::string>;

  // One character, or a backslash and the next one.
  std::string_view Next() const {
    if (pos_ >= pattern_.size()) return {};
    return pattern_.substr(pos_, pattern_[pos_] == '\\' ? 2 : 1);
  }
  std::string_view Take() {
    const std::string_view token = Next();
    pos_ += token.size();
    return token;
  }
  bool TakeIf(std::string_view token) {
    if (Next() != token) return false;
    pos_ += token.size();
    return true;
  }
  bool NextIs(bool (*is)(char)) const {
    const std::string_view token = Next();
    return token.size() == 1 && is(token[0]);
  }

  Text Alternatives(bool verbose, int depth) {
    if (depth > kMaxDepth) {
      return Refuse(fmt::format("groups nested deeper than {}", kMaxDepth));
    }
    std::string text;
    Width width{kMaxWidth, 0};
    for (bool first = true;; first = false) {
      ASSIGN_OR_RETURN(const std::string sequence, Sequence(verbose, depth, depth == 0 && first));
      text += (first ? "" : "|") + sequence;
      width = {std::min(width.min, width_.min), std::max(width.max, width_.max)};
      if (!TakeIf("|")) break;
      if (depth == 0) verbose = verbose_;
    }
    width_ = width;
    return text;
  }

  // `flags_allowed`: nothing stands before it, so flags of the whole expression may.
  Text Sequence(bool verbose, int depth, bool flags_allowed) {
    std::string text;
    Width width;
    Item last;
    while (pos_ < pattern_.size() && Next() != "|" && Next() != ")") {
      if (Next() == "\\") return Invalid("it ends on a backslash");
      if (verbose && SkipVerbose()) continue;
      const std::string_view token = Next();
      if (token == "*" || token == "+" || token == "?" || (token == "{" && IsRepeat())) {
        RETURN_IF_ERROR(Repeat(last));
        continue;
      }
      if (StartsWith("(?#")) {
        RETURN_IF_ERROR(SkipComment());
        continue;
      }
      if (IsFlags()) {
        ASSIGN_OR_RETURN(const std::optional<std::string> flags, WholeFlags());
        if (flags) {
          if (!flags_allowed || last.kind != Item::kNone) {
            return Invalid("global flags not at the start of the expression");
          }
          text += *flags;
          verbose = verbose_;
          continue;
        }
      }
      text += last.text;
      width = width + last.width;
      const size_t first_group = groups_.size();
      ASSIGN_OR_RETURN(last, OneItem(verbose, depth));
      last.first_group = first_group;
    }
    width_ = width + last.width;
    return text + last.text;
  }

  bool SkipVerbose() {
    if (NextIs(IsSpace)) {
      Take();
      return true;
    }
    if (!TakeIf("#")) return false;
    while (pos_ < pattern_.size() && Take() != "\n") continue;
    return true;
  }

  Status SkipComment() {
    while (pos_ < pattern_.size()) {
      if (Take() == ")") return {};
    }
    return Invalid("an unterminated comment");
  }

  bool StartsWith(std::string_view text) const { return pattern_.substr(pos_).starts_with(text); }

  // `{`: whether it is a quantifier; to Python every other one stands for itself.
  bool IsRepeat() const {
    const size_t end = pattern_.find('}', pos_);
    if (end == std::string_view::npos || end == pos_ + 1) return false;
    const std::string_view inner = pattern_.substr(pos_ + 1, end - pos_ - 1);
    const size_t comma = inner.find(',');
    const auto digits = [](std::string_view text) {
      return std::all_of(text.begin(), text.end(), IsAsciiDigit);
    };
    if (comma == std::string_view::npos) return digits(inner);
    return digits(inner.substr(0, comma)) && digits(inner.substr(comma + 1));
  }

  static Result<int64_t> Count(std::string_view digits) {
    int64_t count = 0;
    for (char c : digits) count = std::min(count * 10 + (c - '0'), kMaxRepeat + 1);
    if (count > kMaxRepeat) {
      return Refuse(fmt::format("a repetition of {}, the limit is {}", digits, kMaxRepeat));
    }
    return count;
  }

  Status Repeat(Item& last) {
    int64_t min = 0;
    std::optional<int64_t> max;
    const std::string_view token = Take();
    if (token == "+") min = 1;
    if (token == "?") max = 1;
    if (token == "{") {
      const size_t end = pattern_.find('}', pos_);
      const std::string_view inner = pattern_.substr(pos_, end - pos_);
      pos_ = end + 1;
      const size_t comma = inner.find(',');
      ASSIGN_OR_RETURN(min, Count(inner.substr(0, comma)));
      const std::string_view upper = comma == inner.npos ? inner : inner.substr(comma + 1);
      if (!upper.empty()) {
        ASSIGN_OR_RETURN(max, Count(upper));
        if (*max < min) return Invalid("min repeat greater than max repeat");
      }
    }
    switch (last.kind) {
      case Item::kNone:
      case Item::kPlace:
        return Invalid("nothing to repeat");
      case Item::kRepeat:
        return Invalid("multiple repeat");
      case Item::kAssertion:
        last.text =
            fmt::format("(?:{})", last.text);  // PCRE2 repeats an assertion by rules of its own
        break;
      case Item::kPlain:
        break;
    }
    last.kind = Item::kRepeat;
    const std::string count = fmt::format("{{{},{}}}", min, max ? std::to_string(*max) : "");
    if (TakeIf("?")) {
      last.text += count + '?';
    } else if (TakeIf("+")) {
      last.text = fmt::format("(?>{}){}+", last.text, count);  // Python keeps what each round took
    } else {
      last.text += count;
    }
    if (max != 1) MarkUncertain(last.first_group);
    last.width.min = std::min(last.width.min * min, kMaxWidth);
    last.width.max =
        max ? std::min(last.width.max * *max, kMaxWidth) : (last.width.max > 0 ? kMaxWidth : 0);
    return {};
  }

  void MarkUncertain(size_t first_group) {
    for (size_t i = first_group; i < groups_.size(); ++i) groups_[i].uncertain = true;
  }

  Result<Item> OneItem(bool verbose, int depth) {
    const std::string_view token = Take();
    if (token.size() == 2) return Escape(token[1]);
    switch (token[0]) {
      case '(':
        return TakeIf("?") ? Extension(verbose, depth) : Capture("", verbose, depth);
      case '[':
        return Class();
      case '^':
      case '$':
        return Item{Item::kPlace, std::string(token)};
      case '.':
        return Item{Item::kPlain, ".", {1, 1}};
      default:
        return Character(static_cast<unsigned char>(token[0]));
    }
  }

  static Item Character(int code) { return {Item::kPlain, Literal(code), {1, 1}}; }

  Result<Item> Escape(char c) {
    if (c == 'A' || c == 'b') return Item{Item::kPlace, fmt::format("\\{}", c)};
    if (c == 'Z') return Item{Item::kPlace, "\\z"};
    if (c == 'B') return Item{Item::kPlace, R"((?:(?!\A\z)\B))"};  // not in an empty text
    if (const auto members = MembersOf(c)) {
      return Item{Item::kPlain, fmt::format("[{}]", *members), {1, 1}};
    }
    if (c >= '1' && c <= '9') {
      std::string digits(1, c);
      if (NextIs(IsAsciiDigit)) {
        digits += Take();
        if (IsOctal(digits[0]) && IsOctal(digits[1]) && NextIs(IsOctal)) {
          digits += Take();
          ASSIGN_OR_RETURN(const int code, Octal(digits));
          return Character(code);
        }
      }
      return Reference(static_cast<size_t>(std::stoi(digits)));
    }
    ASSIGN_OR_RETURN(const int code, CharacterEscape(c));
    return Character(code);
  }

  static Result<int> Octal(const std::string& digits) {
    const int code = std::stoi(digits, nullptr, 8);
    if (code > 0xff) return Invalid(fmt::format("the octal escape \\{} is above 377", digits));
    return code;
  }

  // The escapes that stand for one character, inside a class and outside.
  Result<int> CharacterEscape(char c) {
    constexpr std::string_view kNames = "abfnrtv", kCodes = "\a\b\f\n\r\t\v";
    if (const size_t named = kNames.find(c); named != std::string_view::npos) {
      return kCodes[named];
    }
    if (c == 'x' || c == 'u' || c == 'U') {
      const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      std::string digits;
      while (digits.size() < length && NextIs(IsHex)) digits += Take();
      if (digits.size() < length) return Invalid(fmt::format("an incomplete escape \\{}", c));
      const unsigned long code = std::stoul(digits, nullptr, 16);
      if (code > 0xff) {
        return Refuse(
            fmt::format("the character \\{}{}, which names of modules do not have", c, digits));
      }
      return static_cast<int>(code);
    }
    if (IsOctal(c)) {
      std::string digits(1, c);
      while (digits.size() < 3 && NextIs(IsOctal)) digits += Take();
      return Octal(digits);
    }
    if (c == 'N') return Refuse("a character by name");
    if (IsAsciiLetter(c) || IsAsciiDigit(c)) return Invalid(fmt::format("bad escape \\{}", c));
    return static_cast<unsigned char>(c);
  }

  Result<Item> Reference(size_t group) {
    RETURN_IF_ERROR(Refer(group));
    return Item{Item::kPlain, fmt::format("\\g{{{}}}", group), groups_[group].width};
  }

  Status Refer(size_t group) {
    if (group == 0 || group >= groups_.size()) {
      return Invalid(fmt::format("invalid group reference {}", group));
    }
    if (groups_[group].open) return Invalid("a reference to an open group");
    if (lookbehind_groups_ && group >= *lookbehind_groups_) {
      return Invalid("a reference to a group of the same look-behind");
    }
    groups_[group].referred_to = true;
    return {};
  }

  // Members of a class, after its opening bracket.
  Result<Item> Class() {
    std::string text = TakeIf("^") ? "[^" : "[";
    const size_t empty = text.size();
    for (;;) {
      const std::string_view token = Next();
      if (token.empty() || token == "\\") return Invalid("an unterminated character class");
      Take();
      if (token == "]" && text.size() > empty) break;
      ASSIGN_OR_RETURN(const ClassMember low, Member(token));
      if (!TakeIf("-")) {
        text += low.text;
        continue;
      }
      const std::string_view end = Next();
      if (end.empty() || end == "\\") return Invalid("an unterminated character class");
      Take();
      if (end == "]") {
        text += low.text + R"(\x2d)";
        break;
      }
      ASSIGN_OR_RETURN(const ClassMember high, Member(end));
      if (!low.code || !high.code || *high.code < *low.code) {
        return Invalid("a bad character range");
      }
      text += fmt::format("{}-{}", low.text, high.text);
    }
    return Item{Item::kPlain, text + "]", {1, 1}};
  }

  struct ClassMember {
    std::string text;
    std::optional<int> code;  // of one character
  };
  Result<ClassMember> Member(std::string_view token) {
    int code = static_cast<unsigned char>(token[0]);
    if (token.size() == 2) {
      if (const auto members = MembersOf(token[1])) return ClassMember{std::string(*members), {}};
      ASSIGN_OR_RETURN(code, CharacterEscape(token[1]));
    }
    return ClassMember{Literal(code), code};
  }

  // A group whose contents follow, up to its closing parenthesis.
  Text Contents(std::string_view opening, bool verbose, int depth) {
    ASSIGN_OR_RETURN(const std::string inner, Alternatives(verbose, depth + 1));
    if (!TakeIf(")")) return Invalid("an unterminated group");
    return fmt::format("{}{})", opening, inner);
  }

  Result<Item> Capture(const std::string& name, bool verbose, int depth) {
    const size_t group = groups_.size();
    groups_.emplace_back();
    if (!name.empty() && !result_.groups.emplace(name, static_cast<int>(group)).second) {
      return Invalid(fmt::format("redefinition of the group name {}", name));
    }
    ASSIGN_OR_RETURN(std::string text, Contents("(", verbose, depth));
    groups_[group].open = false;
    groups_[group].width = width_;
    return Item{Item::kPlain, std::move(text), width_};
  }

  // A name or a number up to `end`.
  Result<std::string> Name(char end) {
    const size_t close = pattern_.find(end, pos_);
    if (close == std::string_view::npos) return Invalid("an unterminated group name");
    std::string name(pattern_.substr(pos_, close - pos_));
    pos_ = close + 1;
    return name;
  }

  Result<std::string> GroupName(char end) {
    ASSIGN_OR_RETURN(std::string name, Name(end));
    if (!IsIdentifier(name)) return Invalid("a bad group name");
    return name;
  }

  Result<size_t> NumberOf(const std::string& name) const {
    const auto found = result_.groups.find(name);
    if (found == result_.groups.end()) return Invalid(fmt::format("no group is named {}", name));
    return static_cast<size_t>(found->second);
  }

  // After "(?".
  Result<Item> Extension(bool verbose, int depth) {
    if (TakeIf("P")) {
      if (TakeIf("<")) {
        ASSIGN_OR_RETURN(const std::string name, GroupName('>'));
        return Capture(name, verbose, depth);
      }
      if (!TakeIf("=")) return Invalid("an unknown extension (?P");
      ASSIGN_OR_RETURN(const std::string name, GroupName(')'));
      ASSIGN_OR_RETURN(const size_t group, NumberOf(name));
      return Reference(group);
    }
    if (TakeIf(":") || TakeIf(">")) {
      const std::string opening = fmt::format("(?{}", pattern_[pos_ - 1]);
      ASSIGN_OR_RETURN(std::string text, Contents(opening, verbose, depth));
      return Item{Item::kPlain, std::move(text), width_};
    }
    if (TakeIf("=")) return LookAround("(?=", verbose, depth);
    if (TakeIf("!")) return LookAround("(?!", verbose, depth);
    if (TakeIf("<")) {
      if (TakeIf("=")) return LookAround("(?<=", verbose, depth);
      if (TakeIf("!")) return LookAround("(?<!", verbose, depth);
      return Invalid("an unknown extension (?<");
    }
    if (TakeIf("(")) return Condition(verbose, depth);
    return ScopedFlags(verbose, depth);
  }

  Result<Item> LookAround(std::string_view opening, bool verbose, int depth) {
    const bool behind = opening[2] == '<';
    const size_t first_group = groups_.size();
    const std::optional<size_t> outer = lookbehind_groups_;
    if (behind && !outer) lookbehind_groups_ = first_group;
    ASSIGN_OR_RETURN(std::string text, Contents(opening, verbose, depth));
    lookbehind_groups_ = outer;
    if (opening.back() == '!') MarkUncertain(first_group);
    if (behind && width_.min != width_.max) {
      return Invalid("look-behind requires fixed-width pattern");
    }
    return Item{Item::kAssertion, std::move(text), {}};
  }

  // (?(1)yes|no)
  Result<Item> Condition(bool verbose, int depth) {
    if (depth >= kMaxDepth) return Refuse(fmt::format("groups nested deeper than {}", kMaxDepth));
    ASSIGN_OR_RETURN(const std::string name, Name(')'));
    size_t group = 0;
    if (IsIdentifier(name)) {
      ASSIGN_OR_RETURN(group, NumberOf(name));
    } else if (!name.empty() && name.size() < 6 &&
               std::all_of(name.begin(), name.end(), IsAsciiDigit)) {
      group = static_cast<size_t>(std::stoi(name));
    } else {
      return Invalid("a bad group name");
    }
    if (group >= groups_.size()) return Refuse("a condition on a group that comes later");
    RETURN_IF_ERROR(Refer(group));
    ASSIGN_OR_RETURN(std::string text, Sequence(verbose, depth + 1, false));
    Width width = width_;
    if (TakeIf("|")) {
      ASSIGN_OR_RETURN(const std::string otherwise, Sequence(verbose, depth + 1, false));
      if (Next() == "|") return Invalid("a condition with more than two branches");
      text += "|" + otherwise;
      width = {std::min(width.min, width_.min), std::max(width.max, width_.max)};
    } else {
      width.min = 0;
    }
    if (!TakeIf(")")) return Invalid("an unterminated group");
    return Item{Item::kPlain, fmt::format("(?({}){})", group, text), width};
  }

  // Whether "(?i" or its like follows.
  bool IsFlags() const {
    return StartsWith("(?") && pos_ + 2 < pattern_.size() &&
           std::string_view("aiLmstux-").find(pattern_[pos_ + 2]) != std::string_view::npos;
  }

  struct Flags {
    std::string on;  // those that PCRE2 has to know: i, m, s
    std::string off;
    std::optional<bool> verbose;
    bool to_the_end = false;  // "(?i)", not "(?i:…)"
  };

  // "i)", "i-m:", after "(?".
  Result<Flags> ReadFlags() {
    Flags flags;
    std::string on, off;
    std::string* letters = &on;
    for (;;) {
      const std::string_view token = Take();
      if (token.size() != 1) return Invalid("unterminated flags");
      const char c = token[0];
      if (c == ':' || (c == ')' && letters == &on)) {
        flags.to_the_end = c == ')';
        break;
      }
      if (c == '-' && letters == &on) {
        letters = &off;
        continue;
      }
      if (std::string_view("imsx").find(c) == std::string_view::npos &&
          !(letters == &on && (c == 'a' || c == 'u'))) {
        return Invalid(fmt::format("a flag {} that cannot stand there", c));
      }
      *letters += c;
    }
    if ((letters == &off && off.empty()) || (on.empty() && off.empty())) {
      return Invalid("missing flag");
    }
    if (on.find('a') != on.npos && on.find('u') != on.npos) {
      return Invalid("flags a and u are incompatible");
    }
    for (char c : std::string_view("ims")) {
      const bool is_on = on.find(c) != on.npos, is_off = off.find(c) != off.npos;
      if (is_on && is_off) return Invalid("a flag turned on and off");
      if (is_on) flags.on += c;
      if (is_off) flags.off += c;
    }
    const bool verbose_on = on.find('x') != on.npos, verbose_off = off.find('x') != off.npos;
    if (verbose_on && verbose_off) return Invalid("a flag turned on and off");
    if (verbose_on || verbose_off) flags.verbose = verbose_on;
    return flags;
  }

  // "(?i)": read if the flags are those of the whole expression, else left where it is.
  Result<std::optional<std::string>> WholeFlags() {
    const size_t start = pos_;
    pos_ += 2;
    ASSIGN_OR_RETURN(const Flags flags, ReadFlags());
    if (!flags.to_the_end) {
      pos_ = start;
      return std::optional<std::string>();
    }
    if (flags.verbose) verbose_ = true;
    return std::optional(flags.on.empty() ? std::string() : fmt::format("(?{})", flags.on));
  }

  Result<Item> ScopedFlags(bool verbose, int depth) {
    pos_ -= 2;
    if (!IsFlags())
      return Invalid(fmt::format("an unknown extension {}", pattern_.substr(pos_, 3)));
    pos_ += 2;
    ASSIGN_OR_RETURN(const Flags flags, ReadFlags());
    std::string opening = "(?" + flags.on;
    if (!flags.off.empty()) opening += "-" + flags.off;
    ASSIGN_OR_RETURN(std::string text,
                     Contents(opening + ":", flags.verbose.value_or(verbose), depth));
    return Item{Item::kPlain, std::move(text), width_};
  }

  const std::string_view pattern_;
  size_t pos_ = 0;
  bool verbose_ = false;                               // the flag of the whole expression
  Width width_;                                        // of what was last translated
  std::vector<Group> groups_ = std::vector<Group>(1);  // the first is the whole expression
  std::optional<size_t> lookbehind_groups_;  // how many groups stand before it, inside one
  PythonRegex result_;
};

}  // namespace

Result<PythonRegex> TranslatePythonRegex(std::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace lorry::formats
