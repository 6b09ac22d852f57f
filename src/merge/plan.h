// What a merge will do, found out and checked before anything is written: the base, the adapters
// that fit it, and which of them change which module.
// Owns: the adapters' bytes and the base's open files.
// Thread: any, read-only.
// Never: drops a tensor of an
// adapter silently; what merging does not apply is refused by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/dtype.h"
#include "formats/checkpoint.h"
#include "formats/hf_config.h"
#include "formats/peft_adapter.h"
#include "merge/combination.h"
#include "merge/combine.h"

namespace lorry::merge {

struct WeightedAdapter {
  std::string dir;
  double weight = 1.0;
  std::string source;  // where the files in `dir` come from; empty: from there

  const std::string& shown() const { return source.empty() ? dir : source; }
};

struct MergeOptions {
  std::string base_dir;
  std::vector<WeightedAdapter> adapters;  // at least one
  Combination combination;
  bool as_adapter = false;     // write an adapter, not the merged model
  std::optional<DType> dtype;  // F32, BF16, F16; unset: as stored, of an adapter F32
  uint64_t max_shard_bytes = 5'000'000'000;
  std::string output_dir;
  std::string program;  // who merged, for the card: "lorry 0.1.0"
};

struct PlannedModule {
  int64_t in_features = 0;
  int64_t out_features = 0;
  std::vector<ModuleTerm> terms;  // in the order of the adapters
};

class MergePlan {
 public:
  // An adapter that does not fit the base is refused with the list of what does not fit.
  static Result<MergePlan> Open(MergeOptions options);

  const MergeOptions& options() const { return options_; }
  // As asked, svd_rank resolved; of a single adapter linear, as PEFT has it.
  const Combination& combination() const { return combination_; }
  const formats::HfConfig& base_config() const { return base_config_; }
  // Absent for as_adapter, which needs the base's shapes only.
  const std::optional<formats::Checkpoint>& base() const { return base_; }
  const std::vector<formats::PeftAdapter>& adapters() const { return adapters_; }
  const std::map<std::string, PlannedModule>& modules() const { return modules_; }  // by name

  // The base ties its head to its embedding and the adapters change one of them: the merged model
  // has a head of its own.
  bool unties_head() const { return unties_head_; }
  // The base's tensor that holds the weights of this one.
  std::string SourceOf(const std::string& tensor_name) const;

  // The change that the adapters together make to one module.
  LowRank Combine(const PlannedModule& module) const;

 private:
  MergePlan() = default;
  Status OpenBase();
  Status OpenAdapters();
  Status AddAdapter(formats::PeftAdapter adapter, double weight);
  Status DropRepeatedWeights(formats::PeftAdapter& adapter) const;
  Status CheckModules() const;
  Status CheckBaseTensors(const std::string& name, const PlannedModule& module) const;
  Status CheckSaved() const;

  MergeOptions options_;
  Combination combination_;
  formats::HfConfig base_config_;
  std::optional<formats::Checkpoint> base_;
  std::vector<formats::PeftAdapter> adapters_;
  std::map<std::string, PlannedModule> modules_;
  bool unties_head_ = false;
};

// The base's name for people: what all adapters say that they were trained on, else the directory's
// name.
std::string BaseName(const MergePlan& plan);

}  // namespace lorry::merge
