#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>

#include "apps/commands.h"
#include "formats/test_files.h"
#include "formats/torch_file_testing.h"

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using formats::OraclePath;
using testing::HasSubstr;

class InspectTest : public testing::Test {
 protected:
  InspectTest() {
    options_.adapter.base = OraclePath("qwen2");
    options_.adapter.json = true;
    options_.stack.adapter_cache = dir_.Path("cache");
  }

  json::object Report(const std::string& source, int status = 0) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(Inspect(options_, source), status);
    return json::parse(testing::internal::GetCapturedStdout()).as_object();
  }
  std::string Complaint(const std::string& source) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(Inspect(options_, source), 1);
    return testing::internal::GetCapturedStderr();
  }

  const std::string adapter_ = OraclePath("qwen2/adapters/full-r8");
  formats::TempDir dir_;
  Options options_;
};

TEST_F(InspectTest, ATorchFileIsReadAsAServerReadsIt) {
  const json::object plain = Report(adapter_);
  EXPECT_EQ(plain.at("fits"), true);
  EXPECT_EQ(plain.at("applied"), 21);
  dir_.Write("torch/adapter_config.json", formats::ReadWhole(adapter_ + "/adapter_config.json"));
  dir_.Write("torch/adapter_model.bin",
             formats::pickle::TorchZipOf(adapter_ + "/adapter_model.safetensors"));
  EXPECT_EQ(Report(dir_.Path("torch")), plain);
  for (const auto& entry : fs::directory_iterator(dir_.Path("cache/staging"))) {
    EXPECT_EQ(entry.path().extension(), ".lock") << "what was made of it is gone again";
  }
}

TEST_F(InspectTest, CodeInATorchFileIsRefusedByItsName) {
  dir_.Write("evil/adapter_config.json", formats::ReadWhole(adapter_ + "/adapter_config.json"));
  dir_.Write("evil/adapter_model.bin",
             formats::ReadWhole(LORRY_SOURCE_DIR "/tests/data/torch/os_system.bin"));
  EXPECT_THAT(Complaint(dir_.Path("evil")), HasSubstr("system"));
}

TEST_F(InspectTest, WhatIsMissingIsNamed) {
  dir_.Write("half/adapter_config.json", "{}");
  EXPECT_THAT(Complaint(dir_.Path("half")), HasSubstr("adapter_model.safetensors"));
  EXPECT_THAT(Complaint(dir_.Path("nowhere")), HasSubstr("nowhere"));
}

}  // namespace
}  // namespace lorry::apps
