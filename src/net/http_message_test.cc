#include "net/http_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/http_client.h"
#include "net/sse.h"

namespace lorry::net {
namespace {

using testing::ElementsAre;

TEST(HttpHeadersTest, FindsWithoutRegardToCase) {
  const HttpHeaders headers = {{"Content-Type", "text/plain"}, {"X-A", "1"}, {"x-a", "2"}};
  EXPECT_EQ(headers.Find("content-type"), "text/plain");
  EXPECT_EQ(headers.Find("X-a"), "1");
  EXPECT_EQ(headers.Find("X"), std::nullopt);
}

TEST(PercentDecodeTest, DecodesAndRefuses) {
  EXPECT_EQ(PercentDecode("/v1/a%2Fb%20c"), "/v1/a/b c");
  EXPECT_EQ(PercentDecode("%e2%82%AC"), "\xe2\x82\xac");
  EXPECT_EQ(PercentDecode("a+b"), "a+b");
  for (const char* bad : {"%", "%1", "%zz", "a%2", "%00", "%-1"}) {
    EXPECT_EQ(PercentDecode(bad), std::nullopt) << bad;
  }
}

TEST(QueryParamTest, FindsTheFirst) {
  EXPECT_EQ(QueryParam("a=1&b=x+y%21&b=3", "b"), "x y!");
  EXPECT_EQ(QueryParam("a=1&flag", "flag"), "");
  EXPECT_EQ(QueryParam("a=1&flag", "c"), std::nullopt);
  EXPECT_EQ(QueryParam("", "a"), std::nullopt);
  EXPECT_EQ(QueryParam("a=%zz", "a"), std::nullopt);
}

TEST(SseTest, FramesLines) {
  std::string out;
  AppendSseEvent(out, "{}");
  AppendSseEvent(out, "a\nb");
  EXPECT_EQ(out, "data: {}\n\ndata: a\ndata: b\n\n");
}

TEST(SseTest, ParsesWhereverTheStreamIsCut) {
  const std::string stream =
      ": comment\n\ndata: one\n\nevent: x\r\nid: 7\r\ndata:two\r\ndata: more\r\n\r\n"
      "data\n\nretry: 5\n\ndata:  spaced\r\rdata: never ended\n";
  for (size_t step = 1; step <= stream.size(); ++step) {
    SseParser parser;
    std::vector<std::string> events;
    for (size_t at = 0; at < stream.size(); at += step) {
      ASSERT_TRUE(
          parser.Feed(std::string_view(stream).substr(at, step), [&](std::string_view data) {
            events.emplace_back(data);
            return true;
          }));
    }
    ASSERT_THAT(events, ElementsAre("one", "two\nmore", "", " spaced")) << "cut every " << step;
  }
}

TEST(SseTest, StopsWhenAsked) {
  SseParser parser;
  int num_events = 0;
  EXPECT_FALSE(parser.Feed("data: 1\n\ndata: 2\n\n", [&](std::string_view) {
    ++num_events;
    return false;
  }));
  EXPECT_EQ(num_events, 1);
}

TEST(ParseHttpUrlTest, Parses) {
  const auto full = ParseHttpUrl("http://example.org:8000/v1/");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->host, "example.org");
  EXPECT_EQ(full->port, 8000);
  EXPECT_EQ(full->path, "/v1");
  const auto bare = ParseHttpUrl("http://[::1]");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->host, "::1");
  EXPECT_EQ(bare->port, 80);
  EXPECT_EQ(bare->path, "");
}

TEST(ParseHttpUrlTest, Refuses) {
  for (const char* bad :
       {"", "example.org", "http://", "http://:80", "http://a:", "http://a:0", "http://a:65536",
        "http://a:8x", "http://[::1", "http://[::1]x", "ftp://a"}) {
    const auto parsed = ParseHttpUrl(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseHttpUrl("https://a").error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace lorry::net
