// The names that clients may put into `model`, and what they mean: a snapshot, replaced as a whole
// when adapters come and go. Thread: any, read-only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "request/adapter_term.h"

namespace lorry {

struct AdapterCard {
  std::string name;       // 1-256 of A-Z a-z 0-9 . _ - /, starts with a letter or digit
  std::string root;       // where it comes from, as the operator named it
  int64_t created_s = 0;  // Unix time
};

// A name that has come to stand for something, or that is gone.
struct NameChange {
  std::string name;
  bool is_known = false;
};

struct ModelChoice {
  std::string name;                   // the display name: the base's or the adapter's
  std::vector<AdapterTerm> adapters;  // empty: the base

  bool is_adapter() const { return !adapters.empty(); }
};

class ModelDirectory {
 public:
  // base_names: at least one; the first is the main one (--served-model-name may give several).
  ModelDirectory(std::vector<std::string> base_names, std::string base_root,
                 std::vector<AdapterCard> adapters, int max_model_len, int64_t created_s);
  ModelDirectory(const ModelDirectory&) = delete;
  ModelDirectory& operator=(const ModelDirectory&) = delete;

  // "" (the base), a base name, an adapter's name, a sum of adapters (adapter_expression.h), or one
  // of the last two after "base:". kNotFound otherwise, param "model".
  Result<ModelChoice> Resolve(std::string_view model) const;

  const std::vector<std::string>& base_names() const { return base_names_; }
  const std::string& base_root() const { return base_root_; }
  const std::vector<AdapterCard>& adapters() const { return adapters_; }
  const AdapterCard* FindAdapter(std::string_view name) const;  // null: none of that name
  // " Did you mean `sql`?" for a name that is not there, or "": the work is bounded, however many
  // names there are.
  std::string Suggestion(std::string_view name) const;
  // kNotFound: that there is no adapter of this name, and which is near.
  Error NoAdapter(std::string_view name, std::string param) const;
  int max_model_len() const { return max_model_len_; }
  int64_t created_s() const { return created_s_; }

 private:
  Result<ModelChoice> ResolveSum(std::string_view model, std::string_view sum) const;

  std::vector<std::string> base_names_;
  std::string base_root_;
  std::vector<AdapterCard> adapters_;
  std::unordered_map<std::string_view, size_t> index_;  // views of the cards' names
  int max_model_len_;
  int64_t created_s_;
};

// The rule for adapter names above, wherever a name comes from; the error says what is wrong.
// Whoever knows the base's names, of which an adapter has none, gives them.
Status CheckAdapterName(std::string_view name, std::span<const std::string> base_names = {});

}  // namespace lorry
