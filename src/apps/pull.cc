// lorry pull: brings adapters from where they are into this machine's caches; with a base, ready
// for a server to start from.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "adapters/cache_layout.h"
#include "adapters/disk_cache.h"
#include "adapters/load_adapter.h"
#include "adapters/registry_file.h"
#include "adapters/source_files.h"
#include "apps/adapter_arguments.h"
#include "apps/commands.h"
#include "apps/complain.h"
#include "apps/environment.h"
#include "apps/interrupts.h"
#include "apps/progress.h"
#include "base/log.h"
#include "config/value.h"
#include "formats/adapter_files.h"
#include "formats/adapter_text.h"
#include "formats/file_bytes.h"
#include "formats/peft_config.h"
#include "formats/safetensors.h"
#include "model/model_files.h"

namespace lorry::apps {
namespace {

using adapters::SourceUri;

// A base, and the cache of images made to fit it.
struct ImageStore {
  model::ModelFiles files;
  adapters::LoadBase base;
  adapters::DiskCache cache;
  adapters::RegistryFile registry;
};

class Puller {
 public:
  Puller(const Options& options, std::string cache_dir, const std::atomic<bool>& interrupted)
      : options_(options),
        cache_dir_(std::move(cache_dir)),
        interrupted_(&interrupted, [](const std::atomic<bool>*) {}) {
    sources_.allow_private_hosts = options.stack.allow_private_hosts;
    ReadSourceVariables(sources_);
  }

  Status OpenBase(const std::string& model_dir) {
    ASSIGN_OR_RETURN(model::ModelFiles files,
                     model::OpenModelFiles(model_dir, options_.stack.dtype));
    ASSIGN_OR_RETURN(const uint64_t base, adapters::BaseFingerprint(files.spec, files.checkpoint));
    ASSIGN_OR_RETURN(formats::BaseText text, formats::BaseText::Read(model_dir));
    auto shared_text = std::make_shared<const formats::BaseText>(std::move(text));
    const uint64_t image_base =
        adapters::LoadBase{.text = shared_text, .fingerprint = base}.ImageBase();
    ASSIGN_OR_RETURN(adapters::DiskCache cache,
                     adapters::DiskCache::Open(adapters::ImagesDir(cache_dir_), image_base,
                                               options_.stack.adapter_cache_bytes));
    store_ = std::make_unique<ImageStore>(
        ImageStore{std::move(files),
                   {},
                   std::move(cache),
                   adapters::RegistryFile(adapters::RegistryPath(cache_dir_, base))});
    store_->base = {.config = store_->files.config,
                    .checkpoint = &store_->files.checkpoint,
                    .spec = store_->files.spec,
                    .text = std::move(shared_text),
                    .fingerprint = base,
                    .max_rank = options_.stack.max_lora_rank,
                    .sources = sources_};
    store_->base.sources.max_bytes =
        std::min(sources_.max_bytes, adapters::MaxSourceBytes(store_->base));
    return {};
  }

  Status Pull(const std::string& word) {
    ASSIGN_OR_RETURN(const SourceUri uri, ParseSourceWord(word));
    // The bar is gone before the line that says what has come.
    std::optional<Progress> progress("fetching " + uri.text);
    auto said = store_ == nullptr ? PullFiles(uri, *progress) : PullImage(uri, *progress);
    const double seconds = progress->Seconds();
    progress.reset();
    if (!said) {
      said.error().message = AboutSource(uri, said.error().message);
      return tl::unexpected<Error>(std::move(said.error()));
    }
    fmt::print("{}, in {:.1f} s\n", log::Escaped(fmt::format("{}: {}", uri.text, *said)), seconds);
    std::fflush(stdout);
    return {};
  }

 private:
  static auto ShowOn(Progress& progress) {
    return [&progress](uint64_t done, uint64_t total) { progress.Update(done, total); };
  }

  Result<std::string> PullFiles(const SourceUri& uri, Progress& progress) {
    const adapters::FetchRequest request = {.uri = uri,
                                            .token = options_.adapter.token,
                                            .staging_dir = adapters::StagingDir(cache_dir_, uri),
                                            .cancelled = interrupted_.get(),
                                            .progress = ShowOn(progress)};
    ASSIGN_OR_RETURN(adapters::SourceFiles files,
                     adapters::BringSourceFiles(request, sources_, adapters::Packed::kKeep));
    const std::string dir = files.dir;
    RETURN_IF_ERROR(CheckFiles(request, files));
    return fmt::format("{} in {}, revision {}", config::RoundBytes(files.fetched.bytes), dir,
                       files.fetched.revision);
  }

  // Whether they are an adapter at all, which no base is needed for. What was unpacked goes again.
  Status CheckFiles(const adapters::FetchRequest& request, adapters::SourceFiles& files) const {
    const Status status = [&]() -> Status {
      RETURN_IF_ERROR(adapters::UnpackSourceFiles(request, sources_, files));
      RETURN_IF_ERROR(formats::ReadPeftLoraConfig(files.dir));
      RETURN_IF_ERROR(formats::SafetensorsHeader::Read(
          fmt::format("{}/{}", files.dir, formats::kAdapterWeightsFile)));
      for (const std::string_view name : formats::AdapterFileNames()) {
        const std::string path = fmt::format("{}/{}", files.dir, name);
        const bool is_weights =
            name == formats::kAdapterWeightsFile || name == formats::kAdapterTorchFile;
        if (is_weights) continue;
        RETURN_IF_ERROR(formats::ReadFileIfThere(path, formats::kMaxAdapterTokenizerBytes));
      }
      return {};
    }();
    std::error_code error;
    for (const char* made : {"/unpacked", "/converted"}) {
      std::filesystem::remove_all(request.staging_dir + made, error);
    }
    return status;
  }

  Result<std::string> PullImage(const SourceUri& uri, Progress& progress) {
    adapters::LoadRequest request = {.uri = uri,
                                     .token = options_.adapter.token,
                                     .staging_dir = adapters::StagingDir(cache_dir_, uri),
                                     .cancelled = interrupted_,
                                     .progress = ShowOn(progress)};
    ASSIGN_OR_RETURN(const adapters::RegistryContent known, store_->registry.Read());
    const auto source = known.sources.find(adapters::SourceKey(uri));
    if (source != known.sources.end() && store_->cache.Contains(source->second.id)) {
      request.known_id = source->second.id;
      request.known_revision = source->second.revision;
      request.cached_path = store_->cache.PathOf(source->second.id);
    }
    ASSIGN_OR_RETURN(adapters::Loaded loaded, Load(request));
    if (loaded.cache_was_broken) {
      store_->cache.Remove(request.known_id);
      request.cached_path.clear();
      ASSIGN_OR_RETURN(loaded, Load(request));
    }
    if (!loaded.from_cache) RETURN_IF_ERROR(Keep(*loaded.image));
    RETURN_IF_ERROR(store_->registry.Change([&](adapters::RegistryContent& content) {
      content.sources[adapters::SourceKey(uri)] = {
          loaded.revision, loaded.image->id, loaded.image->max_rank, loaded.image->num_modules,
          loaded.image->blob.size()};
    }));
    return fmt::format("{}, rank {}, {}, revision {}",
                       loaded.from_cache ? "is in the cache as it is there" : loaded.summary,
                       loaded.image->max_rank, config::RoundBytes(loaded.image->blob.size()),
                       loaded.revision);
  }

  Result<adapters::Loaded> Load(const adapters::LoadRequest& request) const {
    return adapters::LoadFetched(request, adapters::FetchAdapter(request, store_->base),
                                 store_->base);
  }

  Status Keep(const adapters::AdapterImage& image) {
    adapters::DiskCache& cache = store_->cache;
    if (cache.Contains(image.id)) return {};
    if (!cache.Reserve(image.id, image.host_bytes(), 0)) {
      return Fail(ErrorCode::kResourceExhausted,
                  fmt::format("{} do not fit --adapter-cache-bytes {} beside what is pinned",
                              config::RoundBytes(image.blob.size()),
                              config::ShowBytes(options_.stack.adapter_cache_bytes)));
    }
    const Status status =
        adapters::WriteImageFile(image, store_->base.ImageBase(), cache.PathOf(image.id));
    status ? cache.Written(image.id) : cache.Abandoned(image.id);
    return status;
  }

  const Options& options_;
  const std::string cache_dir_;
  const std::shared_ptr<const std::atomic<bool>> interrupted_;
  adapters::SourceOptions sources_;
  std::unique_ptr<ImageStore> store_;  // null: the files alone are wanted
};

}  // namespace

int Pull(const Options& options, const std::vector<std::string>& sources) {
  const std::atomic<bool>& interrupted = CatchInterrupts();
  const auto cache_dir = AdapterCacheDir(options.stack.adapter_cache);
  if (!cache_dir) return Complain("pull", "there is no cache to pull into: --adapter-cache DIR");
  Puller puller(options, *cache_dir, interrupted);
  if (!options.adapter.base.empty()) {
    if (const Status status = puller.OpenBase(options.adapter.base); !status) {
      return Complain("pull", status.error().message);
    }
  }
  int exit_status = 0;
  for (const std::string& source : sources) {
    const Status status = puller.Pull(source);
    if (interrupted) {
      Complain("pull", "interrupted; the same command goes on where it stopped");
      return kInterruptedStatus;
    }
    if (!status) exit_status = Complain("pull", status.error().message);
  }
  return exit_status;
}

}  // namespace lorry::apps
