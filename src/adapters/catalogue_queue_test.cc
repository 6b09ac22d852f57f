// Requests that wait for an adapter, and leave before it is there.
#include <gmock/gmock.h>

#include "adapters/catalogue_testing.h"
#include "adapters/gated_source.h"

namespace lorry::adapters {
namespace {

std::shared_ptr<WaitingRequest> NewRequest() { return std::make_shared<WaitingRequest>(); }

TEST_F(CatalogueLoadTest, WhoHangsUpLeavesAtOnceAndMakesRoom) {
  options_.max_waiting = 2;
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const auto first = NewRequest();
  const HandleAnswer gone = Want("a", first), stays = Want("a", NewRequest());
  EXPECT_EQ(Want("a").Code(), ErrorCode::kResourceExhausted);
  first->gone.request_stop();
  EXPECT_EQ(gone.Code(), ErrorCode::kCancelled);
  EXPECT_EQ(StatusOf("a").num_waiting, 1);
  const HandleAnswer next = Want("a", NewRequest());
  source.Open();
  EXPECT_TRUE(stays.Get());
  EXPECT_TRUE(next.Get());
  EXPECT_EQ(source.num_hung_up(), 0) << "the load was still wanted";
}

TEST_F(CatalogueLoadTest, WhoHasHungUpBeforeDoesNotWait) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const auto request = NewRequest();
  request->gone.request_stop();
  EXPECT_EQ(Want("a", request).Code(), ErrorCode::kCancelled);
  EXPECT_TRUE(Eventually([&] { return !StatusOf("a").is_loading; }));
}

TEST_F(CatalogueLoadTest, ALoadThatNobodyWaitsForIsCancelled) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  const auto request = NewRequest();
  const HandleAnswer one = Want("a", request), other = Want("a", request);
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  request->gone.request_stop();
  EXPECT_EQ(one.Code(), ErrorCode::kCancelled);
  EXPECT_EQ(other.Code(), ErrorCode::kCancelled);
  EXPECT_TRUE(Eventually([&] { return !StatusOf("a").is_loading; }));
  EXPECT_TRUE(Eventually([&] { return source.num_hung_up() > 0; }));
  EXPECT_FALSE(StatusOf("a").error) << "a cancelled load is no failure";
  source.Open();
  EXPECT_TRUE(Want("a").Get());
}

TEST_F(CatalogueLoadTest, WhoComesToACancelledLoadIsServed) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  ASSERT_TRUE(Register("a", source.Url(), false, false).Get());
  for (int round = 0; round < 20; ++round) {
    const auto request = NewRequest();
    const HandleAnswer gone = Want("a", request);
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 3));  // however far it has come
    request->gone.request_stop();
    EXPECT_EQ(gone.Code(), ErrorCode::kCancelled);
  }
  const HandleAnswer stays = Want("a", NewRequest());
  source.Open();
  EXPECT_TRUE(stays.Get());
}

TEST_F(CatalogueLoadTest, WhatTheOperatorOrderedIsNotCancelled) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  const StatusAnswer registering = Register("a", source.Url());
  ASSERT_TRUE(Eventually([&] { return source.num_asked() > 0; }));
  const auto request = NewRequest();
  const HandleAnswer gone = Want("a", request);
  request->gone.request_stop();
  EXPECT_EQ(gone.Code(), ErrorCode::kCancelled);
  source.Open();
  EXPECT_TRUE(registering.Get());
  EXPECT_EQ(source.num_hung_up(), 0);
}

TEST_F(CatalogueLoadTest, TheEngineLearnsWhoWaits) {
  GatedSource source(ZipOf("all-linear-r8"));
  Start();
  for (const char* name : {"a", "b"}) {
    ASSERT_TRUE(Register(name, source.Url(name + std::string(".zip")), false, false).Get());
  }
  const auto sum = NewRequest();
  std::vector<HandleAnswer> waiting = {Want("a", sum), Want("b", sum), Want("b", NewRequest())};
  const auto shows = [&](int num_requests, const std::vector<std::string>& adapters) {
    clock_.Advance(kSecondUs / 10);
    List();
    const auto shown = pool_.waiting.Get();
    return shown != nullptr && shown->num_requests == num_requests && shown->adapters == adapters;
  };
  EXPECT_TRUE(Eventually([&] { return shows(2, {"a", "b"}); }));
  sum->gone.request_stop();
  EXPECT_TRUE(Eventually([&] { return shows(1, {"b"}); }));
  source.Open();
  EXPECT_TRUE(Eventually([&] { return shows(0, {}); }));
}

// ---- the memory that waiting requests hold

class WaitingBytesTest : public CatalogueTest {
 protected:
  // Adapters of different contents under the names "0", "1", ...
  void StartWith(int num_adapters, size_t max_waiting_bytes) {
    options_.max_waiting_bytes = max_waiting_bytes;
    Start();
    const char* const kinds[] = {"all-linear-r8", "rslora-r3", "lora-bias", "dora"};
    for (int i = 0; i < num_adapters; ++i) {
      ASSERT_TRUE(Register(std::to_string(i), Source(kinds[i], std::to_string(i))).Get());
    }
  }
  struct Asked {
    std::shared_ptr<WaitingRequest> request = NewRequest();
    HandleAnswer answer;
  };
  Asked Ask(const std::string& name) {
    Asked asked;
    asked.answer = Want(name, asked.request);
    List();  // its Want has been handled
    return asked;
  }
  static void Run(Asked& asked) { asked.request.reset(); }
  double HeldBytes() {
    List();
    List();  // the first one's answer comes before the metrics
    for (const auto& family : registry_->Collect()) {
      if (family.name == "lorry:adapter_waiting_bytes") return family.metric[0].gauge.value;
    }
    return -1;
  }
};

TEST_F(WaitingBytesTest, BeyondTheLimitRequestsWaitForTheirTurn) {
  StartWith(3, 1);  // so each passes alone
  Asked first = Ask("0"), second = Ask("1"), same = Ask("0"), third = Ask("2");
  EXPECT_TRUE(first.answer.Get());
  EXPECT_EQ(HeldBytes(), static_cast<double>(StatusOf("0").num_bytes));
  EXPECT_FALSE(second.answer.IsThere());
  EXPECT_FALSE(same.answer.IsThere()) << "it takes no memory, but nobody overtakes";
  EXPECT_EQ(StatusOf("1").num_waiting, 1);
  Run(first);
  EXPECT_TRUE(second.answer.Get());
  EXPECT_FALSE(same.answer.IsThere() || third.answer.IsThere());
  EXPECT_EQ(HeldBytes(), static_cast<double>(StatusOf("1").num_bytes));
  Run(second);
  EXPECT_TRUE(same.answer.Get());
  Run(same);
  EXPECT_TRUE(third.answer.Get());
  Run(third);
  EXPECT_TRUE(Eventually([&] { return HeldBytes() == 0; }));
}

TEST_F(WaitingBytesTest, WithinTheLimitNobodyWaits) {
  StartWith(3, size_t{1} << 20);
  const Asked all[] = {Ask("0"), Ask("1"), Ask("2"), Ask("1")};
  size_t num_bytes = 0;
  for (const char* name : {"0", "1", "2"}) num_bytes += StatusOf(name).num_bytes;
  for (const Asked& asked : all) EXPECT_TRUE(asked.answer.IsThere());
  EXPECT_EQ(HeldBytes(), static_cast<double>(num_bytes)) << "each adapter once";
}

TEST_F(WaitingBytesTest, SumsNeverWaitForEachOther) {
  StartWith(2, 1);
  auto one = NewRequest(), other = NewRequest();
  const HandleAnswer one_a = Want("0", one), other_b = Want("1", other), other_a = Want("0", other),
                     one_b = Want("1", one);
  EXPECT_TRUE(one_a.Get());
  EXPECT_TRUE(one_b.Get());
  EXPECT_FALSE(other_b.IsThere() || other_a.IsThere());
  one.reset();
  EXPECT_TRUE(other_a.Get());
  EXPECT_TRUE(other_b.Get());
}

TEST_F(WaitingBytesTest, ASumThatHasAPartGetsTheOthersBeforeWhoCameBetween) {
  StartWith(3, 1);
  Asked holds = Ask("2");
  auto sum = NewRequest();
  const HandleAnswer sum_a = Want("0", sum);
  Asked between = Ask("2");
  const HandleAnswer sum_b = Want("1", sum);
  Run(holds);
  EXPECT_TRUE(sum_a.Get());
  EXPECT_TRUE(sum_b.Get());
  EXPECT_FALSE(between.answer.IsThere());
  sum.reset();
  EXPECT_TRUE(between.answer.Get());
}

TEST_F(WaitingBytesTest, ARemovedNameGivesItsTurnsAway) {
  StartWith(3, 1);
  Asked holds = Ask("0"), removed = Ask("1"), stays = Ask("0");
  ASSERT_TRUE(Remove("1"));
  EXPECT_EQ(removed.answer.Code(), ErrorCode::kNotFound);
  EXPECT_TRUE(stays.answer.Get()) << "it is at hand, and nobody is before it";
}

TEST_F(WaitingBytesTest, WhoHangsUpOrIsOverdueGivesItsTurnAway) {
  options_.wait_timeout_us = 10 * kSecondUs;
  StartWith(3, 1);
  Asked holds = Ask("0"), leaves = Ask("1"), overdue = Ask("1");
  clock_.Advance(5 * kSecondUs);
  const Asked stays = Ask("2");
  leaves.request->gone.request_stop();
  EXPECT_EQ(leaves.answer.Code(), ErrorCode::kCancelled);
  clock_.Advance(5 * kSecondUs);
  List();
  EXPECT_EQ(overdue.answer.Code(), ErrorCode::kUnavailable);
  EXPECT_THAT(overdue.answer.Get().error().message, testing::HasSubstr("no room in memory"));
  EXPECT_FALSE(stays.answer.IsThere());
  Run(holds);
  EXPECT_TRUE(stays.answer.Get());
}

TEST_F(WaitingBytesTest, WhatLeftTheHostMeanwhileComesBack) {
  options_.max_host_bytes = 1;
  for (const char* cache : {"cache", ""}) {
    options_.cache_dir = cache[0] == 0 ? "" : dir_.Path(cache);
    pool_.pinned.clear();
    catalogue_.reset();
    registry_ = std::make_unique<prometheus::Registry>();
    StartWith(4, 1);
    std::vector<Asked> all;
    for (const char* name : {"0", "1", "2", "3", "1", "2"}) all.push_back(Ask(name));
    // Those that come sooner from the disk may go before others.
    while (!all.empty()) {
      const auto next = [&] {
        return std::ranges::find_if(all, [](const Asked& asked) { return asked.answer.IsThere(); });
      };
      ASSERT_TRUE(Eventually([&] { return next() != all.end(); }));
      const auto asked = next();
      EXPECT_TRUE(asked->answer.Get());
      EXPECT_LE(HeldBytes(), 60'000) << "no more than one of them";
      all.erase(asked);
    }
    for (const char* name : {"0", "1", "2", "3"}) ASSERT_TRUE(Remove(name));
  }
}

TEST_F(WaitingBytesTest, RequestsMayEndAfterTheCatalogue) {
  StartWith(1, 1);
  Asked asked = Ask("0");
  ASSERT_TRUE(asked.answer.Get());
  catalogue_.reset();
  Run(asked);
}

}  // namespace
}  // namespace lorry::adapters
