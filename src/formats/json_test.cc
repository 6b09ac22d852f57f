#include "formats/json.h"

#include <gmock/gmock.h>

#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

boost::json::object Parse(std::string_view text) { return ParseJsonObject(text, "x.json").value(); }

TEST(JsonTest, ReadsFieldsOfEveryKind) {
  const auto object = Parse(R"({"i": 3, "d": 0.5, "di": 2, "b": true, "s": "hi", "n": null,
                                "li": [1, 2], "ls": ["a"]})");
  const JsonFields fields(object, "x.json");
  EXPECT_EQ(fields.Required<int64_t>("i").value(), 3);
  EXPECT_EQ(fields.Required<double>("d").value(), 0.5);
  EXPECT_EQ(fields.Required<double>("di").value(), 2.0);
  EXPECT_TRUE(fields.Required<bool>("b").value());
  EXPECT_EQ(fields.Required<std::string>("s").value(), "hi");
  EXPECT_THAT(fields.Required<std::vector<int64_t>>("li").value(), ElementsAre(1, 2));
  EXPECT_THAT(fields.Required<std::vector<std::string>>("ls").value(), ElementsAre("a"));
  EXPECT_EQ(fields.Or<int64_t>("n", 7).value(), 7);
  EXPECT_EQ(fields.Optional<int64_t>("absent").value(), std::nullopt);
  EXPECT_EQ(fields.RequiredInRange("i", 1, 3).value(), 3);
}

TEST(JsonTest, ErrorsNameFileAndField) {
  const auto object =
      Parse(R"({"i": 1.5, "s": 3, "big": 18446744073709551615, "l": [1, "x"], "n": null})");
  const JsonFields fields(object, "x.json");
  EXPECT_EQ(fields.Required<int64_t>("i").error().message,
            "x.json: \"i\": must be an integer, is a number with a fraction");
  EXPECT_EQ(fields.Required<std::string>("s").error().message,
            "x.json: \"s\": must be a string, is an integer");
  EXPECT_EQ(fields.Required<bool>("n").error().message, "x.json: \"n\" is missing");
  EXPECT_THAT(fields.Required<int64_t>("big").error().message, HasSubstr("too large"));
  EXPECT_THAT(fields.Required<std::vector<int64_t>>("l").error().message, HasSubstr("entry 1"));
  EXPECT_EQ(fields.RequiredInRange("s", 4, 9).error().message,
            "x.json: \"s\" is 3, must be 4 to 9");
}

TEST(JsonTest, RefusesWhatIsNoObject) {
  for (std::string_view text :
       {"", "{", "[]", "3", "{\"a\": NaN}", "{\"a\": 1,}", "{} x", "\xff", "{\"\xc3\": 1}"}) {
    EXPECT_FALSE(ParseJsonObject(text, "x.json").has_value()) << text;
  }
}

TEST(JsonTest, LimitsDepthAndSize) {
  const std::string deep = "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_EQ(ParseJsonObject(deep, "x.json").error().message,
            "x.json: nested deeper than 64 levels");
  EXPECT_EQ(ParseJsonObject("{\"a\": 1}", "x.json", {.max_bytes = 3}).error().code,
            ErrorCode::kTooLarge);
}

TEST(JsonTest, DuplicateKeysAreRefusedOnRequest) {
  const std::string_view text = R"({"a": {"b": 1, "c": 2}, "d": {"b": 1, "b": 2}})";
  EXPECT_EQ(Parse(text).at("d").at("b").as_int64(), 2);
  EXPECT_EQ(ParseJsonObject(text, "x.json", {.refuse_duplicate_keys = true}).error().message,
            "x.json: the key \"b\" stands twice in one object");
  // The same key in two objects is none.
  EXPECT_TRUE(ParseJsonObject(R"({"a": {"b": 1}, "b": {"a": 1}})", "x.json",
                              {.refuse_duplicate_keys = true}));
  // Escapes do not hide a duplicate.
  EXPECT_FALSE(
      ParseJsonObject(R"({"ab": 1, "\u0061b": 2})", "x.json", {.refuse_duplicate_keys = true}));
}

TEST(JsonTest, QuotedIsShortAndPrintable) {
  EXPECT_EQ(Quoted("a\nb\"\x1b"), "\"a\\nb\\\"\\x1b\"");
  EXPECT_LT(Quoted(std::string(100000, 'x')).size(), 200u);
}

// Debian's fmt ends the process on some of these; names come from files and requests.
TEST(JsonTest, QuotedTakesAnyBytes) {
  EXPECT_EQ(Quoted("é€😀"), "\"é€😀\"");
  for (std::string_view character : {"é", "€", "😀"}) {
    for (size_t before = 0; before < 4; ++before) {
      std::string name(before, 'a');
      while (name.size() < 140) name += character;
      for (size_t kept = 0; kept <= name.size(); ++kept) {
        EXPECT_TRUE(Quoted(name.substr(0, kept)).starts_with("\"")) << kept;
      }
    }
  }
  EXPECT_EQ(Quoted("a\xe2\x82"), "\"a\uFFFD\uFFFD\"");
  EXPECT_EQ(Quoted("\xc0\xaf"), "\"\uFFFD\uFFFD\"");            // overlong
  EXPECT_EQ(Quoted("\xed\xa0\x80"), "\"\uFFFD\uFFFD\uFFFD\"");  // a surrogate
  EXPECT_EQ(Quoted("\xf4\x90\x80\x80").size(), 2u + 4 * 3);     // beyond the last character
  for (int lead = 0x80; lead < 0x100; ++lead) {
    for (size_t count = 1; count < 8; ++count) Quoted(std::string(count, static_cast<char>(lead)));
  }
}

TEST(JsonTest, ReadsFilesAndNamesThemInErrors) {
  TempDir dir;
  EXPECT_EQ(ReadJsonObject(dir.Write("a.json", "{\"x\": 1}")).value().size(), 1u);
  const Result<boost::json::object> absent = ReadJsonObject(dir.Path("b.json"));
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(absent.error().message, HasSubstr("b.json"));
}

}  // namespace
}  // namespace lorry::formats
