#include "server/auth.h"

#include <gtest/gtest.h>

namespace lorry::server {
namespace {

ErrorCode CodeOf(const Auth& auth, const net::HttpHeaders& headers) {
  const Status status = auth.Check(headers);
  return status ? ErrorCode::kInternal : status.error().code;
}

TEST(Auth, WithoutKeysEverythingIsOpen) { EXPECT_TRUE(Auth({}).Check({})); }

TEST(Auth, TakesAnyOfTheKeys) {
  const Auth auth({"first", "second"});
  EXPECT_TRUE(auth.Check({{"Authorization", "Bearer first"}}));
  EXPECT_TRUE(auth.Check({{"authorization", "bearer second"}}));
}

TEST(Auth, RefusesEverythingElse) {
  const Auth auth({"first"});
  for (const char* value : {"Bearer firs", "Bearer first2", "Bearer ", "Bearer", "first",
                            "Basic first", "Bearer  first", ""}) {
    EXPECT_EQ(CodeOf(auth, {{"Authorization", value}}), ErrorCode::kUnauthenticated) << value;
  }
  EXPECT_EQ(CodeOf(auth, {}), ErrorCode::kUnauthenticated);
}

TEST(Auth, SaysWhatIsWrong) {
  const Auth auth({"first"});
  const auto why = [&auth](const net::HttpHeaders& headers) {
    return auth.Check(headers).error().message;
  };
  EXPECT_EQ(why({}), "No API key was sent. Put it into a header: Authorization: Bearer KEY.");
  EXPECT_EQ(why({{"Authorization", "Bearer secret"}}), "The key is wrong.");
  for (const char* value : {"secret", "Basic secret", "Bearer ", "Token secret"}) {
    EXPECT_EQ(why({{"Authorization", value}}),
              "The header Authorization must be of the form: Bearer KEY.");
  }
  EXPECT_NE(why({{"X-Api-Key", "first"}}).find("not taken from X-Api-Key"), std::string::npos);
}

}  // namespace
}  // namespace lorry::server
