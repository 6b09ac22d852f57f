#include "server/choose_model.h"

#include <gtest/gtest.h>

#include "server/testing/fake_adapter_service.h"

namespace lorry::server {
namespace {

using api::openai::ModelRequest;

class ChooseModelTest : public ::testing::Test {
 protected:
  ChooseModelTest() {
    service_.AddStatic("a");
    service_.AddStatic("org/b");
  }

  ModelChoice Choose(const ModelRequest& request) {
    const auto choice = ChooseModel(request, service_);
    EXPECT_TRUE(choice) << choice.error().message;
    return choice.value_or(ModelChoice{});
  }
  Error Refused(const ModelRequest& request) {
    const auto choice = ChooseModel(request, service_);
    EXPECT_FALSE(choice);
    return choice ? Error{} : choice.error();
  }

  FakeAdapterService service_{{"demo"}};
};

TEST_F(ChooseModelTest, AListOfAdaptersGoesOnTheBase) {
  ModelRequest request;
  request.adapters = {{.name = "a"}, {.name = "org/b", .weight = -0.5f}};
  EXPECT_EQ(Choose(request).name, "demo");
  EXPECT_EQ(Choose(request).adapters[1].weight, -0.5f);
  request.adapters[1].name = "c";
  EXPECT_EQ(Refused(request).code, ErrorCode::kNotFound);
  EXPECT_EQ(Refused(request).param, "adapters[1].name");
  request.model = "a";
  EXPECT_EQ(Refused(request).param, "adapters");
  request.model = "";
  request.adapter_id = "a";
  EXPECT_EQ(Refused(request).param, "adapters");
}

TEST_F(ChooseModelTest, AnIdThatIsRegisteredIsThatAdapter) {
  for (const char* model : {"", "demo", "org/b"}) {
    ModelRequest request{.model = model};
    request.adapter_id = "org/b";
    request.adapter_source = "hub";
    const ModelChoice choice = Choose(request);
    EXPECT_EQ(choice.name, "org/b");
    ASSERT_EQ(choice.adapters.size(), 1u);
    EXPECT_FALSE(choice.adapters[0].source);
  }
  ModelRequest request{.model = "a"};
  request.adapter_id = "org/b";
  EXPECT_EQ(Refused(request).param, "adapter_id");
  request.model = "unknown";
  EXPECT_EQ(Refused(request).param, "model");
}

TEST_F(ChooseModelTest, ANameOfAnotherServersFieldIsARegisteredOne) {
  ModelRequest request{.model = "demo"};
  request.adapter_field = "lora_path";
  request.is_adapter_name = true;
  request.adapter_id = "org/b";
  EXPECT_EQ(Choose(request).name, "org/b");
  request.model = "org/b";
  EXPECT_EQ(Choose(request).name, "org/b");
  request.model = "a";
  EXPECT_EQ(Refused(request).param, "lora_path");
  EXPECT_EQ(Refused(request).code, ErrorCode::kInvalidArgument);
  request.model = "demo";
  request.adapter_id = "open/x";  // a source has it, but this is no way to say so
  EXPECT_EQ(Refused(request).param, "lora_path");
  EXPECT_EQ(Refused(request).code, ErrorCode::kNotFound);
}

TEST_F(ChooseModelTest, AMistypedNameGetsTheNearest) {
  service_.AddStatic("french");
  ModelRequest request;
  const auto expect_nearest = [&](const char* param) {
    const Error error = Refused(request);
    EXPECT_EQ(error.code, ErrorCode::kNotFound) << request.adapter_id;
    EXPECT_EQ(error.param, param);
    EXPECT_EQ(error.message, "The adapter `frensh` does not exist. Did you mean `french`?");
  };
  request.adapter_id = "frensh";
  expect_nearest("adapter_id");
  request.is_adapter_name = true;
  request.adapter_field = "lora_path";
  expect_nearest("lora_path");
  ModelRequest of_source;
  of_source.adapter_id = "org/bb";  // a source might have it, and it is near a name
  EXPECT_EQ(Refused(of_source).code, ErrorCode::kPermission);
  EXPECT_EQ(Refused(of_source).message, "not allowed. Did you mean `org/b`?");
}

TEST_F(ChooseModelTest, LoraxHasANameForTheBase) {
  for (const char* id : {"__base_model__", "demo"}) {
    ModelRequest request;
    request.adapter_id = id;
    EXPECT_FALSE(Choose(request).is_adapter()) << id;
    request.model = id;
    EXPECT_FALSE(Choose(request).is_adapter()) << id;
    request.model = "a";
    EXPECT_EQ(Refused(request).param, "adapter_id");
  }
  ModelRequest by_model{.model = "__base_model__"};
  EXPECT_EQ(Choose(by_model).name, "demo");
}

TEST_F(ChooseModelTest, SageMakersHeaderIsAField) {
  EXPECT_EQ(AdapterHeader({}), "");
  EXPECT_EQ(AdapterHeader({{"X-Amzn-SageMaker-Adapter-Identifier", "a"}}), "a");
  EXPECT_EQ(AdapterHeader({{"x-amzn-sagemaker-adapter-identifier", "a"},
                           {"X-Amzn-SageMaker-Adapter-Identifier", "b"}}),
            "a, b");
  ModelRequest request{.model = "demo"};
  ASSERT_TRUE(TakeAdapterHeader("a", request));
  EXPECT_EQ(Choose(request).name, "a");
  ASSERT_TRUE(TakeAdapterHeader("a", request));  // the same twice
  EXPECT_EQ(TakeAdapterHeader("org/b", request).error().param, kAdapterHeader);
  ModelRequest other{.model = "org/b"};
  ASSERT_TRUE(TakeAdapterHeader("a", other));
  EXPECT_EQ(Refused(other).param, kAdapterHeader);
  ModelRequest unknown;
  ASSERT_TRUE(TakeAdapterHeader("nobody", unknown));
  EXPECT_EQ(Refused(unknown).code, ErrorCode::kNotFound);
  ModelRequest sum;
  sum.adapters = {{.name = "a"}};
  EXPECT_FALSE(TakeAdapterHeader("a", sum));
  ModelRequest none;
  EXPECT_FALSE(TakeAdapterHeader(std::string(257, 'a'), none));
  ASSERT_TRUE(TakeAdapterHeader("", none));
  EXPECT_FALSE(Choose(none).is_adapter());
}

TEST_F(ChooseModelTest, OtherIdsAreSources) {
  ModelRequest by_id, by_model, by_uri;
  by_id.adapter_id = "open/x";
  by_model.model = "open/x";
  by_model.adapter_source = "hub";
  by_uri.model = "hf://open/x";
  for (ModelRequest* request : {&by_id, &by_model, &by_uri}) {
    request->api_token = "secret";
    const ModelChoice choice = Choose(*request);
    EXPECT_EQ(choice.name, "hf://open/x");
    ASSERT_EQ(choice.adapters.size(), 1u);
    ASSERT_TRUE(choice.adapters[0].source);
    EXPECT_EQ(choice.adapters[0].source->uri, "hf://open/x");
    EXPECT_EQ(choice.adapters[0].source->token, "secret");
  }
  ModelRequest closed;
  closed.model = "hf://closed/x";
  EXPECT_EQ(Refused(closed).code, ErrorCode::kPermission);
  closed.model = "open/x";  // a name, as long as nothing says that it is more
  EXPECT_EQ(Refused(closed).code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace lorry::server
