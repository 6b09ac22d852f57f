#include "apps/merge_command.h"

#include <fmt/ranges.h>

#include <filesystem>

#include "apps/bring_source.h"
#include "apps/complain.h"
#include "apps/interrupts.h"
#include "apps/progress.h"
#include "config/help.h"
#include "config/load.h"
#include "config/value.h"
#include "merge/merge.h"
#include "merge/output_directory.h"

namespace lorry::apps {
namespace {

constexpr char kCommand[] = "merge";
constexpr char kUsage[] = "lorry merge MODEL --adapter SOURCE[@weight] [options] -o DIR";

struct Options {
  std::vector<std::string> adapters;
  std::string dtype = "auto";
  size_t max_shard_bytes = merge::MergeOptions().max_shard_bytes;
  int svd_rank = 0;
  bool dry_run = false;
  BringOptions bring;
  merge::MergeOptions merge;
};

void RegisterMethod(config::Registry& registry, Options& o) {
  merge::Combination& combination = o.merge.combination;
  registry.Group("Method", {kCommand});
  const std::vector<std::string_view> names = merge::MethodNames();
  registry.Custom(
      {.name = "method",
       .help = "How several adapters become one, as in PEFT's add_weighted_adapter. cat is their "
               "exact weighted sum; svd the best of a lower rank; the others need equal ranks.",
       .when = "ties, dare_* and magnitude_prune for adapters that get in each other's way."},
      {names.begin(), names.end()}, std::string(merge::MethodName(combination.method)),
      [&combination](const std::string& text) -> Status {
        ASSIGN_OR_RETURN(combination.method, merge::ParseMethod(text));
        return {};
      });
  registry.Custom({.name = "density",
                   .value_name = "D",
                   .help = "The share of values kept, above 0 and at most 1: by ties and "
                           "magnitude_prune the largest, by dare_* drawn ones."},
                  {}, "none", [&combination](const std::string& text) -> Status {
                    ASSIGN_OR_RETURN(combination.density, config::ParseNumber(text));
                    return merge::CheckCombination(combination);
                  });
  registry.Custom(
      {.name = "majority-sign",
       .help = "Which sign wins in ties and dare_ties: of the sum, or of most adapters."},
      {"total", "frequency"}, "total", [&combination](const std::string& text) -> Status {
        combination.majority_sign =
            text == "total" ? merge::MajoritySign::kTotal : merge::MajoritySign::kFrequency;
        return {};
      });
  registry.Integer({.name = "svd-rank",
                    .value_name = "R",
                    .help = "Rank of the combination by svd.",
                    .default_text = "the largest of the adapters"},
                   &o.svd_rank, 1, formats::kMaxLoraRank);
  registry.Custom({.name = "seed", .value_name = "N", .help = "Of what dare_* draw."}, {}, "0",
                  [&combination](const std::string& text) -> Status {
                    ASSIGN_OR_RETURN(const int64_t seed, config::ParseInteger(text));
                    combination.seed = static_cast<uint64_t>(seed);
                    return {};
                  });
}

void Register(config::Registry& registry, Options& o) {
  registry.Group("Merge", {kCommand});
  registry.List(
      {.name = "adapter",
       .value_name = "SOURCE[@weight]",
       .help = "A PEFT adapter, as serve takes it (a directory, hf://, s3://, https:// ...), and "
               "how much of it; weight 1 if not said."},
      &o.adapters);
  registry.List({.name = "allow-private-host",
                 .value_name = "HOST|BLOCK",
                 .help = "A private address that an adapter's URL may lead to."},
                &o.bring.allow_private_hosts);
  registry.Text({.name = "output",
                 .value_name = "DIR",
                 .help = "Where to write; -o for short. It must not exist or be empty, and appears "
                         "when it is whole."},
                &o.merge.output_dir);
  registry.Switch({.name = "as-adapter",
                   .help = "Write one PEFT adapter in place of a merged model.",
                   .when = "To serve a combination at an adapter's cost."},
                  &o.merge.as_adapter);
  registry.Switch({.name = "dry-run", .help = "Check everything, say what would be written."},
                  &o.dry_run);
  RegisterMethod(registry, o);
  registry.Group("Output", {kCommand});
  registry.Choice({.name = "dtype",
                   .help = "Type of the written weights. auto: as each is stored in MODEL; float32 "
                           "for --as-adapter."},
                  &o.dtype, {"auto", "float32", "bfloat16", "float16"});
  registry.Bytes({.name = "max-shard-size",
                  .help = "Largest file of weights; a larger tensor has a file to itself.",
                  .default_text = config::RoundBytes(o.max_shard_bytes)},
                 &o.max_shard_bytes);
}

// An option that the method does not look at is a misunderstanding; one that it needs is asked for.
Status CheckMethodOptions(const config::Registry& registry, merge::Method method) {
  const auto given = [&](const char* name) { return !registry.Find(name)->set_by.empty(); };
  const auto unused = [&](const char* name, std::string_view users) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is of no use with method {}, but of {}", registry.Origin(name),
                            merge::MethodName(method), users));
  };
  if (merge::UsesDensity(method) && !given("density")) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("method {} needs --density D, the share of values that it keeps",
                            merge::MethodName(method)));
  }
  if (!merge::UsesDensity(method) && given("density")) {
    return unused("density", "ties, dare_linear, dare_ties and magnitude_prune");
  }
  if (!merge::UsesMajoritySign(method) && given("majority-sign")) {
    return unused("majority-sign", "ties and dare_ties");
  }
  if (!merge::IsRandom(method) && given("seed")) return unused("seed", "dare_linear and dare_ties");
  if (method != merge::Method::kSvd && given("svd-rank")) return unused("svd-rank", "svd");
  return {};
}

Status Complete(const config::Registry& registry, const std::vector<std::string>& words,
                Options& o) {
  if (words.size() != 1) {
    return Fail(ErrorCode::kInvalidArgument,
                words.empty() ? fmt::format("which model? {}", kUsage)
                              : fmt::format("unexpected word '{}'; usage: {}", words[1], kUsage));
  }
  RETURN_IF_ERROR(CheckMethodOptions(registry, o.merge.combination.method));
  if (o.merge.output_dir.empty()) return Fail(ErrorCode::kInvalidArgument, "where to? -o DIR");
  if (o.max_shard_bytes == 0) {
    return Fail(ErrorCode::kInvalidArgument, "--max-shard-size 0: a shard holds something");
  }
  if (o.adapters.empty()) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("which adapter? {}", kUsage));
  }
  for (const std::string& text : o.adapters) {
    ASSIGN_OR_RETURN(merge::WeightedAdapter adapter, ParseWeightedAdapter(text));
    o.merge.adapters.push_back(std::move(adapter));
  }
  o.merge.base_dir = words[0];
  o.merge.combination.svd_rank = o.svd_rank;
  o.merge.max_shard_bytes = o.max_shard_bytes;
  if (o.dtype == "float32") o.merge.dtype = DType::kF32;
  if (o.dtype == "bfloat16") o.merge.dtype = DType::kBF16;
  if (o.dtype == "float16") o.merge.dtype = DType::kF16;
  o.merge.program = "lorry " LORRY_VERSION;
  return {};
}

void PrintPlan(const merge::MergePlan& plan, const merge::MergeOutput& output) {
  const merge::MergeOptions& options = plan.options();
  fmt::print("base      {}\n", options.base_dir);
  for (size_t i = 0; i < plan.adapters().size(); ++i) {
    fmt::print("adapter   {}, weight {}, {} modules, rank {}\n", options.adapters[i].shown(),
               options.adapters[i].weight, plan.adapters()[i].modules.size(),
               plan.adapters()[i].max_rank());
  }
  if (plan.adapters().size() > 1) {
    fmt::print("method    {}\n", merge::MethodName(plan.combination().method));
  }
  fmt::print("changes   {} modules\n", plan.modules().size());
  if (!output.text.shown.empty()) fmt::print("text      {}\n", output.text.shown);
  if (!output.copied_files.empty()) {
    fmt::print("copies    {}\n", fmt::join(output.copied_files, ", "));
  }
  fmt::print("writes    {} in {} file{} of weights to {}\n",
             config::RoundBytes(output.weight_bytes), output.num_files,
             output.num_files == 1 ? "" : "s", options.output_dir);
}

Status RunMerge(Options& o) {
  BroughtSources sources;  // as long as the plan, which maps their files
  for (merge::WeightedAdapter& adapter : o.merge.adapters) {
    ASSIGN_OR_RETURN(BroughtSource brought, sources.Bring(adapter.dir, o.bring));
    adapter.dir = std::move(brought.dir);
    adapter.source = std::move(brought.shown);
  }
  ASSIGN_OR_RETURN(const merge::MergePlan plan, merge::MergePlan::Open(o.merge));
  ASSIGN_OR_RETURN(const merge::MergeOutput output, merge::DescribeOutput(plan));
  RETURN_IF_ERROR(merge::CheckOutput(o.merge.output_dir, output.weight_bytes));
  PrintPlan(plan, output);
  if (o.dry_run) return {};
  const std::atomic<bool>& interrupted = CatchInterrupts();
  Progress progress("merging");
  RETURN_IF_ERROR(merge::Merge(plan, [&](uint64_t done_bytes, uint64_t total_bytes) {
    progress.Update(done_bytes, total_bytes);
    return !interrupted;
  }));
  fmt::print("done      in {:.1f} s\n", progress.Seconds());
  return {};
}

}  // namespace

Result<merge::WeightedAdapter> ParseWeightedAdapter(const std::string& text) {
  merge::WeightedAdapter adapter{.dir = text};
  std::error_code error;
  if (std::filesystem::exists(text, error)) return adapter;
  const size_t at = text.rfind('@');
  if (at == std::string::npos || text.find('/', at) != std::string::npos) return adapter;
  const Result<double> weight = config::ParseNumber(text.substr(at + 1));
  if (!weight && text.find("://") != std::string::npos) return adapter;  // a revision
  if (!weight) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--adapter {}: the weight: {}", text, weight.error().message));
  }
  adapter.dir = text.substr(0, at);
  adapter.weight = *weight;
  return adapter;
}

int RunMergeCommand(const std::vector<std::string>& args) {
  Options options;
  config::Registry registry;
  Register(registry, options);
  std::vector<std::string> spelled = args;
  std::replace(spelled.begin(), spelled.end(), std::string("-o"), std::string("--output"));
  const auto loaded = config::Load(registry, kCommand, spelled, config::ProcessEnvironment());
  if (!loaded) return Complain("merge", loaded.error().message, 2);
  if (loaded->help) {
    fmt::print("{}: adapters written into a model, or several into one adapter\n{}", kUsage,
               config::HelpText(registry, kCommand));
    return 0;
  }
  if (const Status status = Complete(registry, loaded->words, options); !status) {
    return Complain("merge", status.error().message, 2);
  }
  if (const Status status = RunMerge(options); !status)
    return Complain("merge", status.error().message, 1);
  return 0;
}

}  // namespace lorry::apps
