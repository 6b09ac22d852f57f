#include "request/model_directory.h"

#include <algorithm>
#include <bit>

#include "base/ascii.h"
#include "base/spelling.h"
#include "request/adapter_expression.h"

namespace lorry {
namespace {

constexpr size_t kMaxMistypedBytes = 64;
constexpr size_t kMaxNamesLooked = 20'000;
constexpr size_t kMaxCells = 1 << 20;  // of tables of edit distances: some milliseconds

// Which characters there are, by their last six bits: an edit changes two of them at most.
uint64_t Letters(std::string_view text) {
  uint64_t letters = 0;
  for (const char c : text) letters |= uint64_t{1} << (static_cast<unsigned char>(c) & 63);
  return letters;
}

// The name that is nearest to a mistyped one, of those that it is compared with.
class NearestName {
 public:
  explicit NearestName(std::string_view wanted)
      : wanted_(AsciiLower(wanted)),
        letters_(Letters(wanted_)),
        distance_(std::clamp<int>(static_cast<int>(wanted.size()) / 3, 1, 3) + 1) {}

  void Consider(const std::string& name) {
    const size_t longer = std::max(name.size(), wanted_.size());
    const size_t shorter = std::min(name.size(), wanted_.size());
    const std::string lower = AsciiLower(name);
    if (lower.ends_with(wanted_) && longer > shorter && lower[longer - shorter - 1] == '/') {
      Take(name, 1);  // "sql" of "team/sql"
    } else if (static_cast<int>(longer - shorter) < distance_ &&
               std::popcount(Letters(lower) ^ letters_) < 2 * distance_ && num_cells_ < kMaxCells) {
      num_cells_ += name.size() * wanted_.size();
      Take(name, EditDistance(wanted_, lower));
    }
  }
  const std::string& found() const { return found_; }

 private:
  void Take(const std::string& name, int distance) {
    if (distance >= distance_) return;
    distance_ = distance;
    found_ = name;
  }

  const std::string wanted_;
  const uint64_t letters_;
  int distance_;  // of the nearest; what is not nearer is not taken
  size_t num_cells_ = 0;
  std::string found_;
};

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

std::string ModelDirectory::Suggestion(std::string_view name) const {
  if (name.empty() || name.size() > kMaxMistypedBytes) return "";
  NearestName nearest(name);
  for (const std::string& base : base_names_) nearest.Consider(base);
  const size_t num_looked = std::min(adapters_.size(), kMaxNamesLooked);
  for (size_t i = 0; i < num_looked; ++i) nearest.Consider(adapters_[i].name);
  return nearest.found().empty() ? "" : fmt::format(" Did you mean `{}`?", nearest.found());
}

Error ModelDirectory::NoAdapter(std::string_view name, std::string param) const {
  return {ErrorCode::kNotFound,
          fmt::format("The adapter `{}` does not exist.{}", name, Suggestion(name)),
          std::move(param)};
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
  return Fail(ErrorCode::kNotFound,
              fmt::format("The model `{}` does not exist.{}", model, Suggestion(sum)), "model");
}

Result<ModelChoice> ModelDirectory::ResolveSum(std::string_view model, std::string_view sum) const {
  ModelChoice choice{.name = std::string(model)};
  ASSIGN_OR_RETURN(choice.adapters, ParseAdapterExpression(sum));
  for (const AdapterTerm& term : choice.adapters) {
    if (FindAdapter(term.name) != nullptr) continue;
    return Fail(ErrorCode::kNotFound,
                fmt::format("The adapter `{}` of `{}` does not exist.{}", term.name, model,
                            Suggestion(term.name)),
                "model");
  }
  return choice;
}

Status CheckAdapterName(std::string_view name, std::span<const std::string> base_names) {
  if (name.empty() || name.size() > 256) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("an adapter's name has 1 to 256 characters, this one {}", name.size()));
  }
  if (!IsAsciiAlphanumeric(name.front())) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("adapter name `{}` must start with a letter or digit", name));
  }
  for (char c : name) {
    if (!IsAsciiAlphanumeric(c) && c != '.' && c != '_' && c != '-' && c != '/') {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("adapter name `{}`: only letters, digits and . _ - / may stand in it", name));
    }
  }
  // Requests for it would get the base's answers.
  if (std::ranges::find(base_names, name) != base_names.end()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("`{}` is the base model's name (--served-model-name), so no adapter can "
                    "have it",
                    name));
  }
  return {};
}

}  // namespace lorry
