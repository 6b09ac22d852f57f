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

}  // namespace
}  // namespace lorry::adapters
