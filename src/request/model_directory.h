// The names that clients may put into `model`, and what they mean. Immutable once the server runs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace lorry {

struct AdapterCard {
  std::string name;  // 1-256 of A-Z a-z 0-9 . _ - /, starts with a letter or digit
  AdapterId id;
  std::string root;  // where it came from, as the operator named it
  int max_rank = 0;
  int num_modules = 0;
  size_t num_bytes = 0;
};

struct ModelChoice {
  std::string name;   // the display name: the base's or the adapter's
  AdapterId adapter;  // all zero: the base
};

class ModelDirectory {
 public:
  // base_names: at least one; the first is the main one (--served-model-name may give several).
  ModelDirectory(std::vector<std::string> base_names, std::string base_root,
                 std::vector<AdapterCard> adapters, int max_model_len, int64_t created_s);

  // "" (the base), a base name, an adapter's name, or "base:adapter". kNotFound otherwise, param
  // "model".
  Result<ModelChoice> Resolve(std::string_view model) const;

  const std::vector<std::string>& base_names() const { return base_names_; }
  const std::string& base_root() const { return base_root_; }
  const std::vector<AdapterCard>& adapters() const { return adapters_; }
  int max_model_len() const { return max_model_len_; }
  int64_t created_s() const { return created_s_; }

 private:
  std::vector<std::string> base_names_;
  std::string base_root_;
  std::vector<AdapterCard> adapters_;
  int max_model_len_;
  int64_t created_s_;
};

// The rule for adapter names above; the error says what is wrong.
Status CheckAdapterName(std::string_view name);

}  // namespace lorry
