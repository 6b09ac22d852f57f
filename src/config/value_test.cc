#include "config/value.h"

#include <gtest/gtest.h>

namespace lorry::config {
namespace {

TEST(ValueTest, Sizes) {
  EXPECT_EQ(ParseBytes("0"), 0u);
  EXPECT_EQ(ParseBytes("4096"), 4096u);
  EXPECT_EQ(ParseBytes("512MB"), 512000000u);
  EXPECT_EQ(ParseBytes("2GiB"), size_t{2} << 30);
  EXPECT_EQ(ParseBytes("1.5 GiB"), size_t{3} << 29);
  EXPECT_EQ(ParseBytes("2G"), size_t{2} << 30);
  for (const char* bad : {"", "-1", "2 potatoes", "GiB", "1e9", "nan", "99999999999TB", "1GiBx"}) {
    EXPECT_FALSE(ParseBytes(bad)) << bad;
  }
  EXPECT_EQ(ParseBytes("2gb").error().message, "'2gb' is not a size like 4096, 512MB or 2GiB");
}

TEST(ValueTest, Durations) {
  EXPECT_EQ(ParseDuration("30s"), 30000000);
  EXPECT_EQ(ParseDuration("500ms"), 500000);
  EXPECT_EQ(ParseDuration("2m"), 120000000);
  EXPECT_EQ(ParseDuration("0.5h"), 1800000000);
  EXPECT_EQ(ParseDuration("5"), 5000000);
  for (const char* bad : {"", "-1s", "s", "5 weeks", "inf"})
    EXPECT_FALSE(ParseDuration(bad)) << bad;
}

TEST(ValueTest, ShownValuesReadBack) {
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{4096}, size_t{1000000}, size_t{3} << 29}) {
    EXPECT_EQ(ParseBytes(ShowBytes(bytes)), bytes);
  }
  for (const Micros us : {0, 1, 1500, 500000, 30000000}) {
    EXPECT_EQ(ParseDuration(ShowDuration(us)), us);
  }
  EXPECT_EQ(ShowBytes(size_t{2} << 30), "2GiB");
  EXPECT_EQ(ShowDuration(30000000), "30s");
}

TEST(ValueTest, RoundedForPeople) {
  EXPECT_EQ(RoundBytes(999), "999 B");
  EXPECT_EQ(RoundBytes(1234), "1.23 kB");
  EXPECT_EQ(RoundBytes(268999999), "269 MB");
  EXPECT_EQ(RoundBytes(999999), "1.00 MB");
  EXPECT_EQ(RoundBytes(size_t{24} << 30), "25.8 GB");
}

TEST(ValueTest, SwitchesAndNumbers) {
  EXPECT_EQ(ParseSwitch("on"), true);
  EXPECT_EQ(ParseSwitch("0"), false);
  EXPECT_FALSE(ParseSwitch("maybe"));
  EXPECT_EQ(ParseInteger("-7"), -7);
  for (const char* bad : {"", "7x", "0x10", "99999999999999999999", "1.5", " 1"}) {
    EXPECT_FALSE(ParseInteger(bad)) << bad;
  }
  EXPECT_EQ(ParseNumber("0.5"), 0.5);
  EXPECT_FALSE(ParseNumber("inf"));
}

}  // namespace
}  // namespace lorry::config
