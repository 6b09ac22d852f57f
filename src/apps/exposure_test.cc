#include "apps/exposure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lorry::apps {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(ExposureTest, WithoutAKeyOnlyThisMachineIsServedInSilence) {
  server::ServerOptions options;
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"}) {
    options.http.host = host;
    EXPECT_THAT(ExposureWarnings(options), IsEmpty()) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "10.0.0.5", "gpu-1"}) {
    options.http.host = host;
    EXPECT_THAT(ExposureWarnings(options),
                ElementsAre(AllOf(HasSubstr(host), HasSubstr("--api-key"),
                                  Not(HasSubstr("load adapters")))));
  }
  options.admin.vllm_for_clients = true;
  EXPECT_THAT(ExposureWarnings(options), ElementsAre(HasSubstr("load adapters from any source")));
  options.api_keys = {"k"};
  EXPECT_THAT(ExposureWarnings(options), IsEmpty());
}

TEST(ExposureTest, OneKeyForClientsAndAdministrators) {
  server::ServerOptions options;
  options.api_keys = {"a", "b"};
  options.admin.key = "c";
  EXPECT_THAT(ExposureWarnings(options), IsEmpty());
  options.admin.key = "b";
  EXPECT_THAT(ExposureWarnings(options), ElementsAre(HasSubstr("may manage adapters")));
}

}  // namespace
}  // namespace lorry::apps
