#include "apps/stack.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "apps/adapter_arguments.h"
#include "apps/demo_files.h"
#include "apps/machine.h"
#include "apps/progress.h"
#include "base/log.h"
#include "config/value.h"
#include "engine/model_step.h"
#include "formats/peft_adapter.h"
#include "kernels/isa.h"
#include "model/model.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;

Status CheckModelDirectory(const std::string& model) {
  std::error_code error;
  if (fs::is_directory(model, error)) return {};
  const bool is_hub_name =
      std::count(model.begin(), model.end(), '/') == 1 && model[0] != '.' && model[0] != '/';
  return Fail(ErrorCode::kNotFound,
              fmt::format("{}: no such directory; MODEL is a directory with config.json, "
                          "*.safetensors and tokenizer.json{}",
                          model, is_hub_name ? " (download it from the Hub first)" : ""),
              "model");
}

// "1,073,741,824"
std::string WithCommas(size_t number) {
  std::string digits = fmt::format("{}", number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

class Builder {
 public:
  explicit Builder(StackOptions options) : options_(std::move(options)) {}

  Result<std::unique_ptr<Stack>> Build() {
    RETURN_IF_ERROR(ResolveArguments());
    RETURN_IF_ERROR(kernels::SelectIsa(options_.cpu));
    if (options_.threads == 0) options_.threads = UsableCores();
    RETURN_IF_ERROR(LoadText());
    RETURN_IF_ERROR(LoadModel());
    RETURN_IF_ERROR(LoadAdapters());
    RETURN_IF_ERROR(StartEngine());
    MakeDirectory();
    return std::move(stack_);
  }

 private:
  Status ResolveArguments() {
    ASSIGN_OR_RETURN(adapters_, ParseAdapterArguments(options_.adapters, options_.lora_modules));
    if (!options_.enable_lora && !adapters_.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "adapters are given, but --no-enable-lora forbids them", "enable-lora");
    }
    if (options_.model.empty()) {
      ASSIGN_OR_RETURN(DemoFiles demo, FindDemo());
      options_.model = demo.base_dir;
      stack_->is_demo = true;
      stack_->prompts_file = demo.prompts_file;
      if (adapters_.empty() && options_.enable_lora) adapters_ = std::move(demo.adapters);
      if (options_.served_model_names.empty()) options_.served_model_names = {"lorry-demo"};
    }
    RETURN_IF_ERROR(CheckModelDirectory(options_.model));
    if (options_.served_model_names.empty()) {
      options_.served_model_names = {NameOfDirectory(options_.model)};
    }
    return {};
  }

  Status LoadText() {
    ASSIGN_OR_RETURN(text::Tokenizer tokenizer, text::Tokenizer::Load(options_.model));
    auto chat_template =
        text::ChatTemplate::Load(options_.model, tokenizer, options_.chat_template);
    if (chat_template) {
      stack_->chat_template = std::move(*chat_template);
    } else if (chat_template.error().code != ErrorCode::kNotFound ||
               !options_.chat_template.empty()) {
      return tl::unexpected<Error>(std::move(chat_template.error()));
    }
    stack_->tokenizer = std::move(tokenizer);
    ASSIGN_OR_RETURN(stack_->generation, formats::ReadGenerationConfig(options_.model));
    return {};
  }

  Status LoadModel() {
    Progress progress("loading weights");
    model::LoadOptions load;
    load.dtype = options_.dtype;
    load.max_step_rows =
        std::max(options_.engine.max_num_batched_tokens, options_.engine.max_num_seqs);
    load.max_logit_rows = options_.engine.max_num_seqs;
    load.max_positions = options_.engine.max_model_len;
    load.progress = [&](size_t done, size_t total) { progress.Update(done, total); };
    const Stream stream(options_.threads);
    ASSIGN_OR_RETURN(model_, model::Model::Load(options_.model, load, stream));
    stack_->memory.weight_bytes = model_->weight_bytes();
    stack_->memory.scratch_bytes = model_->scratch_bytes();
    log::Info(
        "model {}: {}, {} layers of {}, vocabulary {}, {} weights {} in {:.2f} s, {} kernels on {} "
        "threads",
        options_.served_model_names.front(), model_->spec().family, model_->spec().num_layers,
        model_->spec().hidden, model_->spec().vocab_size, DTypeName(model_->spec().dtype),
        config::RoundBytes(model_->weight_bytes()), progress.Seconds(),
        kernels::IsaName(kernels::SelectedIsa()), options_.threads);
    return {};
  }

  Status LoadAdapters() {
    for (const AdapterArgument& adapter : adapters_) {
      Status status = LoadAdapter(adapter);
      if (status) continue;
      auto error = Annotate(std::move(status.error()), fmt::format("adapter {}", adapter.name));
      if (!options_.skip_bad_adapters) {
        error.value().message += "\n(--skip-bad-adapters starts without it)";
        return error;
      }
      log::Warning("skipped: {}", error.value().message);
    }
    stack_->memory.adapter_bytes = stack_->adapters.resident_bytes();
    return {};
  }

  Status LoadAdapter(const AdapterArgument& argument) {
    const Micros start_us = Clock::Steady().NowUs();
    formats::AdapterFit fit;
    ASSIGN_OR_RETURN(const formats::PeftAdapter adapter,
                     formats::OpenPeftAdapter(argument.path, model_->config(), &fit));
    if (adapter.max_rank() > options_.max_lora_rank) {
      return Fail(ErrorCode::kTooLarge, fmt::format("rank {} is above --max-lora-rank {}",
                                                    adapter.max_rank(), options_.max_lora_rank));
    }
    ASSIGN_OR_RETURN(auto image, adapters::MakeAdapterImage(adapter, model_->spec()));
    log::Info("adapter {}: {}, rank {}, {} in {:.3f} s", argument.name, fit.Summary(),
              adapter.max_rank(), config::RoundBytes(image->weight_bytes),
              SecondsBetween(start_us, Clock::Steady().NowUs()));
    return stack_->adapters.Add(argument.name, argument.path, std::move(image));
  }

  Status StartEngine() {
    engine::EngineOptions engine = options_.engine;
    engine.model_name = options_.served_model_names.front();
    engine.num_threads = options_.threads;
    engine.kv_cache_bytes = options_.kv_memory_bytes;
    engine.eos_ids = stack_->generation.eos_token_ids;
    if (const auto eos = stack_->tokenizer->eos_id()) engine.eos_ids.push_back(*eos);
    if (engine.kv_cache_bytes == 0) {
      const int max_len =
          engine.max_model_len > 0 ? engine.max_model_len : model_->spec().max_positions;
      engine.kv_cache_bytes =
          ChooseKvBytes({model_->spec().Kv(engine.page_tokens).PageBytes(), engine.page_tokens,
                         max_len, engine.max_num_seqs, AvailableMemoryBytes()});
    }
    const adapters::AdapterTable* table = &stack_->adapters;
    ASSIGN_OR_RETURN(stack_->engine,
                     engine::Engine::Create(
                         engine, engine::MakeStepModel(std::move(model_)),
                         [table](AdapterId id) { return table->Find(id); }, &stack_->metrics));
    stack_->memory.kv_bytes = stack_->engine->kv_bytes();
    const size_t available = AvailableMemoryBytes();
    stack_->memory.free_bytes = available - std::min(available, stack_->memory.kv_bytes);
    return {};
  }

  void MakeDirectory() {
    std::vector<AdapterCard> cards;
    for (const adapters::AdapterAlias& alias : stack_->adapters.aliases()) {
      cards.push_back({alias.name, alias.image->id, alias.root, alias.image->max_rank,
                       alias.image->num_modules, alias.image->weight_bytes});
    }
    stack_->directory.emplace(options_.served_model_names, options_.model, std::move(cards),
                              stack_->engine->max_model_len(),
                              static_cast<int64_t>(std::time(nullptr)));
  }

  StackOptions options_;
  std::vector<AdapterArgument> adapters_;
  std::unique_ptr<model::Model> model_;  // until the engine takes it
  std::unique_ptr<Stack> stack_ = std::make_unique<Stack>();
};

}  // namespace

Result<std::unique_ptr<Stack>> Stack::Build(StackOptions options) {
  return Builder(std::move(options)).Build();
}

size_t ChooseKvBytes(const KvDemand& demand) {
  const auto pages_of_one =
      static_cast<size_t>((demand.max_model_len + demand.page_tokens - 1) / demand.page_tokens);
  const size_t one = pages_of_one * demand.page_bytes;
  const size_t all = one * static_cast<size_t>(demand.max_num_seqs);
  return std::max(one, std::min(all, demand.free_bytes / 2));
}

std::string NameOfDirectory(const std::string& directory) {
  std::error_code error;
  const fs::path path = fs::weakly_canonical(directory, error);
  // ~/.cache/huggingface/hub/models--org--name/snapshots/<commit>
  const std::string repository = path.parent_path().parent_path().filename();
  if (path.parent_path().filename() == "snapshots" && repository.starts_with("models--")) {
    std::string name = repository.substr(8);
    if (const size_t dashes = name.find("--"); dashes != std::string::npos) {
      name.replace(dashes, 2, "/");
    }
    return name;
  }
  return path.filename();
}

std::string MemoryTable(const MemoryUse& memory) {
  const auto line = [](std::string_view what, size_t bytes, std::string_view note) {
    return fmt::format("\n  {:<9} {:>18}  {:>8}{}", what, WithCommas(bytes),
                       config::RoundBytes(bytes), note);
  };
  return "memory in bytes" + line("weights", memory.weight_bytes, "") +
         line("KV cache", memory.kv_bytes, "  taken as it fills") +
         line("adapters", memory.adapter_bytes, "") +
         line("scratch", memory.scratch_bytes, "  at most") +
         line("free", memory.free_bytes, "  beside all of these");
}

}  // namespace lorry::apps
