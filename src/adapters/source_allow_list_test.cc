#include "adapters/source_allow_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

SourceAllowList ListOf(const std::vector<std::string>& patterns) {
  auto list = SourceAllowList::Create(patterns);
  EXPECT_TRUE(list) << list.error().message;
  return list ? std::move(*list) : SourceAllowList();
}

void ExpectAllowed(const SourceAllowList& list, const std::string& source) {
  const auto uri = list.Check(source);
  EXPECT_TRUE(uri) << source << ": " << uri.error().message;
}

// Refused by the list, or since it could be read in two ways.
void ExpectRefused(const SourceAllowList& list, const std::string& source) {
  const auto uri = list.Check(source);
  ASSERT_FALSE(uri) << source << " is read from " << uri->location;
  EXPECT_TRUE(uri.error().code == ErrorCode::kPermission ||
              uri.error().code == ErrorCode::kInvalidArgument)
      << source;
}

TEST(SourceAllowListTest, AnEmptyListAllowsNothing) {
  for (const char* source :
       {"hf://org/name", "s3://bucket/a", "https://host/a.zip", "/", "/srv/a", "org/name"}) {
    const auto uri = SourceAllowList().Check(source);
    ASSERT_FALSE(uri) << source;
    EXPECT_EQ(uri.error().code, ErrorCode::kPermission) << source;
    EXPECT_EQ(uri.error().param, "source");
    EXPECT_THAT(uri.error().message, HasSubstr("--allow-request-source"));
  }
}

TEST(SourceAllowListTest, TheHubAndStores) {
  const SourceAllowList list =
      ListOf({"hf://myorg/*", "hf://other/one", "hf://pub-*/x", "s3://bucket/prefix/*"});
  for (const char* source : {"hf://myorg/a", "myorg/a", "hf://myorg/a@v1/sub", "hf://other/one",
                             "hf://myorg/a@refs%2Fpr%2F1", "hf://pub-1/x", "s3://bucket/prefix/a",
                             "s3://bucket/prefix/a/b"}) {
    ExpectAllowed(list, source);
  }
  for (const char* source : {"hf://myorg2/a",
                             "hf://MyOrg/a",
                             "hf://other/one@v2",
                             "hf://other/one2",
                             "hf://pub-1/y",
                             "hf://pub-1/y/x",
                             "hf://myorg/../other/two",
                             "hf://myorg/a/../../x",
                             "hf://myorg",
                             "hf://myorg/a%2e%2e",
                             "hf://myorg/a/%2e%2e/b",
                             "hf://x@myorg/a",
                             "s3://bucket/prefix",
                             "s3://bucket/prefix2/a",
                             "s3://bucket/prefix/../secret",
                             "s3://bucket/prefix/%2e%2e/secret",
                             "s3://bucket/prefix//a",
                             "s3://bucket/prefix/./a",
                             "s3://bucket/prefix\\..\\a",
                             "s3://other/prefix/a",
                             "gs://bucket/prefix/a",
                             "S3://bucket/prefix/a",
                             "s3://bucket/prefix/a b",
                             "s3://bucket/prefix/\xc3\xa9"}) {
    ExpectRefused(list, source);
  }
}

TEST(SourceAllowListTest, Urls) {
  const SourceAllowList list =
      ListOf({"https://files.example.org/adapters/*", "https://*.cdn.example.org/a/*.zip",
              "https://Exact.example.org/x.zip"});
  for (const char* source :
       {"https://files.example.org/adapters/a", "https://FILES.example.org/adapters/a/b.tar.gz",
        "https://files.example.org/adapters/a.zip?signature=1%2F2",
        "https://x.cdn.example.org/a/b.zip", "https://exact.example.org/x.zip"}) {
    ExpectAllowed(list, source);
  }
  for (const char* source : {"http://files.example.org/adapters/a",
                             "https://files.example.org/adapters2/a",
                             "https://files.example.org/adapters",
                             "https://files.example.org/adapters/../secret",
                             "https://files.example.org/adapters/%2e%2e/secret",
                             "https://files.example.org/adapters/%2E./secret",
                             "https://files.example.org/adapters/..%2fsecret",
                             "https://files.example.org/adapters/..\\secret",
                             "https://files.example.org/adapters//a",
                             "https://files.example.org//adapters/a",
                             "https://files.example.org\\@evil.org/adapters/a",
                             "https://files.example.org@evil.org/adapters/a",
                             "https://evil.org/@files.example.org/adapters/a",
                             "https://user:pass@files.example.org/adapters/a",
                             "https://files.example.org:8443/adapters/a",
                             "https://files.example.org./adapters/a",
                             "https://files.example.org#/adapters/a",
                             "https://evil.org#.files.example.org/adapters/a",
                             "https://evil.org?files.example.org/adapters/a",
                             "https://evil.org/x.cdn.example.org/a/b.zip",
                             "https://evil.org?x.cdn.example.org/a/b.zip",
                             "https://x.cdn.example.org/a/b/c.zip",
                             "https://x.cdn.example.org/a/b?c.zip",
                             "https://evil.org:1.cdn.example.org/a/b.zip",
                             "https://exact.example.org/x.zip?y=1",
                             "https://exact.example.org/x.zip#y",
                             "https://exact.example.org/X.zip",
                             "https:///files.example.org/adapters/a",
                             "https:files.example.org/adapters/a",
                             "https://f\xc4\xb1les.example.org/adapters/a",
                             "HTTPS://files.example.org/adapters/../a"}) {
    ExpectRefused(list, source);
  }
}

TEST(SourceAllowListTest, ErrorsShowNoSecrets) {
  const SourceAllowList list = ListOf({"hf://myorg/*"});
  const auto uri = list.Check("https://files.example.org/a.zip?signature=geheim");
  ASSERT_FALSE(uri);
  EXPECT_THAT(uri.error().message, Not(HasSubstr("geheim")));
  const auto user = list.Check("https://user:geheim@files.example.org/a.zip");
  ASSERT_FALSE(user);
  EXPECT_THAT(user.error().message, Not(HasSubstr("geheim")));
}

TEST(SourceAllowListTest, DirectoriesAreWhereTheirLinksLead) {
  std::string root = fs::temp_directory_path() / "lorry-allow-XXXXXX";
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  root = fs::canonical(root).string();
  fs::create_directories(root + "/open/a");
  fs::create_directories(root + "/closed/b");
  fs::create_directory_symlink(root + "/closed", root + "/open/way-out");
  fs::create_directory_symlink(root + "/open", root + "/way-in");

  for (const std::string& pattern : {root + "/open/*", root + "/way-in/*"}) {
    const SourceAllowList list = ListOf({pattern});
    for (const char* source : {"/open/a", "/way-in/a", "/open/missing"}) {
      ExpectAllowed(list, root + source);
      ExpectAllowed(list, "file://" + root + source);
    }
    EXPECT_EQ(list.Check(root + "/way-in/a")->location, root + "/open/a");
    for (const char* source : {"/closed/b", "/open/way-out/b", "/way-in/way-out/b", "/open",
                               "/open/../closed/b", "/open/./a", "/open//a", "/open2/a"}) {
      ExpectRefused(list, root + source);
    }
    ExpectRefused(list, "./open/a");
    ExpectRefused(list, "../open/a");
  }
  fs::remove_all(root);
}

TEST(SourceAllowListTest, PatternsThatAllowMoreThanTheySay) {
  for (const char* pattern : {"", "*", "hf:/x/*", "ftp://x/*", "relative/*", "https://host*",
                              "https://host", "hf://org*", "https:///*", "./a"}) {
    const auto list = SourceAllowList::Create({pattern});
    ASSERT_FALSE(list) << pattern;
    EXPECT_EQ(list.error().param, "allow-request-source");
  }
}

}  // namespace
}  // namespace lorry::adapters
