#include "server/text_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "server/testing/test_server.h"

namespace lorry::server {
namespace {

using testing::HasSubstr;

class TextCacheTest : public testing::Test {
 protected:
  // An adapter whose template says `word`; the same number is the same text.
  static std::vector<AdapterTerm> Adapter(uint8_t number, std::string_view config) {
    auto handle = std::make_shared<AdapterHandle>();
    handle->text = {"", config, {{number}}};
    return {{.name = "x", .handle = std::move(handle)}};
  }

  const TextCache::Text base_ = MakeText();
  const std::shared_ptr<text::TextSandbox> sandbox_ = text::TextSandbox::Create();
};

constexpr std::string_view kFirst = R"({"chat_template": "1"})";
constexpr std::string_view kSecond = R"({"chat_template": "2"})";

TEST_F(TextCacheTest, TheBaseAndAdaptersWithoutTextsAndSumsHaveTheBases) {
  TextCache cache(base_, *sandbox_, 10 * TextCache::kMinBytes);
  EXPECT_EQ(*cache.Find({}), base_);
  const std::vector<AdapterTerm> plain = {{.handle = std::make_shared<AdapterHandle>()}};
  EXPECT_EQ(*cache.Find(plain), base_);
  std::vector<AdapterTerm> sum = Adapter(1, kFirst);
  sum.push_back(sum[0]);
  EXPECT_EQ(*cache.Find(sum), base_);
}

TEST_F(TextCacheTest, EqualTextsAreParsedOnce) {
  TextCache cache(base_, *sandbox_, 10 * TextCache::kMinBytes);
  const TextCache::Text first = *cache.Find(Adapter(1, kFirst));
  EXPECT_NE(first, base_);
  EXPECT_EQ(*cache.Find(Adapter(1, kFirst)), first);
  const TextCache::Text second = *cache.Find(Adapter(2, kSecond));
  EXPECT_NE(second, first);
  EXPECT_EQ(second->chat_template->Render({.messages_json = "[]"}).value(), "2");
}

TEST_F(TextCacheTest, ThoseNotUsedGoFirst) {
  TextCache cache(base_, *sandbox_, 2 * TextCache::kMinBytes);
  const std::weak_ptr<const text::ModelText> first = *cache.Find(Adapter(1, kFirst));
  const std::weak_ptr<const text::ModelText> second = *cache.Find(Adapter(2, kSecond));
  EXPECT_TRUE(cache.Find(Adapter(1, kFirst)));
  EXPECT_TRUE(cache.Find(Adapter(3, kFirst)));
  EXPECT_FALSE(first.expired());
  EXPECT_TRUE(second.expired());
  TextCache none(base_, *sandbox_, 0);
  EXPECT_TRUE(none.Find(Adapter(1, kFirst)));  // the last one is kept, whatever its size
}

TEST_F(TextCacheTest, WhatCannotBeUsedIsSaidEveryTime) {
  TextCache cache(base_, *sandbox_, 10 * TextCache::kMinBytes);
  for (int i = 0; i < 2; ++i) {
    const auto text = cache.Find(Adapter(4, R"({"chat_template": "{% if %}"})"));
    ASSERT_FALSE(text);
    EXPECT_EQ(text.error().code, ErrorCode::kUnfit);
    EXPECT_EQ(text.error().param, "model");
    EXPECT_THAT(text.error().message, HasSubstr("The adapter `x`"));
  }
}

// Until it is mended, whatever is made fails as where a worker was ended.
class FailingBackend final : public text::TextBackend {
 public:
  Result<std::shared_ptr<const text::TokenizerBackend>> NewTokenizer(
      std::string_view json, std::string_view more_tokens) override {
    return text::InProcess().NewTokenizer(json, more_tokens);
  }
  Result<std::shared_ptr<const text::TemplateBackend>> NewTemplate(
      std::string_view source, std::string_view variables, const tk_limits& limits,
      const text::TokenizerBackend* tokens) override {
    ++num_calls;
    if (!is_mended) return Fail(ErrorCode::kUnfit, "ended the process that ran it");
    return text::InProcess().NewTemplate(source, variables, limits, tokens);
  }

  bool is_mended = false;
  int num_calls = 0;
};

TEST_F(TextCacheTest, WhatCouldNotBeLoadedIsTriedAgainAfterAMinute) {
  FakeClock clock;
  FailingBackend backend;
  TextCache cache(base_, backend, 10 * TextCache::kMinBytes, clock);
  EXPECT_EQ(cache.Find(Adapter(1, kFirst)).error().code, ErrorCode::kUnfit);
  backend.is_mended = true;
  clock.Advance(60'000'000);
  EXPECT_FALSE(cache.Find(Adapter(1, kFirst)));
  EXPECT_EQ(backend.num_calls, 1);
  clock.Advance(1);
  const auto text = cache.Find(Adapter(1, kFirst));
  ASSERT_TRUE(text) << text.error().message;
  clock.Advance(120'000'000);
  EXPECT_EQ(*cache.Find(Adapter(1, kFirst)), *text);
  EXPECT_EQ(backend.num_calls, 2);
}

TEST_F(TextCacheTest, ManyThreadsGetOneText) {
  TextCache cache(base_, *sandbox_, 10 * TextCache::kMinBytes);
  std::vector<TextCache::Text> texts(8);
  std::vector<std::thread> threads;
  for (TextCache::Text& text : texts) {
    threads.emplace_back([&] { text = *cache.Find(Adapter(1, kFirst)); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const TextCache::Text& text : texts) EXPECT_EQ(text, texts[0]);
}

}  // namespace
}  // namespace lorry::server
