// lorry inspect: what is in an adapter or a model, and whether it would be applied, without serving
// it.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <boost/json.hpp>
#include <filesystem>
#include <map>

#include "adapters/adapter_image.h"
#include "apps/adapter_text_report.h"
#include "apps/bring_source.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/demo_files.h"
#include "apps/interrupts.h"
#include "config/value.h"
#include "formats/adapter_text.h"
#include "formats/generation_config.h"
#include "formats/hf_config.h"
#include "formats/peft_adapter.h"
#include "model/model_files.h"
#include "text/model_text.h"

namespace lorry::apps {
namespace {

namespace json = boost::json;

// Two columns for people, one object for machines.
class Report {
 public:
  explicit Report(bool as_json) : as_json_(as_json) {}

  void Add(const char* key, std::string_view label, json::value value, const std::string& shown) {
    if (!as_json_) fmt::print("{:<12} {}\n", label, shown);
    object_[key] = std::move(value);
  }
  void Finish() const {
    if (as_json_) fmt::print("{}\n", json::serialize(object_));
  }

 private:
  const bool as_json_;
  json::object object_;
};

constexpr size_t kMaxReasonsShown = 10;  // to people; --json has them all

void Refused(Report& report, const Error& error, const std::vector<std::string>& reasons) {
  json::array list;
  std::string shown;
  const std::vector<std::string> given = reasons.empty() ? std::vector{error.message} : reasons;
  for (const std::string& reason : given) {
    if (list.size() < kMaxReasonsShown) shown += "\n  " + reason;
    list.emplace_back(reason);
  }
  if (given.size() > kMaxReasonsShown) {
    shown += fmt::format("\n  and {} more (--json lists them)", given.size() - kMaxReasonsShown);
  }
  report.Add("fits", "fits", false, "no");
  report.Add("reasons", "because", std::move(list), shown);
}

// Whether there is a template, once all text is loaded as a server loads it.
Result<bool> HasChats(const std::string& model_dir) {
  ASSIGN_OR_RETURN(const auto text, text::LoadModelText(model_dir));
  RETURN_IF_ERROR(formats::BaseText::Read(model_dir));  // what adapters' own is compared with
  return text->chat_template.has_value();
}

int InspectModel(const std::string& path, Report& report) {
  report.Add("kind", "what", "model", fmt::format("model in {}", path));
  auto config = formats::ReadHfConfig(path);
  if (!config) {
    Refused(report, config.error(), {});
    return 1;
  }
  report.Add(
      "family", "family", json::string(formats::ModelFamilyName(config->family)),
      fmt::format("{} ({})", formats::ModelFamilyName(config->family), config->architecture));
  report.Add("layers", "layers", config->num_layers,
             fmt::format("{} of {} wide, {} heads / {} KV, feed-forward {}", config->num_layers,
                         config->hidden_size, config->num_heads, config->num_kv_heads,
                         config->intermediate_size));
  report.Add("context", "context", config->max_position_embeddings,
             fmt::format("{} tokens", config->max_position_embeddings));
  report.Add("vocabulary", "vocabulary", config->vocab_size, fmt::format("{}", config->vocab_size));
  // As a server opens it.
  std::vector<std::string> problems;
  const auto files = model::OpenModelFiles(path, "auto", &problems);
  if (!files) {
    Refused(report, files.error(), problems);
    return 1;
  }
  const auto generation = formats::ReadGenerationConfig(path);
  if (!generation) {
    Refused(report, generation.error(), {});
    return 1;
  }
  const Result<bool> has_chats = HasChats(path);
  if (!has_chats) {
    Refused(report, has_chats.error(), {});
    return 1;
  }
  report.Add("chat_template", "chats", *has_chats,
             *has_chats ? "yes" : "no, it has no chat template");
  const formats::Checkpoint& checkpoint = files->checkpoint;
  report.Add("bytes", "weights", checkpoint.total_bytes(),
             fmt::format("{} in {} tensors, {} file{}",
                         config::RoundBytes(checkpoint.total_bytes()), checkpoint.num_tensors(),
                         checkpoint.num_shards(), checkpoint.num_shards() == 1 ? "" : "s"));
  report.Add("fits", "fits", true, "yes");
  return 0;
}

// "16 (12 modules), 32 (2 modules)"
std::string RanksShown(const std::map<int64_t, int>& modules_by_rank) {
  std::string shown;
  for (const auto& [rank, num_modules] : modules_by_rank) {
    shown += fmt::format("{}{} ({} modules)", shown.empty() ? "" : ", ", rank, num_modules);
  }
  return shown;
}

int InspectAdapter(const BroughtSource& source, const std::string& base_dir, Report& report) {
  report.Add("kind", "what", "adapter", fmt::format("adapter in {}", source.shown));
  report.Add("base", "base", json::string(base_dir), base_dir);
  auto base = formats::ReadHfConfig(base_dir);
  if (!base) {
    Refused(report, base.error(), {});
    return 1;
  }
  formats::AdapterFit fit;
  auto adapter = formats::OpenPeftAdapter(source.dir, *base, &fit);
  report.Add("applied", "modules", fit.num_applied, fit.Summary());
  report.Add("targeted", "targeted", fit.num_targeted, fmt::format("{}", fit.num_targeted));
  if (!fit.warnings.empty()) {
    json::array warnings(fit.warnings.begin(), fit.warnings.end());
    report.Add("warnings", "warnings", std::move(warnings),
               fmt::format("{}", fmt::join(fit.warnings, "\n             ")));
  }
  if (!adapter) {
    Refused(report, adapter.error(), fit.reasons);
    return 1;
  }
  std::map<int64_t, int> modules_by_rank;
  for (const formats::AdapterModule& module : adapter->modules) ++modules_by_rank[module.rank];
  json::object ranks;
  for (const auto& [rank, num_modules] : modules_by_rank) ranks[std::to_string(rank)] = num_modules;
  report.Add("ranks", "ranks", std::move(ranks),
             modules_by_rank.empty() ? "none" : RanksShown(modules_by_rank));
  json::array forms;
  for (const std::string& form : adapter->Forms()) forms.emplace_back(form);
  report.Add("forms", "does", std::move(forms),
             fmt::format("{}", fmt::join(adapter->Forms(), ", ")));
  report.Add("vocabulary", "vocabulary", adapter->vocab_size,
             adapter->vocab_size == base->vocab_size
                 ? "the base's"
                 : fmt::format("{}, the base has {}", adapter->vocab_size, base->vocab_size));
  report.Add("bytes", "weights", adapter->weight_bytes(),
             config::RoundBytes(adapter->weight_bytes()));
  auto text = ReportAdapterText(source.dir, base_dir, adapter->vocab_size);
  if (!text) {
    Refused(report, text.error(), {});
    return 1;
  }
  report.Add("text", "text", std::move(text->json), text->shown);
  const std::string id = adapters::ContentId(adapter->id(), text->text).Hex();
  report.Add("id", "id", json::string(id), id);
  report.Add("fits", "fits", true, "yes");
  return 0;
}

Result<int> InspectWith(const Options& options, const std::string& source) {
  BroughtSources sources;
  ASSIGN_OR_RETURN(const BroughtSource brought,
                   sources.Bring(source, {.allow_private_hosts = options.stack.allow_private_hosts,
                                          .adapter_cache = options.stack.adapter_cache,
                                          .token = options.adapter.token}));
  Report report(options.adapter.json);
  int status = 0;
  const auto has = [&brought](const char* name) {  // links to nothing too: they are called that
    std::error_code error;
    return exists(std::filesystem::symlink_status(fmt::format("{}/{}", brought.dir, name), error));
  };
  if (has("adapter_config.json")) {
    std::string base = options.adapter.base;
    if (base.empty()) {
      auto demo = FindDemo();
      if (!demo) {
        return Fail(ErrorCode::kInvalidArgument,
                    "an adapter fits or does not fit a model: give it with --base MODEL");
      }
      base = demo->base_dir;
    }
    status = InspectAdapter(brought, base, report);
    if (status != 0 && options.adapter.base.empty()) {
      Complain("inspect", "compared with the demo's base; name its own: --base MODEL");
    }
  } else if (!options.adapter.base.empty() || brought.dir != source) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}: no adapter_config.json there", source));
  } else if (!has("config.json")) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: neither an adapter nor a model: it has no adapter_config.json and "
                            "no config.json",
                            source));
  } else {
    status = InspectModel(brought.dir, report);
  }
  report.Finish();
  return status;
}

}  // namespace

int Inspect(const Options& options, const std::string& source) {
  const Result<int> status = InspectWith(options, source);
  if (status) return *status;
  return Complain("inspect", status.error().message,
                  status.error().code == ErrorCode::kCancelled ? kInterruptedStatus : 1);
}

}  // namespace lorry::apps
