#include "merge/card.h"

#include <fmt/core.h>

#include <boost/json.hpp>
#include <filesystem>

namespace lorry::merge {
namespace {

// A JSON string is a YAML string, too.
std::string YamlText(const std::string& text) {
  return boost::json::serialize(boost::json::string(text));
}

// In a cell of a Markdown table.
std::string Cell(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|' || c == '`') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

// A directory's last part: where it is on this machine concerns nobody.
std::string ShownName(const WeightedAdapter& adapter) {
  if (adapter.shown().find("://") != std::string::npos) return adapter.shown();
  const std::filesystem::path path = std::filesystem::path(adapter.shown()).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string FrontMatter(const MergePlan& plan) {
  const bool adapter = plan.options().as_adapter;
  return fmt::format(
      "---\nbase_model: {}\nbase_model_relation: {}\nlibrary_name: {}\ntags:\n- lora\n- merge\n"
      "---\n",
      YamlText(BaseName(plan)), adapter ? "adapter" : "merge", adapter ? "peft" : "transformers");
}

std::string HowMerged(const MergePlan& plan) {
  const Combination& c = plan.combination();
  if (plan.adapters().size() == 1 && !plan.options().as_adapter) {
    return "The adapter's product, times its scaling and weight, was added to the weights.";
  }
  std::string text = fmt::format("Method: `{}`", MethodName(c.method));
  if (UsesDensity(c.method)) text += fmt::format(", density {}", c.density);
  if (UsesMajoritySign(c.method)) {
    text += c.majority_sign == MajoritySign::kTotal ? ", majority sign by total"
                                                    : ", majority sign by frequency";
  }
  if (c.method == Method::kSvd) text += fmt::format(", rank {}", c.svd_rank);
  if (IsRandom(c.method)) text += fmt::format(", seed {}", c.seed);
  return text + ".";
}

}  // namespace

std::string CardText(const MergePlan& plan) {
  const MergeOptions& options = plan.options();
  std::string text = FrontMatter(plan);
  text += options.as_adapter
              ? fmt::format("\n# A combination of adapters of {}\n\n", BaseName(plan))
              : fmt::format("\n# {} with adapters merged in\n\n", BaseName(plan));
  text += "| adapter | weight | modules | largest rank | content |\n|---|---|---|---|---|\n";
  for (size_t i = 0; i < plan.adapters().size(); ++i) {
    const formats::PeftAdapter& adapter = plan.adapters()[i];
    text += fmt::format("| {} | {} | {} | {} | `{}` |\n", Cell(ShownName(options.adapters[i])),
                        options.adapters[i].weight, adapter.modules.size(), adapter.max_rank(),
                        adapter.id().Hex());
  }
  text += fmt::format("\n{} {} modules were changed", HowMerged(plan), plan.modules().size());
  if (options.dtype) text += fmt::format("; stored as {}", DTypeName(*options.dtype));
  return text + fmt::format(". Made by {}.\n", options.program);
}

}  // namespace lorry::merge
