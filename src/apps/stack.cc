#include "apps/stack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <future>
#include <set>

#include "apps/adapter_arguments.h"
#include "apps/demo_files.h"
#include "apps/environment.h"
#include "apps/machine.h"
#include "apps/progress.h"
#include "base/log.h"
#include "base/spare_memory.h"
#include "config/value.h"
#include "engine/model_step.h"
#include "formats/file_descriptor.h"
#include "kernels/isa.h"
#include "model/model.h"
#include "request/want_adapters.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;

// In workers of its own, which are gone afterwards: a server has others for its requests. It holds
// a loader up, and the end of a server, so that what takes long is left to the requests.
Status CheckOwnText(const text::ModelText& base, const formats::AdapterText& own) {
  text::SandboxOptions limits = AdapterTextLimits();
  limits.load.cpu_us = limits.call.cpu_us;
  const auto sandbox = text::TextSandbox::Create(std::move(limits));
  const auto made = text::ChangeText(base, own.tokenizer_json, own.config_json, *sandbox);
  sandbox->Stop();
  const bool took_long = sandbox->stats().num_ends[static_cast<size_t>(text::WorkerEnd::kTime)] > 0;
  if (made || took_long || made.error().code != ErrorCode::kUnfit) return {};
  return Fail(ErrorCode::kUnfit,
              fmt::format("its requests are refused, since the tokenizer or chat template that it "
                          "brings cannot be used: {}",
                          made.error().message),
              "model");
}

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

// Room for so many that few servers need more at once; the pool takes it from idle ones when KV
// needs it.
size_t BytesOfManyAdapters(const model::ModelSpec& spec) {
  constexpr size_t kNumAdapters = 128, kRank = 16;
  size_t weights = 0;
  for (int p = 0; p < formats::kNumProjections; ++p) {
    const auto projection = static_cast<formats::Projection>(p);
    weights += kRank * (spec.InFeatures(projection) + spec.OutFeatures(projection));
  }
  return kNumAdapters * weights * spec.num_layers * DTypeBytes(spec.dtype);
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
    RETURN_IF_ERROR(StartEngine());
    RETURN_IF_ERROR(StartCatalogue());
    RETURN_IF_ERROR(LoadAdapters());
    RETURN_IF_ERROR(WatchDirectories());
    return std::move(stack_);
  }

 private:
  Status ResolveArguments() {
    AdapterArguments given = ParseAdapterArguments(options_.adapters, options_.lora_modules);
    std::vector<AdapterArgument> adapters = std::move(given.adapters);
    if (!options_.enable_lora && !adapters.empty()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "adapters are given, but --no-enable-lora forbids them", "enable-lora");
    }
    if (options_.model.empty()) {
      ASSIGN_OR_RETURN(DemoFiles demo, FindDemo());
      options_.model = demo.base_dir;
      stack_->is_demo = true;
      stack_->prompts_file = demo.prompts_file;
      if (adapters.empty() && options_.enable_lora) adapters = std::move(demo.adapters);
      if (options_.served_model_names.empty()) options_.served_model_names = {"lorry-demo"};
    }
    RETURN_IF_ERROR(CheckModelDirectory(options_.model));
    ASSIGN_OR_RETURN(catalogue_.requestable,
                     adapters::SourceAllowList::Create(options_.allow_request_sources));
    if (options_.served_model_names.empty()) {
      options_.served_model_names = {NameOfDirectory(options_.model)};
    }
    RETURN_IF_ERROR(CheckServedNames());
    RETURN_IF_ERROR(FindAdapters(adapters, std::move(given.errors)));
    return CheckPaths();
  }

  // Where the adapters are that are given at start. Those that are not there join `errors`.
  Status FindAdapters(const std::vector<AdapterArgument>& adapters, std::vector<Error> errors) {
    for (const AdapterArgument& adapter : adapters) {
      if (Status name = CheckAdapterName(adapter.name, options_.served_model_names); !name) {
        errors.push_back(std::move(name.error()));
        continue;
      }
      auto uri = FindSource(adapter.path);
      if (uri) {
        adapters_.push_back({adapter.name, std::move(*uri)});
      } else {
        errors.push_back(
            Annotate(std::move(uri.error()), fmt::format("adapter `{}`", adapter.name)).value());
      }
    }
    return SkipOrFail(std::move(errors));
  }

  static Result<adapters::SourceUri> FindSource(const std::string& word) {
    ASSIGN_OR_RETURN(adapters::SourceUri uri, ParseSourceWord(word));
    std::error_code error;
    const bool is_here = uri.kind == adapters::SourceKind::kDirectory;
    if (is_here && !fs::exists(uri.location, error)) {
      return formats::SystemFailure(uri.location, ENOENT);
    }
    return uri;
  }

  // What can be known before the weights are loaded, which takes minutes for a large model.
  Status CheckPaths() {
    std::error_code error;
    const std::string& chat_template = options_.chat_template;
    if (!chat_template.empty() && !fs::is_regular_file(chat_template, error)) {
      return Fail(ErrorCode::kNotFound,
                  fmt::format("--chat-template {}: no such file", chat_template), "chat-template");
    }
    RETURN_IF_ERROR(adapters::DirectoryWatch::CheckDirectories(options_.adapter_dirs));
    const auto cache_dir = AdapterCacheDir(options_.adapter_cache);
    if (cache_dir && options_.adapter_cache_bytes > 0) {
      fs::create_directories(*cache_dir, error);
      if (error) {
        return Fail(ErrorCode::kPermission,
                    fmt::format("--adapter-cache {}: {}; another directory, or none, does",
                                *cache_dir, error.message()),
                    "adapter-cache");
      }
    }
    if (options_.step_log.empty()) return {};
    auto step_log = StepLog::Create(options_.step_log);
    if (!step_log) return Annotate(std::move(step_log.error()), "--step-log");
    stack_->step_log = std::move(*step_log);
    return {};
  }

  Status CheckServedNames() const {
    std::set<std::string> names;
    for (const std::string& name : options_.served_model_names) {
      if (!name.empty() && names.insert(name).second) continue;
      return Fail(ErrorCode::kInvalidArgument,
                  name.empty() ? "--served-model-name: a name is empty"
                               : fmt::format("--served-model-name: `{}` is there twice", name),
                  "served-model-name");
    }
    return {};
  }

  // Adapters that do not do end the start, all of them named, unless such are to be left out.
  Status SkipOrFail(std::vector<Error> errors) const {
    if (errors.empty()) return {};
    if (options_.skip_bad_adapters) {
      for (const Error& error : errors) log::Warning("skipped: {}", error.message);
      return {};
    }
    Error all = errors.front();
    if (errors.size() == 1) {
      all.message += " (--skip-bad-adapters starts without it)";
      return tl::unexpected<Error>(std::move(all));
    }
    for (const Error& error : errors) log::Error("{}", error.message);
    all.message = fmt::format(
        "{} adapters cannot be served (--skip-bad-adapters starts without them)", errors.size());
    return tl::unexpected<Error>(std::move(all));
  }

  Status LoadText() {
    ASSIGN_OR_RETURN(stack_->text, text::LoadModelText(options_.model, options_.chat_template));
    ASSIGN_OR_RETURN(formats::BaseText base_text, formats::BaseText::Read(options_.model));
    catalogue_.base.text = std::make_shared<const formats::BaseText>(std::move(base_text));
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
    ASSIGN_OR_RETURN(model::ModelFiles files,
                     model::OpenModelFiles(options_.model, options_.dtype));
    engine::EngineOptions engine = options_.engine;
    engine.num_threads = options_.threads;
    engine.pool_bytes = options_.kv_memory_bytes;
    RETURN_IF_ERROR(engine::Engine::CheckOptions(engine, files.spec));
    ASSIGN_OR_RETURN(model_, model::Model::Load(std::move(files), load, stream));
    stack_->memory.weight_bytes = model_->weight_bytes();
    SpareMemory::Instance().SetMaxBytes(options_.adapter_ready_bytes);
    stack_->memory.scratch_bytes = model_->scratch_bytes() + options_.adapter_ready_bytes;
    log::Info(
        "model {}: {}, {} layers of {}, vocabulary {}, {} weights {} in {:.2f} s, {} kernels on {} "
        "threads",
        options_.served_model_names.front(), model_->spec().family, model_->spec().num_layers,
        model_->spec().hidden, model_->spec().vocab_size, DTypeName(model_->spec().dtype),
        config::RoundBytes(model_->weight_bytes()), progress.Seconds(),
        kernels::IsaName(kernels::SelectedIsa()), options_.threads);
    return {};
  }

  Status StartEngine() {
    engine::EngineOptions engine = options_.engine;
    engine.model_name = options_.served_model_names.front();
    engine.num_threads = options_.threads;
    engine.observer = stack_->step_log.get();
    engine.pool_bytes = options_.kv_memory_bytes;
    engine.eos_ids = stack_->generation.eos_token_ids;
    if (const auto eos = stack_->text->tokenizer.eos_id()) engine.eos_ids.push_back(*eos);
    if (engine.pool_bytes == 0) {
      const int max_len =
          engine.max_model_len > 0 ? engine.max_model_len : model_->spec().max_positions;
      engine.pool_bytes = ChoosePoolBytes(
          {model_->spec().Kv(engine.page_tokens).PageBytes(), engine.page_tokens, max_len,
           engine.max_num_seqs, BytesOfManyAdapters(model_->spec()), AvailableMemoryBytes()});
    }
    catalogue_.base.config = model_->config();
    catalogue_.base.checkpoint = &model_->checkpoint();
    catalogue_.base.spec = model_->spec();
    ASSIGN_OR_RETURN(
        stack_->engine,
        engine::Engine::Create(engine, engine::MakeStepModel(std::move(model_)), &stack_->metrics));
    stack_->memory.pool_bytes = stack_->engine->pool_bytes();
    stack_->memory.host_bytes = options_.adapter_host_bytes;
    stack_->memory.waiting_bytes = options_.adapter_waiting_bytes + catalogue_.max_unwritten_bytes;
    const size_t available = AvailableMemoryBytes();
    if (stack_->memory.pool_bytes > available) {
      log::Warning("--kv-memory {}: {} are free, and the pool takes memory as it fills",
                   config::ShowBytes(stack_->memory.pool_bytes), config::RoundBytes(available));
    }
    stack_->memory.free_bytes =
        available - std::min(available, stack_->memory.pool_bytes + stack_->memory.host_bytes +
                                            stack_->memory.waiting_bytes);
    return {};
  }

  Status StartCatalogue() {
    engine::Engine* engine = stack_->engine.get();
    catalogue_.base_names = options_.served_model_names;
    catalogue_.base_root = options_.model;
    catalogue_.max_model_len = engine->max_model_len();
    ASSIGN_OR_RETURN(catalogue_.base.fingerprint,
                     adapters::BaseFingerprint(catalogue_.base.spec, *catalogue_.base.checkpoint));
    catalogue_.base.check_text = [base = stack_->text](const formats::AdapterText& own) {
      return CheckOwnText(*base, own);
    };
    catalogue_.base.max_rank = options_.max_lora_rank;
    // 0 would be no limit, where the pool has no room for any.
    catalogue_.base.max_image_bytes = std::max<size_t>(1, engine->max_adapter_bytes());
    catalogue_.base.sources.allow_private_hosts = options_.allow_private_hosts;
    ReadSourceVariables(catalogue_.base.sources);
    catalogue_.base.sources.max_bytes =
        std::min(catalogue_.base.sources.max_bytes, adapters::MaxSourceBytes(catalogue_.base));
    catalogue_.cache_dir = AdapterCacheDir(options_.adapter_cache).value_or("");
    catalogue_.max_disk_bytes = options_.adapter_cache_bytes;
    catalogue_.max_host_bytes = options_.adapter_host_bytes;
    catalogue_.num_fetchers = options_.adapter_fetchers;
    catalogue_.num_loaders = options_.adapter_loaders;
    catalogue_.ready_bytes = options_.adapter_ready_bytes;
    catalogue_.max_waiting = options_.max_adapter_waiting;
    catalogue_.max_waiting_bytes = options_.adapter_waiting_bytes;
    catalogue_.wait_timeout_us = options_.adapter_timeout_us;
    ASSIGN_OR_RETURN(
        stack_->catalogue,
        adapters::Catalogue::Create(
            std::move(catalogue_),
            {.pin = [engine](auto adapter) { engine->Pin(std::move(adapter)); },
             .unpin = [engine](AdapterId adapter) { engine->Unpin(adapter); },
             .drop = [engine](AdapterId adapter) { engine->Drop(adapter); },
             .resident = [engine] { return engine->resident_adapters(); },
             .show_names = [engine](auto changes) { engine->ShowNames(std::move(changes)); },
             .show_waiting =
                 [engine](WaitingRequests waiting) { engine->ShowWaiting(std::move(waiting)); }},
            stack_->metrics));
    return {};
  }

  // Those given at start, all at once.
  Status LoadAdapters() {
    std::vector<std::future<Result<AdapterStatus>>> loads;
    for (const StartAdapter& adapter : adapters_) {
      auto loaded = std::make_shared<std::promise<Result<AdapterStatus>>>();
      loads.push_back(loaded->get_future());
      stack_->catalogue->AddStatic(
          adapter.name, adapter.uri, false,
          [loaded](Result<AdapterStatus> status) { loaded->set_value(std::move(status)); });
    }
    std::vector<Error> errors;
    for (size_t i = 0; i < loads.size(); ++i) {
      Result<AdapterStatus> status = loads[i].get();
      if (!status) {
        errors.push_back(std::move(status.error()));
        continue;
      }
      stack_->adapter_names.push_back(adapters_[i].name);
    }
    RETURN_IF_ERROR(SkipOrFail(std::move(errors)));
    for (const std::string& name : stack_->adapter_names) {
      ASSIGN_OR_RETURN(const ModelChoice choice, stack_->Choose(name));
      for (const AdapterTerm& term : choice.adapters) stack_->engine->Warm(term.handle);
    }
    return {};
  }

  Status WatchDirectories() {
    if (options_.adapter_dirs.empty()) return {};
    ASSIGN_OR_RETURN(stack_->watch,
                     adapters::DirectoryWatch::Start(options_.adapter_dirs, *stack_->catalogue));
    return {};
  }

  struct StartAdapter {
    std::string name;
    adapters::SourceUri uri;
  };

  StackOptions options_;
  std::vector<StartAdapter> adapters_;
  adapters::CatalogueOptions catalogue_;  // filled as its parts come to be known
  std::unique_ptr<model::Model> model_;   // until the engine takes it
  std::unique_ptr<Stack> stack_ = std::make_unique<Stack>();
};

}  // namespace

Result<std::unique_ptr<Stack>> Stack::Build(StackOptions options) {
  return Builder(std::move(options)).Build();
}

Stack::~Stack() {
  watch.reset();
  if (catalogue) catalogue->Stop();  // its last words go to the engine
}

Result<ModelChoice> Stack::Choose(const std::string& model) {
  ASSIGN_OR_RETURN(ModelChoice choice, directory()->Resolve(model));
  using Terms = std::vector<AdapterTerm>;
  auto wanted = std::make_shared<std::promise<Result<Terms>>>();
  WantAdapters(*catalogue, std::move(choice.adapters), nullptr,
               [wanted](Result<Terms> terms) { wanted->set_value(std::move(terms)); });
  ASSIGN_OR_RETURN(choice.adapters, wanted->get_future().get());
  return choice;
}

Result<std::shared_ptr<const text::ModelText>> Stack::TextOf(const ModelChoice& model) const {
  if (model.adapters.size() != 1 || model.adapters[0].handle->text.empty()) return text;
  const AdapterText& own = model.adapters[0].handle->text;
  return text::ChangeText(*text, own.tokenizer_json, own.config_json, *sandbox);
}

size_t ChoosePoolBytes(const PoolDemand& demand) {
  const auto pages_of_one =
      static_cast<size_t>((demand.max_model_len + demand.page_tokens - 1) / demand.page_tokens);
  const size_t one = pages_of_one * demand.page_bytes;
  const size_t all = one * static_cast<size_t>(demand.max_num_seqs) + demand.adapter_bytes;
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
         line("page pool", memory.pool_bytes, "  KV cache and adapters, taken as it fills") +
         line("host", memory.host_bytes, "  adapters at hand, at most") +
         line("waiting", memory.waiting_bytes,
              "  adapters that wait to run or to be written, at most") +
         line("scratch", memory.scratch_bytes, "  at most") +
         line("free", memory.free_bytes, "  beside all of these");
}

}  // namespace lorry::apps
