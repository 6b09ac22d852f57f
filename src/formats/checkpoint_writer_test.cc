#include "formats/checkpoint_writer.h"

#include <gmock/gmock.h>

#include "formats/checkpoint.h"
#include "formats/test_files.h"

namespace lorry::formats {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Files(const TempDir& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status AppendFilled(CheckpointWriter& writer, const std::string& name, size_t bytes) {
  const std::string data(bytes, name[0]);
  return writer.Append(name, std::as_bytes(std::span(data)));
}

const std::vector<TensorSpec> kTensors = {{"a", DType::kU8, {40}},
                                          {"b", DType::kU8, {60}},
                                          {"big", DType::kU8, {150}},
                                          {"c", DType::kU8, {10}},
                                          {"none", DType::kU8, {0}}};

TEST(CheckpointWriter, SplitsIntoShardsThatTheReaderPutsTogether) {
  const TempDir dir;
  Result<CheckpointWriter> writer =
      CheckpointWriter::Create(dir.path(), kTensors, {.max_shard_bytes = 100});
  ASSERT_TRUE(writer) << writer.error().message;
  EXPECT_EQ(writer->num_shards(), 3u);
  ASSERT_TRUE(AppendFilled(*writer, "c", 10));
  ASSERT_TRUE(AppendFilled(*writer, "a", 40));
  ASSERT_TRUE(AppendFilled(*writer, "big", 150));
  EXPECT_THAT(Files(dir), testing::Contains("model-00002-of-00003.safetensors"));
  ASSERT_TRUE(AppendFilled(*writer, "b", 60));
  EXPECT_FALSE(Checkpoint::Open(dir.path())) << "without its index it is no checkpoint";
  const Status finished = writer->Finish();
  ASSERT_TRUE(finished) << finished.error().message;

  EXPECT_THAT(Files(dir),
              ElementsAre("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                          "model-00003-of-00003.safetensors", "model.safetensors.index.json"));
  EXPECT_EQ(ReadWhole(dir.Path("model.safetensors.index.json")), R"({
  "metadata": {
    "total_size": 260
  },
  "weight_map": {
    "a": "model-00001-of-00003.safetensors",
    "b": "model-00001-of-00003.safetensors",
    "big": "model-00002-of-00003.safetensors",
    "c": "model-00003-of-00003.safetensors",
    "none": "model-00003-of-00003.safetensors"
  }
}
)");
  const Result<Checkpoint> checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->total_bytes(), 260u);
  for (const TensorSpec& tensor : kTensors) {
    const Result<TensorEntry> entry = checkpoint->Get(tensor.name);
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->shape, tensor.shape);
    std::vector<std::byte> buffer;
    const auto view = checkpoint->Read(*entry, 0, entry->num_elements(), buffer);
    ASSERT_TRUE(view);
    for (std::byte byte : view->bytes) ASSERT_EQ(static_cast<char>(byte), tensor.name[0]);
  }
}

TEST(CheckpointWriter, OneShardHasNoIndex) {
  const TempDir dir;
  Result<CheckpointWriter> writer = CheckpointWriter::Create(dir.path(), kTensors);
  ASSERT_TRUE(writer);
  for (const TensorSpec& tensor : kTensors) {
    ASSERT_TRUE(AppendFilled(*writer, tensor.name, static_cast<size_t>(tensor.shape[0])));
  }
  ASSERT_TRUE(writer->Finish());
  EXPECT_THAT(Files(dir), ElementsAre("model.safetensors"));
}

TEST(CheckpointWriter, AShardOfEmptyTensorsAlone) {
  const TempDir dir;
  Result<CheckpointWriter> writer = CheckpointWriter::Create(
      dir.path(), {{"none", DType::kF32, {0, 4}}}, {.file = {.sync = true}});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->Append("none", {}));
  ASSERT_TRUE(writer->Finish());
  EXPECT_TRUE(Checkpoint::Open(dir.path()));
}

TEST(CheckpointWriter, ANameThatStandsThereTwiceIsRefusedAcrossShards) {
  const TempDir dir;
  const auto writer = CheckpointWriter::Create(
      dir.path(), {{"a", DType::kU8, {9}}, {"b", DType::kU8, {9}}, {"a", DType::kU8, {9}}},
      {.max_shard_bytes = 9});
  ASSERT_FALSE(writer);
  EXPECT_THAT(writer.error().message, HasSubstr("\"a\" stands there twice"));
}

}  // namespace
}  // namespace lorry::formats
