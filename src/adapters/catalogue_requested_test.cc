// Sources that requests name themselves.
#include <gmock/gmock.h>

#include "adapters/catalogue_testing.h"
#include "adapters/gated_source.h"
#include "formats/archive_testing.h"

namespace lorry::adapters {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class RequestedTest : public CatalogueTest {
 protected:
  void Allow(const std::vector<std::string>& patterns) {
    options_.requestable = SourceAllowList::Create(patterns).value();
  }
  HandleAnswer WantSource(const std::string& uri, const std::string& token = "") {
    HandleAnswer answer;
    catalogue_->WantSource({uri, token}, nullptr, answer.Callback());
    return answer;
  }
  std::string Zip() {
    const std::string path = dir_.Path("adapter.zip");
    const std::string from = formats::OraclePath("llama-forms/adapters/all-linear-r8");
    std::vector<formats::TestEntry> entries;
    for (const std::string name : {"adapter_config.json", "adapter_model.safetensors"}) {
      entries.push_back({name, formats::ReadWhole(from + "/" + name)});
    }
    formats::MakeArchive(path, formats::TestFormat::kZip, entries);
    return formats::ReadWhole(path);
  }
};

TEST_F(RequestedTest, WhatIsAllowedIsServedAndListedNowhere) {
  const std::string open = Source("all-linear-r8", "open/a");
  const std::string closed = Source("rslora-r3", "closed/b");
  Allow({dir_.Path("sources/open/*")});
  Start();
  const Handle handle = WantSource(open).Value();
  EXPECT_EQ(WantSource(open).Value(), handle);
  EXPECT_EQ(WantSource(closed).Code(), ErrorCode::kPermission);
  EXPECT_EQ(catalogue_->CheckSource(closed).error().code, ErrorCode::kPermission);
  EXPECT_EQ(WantSource(dir_.Path("sources/open/missing")).Code(), ErrorCode::kNotFound);
  EXPECT_THAT(List(), IsEmpty());
  EXPECT_THAT(catalogue_->directory()->adapters(), IsEmpty());
  EXPECT_EQ(Want(open).Code(), ErrorCode::kNotFound) << "it is no name";
  Restart();
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(RequestedTest, TheLeastLatelyUsedLeaves) {
  Allow({dir_.Path("sources/*")});
  options_.max_requested = 2;
  Start();
  const std::string a = Source("all-linear-r8", "a"), b = Source("rslora-r3", "b");
  const AdapterId a_id = WantSource(a).Value()->id, b_id = WantSource(b).Value()->id;
  WantSource(a).Get();
  WantSource(Source("embeddings-r4", "c")).Value();
  EXPECT_TRUE(pool_.HasDropped(b_id));
  EXPECT_FALSE(pool_.HasDropped(a_id));
}

TEST_F(RequestedTest, TheSourceIsAskedAgainAfterAWhile) {
  Allow({dir_.Path("sources/*")});
  Start();
  const std::string dir = Source("all-linear-r8", "a");
  const AdapterId first = WantSource(dir).Value()->id;
  Source("rslora-r3", "a");
  EXPECT_EQ(WantSource(dir).Value()->id, first);
  clock_.Advance(options_.recheck_us + 1);
  EXPECT_NE(WantSource(dir).Value()->id, first);
}

TEST_F(RequestedTest, ATokenOpensNothingForAnother) {
  GatedSource source(Zip());
  source.Open();
  Allow({source.Url("*")});
  Start();
  const Handle mine = WantSource(source.Url(), "mine").Value();
  const int num_asked = source.num_asked();
  EXPECT_EQ(WantSource(source.Url(), "mine").Value(), mine);
  EXPECT_EQ(source.num_asked(), num_asked);
  for (const char* token : {"theirs", ""}) {
    const int before = source.num_asked();
    EXPECT_EQ(WantSource(source.Url(), token).Value()->id, mine->id);
    EXPECT_GT(source.num_asked(), before) << "the source was not asked with '" << token << "'";
  }
  const int before = source.num_asked();
  EXPECT_TRUE(WantSource(source.Url("adapter.zip?signature=1"), "mine").Get());
  EXPECT_GT(source.num_asked(), before) << "a query may be a secret too";
}

// What somebody else has read is no answer when the source cannot say who may have it.
TEST_F(RequestedTest, NothingOfOthersWhenTheSourceIsSilent) {
  std::string url;
  {
    GatedSource source(Zip());
    source.Open();
    url = source.Url();
    Allow({source.Url("*")});
    Start();
    ASSERT_TRUE(Register("registered", url).Get());
    ASSERT_TRUE(WantSource(url, "mine").Get());
  }
  EXPECT_EQ(WantSource(url, "theirs").Code(), ErrorCode::kSourceFailed);
  EXPECT_EQ(WantSource(url, "").Code(), ErrorCode::kSourceFailed);
  EXPECT_TRUE(WantSource(url, "mine").Get());
}

TEST_F(RequestedTest, ErrorsAreRememberedAndShowNoSecrets) {
  std::string url;
  {
    GatedSource source(Zip());
    url = source.Url("adapter.zip?signature=geheim1");
    Allow({source.Url("*")});
  }
  Start();
  const HandleAnswer answer = WantSource(url, "geheim2");
  EXPECT_EQ(answer.Code(), ErrorCode::kSourceFailed);
  EXPECT_EQ(answer.Get().error().param, "source");
  EXPECT_THAT(answer.Get().error().message, Not(HasSubstr("geheim")));
  EXPECT_EQ(WantSource(url, "geheim2").Code(), ErrorCode::kSourceFailed);
}

}  // namespace
}  // namespace lorry::adapters
