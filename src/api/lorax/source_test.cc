#include "api/lorax/source.h"

#include <gtest/gtest.h>

namespace lorry::api::lorax {
namespace {

TEST(LoraxSourceTest, IsAUri) {
  EXPECT_EQ(*SourceOf("org/name", ""), "hf://org/name");
  EXPECT_EQ(*SourceOf("org/name@v2", "hub"), "hf://org/name@v2");
  EXPECT_EQ(*SourceOf("hf://org/name", "hub"), "hf://org/name");
  EXPECT_EQ(*SourceOf("bucket/prefix/a", "s3"), "s3://bucket/prefix/a");
  EXPECT_EQ(*SourceOf("s3://bucket/a", ""), "s3://bucket/a");
  EXPECT_EQ(*SourceOf("bucket/a", "gs"), "gs://bucket/a");
  EXPECT_EQ(*SourceOf("container/a", "az"), "az://container/a");
  EXPECT_EQ(*SourceOf("/srv/a", "local"), "/srv/a");
  EXPECT_EQ(*SourceOf("/srv/a", ""), "/srv/a");
  EXPECT_EQ(*SourceOf("file:///srv/a", "local"), "file:///srv/a");
  EXPECT_EQ(*SourceOf("https://host/a.zip", "url"), "https://host/a.zip");
}

TEST(LoraxSourceTest, SaysWhatDoesNotFit) {
  const auto param_of = [](std::string_view id, std::string_view source) {
    const auto uri = SourceOf(id, source);
    EXPECT_FALSE(uri) << id;
    return uri ? "" : uri.error().param;
  };
  EXPECT_EQ(param_of("org/name", "pbase"), "adapter_source");
  EXPECT_EQ(param_of("./a", "local"), "adapter_id");
  EXPECT_EQ(param_of("hf://org/name", "s3"), "adapter_id");
  EXPECT_EQ(param_of("hf://org/name", "url"), "adapter_id");
  EXPECT_EQ(param_of("http://169.254.169.254/", "hub"), "adapter_id");
}

}  // namespace
}  // namespace lorry::api::lorax
