#include "server/descriptor_shares.h"

#include <gmock/gmock.h>

#include "net/connection_table.h"

namespace lorry::server {
namespace {

using ::testing::HasSubstr;

// With those on their way out.
int Descriptors(const ConnectionLimits& limits) {
  return limits.max_connections + limits.max_newcomers +
         static_cast<int>(net::MaxLeaving(static_cast<size_t>(limits.max_newcomers)));
}

TEST(DescriptorSharesTest, EnoughIsWhatWasAskedFor) {
  for (const bool has_admin : {false, true}) {
    for (const int max_connections : {1, 100, 4096, 1 << 20}) {
      const DescriptorNeeds needs = {.max_connections = max_connections, .has_admin = has_admin};
      for (const uint64_t allowed : {WantedDescriptors(needs), UINT64_MAX}) {
        const DescriptorShares shares = ShareDescriptors(needs, allowed).value();
        EXPECT_EQ(shares.clients.max_connections, max_connections);
        EXPECT_EQ(shares.clients.max_newcomers, max_connections);
        EXPECT_EQ(shares.admin.max_connections, has_admin ? 64 : 0);
        EXPECT_EQ(shares.admin.max_newcomers, has_admin ? 1024 : 0);
      }
    }
  }
}

TEST(DescriptorSharesTest, OfFewerEveryoneGetsSome) {
  for (const bool has_admin : {false, true}) {
    for (const int num_fetchers : {1, 16, 256}) {
      for (const int wanted : {1, 300, 4096, 1 << 20}) {
        for (uint64_t allowed = 0; allowed < 20'000; allowed += 97) {
          const auto shares = ShareDescriptors(
              {.max_connections = wanted, .num_fetchers = num_fetchers, .has_admin = has_admin},
              allowed);
          if (!shares) {
            EXPECT_LT(allowed, 384u + 12 * num_fetchers);
            EXPECT_THAT(shares.error().message, HasSubstr("ulimit -n"));
            continue;
          }
          EXPECT_LE(Descriptors(shares->clients) + (has_admin ? Descriptors(shares->admin) : 0),
                    static_cast<int>(allowed) - 256);
          EXPECT_GE(shares->clients.max_connections, std::min(wanted, 80)) << allowed;
          EXPECT_LE(shares->clients.max_connections, wanted);
          EXPECT_GE(shares->clients.max_newcomers, std::min(wanted, 20)) << allowed;
          if (has_admin) {
            EXPECT_GE(shares->admin.max_connections, 8);
            EXPECT_GE(shares->admin.max_newcomers, 6);
          }
        }
      }
    }
  }
}

TEST(DescriptorSharesTest, NewcomersGetLessFirst) {
  const DescriptorShares shares = ShareDescriptors({.max_connections = 4096}, 8192).value();
  EXPECT_EQ(shares.clients.max_connections, 4096);
  EXPECT_GT(shares.clients.max_newcomers, 2048);
  EXPECT_LT(shares.clients.max_newcomers, 4096);
}

}  // namespace
}  // namespace lorry::server
