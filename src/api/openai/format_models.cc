#include <algorithm>

#include "api/openai/format.h"
#include "api/openai/json_text.h"

namespace lorry::api::openai {
namespace {

struct ModelCard {
  std::string_view id;
  std::string_view root;
  std::string_view parent;  // "": a base
};

void AppendModelCard(std::string& out, const ModelDirectory& directory, const ModelCard& card) {
  out += R"({"id":)";
  AppendJsonString(out, card.id);
  out += R"(,"object":"model","created":)";
  AppendJsonInt(out, directory.created_s());
  out += R"(,"owned_by":"lorry","root":)";
  AppendJsonString(out, card.root);
  out += R"(,"parent":)";
  AppendJsonStringOrNull(out, card.parent);
  out += R"(,"max_model_len":)";
  AppendJsonInt(out, directory.max_model_len());
  out += '}';
}

std::vector<ModelCard> AllCards(const ModelDirectory& directory) {
  std::vector<ModelCard> cards;
  for (const std::string& name : directory.base_names()) {
    cards.push_back({name, directory.base_root(), ""});
  }
  for (const AdapterCard& adapter : directory.adapters()) {
    cards.push_back({adapter.name, adapter.root, directory.base_names().front()});
  }
  return cards;
}

}  // namespace

std::string FormatModels(const ModelDirectory& directory) {
  std::string out = R"({"object":"list","data":[)";
  bool first = true;
  for (const ModelCard& card : AllCards(directory)) {
    if (!first) out += ',';
    first = false;
    AppendModelCard(out, directory, card);
  }
  out += "]}";
  return out;
}

Result<std::string> FormatModel(const ModelDirectory& directory, std::string_view id) {
  // "base:adapter" shows the adapter, as it does in requests; "" is nobody's id here.
  if (id.empty()) return Fail(ErrorCode::kNotFound, "The model's name is missing.", "model");
  const auto format = [&directory](const ModelCard& card) {
    std::string out;
    AppendModelCard(out, directory, card);
    return out;
  };
  ASSIGN_OR_RETURN(const ModelChoice choice, directory.Resolve(id));
  const std::string_view shown = choice.is_adapter() ? std::string_view(choice.name) : id;
  for (const ModelCard& card : AllCards(directory)) {
    if (card.id == shown) return format(card);
  }
  // A sum is on no list, and answers under its name all the same.
  return format({shown, directory.base_root(), directory.base_names().front()});
}

std::string FormatTokenize(std::span<const TokenId> tokens, int max_model_len,
                           const std::vector<std::string_view>* token_strings) {
  std::string out = R"({"count":)";
  AppendJsonInt(out, static_cast<int64_t>(tokens.size()));
  out += R"(,"max_model_len":)";
  AppendJsonInt(out, max_model_len);
  out += R"(,"tokens":)";
  AppendTokenIds(out, tokens);
  out += R"(,"token_strs":)";
  if (token_strings == nullptr) {
    out += "null}";
    return out;
  }
  out += '[';
  for (size_t i = 0; i < token_strings->size(); ++i) {
    if (i > 0) out += ',';
    AppendJsonString(out, (*token_strings)[i]);
  }
  out += "]}";
  return out;
}

std::string FormatDetokenize(std::string_view text) {
  std::string out = R"({"prompt":)";
  AppendJsonString(out, text);
  out += '}';
  return out;
}

std::string FormatVersion(std::string_view version) {
  std::string out = R"({"version":)";
  AppendJsonString(out, version);
  out += '}';
  return out;
}

}  // namespace lorry::api::openai
