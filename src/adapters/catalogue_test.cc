#include "adapters/catalogue.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "adapters/cache_layout.h"
#include "adapters/catalogue_testing.h"
#include "adapters/gated_source.h"
#include "formats/file_lock.h"

namespace lorry::adapters {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST_F(CatalogueTest, WhatIsRegisteredIsThereAtOnceAndGoneAfterRemoval) {
  Start();
  const AdapterStatus status = Register("a", Source("all-linear-r8", "a")).Value();
  EXPECT_EQ(status.max_rank, 8);
  EXPECT_EQ(status.tier, AdapterTier::kHost);
  EXPECT_TRUE(IsKnown("a"));
  EXPECT_EQ(Want("a").Value()->id, status.id);

  EXPECT_TRUE(Remove("a"));
  EXPECT_FALSE(IsKnown("a"));
  EXPECT_TRUE(pool_.HasDropped(status.id));
  EXPECT_EQ(Want("a").Code(), ErrorCode::kNotFound);
  EXPECT_EQ(Remove("a").error().code, ErrorCode::kNotFound);
}

TEST_F(CatalogueTest, NamesDoNotCollide) {
  Start();
  const std::string a = Source("all-linear-r8", "a");
  ASSERT_TRUE(Register("a", a).Get());
  EXPECT_EQ(Register("a", a).Code(), ErrorCode::kConflict);
  EXPECT_EQ(Register("base", a).Code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Register("a b", a).Code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Register("b", "ftp://x/y").Code(), ErrorCode::kInvalidArgument);
}

TEST_F(CatalogueTest, WhatCannotBeReadIsNotRegistered) {
  Start();
  EXPECT_EQ(Register("a", dir_.Path("nowhere")).Code(), ErrorCode::kNotFound);
  const std::string broken = Source("all-linear-r8", "broken");
  std::ofstream(broken + "/adapter_model.safetensors") << "short";
  EXPECT_EQ(Register("a", broken).Code(), ErrorCode::kDataLoss);
  EXPECT_THAT(List(), IsEmpty());
  EXPECT_FALSE(IsKnown("a"));
}

TEST_F(CatalogueTest, TwoNamesOfOneContentShareACopy) {
  Start();
  const AdapterId id = Register("a", Source("all-linear-r8", "a")).Value().id;
  ASSERT_EQ(Register("b", Source("all-linear-r8", "b")).Value().id, id);
  EXPECT_EQ(Want("a").Value(), Want("b").Value());
  ASSERT_TRUE(Remove("a"));
  EXPECT_FALSE(pool_.HasDropped(id));  // b still stands for it
  ASSERT_TRUE(Remove("b"));
  EXPECT_TRUE(pool_.HasDropped(id));
}

TEST_F(CatalogueTest, AReplacementMovesTheNameAndLeavesRequestsTheirContent) {
  Start();
  ASSERT_TRUE(Register("a", Source("all-linear-r8", "old")).Get());
  const Handle old = Want("a").Value();
  const AdapterId fresh = Register("a", Source("rslora-r3", "new"), true).Value().id;
  EXPECT_NE(fresh, old->id);
  EXPECT_EQ(Want("a").Value()->id, fresh);
  EXPECT_TRUE(pool_.HasDropped(old->id));
  EXPECT_EQ(static_cast<const AdapterImage&>(*old).max_rank, 8);  // still whole
}

TEST_F(CatalogueTest, AFailedReplacementChangesNothing) {
  Start();
  const std::string old = Source("all-linear-r8", "old");
  const AdapterId id = Register("a", old).Value().id;
  EXPECT_EQ(Register("a", dir_.Path("nowhere"), true).Code(), ErrorCode::kNotFound);
  EXPECT_EQ(Want("a").Value()->id, id);
  EXPECT_EQ(StatusOf("a").source, old);
}

TEST_F(CatalogueTest, AReloadReadsTheSourceAgainAndAFailedOneKeepsWhatWas) {
  Start();
  const std::string dir = Source("all-linear-r8", "a");
  const AdapterId first = Register("a", dir).Value().id;
  EXPECT_EQ(Update("a", {.reload = true}).Value().id, first);  // nothing has changed
  Source("rslora-r3", "a");
  const AdapterId second = Update("a", {.reload = true}).Value().id;
  EXPECT_NE(second, first);
  std::filesystem::remove_all(dir);
  EXPECT_EQ(Update("a", {.reload = true}).Code(), ErrorCode::kNotFound);
  EXPECT_EQ(Want("a").Value()->id, second);
}

TEST_F(CatalogueTest, AnAliasMovesWithoutReading) {
  Start();
  ASSERT_TRUE(Register("a", Source("all-linear-r8", "a")).Get());
  const AdapterId b = Register("b", Source("rslora-r3", "b")).Value().id;
  EXPECT_EQ(Update("a", {.alias_of = "b"}).Value().id, b);
  EXPECT_EQ(Want("a").Value()->id, b);
  // Back and forth, and to itself: a name points to content, never to a name.
  EXPECT_EQ(Update("b", {.alias_of = "a"}).Value().id, b);
  EXPECT_EQ(Update("a", {.alias_of = "a"}).Value().id, b);
  EXPECT_EQ(Update("a", {.alias_of = "none"}).Code(), ErrorCode::kNotFound);
  ASSERT_TRUE(Remove("b"));
  EXPECT_EQ(Want("a").Value()->id, b);
}

TEST_F(CatalogueTest, ContentIsPinnedWhileOneOfItsNamesIs) {
  Start();
  const AdapterId id = Register("a", Source("all-linear-r8", "a"), false, true, true).Value().id;
  EXPECT_THAT(pool_.Pinned(), ElementsAre(id));
  ASSERT_TRUE(Register("b", Source("all-linear-r8", "b"), false, true, true).Get());
  EXPECT_THAT(pool_.Pinned(), ElementsAre(id));
  ASSERT_TRUE(Update("a", {.is_pinned = false}).Get());
  EXPECT_THAT(pool_.Pinned(), ElementsAre(id));
  // The pin follows the name, and leaves what the name leaves.
  const AdapterId moved = Register("b", Source("rslora-r3", "c"), true).Value().id;
  EXPECT_THAT(pool_.Pinned(), ElementsAre(moved));
  ASSERT_TRUE(Update("b", {.is_pinned = false}).Get());
  EXPECT_THAT(pool_.Pinned(), IsEmpty());
}

TEST_F(CatalogueTest, WhatWasRegisteredSurvivesARestart) {
  Start();
  ASSERT_TRUE(Register("kept", Source("all-linear-r8", "a"), false, true, true).Get());
  ASSERT_TRUE(Register("lazy", Source("rslora-r3", "b"), false, false).Get());
  ASSERT_TRUE(Register("removed", Source("dora", "c")).Get());
  ASSERT_TRUE(Remove("removed"));
  const AdapterId id = StatusOf("kept").id;
  ASSERT_TRUE(Eventually([&] { return NumImageFiles() == 2; }));  // "removed" has left its image
  Restart();
  EXPECT_TRUE(IsKnown("kept") && IsKnown("lazy"));
  EXPECT_FALSE(IsKnown("removed"));
  EXPECT_EQ(Want("kept").Value()->id, id);
  ASSERT_TRUE(Eventually([&] { return pool_.Pinned() == std::vector{id}; }));
  EXPECT_TRUE(static_cast<const AdapterImage&>(*Want("kept").Value()).file);  // as it was written
  EXPECT_EQ(static_cast<const AdapterImage&>(*Want("lazy").Value()).max_rank, 3);
}

TEST_F(CatalogueTest, ARelativeDirectoryIsWrittenDownWhole) {
  Start();
  const std::string source = Source("rslora-r3", "a");
  const std::string relative = "./" + std::filesystem::relative(source).string();
  ASSERT_TRUE(Register("r", relative).Get());
  EXPECT_EQ(StatusOf("r").source, source);
  Restart();
  EXPECT_EQ(StatusOf("r").source, source);
}

TEST_F(CatalogueTest, ABrokenImageIsMadeAnew) {
  Start();
  const AdapterId id = Register("a", Source("all-linear-r8", "a")).Value().id;
  ASSERT_TRUE(Eventually([&] { return NumImageFiles() == 1; }));
  catalogue_.reset();
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(dir_.Path("cache/images"))) {
    if (file.path().extension() != ".image") continue;
    std::fstream image(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    image.seekp(5000);
    image.put('\x55');
  }
  Restart();
  EXPECT_EQ(Want("a").Value()->id, id);
  EXPECT_FALSE(static_cast<const AdapterImage&>(*Want("a").Value()).file);
  EXPECT_TRUE(Eventually([&] { return NumImageFiles() == 1; }));
}

TEST_F(CatalogueTest, TheHostTierForgetsWhatNobodyUsesAndKeepsTheRest) {
  Start();
  const AdapterStatus a = Register("a", Source("all-linear-r8", "a")).Value();
  const Handle used = Want("a").Value();
  ASSERT_TRUE(Eventually([&] { return NumImageFiles() == 1; }));
  catalogue_.reset();
  options_.max_host_bytes = a.num_bytes + a.num_bytes / 2;  // one of its size
  Restart();
  const Handle again = Want("a").Value();
  ASSERT_TRUE(Register("b", Source("lora-bias", "b")).Get());
  ASSERT_TRUE(Register("c", Source("rslora-r3", "c")).Get());
  EXPECT_EQ(Want("a").Value(), again);  // held by a request: the same copy
  for (const char* name : {"a", "c"}) ASSERT_TRUE(Want(name).Get());
  EXPECT_EQ(Want("b").Value()->id, StatusOf("b").id);  // evicted or not, it comes back
}

TEST_F(CatalogueTest, FailuresAreRememberedForAWhileThenTriedAgain) {
  Start();
  const std::string dir = Source("all-linear-r8", "a");
  ASSERT_TRUE(Register("a", dir, false, false).Get());
  std::filesystem::remove_all(dir);
  EXPECT_EQ(Want("a").Code(), ErrorCode::kNotFound);
  Source("all-linear-r8", "a");
  EXPECT_EQ(Want("a").Code(), ErrorCode::kNotFound);  // not tried
  EXPECT_GT(StatusOf("a").failed_until_s, 0);
  clock_.Advance(options_.first_retry_us);
  EXPECT_TRUE(Want("a").Get());
  EXPECT_FALSE(StatusOf("a").error);
}

TEST_F(CatalogueTest, StaticNamesStayAndComeFirst) {
  Start();
  ASSERT_TRUE(Register("a", Source("all-linear-r8", "a")).Get());
  const std::string b = Source("rslora-r3", "b");
  StatusAnswer ready, twice;
  catalogue_->AddStatic("a", ParseSourceUri(b).value(), false, ready.Callback());
  EXPECT_EQ(ready.Value().max_rank, 3);  // what was registered gives way
  catalogue_->AddStatic("a", ParseSourceUri(b).value(), false, twice.Callback());
  EXPECT_EQ(twice.Code(), ErrorCode::kConflict);
  EXPECT_EQ(Remove("a").error().code, ErrorCode::kPermission);
  EXPECT_EQ(Register("a", b, true).Code(), ErrorCode::kPermission);
}

TEST_F(CatalogueTest, WatchedNamesComeChangeAndGo) {
  Start();
  const std::string dir = Source("all-linear-r8", "a");
  catalogue_->SyncWatched("a", dir);
  const AdapterId first = Want("a").Value()->id;
  Source("rslora-r3", "a");
  catalogue_->SyncWatched("a", dir);
  EXPECT_NE(Want("a").Value()->id, first);  // never what it was
  // The operator's name is not the watch's to change.
  ASSERT_TRUE(Register("mine", Source("dora", "m")).Get());
  const AdapterId mine = StatusOf("mine").id;
  catalogue_->MarkWatched("a", "is passed over");
  EXPECT_THAT(StatusOf("a").error->message, HasSubstr("is passed over"));
  EXPECT_TRUE(Want("a").Get());
  catalogue_->MarkWatched("mine", "is passed over");
  EXPECT_FALSE(StatusOf("mine").error);
  catalogue_->SyncWatched("mine", dir);
  catalogue_->RemoveWatched("mine");
  EXPECT_EQ(Want("mine").Value()->id, mine);
  catalogue_->RemoveWatched("a");
  EXPECT_EQ(Want("a").Code(), ErrorCode::kNotFound);
  Restart();
  EXPECT_FALSE(IsKnown("a"));  // not written down
}

TEST_F(CatalogueTest, MetricsSayWhichNamesAreInMemory) {
  Start();
  const AdapterId a = Register("a", Source("all-linear-r8", "a"), false, true, true).Value().id;
  ASSERT_TRUE(Register("b", Source("rslora-r3", "b")).Get());
  ASSERT_TRUE(Register("idle", Source("dora", "c"), false, false).Get());
  const auto shown = [&] {
    clock_.Advance(kSecondUs);
    List();
    List();  // the first one's answer comes before the metrics
    std::vector<std::string> series;
    for (const auto& family : registry_->Collect()) {
      if (family.name != "vllm:lora_adapter_loaded") continue;
      for (const auto& metric : family.metric) {
        std::string text;
        for (const auto& label : metric.label) text += label.name + "=" + label.value + " ";
        series.push_back(std::move(text));
      }
    }
    return series;
  };
  const std::string in_pool = "adapter_name=a level=gpu pinned=true rank=8 ";
  const std::string on_host = "adapter_name=b level=cpu pinned=false rank=3 ";
  EXPECT_THAT(shown(),
              UnorderedElementsAre("adapter_name=a level=cpu pinned=true rank=8 ", on_host));
  pool_.resident.Set(std::make_shared<const std::vector<AdapterId>>(1, a));
  EXPECT_THAT(shown(), UnorderedElementsAre(in_pool, on_host));
  ASSERT_TRUE(Remove("b"));
  EXPECT_THAT(shown(), ElementsAre(in_pool));
}

TEST_F(CatalogueTest, WhoCountsByNameHearsWhichComeAndGo) {
  Start();
  const std::string source = Source("all-linear-r8", "a");
  ASSERT_TRUE(Register("a", source).Get());
  ASSERT_TRUE(Register("b", source, false, false).Get());
  catalogue_->SyncWatched("c", source);
  EXPECT_FALSE(Register("bad", dir_.Path("nowhere")).Get());
  ASSERT_TRUE(Register("a", Source("rslora-r3", "other"), true).Get());
  ASSERT_TRUE(Remove("b"));
  List();
  EXPECT_THAT(pool_.Known(), ElementsAre("a", "c"));
}

TEST_F(CatalogueTest, WithoutADiskItWorksAndLeavesNothing) {
  options_.cache_dir.clear();
  Start();
  EXPECT_TRUE(Register("a", Source("all-linear-r8", "a")).Get());
  EXPECT_TRUE(Want("a").Get());
  catalogue_.reset();
  EXPECT_FALSE(std::filesystem::exists(dir_.Path("cache")));
}

TEST_F(CatalogueTest, AFullDiskCostsTheCacheOnly) {
  options_.max_disk_bytes = 1000;  // less than any image
  Start();
  EXPECT_TRUE(Register("a", Source("all-linear-r8", "a")).Get());
  EXPECT_TRUE(Want("a").Get());
  catalogue_.reset();
  EXPECT_EQ(NumImageFiles(), 0u);
}

// ---- what a restart is to know

TEST_F(CatalogueTest, WhoeverIsToldFindsItInTheFile) {
  Start();
  const std::string source = Source("all-linear-r8", "a");
  const std::string path = RegistryPath(options_.cache_dir, options_.base.fingerprint);
  const RegistryFile file(path);
  auto held = formats::FileLock::TryAcquire(path + ".lock");
  ASSERT_TRUE(held && *held);
  constexpr int kNames = 50;
  std::atomic<int> num_told = 0, num_kept = 0;
  std::set<std::filesystem::file_time_type> writes;  // nothing writes while somebody is told
  for (int i = 0; i < kNames; ++i) {
    const std::string name = fmt::format("name-{}", i);
    catalogue_->Register({.name = name, .source = source, .token = {}, .load = false},
                         [&, name](const Result<AdapterStatus>& status) {
                           EXPECT_TRUE(status) << status.error().message;
                           writes.insert(std::filesystem::last_write_time(path));
                           const RegistryContent content = file.Read().value();
                           num_kept +=
                               std::ranges::count(content.adapters, name, &RegisteredAdapter::name);
                           ++num_told;
                         });
  }
  EXPECT_THAT(List(), SizeIs(kNames)) << "the server knows them";
  EXPECT_EQ(num_told, 0) << "a restart would not";
  EXPECT_EQ(Register("name-0", source).Code(), ErrorCode::kConflict) << "an error needs no write";
  held->reset();
  EXPECT_TRUE(Eventually([&] { return num_told == kNames; }));
  EXPECT_EQ(num_kept, kNames);
  EXPECT_LE(writes.size(), 2u) << "who waits is served by one write";

  EXPECT_TRUE(Remove("name-0"));
  EXPECT_THAT(file.Read()->adapters, SizeIs(kNames - 1));
  EXPECT_TRUE(Update("name-1", {.is_pinned = true}).Get());
  EXPECT_TRUE(std::ranges::any_of(file.Read()->adapters, &RegisteredAdapter::is_pinned));
}

TEST_F(CatalogueTest, WhatARestartWillNotKnowIsSaid) {
  const std::string path = RegistryPath(options_.cache_dir, options_.base.fingerprint);
  std::filesystem::create_directories(path + ".lock");  // so that it cannot be locked
  Start();
  const Result<AdapterStatus> status = Register("a", Source("all-linear-r8", "a")).Get();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInternal);
  EXPECT_THAT(status.error().message, HasSubstr("the next one will not know of it"));
  EXPECT_TRUE(Want("a").Get());
}

TEST_F(CatalogueTest, WhoWaitsForTheFileIsAnsweredAtTheEnd) {
  Start();
  const std::string path = RegistryPath(options_.cache_dir, options_.base.fingerprint);
  auto held = formats::FileLock::TryAcquire(path + ".lock");
  ASSERT_TRUE(held && *held);
  const std::string source = Source("all-linear-r8", "a");
  const StatusAnswer first = Register("a", source, false, false);
  List();
  const StatusAnswer second = Register("b", source, false, false);
  List();
  std::thread stopper([this] { catalogue_->Stop(); });
  held->reset();
  stopper.join();
  EXPECT_EQ(first.Value().name, "a");
  EXPECT_EQ(second.Value().name, "b");
  EXPECT_THAT(RegistryFile(path).Read()->adapters, SizeIs(2));
}

TEST_F(CatalogueTest, TwoServersOfOneCacheKeepWhatEachHasAcknowledged) {
  Start();
  ASSERT_TRUE(Register("early", Source("all-linear-r8", "early"), false, false).Get());
  prometheus::Registry other_metrics;
  auto other = Catalogue::Create(options_, pool_.Hooks(), other_metrics).value();
  const auto register_other = [&](const std::string& name, const std::string& source) {
    StatusAnswer answer;
    other->Register({.name = name, .source = source, .token = {}, .load = false},
                    answer.Callback());
    return answer.Get().has_value();
  };
  ASSERT_TRUE(Register("mine", Source("all-linear-r8", "mine"), false, false).Get());
  ASSERT_TRUE(register_other("theirs", Source("dora", "theirs")));
  ASSERT_TRUE(register_other("both", Source("dora", "second")));
  // Each goes on saving what it does: nothing of the other's goes or comes back.
  ASSERT_TRUE(Remove("early"));
  StatusAnswer moved;
  other->Update("theirs", {.is_pinned = true}, moved.Callback());
  ASSERT_TRUE(moved.Get());
  ASSERT_TRUE(Register("late", Source("all-linear-r8", "late"), false, false).Get());
  ASSERT_TRUE(register_other("later", Source("dora", "later")));
  other.reset();
  Restart();
  for (const char* name : {"mine", "theirs", "both", "late", "later"}) {
    EXPECT_TRUE(IsKnown(name)) << name;
  }
  EXPECT_FALSE(IsKnown("early")) << "the other server knew it when it was removed";
  EXPECT_TRUE(StatusOf("theirs").is_pinned);
}

TEST_F(CatalogueTest, ARegistryThatIsTakenAwayIsWrittenAnew) {
  Start();
  const std::string source = Source("all-linear-r8", "a");
  ASSERT_TRUE(Register("a", source, false, false).Get());
  const std::string path = RegistryPath(options_.cache_dir, options_.base.fingerprint);
  for (const bool is_broken : {false, true}) {
    std::filesystem::remove(path);
    if (is_broken) std::ofstream(path) << "{";
    ASSERT_TRUE(Register(is_broken ? "c" : "b", source, false, false).Get());
    const RegistryFile file(path);
    EXPECT_TRUE(Eventually([&] { return file.Read()->adapters.size() == (is_broken ? 3 : 2); }));
  }
}

TEST_F(CatalogueTest, WhatCouldNotBeWrittenIsWrittenWithTheNext) {
  Start();
  const std::string path = RegistryPath(options_.cache_dir, options_.base.fingerprint);
  const std::string source = Source("all-linear-r8", "a");
  std::filesystem::create_directories(path + ".lock");
  EXPECT_FALSE(Register("a", source, false, false).Get());
  std::filesystem::remove(path + ".lock");
  EXPECT_TRUE(Register("b", source, false, false).Get());
  EXPECT_THAT(RegistryFile(path).Read()->adapters, SizeIs(2));
}

// No field of whoever asks is wrong then: the adapter is.
TEST_F(CatalogueTest, ABrokenConfigIsTheAdaptersFault) {
  Start();
  const std::pair<const char*, ErrorCode> rows[] = {
      {"{\"peft_type\": \"LORA\", \"r\": }", ErrorCode::kUnfit},
      {"", ErrorCode::kUnfit},
      {"[]", ErrorCode::kUnfit},
      {"{}", ErrorCode::kUnfit},
      {R"({"peft_type": "LORA", "r": 0, "target_modules": ["q_proj"]})", ErrorCode::kUnfit},
      {"<!DOCTYPE html><html></html>", ErrorCode::kDataLoss},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
       ErrorCode::kDataLoss}};
  for (const auto& [config, code] : rows) {
    const std::string source = Source("all-linear-r8", "broken");
    std::ofstream(source + "/adapter_config.json", std::ios::trunc) << config;
    const StatusAnswer answer = Register("a", source);
    EXPECT_EQ(answer.Code(), code) << config;
    EXPECT_EQ(answer.Get().error().param, "source") << config;
  }
}

// ---- while a source does not answer

TEST_F(CatalogueLoadTest, WhatIsReadForTheFirstTimeIsShown) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  const StatusAnswer registering = Register("a", source.Url());
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  const AdapterStatus status = StatusOf("a");
  EXPECT_TRUE(status.is_loading);
  EXPECT_FALSE(status.is_registered);
  EXPECT_FALSE(IsKnown("a"));
  source.Open();
  EXPECT_TRUE(registering.Get());
  EXPECT_TRUE(StatusOf("a").is_registered);
  EXPECT_FALSE(Register("b", dir_.Path("nothing")).Get());
  EXPECT_EQ(StatusOf("b").name, "");
}

TEST_F(CatalogueLoadTest, OneReadingServesAllWhoWait) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  std::vector<HandleAnswer> waiting;
  for (int i = 0; i < 20; ++i) waiting.push_back(Want("a"));
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  EXPECT_EQ(StatusOf("a").num_waiting, 20);
  EXPECT_TRUE(StatusOf("a").is_loading);
  source.Open();
  for (const HandleAnswer& answer : waiting) EXPECT_EQ(answer.Value(), waiting[0].Value());
  EXPECT_LE(source.num_asked(), 3);  // its size, its bytes
  EXPECT_EQ(StatusOf("a").num_waiting, 0);
}

TEST_F(CatalogueLoadTest, TwoNamesOfOneSourceReadItOnce) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  ASSERT_TRUE(Register("b", source.Url(), false, false).Get());
  const HandleAnswer a = Want("a"), b = Want("b");
  source.Open();
  EXPECT_EQ(a.Value(), b.Value());
  EXPECT_LE(source.num_asked(), 4);  // b's load asks whether it has changed, no more
}

TEST_F(CatalogueLoadTest, WaitersAreBoundedAndHaveADeadline) {
  options_.max_waiting = 3;
  options_.wait_timeout_us = 10 * kSecondUs;
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const HandleAnswer first = Want("a");
  EXPECT_EQ(StatusOf("a").num_waiting, 1);
  clock_.Advance(5 * kSecondUs);
  const HandleAnswer second = Want("a"), third = Want("a");
  EXPECT_EQ(Want("a").Code(), ErrorCode::kResourceExhausted);
  clock_.Advance(5 * kSecondUs);
  List();  // a message, after which it looks at its clock
  EXPECT_EQ(first.Code(), ErrorCode::kUnavailable);
  EXPECT_FALSE(second.IsThere());
  source.Open();
  EXPECT_EQ(second.Value(), third.Value());
}

TEST_F(CatalogueLoadTest, SourcesThatHangHoldUpNobodyElse) {
  GatedSource source(ZipOf("all-linear-r8"));
  options_.num_fetchers = 3;
  options_.num_loaders = 1;
  Start();
  std::vector<HandleAnswer> hanging;
  for (int i = 0; i < 8; ++i) {  // more than there are threads
    const std::string name = "h" + std::to_string(i);
    ASSERT_TRUE(Register(name, source.Url(name + ".zip"), false, false).Get());
    hanging.push_back(Want(name));
  }
  EXPECT_TRUE(Register("local", Source("rslora-r3", "local")).Get());
  EXPECT_FALSE(hanging[0].IsThere());
  source.Open();
  for (const HandleAnswer& answer : hanging) EXPECT_TRUE(answer.Get());
}

TEST_F(CatalogueLoadTest, ANameRemovedWhileItLoadsFailsItsRequests) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const HandleAnswer waiting = Want("a");
  const StatusAnswer reloading = Update("a", {.reload = true});
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  ASSERT_TRUE(Remove("a"));
  EXPECT_EQ(waiting.Code(), ErrorCode::kNotFound);
  EXPECT_EQ(reloading.Code(), ErrorCode::kNotFound);
  // The name is free for something else, whatever the old load brings.
  const AdapterId other = Register("a", Source("rslora-r3", "other")).Value().id;
  source.Open();
  EXPECT_TRUE(Register("b", source.Url()).Get());
  EXPECT_EQ(Want("a").Value()->id, other);
}

TEST_F(CatalogueLoadTest, RequestsGoOnWithTheOldContentWhileTheNewIsRead) {
  GatedSource source(ZipOf("rslora-r3"));
  Start();
  const AdapterId old = Register("a", Source("all-linear-r8", "old")).Value().id;
  const StatusAnswer replacing = Register("a", source.Url(), true);
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  EXPECT_EQ(Want("a").Value()->id, old);
  source.Open();
  EXPECT_NE(replacing.Value().id, old);
}

TEST_F(CatalogueLoadTest, AChangeDuringALoadIsReadToo) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const HandleAnswer waiting = Want("a");
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  const StatusAnswer again = Update("a", {.reload = true});
  source.Open();
  EXPECT_EQ(waiting.Value()->id, again.Value().id);
  EXPECT_GE(source.num_asked(), 3);  // it was asked once more after the first answer
}

TEST_F(CatalogueLoadTest, StopEndsWhatIsUnderWay) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const HandleAnswer waiting = Want("a");
  const StatusAnswer registering = Register("b", source.Url("b.zip"));
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 1; }));
  const auto begin = std::chrono::steady_clock::now();
  catalogue_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(waiting.Code(), ErrorCode::kUnavailable);
  EXPECT_EQ(registering.Code(), ErrorCode::kUnavailable);
  EXPECT_EQ(Want("a").Code(), ErrorCode::kUnavailable);
}

TEST_F(CatalogueLoadTest, UrlsThatDifferInTheirQueryAreTwoSources) {
  GatedSource source(ZipOf("all-linear-r8"));
  source.Open();
  Start();
  ASSERT_TRUE(Register("a", source.Url("adapter.zip?version=1")).Get());
  ASSERT_TRUE(Register("b", source.Url("adapter.zip?version=2")).Get());
  ASSERT_TRUE(Register("plain", source.Url()).Get());
  EXPECT_EQ(StatusOf("a").source, StatusOf("b").source);  // a query is never shown
  Restart();
  EXPECT_FALSE(IsKnown("a"));  // nor written down
  EXPECT_TRUE(IsKnown("plain"));
}

}  // namespace
}  // namespace lorry::adapters
