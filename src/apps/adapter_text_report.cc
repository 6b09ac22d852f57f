#include "apps/adapter_text_report.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <utility>
#include <vector>

#include "apps/environment.h"
#include "formats/adapter_files.h"
#include "formats/json.h"
#include "text/model_text.h"
#include "text/text_sandbox.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using text::ModelText;
using text::Tokenizer;

constexpr size_t kMaxNamesShown = 3;     // to people
constexpr size_t kMaxNamesListed = 100;  // to machines

bool HasTextFiles(const std::string& dir) {
  const auto names = formats::AdapterFileNames();
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
    std::error_code ignored;
    return name != formats::kAdapterConfigFile && name != formats::kAdapterWeightsFile &&
           name != formats::kAdapterTorchFile && fs::exists(fs::path(dir) / name, ignored);
  });
}

class Describer {
 public:
  Describer(const ModelText& base, const ModelText& own, const json::object& config)
      : base_(base), own_(own), config_(config) {}

  AdapterTextReport Describe(bool has_own_tokens, int64_t vocab_size) {
    object_["tokenizer"] = has_own_tokens ? "own" : "base";
    if (has_own_tokens) DescribeTokens(vocab_size);
    DescribeRoles();
    const bool has_template = config_.contains("chat_template");
    object_["chat_template"] = nullptr;
    if (own_.chat_template) object_["chat_template"] = has_template ? "own" : "base";
    if (has_template) shown_.emplace_back("chat template");
    const json::value* eos = config_.if_contains("eos_token_id");
    object_["eos_token_id"] = eos == nullptr ? json::array() : *eos;
    if (eos != nullptr) {
      shown_.push_back(fmt::format("texts end at {} too", json::serialize(*eos)));
    }
    return {.text = {},
            .json = std::move(object_),
            .shown = fmt::format("its own: {}", fmt::join(shown_, "; "))};
  }

 private:
  void DescribeTokens(int64_t vocab_size) {
    const Tokenizer& tokens = own_.tokenizer;
    int64_t num_tokens = 0, num_own = 0, num_without_weights = 0;
    json::array names;
    std::string some;
    for (TokenId id = 0; id < tokens.vocab_size(); ++id) {
      if (!tokens.Exists(id)) continue;
      ++num_tokens;
      num_without_weights += id >= vocab_size;
      if (base_.tokenizer.Exists(id) && base_.tokenizer.TokenBytes(id) == tokens.TokenBytes(id)) {
        continue;
      }
      ++num_own;
      const std::string name = tokens.Decode(std::span(&id, 1), {.skip_special_tokens = false});
      if (names.size() < kMaxNamesShown) {
        some += fmt::format("{}{}", some.empty() ? "" : ", ", formats::Quoted(name));
      }
      if (names.size() < kMaxNamesListed) names.emplace_back(name);
    }
    if (num_own > static_cast<int64_t>(kMaxNamesShown)) some += " ...";
    object_["tokens"] = num_tokens;
    object_["own_tokens"] = num_own;
    object_["own_token_names"] = std::move(names);
    object_["tokens_without_weights"] = num_without_weights;
    shown_.push_back(fmt::format("tokenizer of {} tokens, {} of them not the base's{}{}",
                                 num_tokens, num_own, some.empty() ? "" : ": ", some));
    if (num_without_weights > 0) {
      shown_.push_back(fmt::format("{} of its tokens have no weights, prompts with one are refused",
                                   num_without_weights));
    }
  }

  void DescribeRoles() {
    const text::SpecialTokens& base = base_.tokenizer.special_tokens();
    const text::SpecialTokens& own = own_.tokenizer.special_tokens();
    const std::pair<const char*, std::string text::SpecialTokens::*> roles[] = {
        {"bos_token", &text::SpecialTokens::bos},
        {"eos_token", &text::SpecialTokens::eos},
        {"unk_token", &text::SpecialTokens::unk},
        {"pad_token", &text::SpecialTokens::pad}};
    json::object changed;
    for (const auto& [role, token] : roles) {
      if (own.*token == base.*token) continue;
      changed[role] = own.*token;
      shown_.push_back(fmt::format("{} {}", role, formats::Quoted(own.*token)));
    }
    if (config_.contains("tokenizer") && shown_.empty()) shown_.emplace_back("tokens by role");
    object_["roles"] = std::move(changed);
  }

  const ModelText& base_;
  const ModelText& own_;
  const json::object& config_;
  json::object object_;
  std::vector<std::string> shown_;
};

Result<AdapterTextReport> ReportOwn(formats::AdapterText text, const std::string& base_dir,
                                    int64_t vocab_size) {
  ASSIGN_OR_RETURN(const auto base, text::LoadModelText(base_dir));
  const auto sandbox = text::TextSandbox::Create(AdapterTextLimits());
  const auto own = text::ChangeText(*base, text.tokenizer_json, text.config_json, *sandbox);
  if (!own) {
    return Fail(ErrorCode::kUnfit, fmt::format("its tokenizer or chat template cannot be used: {}",
                                               own.error().message));
  }
  ASSIGN_OR_RETURN(const json::object config, formats::ParseJsonObject(text.config_json, "text"));
  AdapterTextReport report =
      Describer(*base, **own, config).Describe(!text.tokenizer_json.empty(), vocab_size);
  report.text = std::move(text);
  return report;
}

}  // namespace

Result<AdapterTextReport> ReportAdapterText(const std::string& adapter_dir,
                                            const std::string& base_dir, int64_t vocab_size) {
  std::error_code error;
  if (!fs::exists(base_dir + "/tokenizer.json", error)) {
    return AdapterTextReport{
        .text = {}, .json = nullptr, .shown = "unknown, the base has no tokenizer.json"};
  }
  ASSIGN_OR_RETURN(const formats::BaseText base, formats::BaseText::Read(base_dir));
  ASSIGN_OR_RETURN(formats::AdapterText text, base.OwnTextOf(adapter_dir));
  if (!text.empty()) return ReportOwn(std::move(text), base_dir, vocab_size);
  return AdapterTextReport{
      .text = {},
      .json = nullptr,
      .shown = HasTextFiles(adapter_dir) ? "the base's, which its own files repeat" : "the base's"};
}

}  // namespace lorry::apps
