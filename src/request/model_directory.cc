#include "request/model_directory.h"

#include "request/adapter_expression.h"

namespace lorry {
namespace {

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

ModelChoice ChoiceOf(const AdapterCard& card) { return {card.name, {{.name = card.name}}}; }

}  // namespace

ModelDirectory::ModelDirectory(std::vector<std::string> base_names, std::string base_root,
                               std::vector<AdapterCard> adapters, int max_model_len,
                               int64_t created_s)
    : base_names_(std::move(base_names)),
      base_root_(std::move(base_root)),
      adapters_(std::move(adapters)),
      max_model_len_(max_model_len),
      created_s_(created_s) {
  for (size_t i = 0; i < adapters_.size(); ++i) index_.emplace(adapters_[i].name, i);
}

const AdapterCard* ModelDirectory::FindAdapter(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &adapters_[found->second];
}

Result<ModelChoice> ModelDirectory::Resolve(std::string_view model) const {
  if (model.empty()) return ModelChoice{base_names_.front()};
  for (const std::string& base : base_names_) {
    if (model == base) return ModelChoice{base};
  }
  if (const AdapterCard* card = FindAdapter(model)) return ChoiceOf(*card);
  std::string_view sum = model;
  for (const std::string& base : base_names_) {
    if (model.size() > base.size() && model.starts_with(base) && model[base.size()] == ':') {
      sum = model.substr(base.size() + 1);
      if (const AdapterCard* card = FindAdapter(sum)) return ChoiceOf(*card);
      break;
    }
  }
  const bool is_source = sum.find("://") != std::string_view::npos;
  if (IsAdapterExpression(sum) && !is_source) return ResolveSum(model, sum);
  return Fail(ErrorCode::kNotFound, fmt::format("The model `{}` does not exist.", model), "model");
}

Result<ModelChoice> ModelDirectory::ResolveSum(std::string_view model, std::string_view sum) const {
  ModelChoice choice{.name = std::string(model)};
  ASSIGN_OR_RETURN(choice.adapters, ParseAdapterExpression(sum));
  for (const AdapterTerm& term : choice.adapters) {
    if (FindAdapter(term.name) != nullptr) continue;
    return Fail(ErrorCode::kNotFound,
                fmt::format("The adapter `{}` of `{}` does not exist.", term.name, model), "model");
  }
  return choice;
}

Status CheckAdapterName(std::string_view name) {
  if (name.empty() || name.size() > 256) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("an adapter's name has 1 to 256 characters, this one {}", name.size()));
  }
  if (!IsLetterOrDigit(name.front())) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("adapter name `{}` must start with a letter or digit", name));
  }
  for (char c : name) {
    if (!IsLetterOrDigit(c) && c != '.' && c != '_' && c != '-' && c != '/') {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("adapter name `{}`: only letters, digits and . _ - / may stand in it", name));
    }
  }
  return {};
}

}  // namespace lorry
