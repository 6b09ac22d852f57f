#include "formats/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <charconv>

#include "base/ascii.h"
#include "base/check.h"
#include "formats/json.h"
#include "formats/python_regex.h"

namespace lorry::formats {
namespace {

constexpr size_t kMaxPatternBytes = 4096;
// A step is one item of an expression that is tried at one place of a name. The patterns that
// people write take some hundred for a name; this many take a second.
constexpr int64_t kMaxSteps = 10'000'000;
constexpr uint32_t kMaxBacktrackDepth = 20'000;
constexpr uint32_t kMaxHeapKib = 8 << 10;
// Of all expressions of an adapter. One takes some hundred bytes, and 64 KiB at most.
constexpr int64_t kMaxCompiledBytes = 16 << 20;
constexpr uint32_t kMaxGroups = kMaxPatternBytes;  // more than the longest pattern can have

int CountStep(pcre2_callout_block*, void* steps_left) {
  return --*static_cast<int64_t*>(steps_left) < 0 ? PCRE2_ERROR_CALLOUT : 0;
}

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string PcreMessage(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

tl::unexpected<Error> Refused(std::string_view pattern, std::string_view why) {
  return Fail(ErrorCode::kUnsupported,
              fmt::format("the regular expression {} is not supported: {}", Quoted(pattern), why));
}

// Letters, digits, "_" and ".": the dot, any character, is all that is special.
bool IsPlain(std::string_view pattern) {
  for (char c : pattern) {
    if (!IsAsciiAlphanumeric(c) && c != '_' && c != '.') return false;
  }
  return !pattern.empty();
}

bool MatchesPlainSuffix(std::string_view suffix, std::string_view name) {
  if (name.ends_with('\n') && MatchesPlainSuffix(suffix, name.substr(0, name.size() - 1))) {
    return true;
  }
  if (suffix.size() > name.size()) return false;
  const size_t begin = name.size() - suffix.size();
  if (begin > 0 && name[begin - 1] != '.') return false;
  for (size_t i = 0; i < suffix.size(); ++i) {
    const char c = name[begin + i];
    if (suffix[i] == '.' ? c == '\n' : suffix[i] != c) return false;
  }
  return true;
}

}  // namespace

void PcreDelete::operator()(pcre2_code* code) const { pcre2_code_free(code); }
void PcreDelete::operator()(pcre2_match_context* context) const {
  pcre2_match_context_free(context);
}
void PcreDelete::operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }

MatchBudget::MatchBudget()
    : bytes_left_(kMaxCompiledBytes),
      steps_left_(kMaxSteps),
      context_(pcre2_match_context_create(nullptr)),
      captures_(pcre2_match_data_create(kMaxGroups, nullptr)) {
  CHECK(context_ != nullptr && captures_ != nullptr);
  pcre2_set_callout(context_.get(), &CountStep, &steps_left_);
  pcre2_set_match_limit(context_.get(), kMaxSteps);
  pcre2_set_depth_limit(context_.get(), kMaxBacktrackDepth);
  pcre2_set_heap_limit(context_.get(), kMaxHeapKib);
}

// The text is put together exactly as PEFT does it, so that a pattern with an odd parenthesis means
// here what it means there.
Result<ModulePattern> ModulePattern::Compile(std::string_view pattern, const Frame& frame,
                                             MatchBudget& budget) {
  if (pattern.size() > kMaxPatternBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("the regular expression {} has {} bytes, the limit is {}",
                            Quoted(pattern), pattern.size(), kMaxPatternBytes));
  }
  const auto regex =
      TranslatePythonRegex(fmt::format("{}{}{}", frame.before, pattern, frame.after));
  if (!regex) return Refused(pattern, regex.error().message);
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t error_at = 0;
  ModulePattern result;
  result.source_ = pattern;
  result.whole_name_ = frame.whole_name;
  // The callouts count steps; a circumflex in many lines is found after the last newline too.
  result.code_.reset(pcre2_compile(Units(regex->pcre2), regex->pcre2.size(),
                                   PCRE2_AUTO_CALLOUT | PCRE2_ALT_CIRCUMFLEX | PCRE2_NEVER_UTF,
                                   &error, &error_at, context.get()));
  if (result.code_ == nullptr) return Refused(pattern, PcreMessage(error));
  size_t num_bytes = 0;
  CHECK_EQ(pcre2_pattern_info(result.code_.get(), PCRE2_INFO_SIZE, &num_bytes), 0);
  budget.bytes_left_ -= static_cast<int64_t>(num_bytes);
  if (budget.bytes_left_ < 0) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("the regular expressions up to {} take more than {} bytes together",
                            Quoted(pattern), kMaxCompiledBytes));
  }
  const auto index = regex->groups.find("idx");
  if (index != regex->groups.end()) result.index_group_ = index->second;
  return result;
}

Result<ModulePattern> ModulePattern::Full(std::string_view pattern, MatchBudget& budget) {
  return Compile(pattern, {.before = "", .after = "", .whole_name = true}, budget);
}

Result<ModulePattern> ModulePattern::Suffix(std::string_view pattern, MatchBudget& budget) {
  if (IsPlain(pattern) && pattern.size() <= kMaxPatternBytes) {
    ModulePattern result;
    result.plain_suffix_ = pattern;
    return result;
  }
  return Compile(pattern, {.before = R"((.*\.)?()", .after = ")$", .whole_name = false}, budget);
}

Result<ModulePattern> ModulePattern::Subtree(std::string_view pattern, MatchBudget& budget) {
  return Compile(pattern, {R"((^|.*\.))", R"(($|\..*))", false}, budget);
}

Result<ModulePattern> ModulePattern::LayerIndex(std::string_view pattern, MatchBudget& budget) {
  return Compile(pattern, {R"((?:^|.*?\.))", R"(\.(?P<idx>\d+)\.)", false}, budget);
}

ModulePattern ModulePattern::AnyLayerIndex(MatchBudget& budget) {
  Result<ModulePattern> result =
      Compile("", {R"(.*?\.[^.]*)", R"(\.(?P<idx>\d+)\.)", false}, budget);
  CHECK(result.has_value());
  return std::move(*result);
}

bool ModulePattern::Run(std::string_view name, MatchBudget& budget) const {
  if (!budget.status_) return false;
  const uint32_t options = PCRE2_ANCHORED | (whole_name_ ? PCRE2_ENDANCHORED : 0);
  const int status = pcre2_match(code_.get(), Units(name), name.size(), 0, options,
                                 budget.captures_.get(), budget.context_.get());
  if (status >= 0) return true;
  if (status == PCRE2_ERROR_NOMATCH) return false;
  const std::string why =
      status == PCRE2_ERROR_CALLOUT || status == PCRE2_ERROR_MATCHLIMIT
          ? fmt::format("matching the base's modules takes more than {} steps", kMaxSteps)
      : status == PCRE2_ERROR_DEPTHLIMIT
          ? fmt::format("it backtracks deeper than {} steps", kMaxBacktrackDepth)
      : status == PCRE2_ERROR_HEAPLIMIT ? fmt::format("it takes more than {} KiB", kMaxHeapKib)
                                        : PcreMessage(status);
  budget.status_ =
      Fail(ErrorCode::kTooLarge,
           fmt::format("the regular expression {} is too much: {}", Quoted(source_), why));
  return false;
}

bool ModulePattern::Matches(std::string_view name, MatchBudget& budget) const {
  return code_ == nullptr ? MatchesPlainSuffix(plain_suffix_, name) : Run(name, budget);
}

ModulePattern::Layer ModulePattern::FindLayer(std::string_view name, MatchBudget& budget) const {
  CHECK(code_ != nullptr && index_group_ > 0);
  if (!Run(name, budget)) return {};
  const size_t* places = pcre2_get_ovector_pointer(budget.captures_.get()) + 2 * index_group_;
  if (places[0] == PCRE2_UNSET) return {.matched = true};
  const char* end = name.data() + places[1];
  int64_t index = 0;
  const auto [stop, error] = std::from_chars(name.data() + places[0], end, index);
  if (error != std::errc() || stop != end) return {.matched = true};  // no layer has such a number
  return {.matched = true, .index = index};
}

}  // namespace lorry::formats
