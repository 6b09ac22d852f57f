// For tests: a catalogue over a small base, sources in temporary directories, and one behind a
// socket that answers when the test lets it. Owns: all of these. Thread: one test's.
#pragma once

#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "adapters/catalogue.h"
#include "formats/archive_testing.h"
#include "formats/checkpoint.h"
#include "formats/hf_config.h"
#include "formats/test_files.h"
#include "model/families/family.h"

namespace lorry::adapters {

inline constexpr Micros kSecondUs = 1'000'000;

class TestClock final : public Clock {
 public:
  Micros NowUs() const override { return now_us_; }
  void Advance(Micros us) { now_us_ += us; }

 private:
  std::atomic<Micros> now_us_ = 0;
};

// The page pool, as far as the catalogue sees it.
struct FakePool {
  std::mutex mutex;
  std::vector<AdapterId> pinned, dropped;
  std::set<std::string> known;  // to the metrics
  SharedValue<std::vector<AdapterId>> resident;
  SharedValue<WaitingRequests> waiting;

  PoolHooks Hooks() {
    return {.pin =
                [this](std::shared_ptr<const AdapterHandle> adapter) {
                  const std::lock_guard lock(mutex);
                  pinned.push_back(adapter->id);
                },
            .unpin =
                [this](AdapterId id) {
                  const std::lock_guard lock(mutex);
                  std::erase(pinned, id);
                },
            .drop =
                [this](AdapterId id) {
                  const std::lock_guard lock(mutex);
                  dropped.push_back(id);
                },
            .resident = [this] { return resident.Get(); },
            .show_names =
                [this](std::vector<NameChange> changes) {
                  const std::lock_guard lock(mutex);
                  for (const NameChange& change : changes) {
                    change.is_known ? void(known.insert(change.name))
                                    : void(known.erase(change.name));
                  }
                },
            .show_waiting =
                [this](WaitingRequests shown) {
                  waiting.Set(std::make_shared<const WaitingRequests>(std::move(shown)));
                }};
  }
  std::vector<AdapterId> Pinned() {
    const std::lock_guard lock(mutex);
    return pinned;
  }
  std::set<std::string> Known() {
    const std::lock_guard lock(mutex);
    return known;
  }
  bool HasDropped(const AdapterId& id) {
    const std::lock_guard lock(mutex);
    return std::find(dropped.begin(), dropped.end(), id) != dropped.end();
  }
};

template <typename T>
class Answer {
 public:
  std::function<void(Result<T>)> Callback() {
    return [promise = promise_](Result<T> result) { promise->set_value(std::move(result)); };
  }
  bool IsThere() const { return future_.wait_for(std::chrono::seconds(0)) == kReady; }
  const Result<T>& Get() const {
    const bool is_there = future_.wait_for(std::chrono::seconds(20)) == kReady;
    static const Result<T> kNone = Fail(ErrorCode::kInternal, "no answer in 20 s");
    EXPECT_TRUE(is_there) << "no answer in 20 s";
    return is_there ? future_.get() : kNone;
  }
  const T& Value() const {
    EXPECT_TRUE(Get()) << Get().error().message;
    static const T kNone{};
    return Get() ? *Get() : kNone;
  }
  ErrorCode Code() const {
    EXPECT_FALSE(Get()) << "it succeeded";
    return Get() ? ErrorCode::kInternal : Get().error().code;
  }

 private:
  static constexpr auto kReady = std::future_status::ready;
  std::shared_ptr<std::promise<Result<T>>> promise_ = std::make_shared<std::promise<Result<T>>>();
  std::shared_future<Result<T>> future_ = promise_->get_future().share();
};

using Handle = std::shared_ptr<const AdapterHandle>;
using HandleAnswer = Answer<Handle>;
using StatusAnswer = Answer<AdapterStatus>;

class CatalogueTest : public ::testing::Test {
 protected:
  CatalogueTest() {
    const std::string base = formats::OraclePath("llama-forms");
    options_.base.config = formats::ReadHfConfig(base).value();
    options_.base.spec = model::MakeSpec(options_.base.config).value();
    options_.base.spec.dtype = DType::kF32;
    checkpoint_ = std::make_unique<formats::Checkpoint>(formats::Checkpoint::Open(base).value());
    options_.base.checkpoint = checkpoint_.get();
    options_.base.fingerprint = 7;
    options_.base.sources.allow_private_hosts = {"127.0.0.1"};
    options_.base.sources.retries = 0;
    options_.base_names = {"base"};
    options_.cache_dir = dir_.Path("cache");
    options_.clock = &clock_;
  }

  void Start() {
    auto created = Catalogue::Create(options_, pool_.Hooks(), *registry_);
    ASSERT_TRUE(created) << created.error().message;
    catalogue_ = std::move(*created);
  }
  void Restart() {
    catalogue_.reset();
    pool_.pinned.clear();
    registry_ = std::make_unique<prometheus::Registry>();
    Start();
  }

  // A copy of one of the oracle's adapters.
  std::string Source(const std::string& adapter, const std::string& copy_name) {
    namespace fs = std::filesystem;
    const fs::path dir = dir_.Path("sources/" + copy_name);
    fs::remove_all(dir);
    fs::create_directories(dir);
    for (const auto& file :
         fs::directory_iterator(formats::OraclePath("llama-forms/adapters/" + adapter))) {
      std::ofstream(dir / file.path().filename(), std::ios::binary)
          << formats::ReadWhole(file.path());
    }
    return dir;
  }

  StatusAnswer Register(const std::string& name, const std::string& source, bool replace = false,
                        bool load = true, bool is_pinned = false) {
    StatusAnswer answer;
    catalogue_->Register({.name = name,
                          .source = source,
                          .token = {},
                          .is_pinned = is_pinned,
                          .load = load,
                          .replace = replace},
                         answer.Callback());
    return answer;
  }
  HandleAnswer Want(const std::string& name, std::shared_ptr<WaitingRequest> request = nullptr) {
    HandleAnswer answer;
    catalogue_->Want(name, std::move(request), answer.Callback());
    return answer;
  }
  StatusAnswer Update(const std::string& name, AdapterUpdate update) {
    StatusAnswer answer;
    catalogue_->Update(name, std::move(update), answer.Callback());
    return answer;
  }
  Status Remove(const std::string& name) {
    std::promise<Status> done;
    catalogue_->Remove(name, [&done](Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  }
  std::vector<AdapterStatus> List() {
    std::promise<std::vector<AdapterStatus>> done;
    catalogue_->List([&done](auto statuses) { done.set_value(std::move(statuses)); });
    return done.get_future().get();
  }
  AdapterStatus StatusOf(const std::string& name) {
    for (AdapterStatus& status : List()) {
      if (status.name == name) return std::move(status);
    }
    return {};
  }
  bool IsKnown(const std::string& name) { return catalogue_->directory()->FindAdapter(name); }
  size_t NumImageFiles() {
    size_t count = 0;
    const std::filesystem::path images = dir_.Path("cache/images");
    if (!std::filesystem::exists(images)) return 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(images)) {
      count += file.path().extension() == ".image";
    }
    return count;
  }
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > limit) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  formats::TempDir dir_;
  TestClock clock_;
  FakePool pool_;
  std::unique_ptr<formats::Checkpoint> checkpoint_;
  std::unique_ptr<prometheus::Registry> registry_ = std::make_unique<prometheus::Registry>();
  CatalogueOptions options_;
  std::unique_ptr<Catalogue> catalogue_;
};

class CatalogueLoadTest : public CatalogueTest {
 protected:
  // An adapter's files as a zip, in a folder of it.
  std::string ZipOf(const std::string& adapter) {
    const std::string path = dir_.Path("adapter.zip");
    const std::string from = formats::OraclePath("llama-forms/adapters/" + adapter);
    std::vector<formats::TestEntry> entries;
    for (const std::string name : {"adapter_config.json", "adapter_model.safetensors"}) {
      entries.push_back({"inner/" + name, formats::ReadWhole(from + "/" + name)});
    }
    formats::MakeArchive(path, formats::TestFormat::kZip, entries);
    return formats::ReadWhole(path);
  }
};

}  // namespace lorry::adapters
