#include "adapters/sources/source_uri.h"

#include <gtest/gtest.h>

namespace lorry::adapters {
namespace {

SourceUri Parsed(std::string_view text) {
  auto uri = ParseSourceUri(text);
  EXPECT_TRUE(uri.has_value()) << text << ": " << (uri ? "" : uri.error().message);
  return uri.value_or(SourceUri{.text = "(refused)"});
}

TEST(SourceUriTest, Directories) {
  for (const std::string_view text : {"/dir", "./dir", "../dir", ".", "/a/b c/d@e"}) {
    const SourceUri uri = Parsed(text);
    EXPECT_EQ(uri.kind, SourceKind::kDirectory) << text;
    EXPECT_EQ(uri.location, text);
  }
  EXPECT_EQ(Parsed("file:///a/b").location, "/a/b");
  EXPECT_EQ(Parsed("file://localhost/a/b").location, "/a/b");
  EXPECT_EQ(Parsed("/a/b//").location, "/a/b");
  EXPECT_EQ(Parsed("/").location, "/");
  EXPECT_EQ(Parsed("/odd/a://b").location, "/odd/a://b");
}

TEST(SourceUriTest, ARelativeDirectoryIsAnchored) {
  const auto anchored = [](std::string_view text) { return Anchored(Parsed(text), "/srv/run"); };
  EXPECT_EQ(anchored("./dir").location, "/srv/run/dir");
  EXPECT_EQ(anchored("./dir").text, "/srv/run/dir");
  EXPECT_EQ(anchored("../dir").text, "/srv/dir");
  EXPECT_EQ(anchored(".").text, "/srv/run");
  EXPECT_EQ(anchored("/a/../b").text, "/a/../b");
  EXPECT_EQ(anchored("org/name").text, "hf://org/name");
  EXPECT_EQ(anchored("s3://bucket/key").text, "s3://bucket/key");
}

TEST(SourceUriTest, ANameWithoutSchemeIsTheHubs) {
  const SourceUri uri = Parsed("org/name");
  EXPECT_EQ(uri.kind, SourceKind::kHub);
  EXPECT_EQ(uri.location, "org/name");
  EXPECT_EQ(uri.revision, "main");
  EXPECT_EQ(uri.text, "hf://org/name");
  EXPECT_EQ(Parsed("org/name@v1").revision, "v1");
}

TEST(SourceUriTest, HubRevisionsAndFolders) {
  const SourceUri uri = Parsed("hf://org-1/na.me_2@refs%2Fpr%2F1/a/b/");
  EXPECT_EQ(uri.location, "org-1/na.me_2");
  EXPECT_EQ(uri.revision, "refs/pr/1");
  EXPECT_EQ(uri.path, "a/b");
  EXPECT_EQ(uri.text, "hf://org-1/na.me_2@refs%2Fpr%2F1/a/b");
  EXPECT_EQ(Parsed("hf://o/n/a@b").path, "a@b") << "an @ in a folder is no revision";
  EXPECT_EQ(Parsed(uri.text).revision, uri.revision) << "what is shown can be read again";
}

TEST(SourceUriTest, Buckets) {
  const SourceUri s3 = Parsed("s3://my.bucket-1/team/sql/");
  EXPECT_EQ(s3.kind, SourceKind::kS3);
  EXPECT_EQ(s3.location, "my.bucket-1");
  EXPECT_EQ(s3.path, "team/sql");
  EXPECT_EQ(Parsed("gs://bucket").path, "");
  EXPECT_EQ(Parsed("gs://bucket").kind, SourceKind::kGs);
  EXPECT_EQ(Parsed("az://container/a b+c.zip").path, "a b+c.zip");
  EXPECT_EQ(Parsed("az://container/a").kind, SourceKind::kAzure);
}

TEST(SourceUriTest, UrlsKeepTheirQueryAndShowNoSecret) {
  const SourceUri uri = Parsed("https://user:secret@host.example:8443/a/b.zip?sig=secret#x");
  EXPECT_EQ(uri.kind, SourceKind::kHttp);
  EXPECT_EQ(uri.location, "https://user:secret@host.example:8443/a/b.zip?sig=secret#x");
  EXPECT_EQ(uri.text, "https://host.example:8443/a/b.zip");
}

TEST(SourceUriTest, WhatIsNoSourceIsRefusedByName) {
  for (const std::string_view text : {"",
                                      "name",
                                      "a/b/c",
                                      "~/dir",
                                      "C:\\dir",
                                      "ftp://a/b",
                                      "hf://",
                                      "hf://org",
                                      "hf://org/",
                                      "hf:///name",
                                      "hf://org/name@",
                                      "hf://org/name@../x",
                                      "hf://org/name/../x",
                                      "hf://org/name/a//b",
                                      "hf://o rg/name",
                                      "hf://../name",
                                      "hf://org/..",
                                      "hf://org/a--b",
                                      "hf://org/name@a%2F%2Fb",
                                      "s3://",
                                      "s3:///key",
                                      "s3://b@evil/key",
                                      "s3://bucket:80/key",
                                      "s3://bucket/../key",
                                      "s3://bucket/a//b",
                                      "s3://bucket/a/./b",
                                      "http://",
                                      "http:///path",
                                      "https://user@/x",
                                      "http://a b/",
                                      "file://host/x",
                                      "file://",
                                      "@/x",
                                      "org/name/"}) {
    const auto uri = ParseSourceUri(text);
    ASSERT_FALSE(uri.has_value()) << text;
    EXPECT_EQ(uri.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_EQ(uri.error().param, "source");
  }
  EXPECT_FALSE(ParseSourceUri(std::string_view("/a\0b", 4)).has_value());
  EXPECT_FALSE(ParseSourceUri("http://a/\r\nHost: b").has_value());
  EXPECT_FALSE(ParseSourceUri("/" + std::string(5000, 'a')).has_value());
}

TEST(SourceUriTest, Archives) {
  EXPECT_EQ(ArchiveSuffix("a/b.tar.gz"), ".tar.gz");
  EXPECT_EQ(ArchiveSuffix("B.TGZ"), ".tgz");
  EXPECT_EQ(ArchiveSuffix("b.zip"), ".zip");
  EXPECT_EQ(ArchiveSuffix(".zip"), "");
  EXPECT_EQ(ArchiveSuffix("b.zip/"), "");
}

TEST(SourceUriTest, SaysWhoIsWaitedFor) {
  const auto host = [](std::string_view text) { return HostOf(ParseSourceUri(text).value()); };
  EXPECT_EQ(host("/dir"), "");
  EXPECT_EQ(host("org/name"), host("hf://other/name@v2/folder"));
  EXPECT_EQ(host("s3://bucket/a"), host("s3://bucket/b"));
  EXPECT_NE(host("s3://bucket/a"), host("gs://bucket/a"));
  EXPECT_EQ(host("https://user:secret@h.example:8443/a?b"), "h.example:8443");
  EXPECT_EQ(host("https://h.example"), "h.example");
}

TEST(AboutSourceTest, NamesItOnce) {
  const auto about = [](std::string_view source, std::string_view message) {
    return AboutSource(ParseSourceUri(source).value(), message);
  };
  EXPECT_EQ(about("/a/b", "/a/b: is empty"), "/a/b: is empty");
  EXPECT_EQ(about("/a/b", "/a/b/x.json: is empty"), "/a/b: x.json: is empty");
  EXPECT_EQ(about("/a/b", "/a/bc: is empty"), "/a/b: /a/bc: is empty");
  EXPECT_EQ(about("/a/b", "does not fit"), "/a/b: does not fit");
  EXPECT_EQ(about("org/name", "hf://org/name@main: has none"), "hf://org/name: has none");
  EXPECT_EQ(about("hf://org/name@v1/x", "hf://org/name@v1: has none"),
            "hf://org/name@v1/x: has none");
  EXPECT_EQ(about("https://h/a.zip", "https://h/a.zip: not found"), "https://h/a.zip: not found");
  EXPECT_EQ(about("s3://b/x", "s3://b/x: has none"), "s3://b/x: has none");
}

}  // namespace
}  // namespace lorry::adapters
