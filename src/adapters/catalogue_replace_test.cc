// Names that come to stand for something else, or fail to: whatever fails leaves what was there.
#include <gmock/gmock.h>

#include <map>
#include <random>

#include "adapters/cache_layout.h"
#include "adapters/catalogue_testing.h"
#include "adapters/gated_source.h"

namespace lorry::adapters {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] = "all-linear-r8";
constexpr char kOther[] = "rslora-r3";

class CatalogueReplaceTest : public CatalogueTest {
 protected:
  // A source that can be read and does not fit.
  std::string BadSource(const std::string& copy_name) {
    const std::string dir = Source(kGood, copy_name);
    Spoil(dir);
    return dir;
  }
  static void Spoil(const std::string& dir) {
    std::ofstream(dir + "/adapter_model.safetensors") << "short";
  }
  int RankOf(const std::string& name) {
    const HandleAnswer answer = Want(name);
    return answer.Get() ? static_cast<const AdapterImage&>(**answer.Get()).max_rank : -1;
  }
  std::string SourceInFile(const std::string& name) {
    const RegistryFile file(RegistryPath(options_.cache_dir, options_.base.fingerprint));
    const RegistryContent content = file.Read().value();
    for (const RegisteredAdapter& adapter : content.adapters) {
      if (adapter.name == name) return adapter.source;
    }
    return "";
  }
};

TEST_F(CatalogueReplaceTest, ABadReplacementLeavesANameThatWasNeverUsed) {
  Start();
  const std::string good = Source(kGood, "good");
  ASSERT_TRUE(Register("a", good, false, false).Get());
  EXPECT_EQ(Register("a", BadSource("bad"), true).Code(), ErrorCode::kDataLoss);
  EXPECT_EQ(StatusOf("a").source, good);
  EXPECT_EQ(RankOf("a"), 8);
  EXPECT_EQ(Register("a", dir_.Path("nowhere"), true, true, true).Code(), ErrorCode::kNotFound);
  EXPECT_FALSE(StatusOf("a").is_pinned) << "nothing of what failed stays";
  Restart();
  EXPECT_EQ(RankOf("a"), 8);
}

TEST_F(CatalogueReplaceTest, AnAliasMovesOnceItsTargetHasBeenRead) {
  Start();
  ASSERT_TRUE(Register("a", Source(kGood, "good")).Get());
  ASSERT_TRUE(Register("bad", BadSource("bad"), false, false).Get());
  ASSERT_TRUE(Register("lazy", Source(kOther, "lazy"), false, false).Get());
  EXPECT_EQ(Update("a", {.alias_of = "bad"}).Code(), ErrorCode::kDataLoss);
  EXPECT_EQ(RankOf("a"), 8);
  EXPECT_EQ(Update("a", {.is_pinned = true, .alias_of = "bad"}).Code(), ErrorCode::kDataLoss);
  EXPECT_FALSE(StatusOf("a").is_pinned);
  EXPECT_EQ(Update("a", {.alias_of = "lazy"}).Value().max_rank, 3);
  EXPECT_EQ(RankOf("a"), 3);
  EXPECT_EQ(Update("lazy", {.alias_of = "bad"}).Code(), ErrorCode::kDataLoss);
  Restart();
  EXPECT_EQ(RankOf("a"), 3);
  EXPECT_EQ(RankOf("lazy"), 3);
}

TEST_F(CatalogueReplaceTest, ASourceThatBecomesBadLeavesWhatWasThere) {
  Start();
  const std::string dir = Source(kGood, "w");
  catalogue_->SyncWatched("w", dir);
  ASSERT_EQ(RankOf("w"), 8);
  Spoil(dir);
  catalogue_->SyncWatched("w", dir);
  EXPECT_EQ(RankOf("w"), 8);
  EXPECT_EQ(RankOf("w"), 8) << "without reading it each time";
  ASSERT_TRUE(StatusOf("w").error);
  clock_.Advance(options_.max_retry_us);
  EXPECT_EQ(RankOf("w"), 8);
  Source(kOther, "w");  // mended
  catalogue_->SyncWatched("w", dir);
  EXPECT_EQ(RankOf("w"), 3);
  EXPECT_FALSE(StatusOf("w").error);
}

TEST_F(CatalogueReplaceTest, SoDoesOneFromBeforeARestart) {
  Start();
  const std::string dir = Source(kGood, "a");
  ASSERT_TRUE(Register("a", dir, false, true, true).Get());
  ASSERT_TRUE(Eventually([&] { return NumImageFiles() == 1; }));
  catalogue_.reset();
  Spoil(dir);
  Restart();
  EXPECT_EQ(RankOf("a"), 8);
  EXPECT_TRUE(Eventually([&] { return pool_.Pinned().size() == 1; })) << "it stays pinned";
  // A name that has never had it gets nothing of what the source held.
  ASSERT_TRUE(Register("fresh", dir, false, false).Get());
  EXPECT_EQ(Want("fresh").Code(), ErrorCode::kDataLoss);
  Source(kOther, "a");
  clock_.Advance(options_.max_retry_us);
  EXPECT_EQ(RankOf("a"), 3);
}

TEST_F(CatalogueReplaceTest, TheConfigurationTakesANameOnlyWithWhatCanBeRead) {
  Start();
  const std::string good = Source(kGood, "good");
  ASSERT_TRUE(Register("a", good).Get());
  Restart();
  StatusAnswer bad, base, fine;
  catalogue_->AddStatic("a", ParseSourceUri(BadSource("bad")).value(), false, bad.Callback());
  EXPECT_EQ(bad.Code(), ErrorCode::kDataLoss);
  EXPECT_EQ(RankOf("a"), 8);
  EXPECT_FALSE(StatusOf("a").is_static);
  EXPECT_EQ(SourceInFile("a"), good);
  catalogue_->AddStatic("base", ParseSourceUri(good).value(), false, base.Callback());
  EXPECT_THAT(base.Get().error().message, HasSubstr("the base model's name"));
  catalogue_->SyncWatched("base", good);
  EXPECT_FALSE(IsKnown("base"));
  catalogue_->AddStatic("a", ParseSourceUri(Source(kOther, "c")).value(), false, fine.Callback());
  EXPECT_EQ(fine.Value().max_rank, 3);
  EXPECT_TRUE(StatusOf("a").is_static);
}

TEST_F(CatalogueReplaceTest, NamesOfAnotherBaseStayInTheFile) {
  Start();
  const std::string good = Source(kGood, "good");
  ASSERT_TRUE(Register("later-a-base", good).Get());
  catalogue_.reset();
  options_.base_names.push_back("later-a-base");
  Restart();
  EXPECT_FALSE(IsKnown("later-a-base"));
  ASSERT_TRUE(Register("b", good).Get());
  EXPECT_EQ(SourceInFile("later-a-base"), good);
}

TEST_F(CatalogueReplaceTest, KeysThatAreNoNamesAreNobodysToName) {
  GatedSource source(formats::ReadWhole(Source(kGood, "x") + "/adapter_config.json"));
  Start();
  ASSERT_TRUE(Register("a", Source(kGood, "a")).Get());
  const StatusAnswer replacing = Register("a", source.Url(), true);
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  EXPECT_EQ(Remove("a#new").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Update("a#new", {.is_pinned = true}).Code(), ErrorCode::kNotFound);
  EXPECT_EQ(Update("a", {.alias_of = "a#new"}).Code(), ErrorCode::kNotFound);
  EXPECT_EQ(Want("a#new").Code(), ErrorCode::kNotFound);
  EXPECT_EQ(List().size(), 1u);
  EXPECT_TRUE(StatusOf("a").is_loading);
  ASSERT_TRUE(Remove("a"));
  EXPECT_EQ(replacing.Code(), ErrorCode::kNotFound);
  source.Open();
}

// Random calls against what they must leave: the rank that each name answers with.
TEST_F(CatalogueReplaceTest, ANameThatAnsweredKeepsAnsweringUnlessAChangeSucceeded) {
  struct Held {
    std::string source;
    int rank = 0;  // of what the name answers with; 0: nobody has asked yet
  };
  Start();
  std::mt19937 random(20260817);
  const auto pick = [&](int n) { return static_cast<int>(random() % n); };
  std::map<std::string, int> on_disk;  // what each source holds now; -1: bad
  const auto make = [&](int i) {
    const std::string copy = fmt::format("s{}", i);
    const int kind = pick(4);
    const std::string dir = kind == 0   ? BadSource(copy)
                            : kind == 1 ? Source(kOther, copy)
                                        : Source(kGood, copy);
    on_disk[dir] = kind == 0 ? -1 : kind == 1 ? 3 : 8;
    return dir;
  };
  constexpr int kSources = 6, kNames = 5, kCalls = 400;
  std::vector<std::string> sources;
  for (int i = 0; i < kSources; ++i) sources.push_back(make(i));
  std::map<std::string, Held> names;
  const auto name_of = [](int i) { return fmt::format("n{}", i); };
  int num_failed = 0, num_changed = 0;
  for (int call = 0; call < kCalls; ++call) {
    const std::string name = name_of(pick(kNames));
    const std::string& source = sources[pick(kSources)];
    const bool is_known = names.contains(name);
    const std::string what = fmt::format("call {} on {} with {}", call, name, source);
    switch (pick(7)) {
      case 0:
      case 1: {  // register, replace
        const bool replace = pick(2) == 0, load = pick(3) > 0;
        const auto status = Register(name, source, replace, load).Get();
        const bool reads = load || is_known;
        const bool good = (!is_known || replace) && (!reads || on_disk[source] > 0);
        ASSERT_EQ(status.has_value(), good) << what;
        if (good) names[name] = {source, reads ? on_disk[source] : 0};
        ++(good ? num_changed : num_failed);
        break;
      }
      case 2: {  // alias
        const std::string target = name_of(pick(kNames));
        const bool reload = pick(3) == 0;
        const auto status = Update(name, {.alias_of = target, .reload = reload}).Get();
        if (!is_known || !names.contains(target)) {
          ASSERT_FALSE(status) << what;
          break;
        }
        const Held& to = names[target];
        if (status) {
          names[name] = {to.source, status->max_rank};
          ASSERT_GT(status->max_rank, 0) << what;
        } else {
          ASSERT_LT(on_disk[to.source], 0) << what << ": " << status.error().message;
        }
        ++(status ? num_changed : num_failed);
        break;
      }
      case 3: {  // reload
        const auto status = Update(name, {.reload = true}).Get();
        ASSERT_EQ(status.has_value(), is_known && on_disk[names[name].source] > 0) << what;
        if (status) names[name].rank = on_disk[names[name].source];
        if (!is_known) names.erase(name);
        break;
      }
      case 4:  // remove
        if (pick(3) > 0) break;
        ASSERT_EQ(Remove(name).has_value(), is_known) << what;
        names.erase(name);
        break;
      case 5:  // the source's own content
        make(static_cast<int>(&source - sources.data()));
        break;
      case 6:
        if (pick(8) > 0) break;
        while (NumImageFiles() == 0 && !names.empty() && num_changed > 0 && pick(50) > 0) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        Restart();
        // Sources are asked again after a restart: the good ones are what counts from then on.
        for (auto& [known, held] : names) {
          if (on_disk[held.source] > 0) held.rank = 0;
        }
        break;
    }
    clock_.Advance(pick(2) * options_.max_retry_us);
    for (auto& [known, held] : names) {
      ASSERT_EQ(StatusOf(known).source, held.source) << what;
      const int rank = RankOf(known);
      if (held.rank == 0) {
        if (on_disk[held.source] > 0) {
          clock_.Advance(options_.max_retry_us);
          ASSERT_EQ(RankOf(known), on_disk[held.source]) << what << ", asked for " << known;
        }
        held.rank = std::max(RankOf(known), 0);
        continue;
      }
      ASSERT_EQ(rank, held.rank) << what << ", asked for " << known;
    }
  }
  EXPECT_GT(num_failed, 20);
  EXPECT_GT(num_changed, 40);
}

}  // namespace
}  // namespace lorry::adapters
