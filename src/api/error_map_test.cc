#include "api/error_map.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace lorry::api {
namespace {

TEST(ErrorMap, StatusOfEachCode) {
  const std::pair<Error, int> cases[] = {
      {{ErrorCode::kInvalidArgument, "", "n"}, 400},
      {{ErrorCode::kNotFound, "", "model"}, 404},
      {{ErrorCode::kNotFound, "", ""}, 404},
      {{ErrorCode::kConflict, "", ""}, 409},
      {{ErrorCode::kTooLarge, "", ""}, 413},
      {{ErrorCode::kTooLarge, "", "prompt"}, 400},
      {{ErrorCode::kTooLarge, "", "messages"}, 400},
      {{ErrorCode::kUnfit, "", ""}, 422},
      {{ErrorCode::kUnsupported, "", "suffix"}, 400},
      {{ErrorCode::kPermission, "", ""}, 403},
      {{ErrorCode::kUnauthenticated, "", ""}, 401},
      {{ErrorCode::kResourceExhausted, "", ""}, 429},
      {{ErrorCode::kUnavailable, "", ""}, 503},
      {{ErrorCode::kDeadline, "", ""}, 504},
      {{ErrorCode::kCancelled, "", ""}, 499},
      {{ErrorCode::kDataLoss, "", ""}, 500},
      {{ErrorCode::kSourceFailed, "", ""}, 424},
      {{ErrorCode::kNotFound, "", "source"}, 404},
      {{ErrorCode::kTooLarge, "", "source"}, 413},
      {{ErrorCode::kUnsupported, "", "source"}, 422},
      {{ErrorCode::kPermission, "", "source"}, 403},
      {{ErrorCode::kUnauthenticated, "", "source"}, 401},
      {{ErrorCode::kDataLoss, "", "source"}, 424},
      {{ErrorCode::kInternal, "", ""}, 500},
  };
  for (const auto& [error, status] : cases) {
    EXPECT_EQ(HttpErrorOf(error).status, status) << ErrorCodeName(error.code) << error.param;
  }
}

TEST(ErrorMap, BodyIsOpenAis) {
  EXPECT_EQ(ErrorBody({ErrorCode::kNotFound, "The model `x` does not exist.", "model"}),
            R"({"error":{"message":"The model `x` does not exist.","type":"invalid_request_error",)"
            R"("param":"model","code":"model_not_found"}})");
  EXPECT_EQ(ErrorBody({ErrorCode::kInternal, "a \"b\"\n", ""}),
            R"({"error":{"message":"a \"b\"\n","type":"server_error","param":null,"code":null}})");
}

TEST(ErrorMap, BodyIsJsonWhateverTheMessage) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  boost::json::error_code error;
  boost::json::parse(ErrorBody({ErrorCode::kInternal, bytes, bytes}), error);
  EXPECT_FALSE(error) << error.message();
}

}  // namespace
}  // namespace lorry::api
