#include "request/want_adapters.h"

#include <gtest/gtest.h>

#include <map>

namespace lorry {
namespace {

// Names that answer when the test says so.
class SlowAdapters final : public AdapterService {
 public:
  std::shared_ptr<const ModelDirectory> directory() const override { return nullptr; }
  void Want(const std::string& name, std::shared_ptr<WaitingRequest>,
            HandleCallback done) override {
    wanted.emplace(name, std::move(done));
  }
  Result<std::string> CheckSource(const std::string& uri) const override { return uri; }
  void WantSource(const AdapterSource& source, std::shared_ptr<WaitingRequest>,
                  HandleCallback done) override {
    wanted.emplace(source.uri + " with " + source.token, std::move(done));
  }
  void Register(AdapterRegistration, StatusCallback) override {}
  void Remove(const std::string&, DoneCallback) override {}
  void Update(const std::string&, AdapterUpdate, StatusCallback) override {}
  void List(std::function<void(std::vector<AdapterStatus>)>) override {}

  std::multimap<std::string, HandleCallback> wanted;
};

class WantAdaptersTest : public ::testing::Test {
 protected:
  void Want(std::vector<AdapterTerm> terms) {
    WantAdapters(service_, std::move(terms), nullptr, [this](auto result) {
      ++num_answers_;
      result_ = std::move(result);
    });
  }
  void Arrive(const std::string& name) {
    auto handle = std::make_shared<AdapterHandle>();
    handle->vocab_size = static_cast<int>(name.size());
    service_.wanted.extract(name).mapped()(handle);
  }
  void FailTo(const std::string& name, std::string message) {
    service_.wanted.extract(name).mapped()(Fail(ErrorCode::kSourceFailed, std::move(message)));
  }

  SlowAdapters service_;
  int num_answers_ = 0;
  Result<std::vector<AdapterTerm>> result_;
};

TEST_F(WantAdaptersTest, WaitsForAll) {
  Want({{.name = "a"}, {.name = "bb", .weight = 0.5f}, {.name = "a"}});
  EXPECT_EQ(service_.wanted.size(), 3u) << "at once: they are loaded side by side";
  Arrive("bb");
  Arrive("a");
  EXPECT_EQ(num_answers_, 0);
  Arrive("a");
  ASSERT_EQ(num_answers_, 1);
  EXPECT_EQ((*result_)[1].handle->vocab_size, 2);
  EXPECT_EQ((*result_)[1].weight, 0.5f);
  EXPECT_NE((*result_)[2].handle, nullptr);
}

TEST_F(WantAdaptersTest, TheFirstFailureIsTheAnswer) {
  Want({{.name = "a"}, {.name = "b"}, {.name = "c"}});
  Arrive("b");
  FailTo("c", "first");
  ASSERT_EQ(num_answers_, 1);
  EXPECT_EQ(result_.error().message, "first");
  FailTo("a", "second");
  EXPECT_EQ(num_answers_, 1);
}

TEST_F(WantAdaptersTest, SourcesOfTheRequestsOwn) {
  Want({{.name = "x", .source = AdapterSource{"hf://org/x", "secret"}}});
  Arrive("hf://org/x with secret");
  ASSERT_EQ(num_answers_, 1);
  EXPECT_EQ((*result_)[0].name, "x");
  EXPECT_FALSE((*result_)[0].source) << "the token goes no further";
}

TEST_F(WantAdaptersTest, NothingToWaitFor) {
  Want({});
  EXPECT_EQ(num_answers_, 1);
  EXPECT_TRUE(result_);
}

}  // namespace
}  // namespace lorry
