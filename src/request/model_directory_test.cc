#include "request/model_directory.h"

#include <gmock/gmock.h>

#include <chrono>

namespace lorry {
namespace {

ModelDirectory Directory() {
  return ModelDirectory({"base", "alias"}, "/models/base", {{"sql", "./sql"}}, 2048, 0);
}

TEST(ModelDirectoryTest, ResolvesEveryForm) {
  const ModelDirectory directory = Directory();
  EXPECT_FALSE(directory.Resolve("")->is_adapter());
  EXPECT_EQ(directory.Resolve("")->name, "base");
  EXPECT_FALSE(directory.Resolve("alias")->is_adapter());
  EXPECT_TRUE(directory.Resolve("sql")->is_adapter());
  EXPECT_EQ(directory.Resolve("alias:sql")->name, "sql");
}

TEST(ModelDirectoryTest, Sums) {
  const ModelDirectory directory({"base", "my+base"}, "/models/base", {{"a"}, {"b"}}, 2048, 0);
  for (const char* text : {"a+0.5*b", "base:a+0.5*b", "my+base:a+0.5*b"}) {
    const auto choice = directory.Resolve(text);
    ASSERT_TRUE(choice) << text;
    EXPECT_EQ(choice->name, text) << "it comes back as it was sent";
    ASSERT_EQ(choice->adapters.size(), 2u);
    EXPECT_EQ(choice->adapters[1].name, "b");
    EXPECT_EQ(choice->adapters[1].weight, 0.5f);
  }
  EXPECT_FALSE(directory.Resolve("my+base")->is_adapter()) << "a name goes before a sum";
  EXPECT_EQ(directory.Resolve("a+c").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(directory.Resolve("a+base").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(directory.Resolve("x*a").error().code, ErrorCode::kInvalidArgument);
}

TEST(ModelDirectoryTest, UnknownNamesAreNotFound) {
  const ModelDirectory directory = Directory();
  for (const char* name : {"sqll", "base:", "base:x", "other:sql", ":sql", "sql:base"}) {
    const auto choice = directory.Resolve(name);
    ASSERT_FALSE(choice) << name;
    EXPECT_EQ(choice.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(choice.error().param, "model");
  }
}

TEST(ModelDirectoryTest, AMistypedNameIsToldTheNearest) {
  std::vector<AdapterCard> cards = {{"sql"}, {"team/french"}, {"json-mode"}, {"Roman"}};
  const ModelDirectory directory({"llama-base"}, "/m", cards, 2048, 0);
  const auto told = [&](std::string_view name) {
    const std::string message = directory.Resolve(name).error().message;
    const size_t begin = message.find(" Did you mean `");
    return begin == std::string::npos ? ""
                                      : message.substr(begin + 15, message.size() - begin - 17);
  };
  EXPECT_EQ(told("sqll"), "sql");
  EXPECT_EQ(told("slq"), "sql");
  EXPECT_EQ(told("SQL"), "sql");
  EXPECT_EQ(told("llama-base:sqk"), "sql");
  EXPECT_EQ(told("french"), "team/french");
  EXPECT_EQ(told("team/frensh"), "team/french");
  EXPECT_EQ(told("roman"), "Roman");
  EXPECT_EQ(told("json_mode"), "json-mode");
  EXPECT_EQ(told("lama-base"), "llama-base");
  EXPECT_EQ(told("sql+jsonmode"), "json-mode");
  EXPECT_EQ(told("gpt-4o"), "");
  EXPECT_EQ(told("x"), "");
  EXPECT_EQ(told(std::string(100'000, 's')), "");
}

TEST(ModelDirectoryTest, ManyNamesAreLookedThroughInLittleTime) {
  std::vector<AdapterCard> cards;
  for (int i = 0; i < 50'000; ++i) cards.push_back({fmt::format("customer-{:060}", i)});
  const ModelDirectory directory({"base"}, "/m", std::move(cards), 2048, 0);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) directory.Suggestion("customer-" + std::string(55, '7'));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST(ModelDirectoryTest, AdapterNames) {
  EXPECT_TRUE(CheckAdapterName("org/my.adapter-1_x"));
  EXPECT_FALSE(CheckAdapterName(""));
  EXPECT_FALSE(CheckAdapterName("-x"));
  EXPECT_FALSE(CheckAdapterName("a:b"));
  EXPECT_FALSE(CheckAdapterName("a b"));
  EXPECT_FALSE(CheckAdapterName(std::string(257, 'a')));
  EXPECT_TRUE(CheckAdapterName(std::string(256, 'a')));
  for (const char* name : {"a+b", "a@v2", "0.5*a", "base:a", "a\n", "\xC3\xA9", "a#new"}) {
    EXPECT_FALSE(CheckAdapterName(name)) << name;
  }
  const std::vector<std::string> bases = {"org/base", "second"};
  EXPECT_TRUE(CheckAdapterName("base", bases));
  for (const std::string& base : bases) {
    EXPECT_THAT(CheckAdapterName(base, bases).error().message,
                testing::HasSubstr("`" + base + "` is the base model's name"));
  }
}

}  // namespace
}  // namespace lorry
