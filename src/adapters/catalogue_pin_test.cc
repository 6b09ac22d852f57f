// Pins, and which of several calls holds: of one that failed nothing stays.
#include <gmock/gmock.h>

#include "adapters/cache_layout.h"
#include "adapters/catalogue_testing.h"
#include "adapters/gated_source.h"

namespace lorry::adapters {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kGood[] = "all-linear-r8";
constexpr char kOther[] = "rslora-r3";

class CataloguePinTest : public CatalogueLoadTest {
 protected:
  static void Spoil(const std::string& dir) {
    std::ofstream(dir + "/adapter_model.safetensors") << "short";
  }
  RegistryFile File() const {
    return RegistryFile(RegistryPath(options_.cache_dir, options_.base.fingerprint));
  }
  RegisteredAdapter Row(const std::string& name) const {
    const RegistryContent content = File().Read().value();
    for (const RegisteredAdapter& adapter : content.adapters) {
      if (adapter.name == name) return adapter;
    }
    return {};
  }
  // What another server has acknowledged.
  void WriteRow(const RegisteredAdapter& row) const {
    RegistryChange change;
    change.adapters[row.name] = row;
    ASSERT_TRUE(File().Change([&](RegistryContent& content) { change.ApplyTo(content); }));
  }
  int RankOf(const std::string& name) {
    return static_cast<const AdapterImage&>(*Want(name).Value()).max_rank;
  }
};

TEST_F(CataloguePinTest, OfACallThatFailedItDoesNotStay) {
  Start();
  const std::string dir = Source(kGood, "a");
  ASSERT_TRUE(Register("a", dir).Get());
  ASSERT_TRUE(Register("lazy", Source(kGood, "lazy"), false, false).Get());
  Spoil(dir);
  Spoil(dir_.Path("sources/lazy"));
  EXPECT_EQ(Register("a", dir, true, true, true).Code(), ErrorCode::kDataLoss);
  EXPECT_EQ(Update("a", {.is_pinned = true, .reload = true}).Code(), ErrorCode::kDataLoss);
  EXPECT_EQ(Update("a", {.is_pinned = true, .alias_of = "a", .reload = true}).Code(),
            ErrorCode::kDataLoss);
  EXPECT_EQ(Update("lazy", {.is_pinned = true}).Code(), ErrorCode::kDataLoss);
  ASSERT_TRUE(Remove("lazy"));  // the registry is up to date with all that came before
  EXPECT_FALSE(StatusOf("a").is_pinned);
  EXPECT_FALSE(Row("a").is_pinned);
  EXPECT_THAT(pool_.Pinned(), IsEmpty());
}

TEST_F(CataloguePinTest, NeitherDoesItsEnd) {
  Start();
  const std::string dir = Source(kGood, "a");
  ASSERT_TRUE(Register("a", dir).Get());
  EXPECT_TRUE(Register("a", dir, true, true, true).Value().is_pinned);
  EXPECT_TRUE(Row("a").is_pinned);
  EXPECT_THAT(pool_.Pinned(), SizeIs(1));
  Spoil(dir);
  EXPECT_EQ(Update("a", {.is_pinned = false, .reload = true}).Code(), ErrorCode::kDataLoss);
  EXPECT_TRUE(StatusOf("a").is_pinned);
  Source(kGood, "a");
  EXPECT_FALSE(Update("a", {.is_pinned = false, .reload = true}).Value().is_pinned);
  EXPECT_FALSE(Row("a").is_pinned);
  EXPECT_THAT(pool_.Pinned(), IsEmpty());
  EXPECT_TRUE(Update("a", {.is_pinned = true}).Value().is_pinned);
  EXPECT_THAT(pool_.Pinned(), SizeIs(1));
  EXPECT_FALSE(Update("a", {.is_pinned = false}).Value().is_pinned);
  EXPECT_THAT(pool_.Pinned(), IsEmpty());
}

TEST_F(CataloguePinTest, ACallThatFailedWritesNothingOverAnothersRow) {
  Start();
  const std::string dir = Source(kGood, "a");
  ASSERT_TRUE(Register("a", dir).Get());
  WriteRow({"a", "/elsewhere", true, 7});
  Spoil(dir);
  EXPECT_EQ(Register("a", dir, true).Code(), ErrorCode::kDataLoss);
  ASSERT_TRUE(Register("b", Source(kGood, "b")).Get());
  EXPECT_EQ(Row("a").source, "/elsewhere");
  Source(kGood, "a");
  ASSERT_TRUE(Register("a", dir, true).Get());
  EXPECT_EQ(Row("a").source, dir) << "what was acknowledged last";
}

TEST_F(CataloguePinTest, TheLaterCallGoesOn) {
  GatedSource source(ZipOf(kGood));
  Start();
  ASSERT_TRUE(Register("lazy", source.Url(), false, false).Get());
  const StatusAnswer pinning = Update("lazy", {.is_pinned = true});
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  EXPECT_FALSE(Update("lazy", {.is_pinned = false}).Value().is_pinned);
  source.Open();
  EXPECT_TRUE(pinning.Get());
  EXPECT_FALSE(StatusOf("lazy").is_pinned);
  EXPECT_THAT(pool_.Pinned(), IsEmpty());
}

TEST_F(CataloguePinTest, OfAnEarlierCallGoesOnWithALaterOneThatSaysNothingOfIt) {
  GatedSource source(ZipOf(kGood));
  Start();
  const StatusAnswer pinning = Register("a", source.Url(), false, true, true);
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  const StatusAnswer later = Register("a", source.Url(), true);
  source.Open();
  EXPECT_TRUE(pinning.Get());
  EXPECT_TRUE(later.Get());
  EXPECT_TRUE(StatusOf("a").is_pinned);
}

TEST_F(CataloguePinTest, ACandidateOfAnEarlierCallIsDropped) {
  GatedSource source(ZipOf(kGood));
  Start();
  const std::string other = Source(kOther, "other");
  ASSERT_TRUE(Register("a", other).Get());
  ASSERT_TRUE(Register("b", Source(kOther, "b")).Get());
  int num_asked = 0;
  const auto begin_moving = [&](const std::string& file) {
    StatusAnswer moving = Register("a", source.Url(file), true, true, true);
    EXPECT_TRUE(Eventually([&] { return source.num_asked() > num_asked; }));
    num_asked = source.num_asked();
    return moving;
  };
  // Another call names the source that the name has, or moves the name elsewhere at once.
  const StatusAnswer first = begin_moving("first.zip");
  EXPECT_EQ(Register("a", other, true).Value().source, other);
  EXPECT_EQ(first.Code(), ErrorCode::kConflict);
  EXPECT_THAT(first.Get().error().message, HasSubstr("A later call"));
  const StatusAnswer second = begin_moving("second.zip");
  EXPECT_TRUE(Update("a", {.alias_of = "b"}).Get());
  EXPECT_EQ(second.Code(), ErrorCode::kConflict);
  source.Open();
  EXPECT_TRUE(Register("after", source.Url("first.zip")).Get()) << "which waits for the earlier";
  EXPECT_EQ(RankOf("a"), 3);
  EXPECT_FALSE(StatusOf("a").is_pinned);
}

TEST_F(CataloguePinTest, OfADirectorysAdapterTouchesNoRowOfAnotherServer) {
  Start();
  const std::string dir = Source(kGood, "w");
  catalogue_->SyncWatched("w", dir);
  WriteRow({"w", "/elsewhere", false, 7});
  EXPECT_TRUE(Update("w", {.is_pinned = true}).Value().is_pinned);
  ASSERT_TRUE(Register("b", Source(kGood, "b")).Get());
  EXPECT_EQ(Row("w").source, "/elsewhere");
  EXPECT_FALSE(Row("w").is_pinned);
}

}  // namespace
}  // namespace lorry::adapters
