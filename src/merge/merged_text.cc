#include "merge/merged_text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <filesystem>
#include <vector>

#include "formats/adapter_files.h"
#include "formats/adapter_text.h"
#include "formats/file_bytes.h"
#include "formats/json.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using formats::AdapterText;

constexpr char kTokenizerConfig[] = "tokenizer_config.json";
constexpr char kGenerationConfig[] = "generation_config.json";
constexpr char kMoreTemplates[] = "additional_chat_templates";
// What formats/adapter_text.h takes of tokenizer_config.json.
constexpr std::array kTokenFields = {"bos_token",
                                     "eos_token",
                                     "unk_token",
                                     "pad_token",
                                     "additional_special_tokens",
                                     "added_tokens_decoder",
                                     "add_bos_token"};

bool Exists(const std::string& dir, std::string_view name) {
  std::error_code error;
  return fs::exists(fs::path(dir) / name, error);
}

// Empty if there is none.
Result<json::object> ReadObject(const std::string& dir, const char* name) {
  return formats::ReadJsonIfThere(fmt::format("{}/{}", dir, name),
                                  {.max_bytes = formats::kMaxAdapterConfigBytes});
}

std::string Written(const json::object& object) { return json::serialize(object) + "\n"; }

// The base's text with one adapter's own parts in their places.
class Composer {
 public:
  Composer(std::string base_dir, std::string adapter_dir, const AdapterText& own)
      : base_dir_(std::move(base_dir)), adapter_dir_(std::move(adapter_dir)), own_(own) {}

  Result<MergedText> Compose() {
    if (!own_.config_json.empty()) {
      ASSIGN_OR_RETURN(config_, formats::ParseJsonObject(own_.config_json, "text"));
    }
    ASSIGN_OR_RETURN(const json::object base_config, ReadObject(base_dir_, kTokenizerConfig));
    ASSIGN_OR_RETURN(const formats::ChatTemplates base_templates,
                     formats::ReadChatTemplates(base_dir_, base_config));
    tokenizer_config_ = base_config;
    RETURN_IF_ERROR(TakeTokenizer());
    TakeRoles();
    TakeTemplates(formats::ToJson(base_templates));
    text_.files[kTokenizerConfig] = Written(tokenizer_config_);
    RETURN_IF_ERROR(TakeEnds());
    if (!parts_.empty()) text_.shown = fmt::format("{} of its own", fmt::join(parts_, ", "));
    return std::move(text_);
  }

 private:
  Status TakeTokenizer() {
    if (own_.tokenizer_json.empty()) return {};
    parts_.emplace_back("tokenizer");
    text_.files["tokenizer.json"] = own_.tokenizer_json;
    // The same tokens in older forms.
    text_.left_out.insert({"vocab.json", "merges.txt", "vocab.txt", "tokenizer.model"});
    if (!Exists(adapter_dir_, "tokenizer.json") || !Exists(adapter_dir_, kTokenizerConfig)) {
      return {};
    }
    ASSIGN_OR_RETURN(tokenizer_config_, ReadObject(adapter_dir_, kTokenizerConfig));
    return {};
  }

  void TakeRoles() {
    const json::value* fields = config_.if_contains("tokenizer");
    if (fields == nullptr) return;
    if (own_.tokenizer_json.empty()) parts_.emplace_back("tokens by role");
    for (const char* field : kTokenFields) tokenizer_config_.erase(field);
    for (const auto& [key, value] : fields->get_object()) tokenizer_config_[key] = value;
    text_.left_out.insert({"special_tokens_map.json", "added_tokens.json"});
  }

  void TakeTemplates(const json::value& of_base) {
    const json::value* own = config_.if_contains("chat_template");
    if (own != nullptr) parts_.emplace_back("chat template");
    const json::value& taken = own != nullptr ? *own : of_base;
    tokenizer_config_.erase("chat_template");
    if (!taken.is_null()) tokenizer_config_["chat_template"] = taken;
    text_.left_out.insert({"chat_template.jinja", "chat_template.json"});
  }

  // Beside the base's, which end an adapter's texts too.
  Status TakeEnds() {
    const json::value* own = config_.if_contains("eos_token_id");
    if (own == nullptr) return {};
    parts_.emplace_back("end tokens");
    ASSIGN_OR_RETURN(json::object generation, ReadObject(base_dir_, kGenerationConfig));
    json::array ends;
    if (const json::value* base = generation.if_contains("eos_token_id")) {
      if (base->is_array()) ends = base->get_array();
      if (base->is_int64()) ends.push_back(*base);
    }
    for (const json::value& id : own->get_array()) {
      if (std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
    }
    generation["eos_token_id"] = std::move(ends);
    text_.files[kGenerationConfig] = Written(generation);
    return {};
  }

  const std::string base_dir_, adapter_dir_;
  const AdapterText& own_;
  json::object config_;            // of the adapter's own
  json::object tokenizer_config_;  // as it becomes
  std::vector<std::string> parts_;
  MergedText text_;
};

// An adapter made of one adapter goes on speaking with its files.
Result<MergedText> AdapterFiles(const std::string& dir) {
  MergedText text{.files = {}, .left_out = {}, .shown = "its own files"};
  for (const std::string_view name : formats::AdapterFileNames()) {
    const bool is_weights = name == formats::kAdapterConfigFile ||
                            name == formats::kAdapterWeightsFile ||
                            name == formats::kAdapterTorchFile;
    if (is_weights || !Exists(dir, name)) continue;
    ASSIGN_OR_RETURN(text.files[std::string(name)],
                     formats::ReadSmallFile(fmt::format("{}/{}", dir, name),
                                            formats::kMaxAdapterTokenizerBytes));
  }
  return text;
}

}  // namespace

Result<MergedText> TextOfMerged(const MergeOptions& options) {
  const std::string& base_dir = options.base_dir;
  if (!Exists(base_dir, "tokenizer.json")) return MergedText();  // nor would a server start
  ASSIGN_OR_RETURN(const formats::BaseText base, formats::BaseText::Read(base_dir));
  AdapterText own;
  std::vector<std::string> with_own;
  for (const WeightedAdapter& adapter : options.adapters) {
    Result<AdapterText> text = base.OwnTextOf(adapter.dir);
    if (!text) return Annotate(std::move(text.error()), adapter.shown());
    if (text->empty()) continue;
    with_own.push_back(adapter.shown());
    own = std::move(*text);
  }
  if (options.adapters.size() > 1) {
    MergedText text;
    if (!with_own.empty()) {
      text.shown = fmt::format(
          "the base's, as of a sum that is served; left out: the tokenizer or chat template of {}",
          fmt::join(with_own, ", "));
    }
    own = {};
    if (options.as_adapter || !Exists(base_dir, kMoreTemplates)) return text;
    ASSIGN_OR_RETURN(MergedText of_base, Composer(base_dir, "", own).Compose());
    of_base.shown = text.shown;
    return of_base;
  }
  if (options.as_adapter) return own.empty() ? MergedText() : AdapterFiles(options.adapters[0].dir);
  // A directory does not go along, so its templates go into the config.
  if (own.empty() && !Exists(base_dir, kMoreTemplates)) return MergedText();
  return Composer(base_dir, options.adapters[0].dir, own).Compose();
}

}  // namespace lorry::merge
