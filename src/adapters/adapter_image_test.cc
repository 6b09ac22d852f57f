#include "adapters/adapter_image.h"

#include <gmock/gmock.h>

#include <cstring>
#include <set>

#include "base/testing/source_dir.h"
#include "formats/checkpoint.h"
#include "model/families/family.h"

namespace lorry::adapters {
namespace {

using Kind = AdapterPart::Kind;
using Site = AdapterPart::Site;

// One of the oracle's models, in f32, and its adapters' images.
struct Base {
  std::string dir;
  formats::HfConfig config;
  model::ModelSpec spec;
  formats::Checkpoint checkpoint;

  explicit Base(const std::string& name)
      : dir(SourcePath("tests/data/oracle/") + name),
        config(formats::ReadHfConfig(dir).value()),
        spec(model::MakeSpec(config).value()),
        checkpoint(formats::Checkpoint::Open(dir).value()) {
    spec.dtype = DType::kF32;
  }

  std::shared_ptr<const AdapterImage> Image(const std::string& adapter) const {
    const auto opened = formats::OpenPeftAdapter(dir + "/adapters/" + adapter, config);
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
    auto image = MakeAdapterImage(*opened, spec, checkpoint);
    EXPECT_TRUE(image) << (image ? "" : image.error().message);
    EXPECT_TRUE(CheckParts((*image)->parts, (*image)->blob.size(), spec.num_layers)) << adapter;
    return *image;
  }
};

std::vector<AdapterPart> PartsOf(const AdapterImage& image, Kind kind) {
  std::vector<AdapterPart> parts;
  for (const AdapterPart& part : image.parts) {
    if (part.kind == kind) parts.push_back(part);
  }
  return parts;
}

// PEFT saves the embedding's own weight beside its LoRA; where nobody trained it, it takes no room.
TEST(AdapterImageTest, WhatTheBaseHasIsNotCopied) {
  const Base base("llama-forms");
  const auto image = base.Image("embeddings");
  EXPECT_TRUE(PartsOf(*image, Kind::kWeightF32).empty());
  EXPECT_EQ(image->weights->WhyNotComposable(), nullptr);
  EXPECT_EQ(image->weights->vocab_size(), 0);
  EXPECT_EQ(image->weights->embedding().lora.rank, 7);
  EXPECT_EQ(image->weights->head().lora.rank, 7);
  EXPECT_EQ(image->weights->head().lora.n, 70);
}

TEST(AdapterImageTest, TiedWeightsAndRowsLieThereOnce) {
  const Base base("qwen2-forms");
  const auto resized = base.Image("added-resized");
  const auto weights = PartsOf(*resized, Kind::kWeightF32);
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights[0].offset, weights[1].offset);
  EXPECT_EQ(weights[0].n, 73);
  EXPECT_EQ(resized->weights->vocab_size(), 73);
  EXPECT_EQ(resized->weights->embedding().table.data, resized->weights->head().output.weight.data);
  EXPECT_LT(resized->blob.size(), 2 * weights[0].num_bytes);
  EXPECT_NE(resized->weights->WhyNotComposable(), nullptr);

  const auto tokens = base.Image("tokens");
  EXPECT_EQ(tokens->weights->embedding().tokens.count, 3);
  EXPECT_EQ(tokens->weights->embedding().tokens.rows, tokens->weights->head().tokens.rows);
  const auto apart = base.Image("tokens-by-name");
  EXPECT_NE(apart->weights->embedding().tokens.rows, apart->weights->head().tokens.rows);
}

TEST(AdapterImageTest, EveryFormHasItsParts) {
  const Base base("llama-forms");
  const auto dora = base.Image("dora");
  EXPECT_EQ(PartsOf(*dora, Kind::kScale).size(), 14u);
  EXPECT_EQ(PartsOf(*dora, Kind::kOffset).size(), 14u) << "the base has biases everywhere";
  EXPECT_EQ(PartsOf(*base.Image("lora-bias"), Kind::kOffset).size(), 14u);
  EXPECT_EQ(PartsOf(*base.Image("bias-lora-only"), Kind::kOffset).size(), 4u);
  const auto saved = base.Image("saved-linear");
  EXPECT_EQ(PartsOf(*saved, Kind::kNorm).size(), 5u);
  EXPECT_NE(saved->weights->Norm(formats::ModuleKind::kFinalNorm, 0), nullptr);
  EXPECT_NE(saved->weights->Change(1, formats::Projection::kUp)->weight.data, nullptr);
  EXPECT_EQ(saved->weights->Change(0, formats::Projection::kUp)->weight.data, nullptr);
  EXPECT_EQ(base.Image("fewer-tokens")->weights->vocab_size(), 60);
  for (const char* name :
       {"dora", "lora-bias", "bias-all", "saved-head", "tokens", "added-saved"}) {
    EXPECT_NE(base.Image(name)->weights->WhyNotComposable(), nullptr) << name;
  }
}

// The blob is all there is: a copy of it elsewhere binds to the same bytes.
TEST(AdapterImageTest, ACopyOfTheBlobIsTheSameAdapter) {
  const Base base("llama-forms");
  const auto image = base.Image("dora-embeddings");
  const Buffer copy = *Buffer::Allocate(image->blob.size());
  std::memcpy(copy.data(), image->blob.data(), image->blob.size());
  const model::AdapterWeights bound = BindWeights(image->parts, copy.data(), base.spec.num_layers);
  const auto offset = [&](const void* in_copy, const void* in_image) {
    return (static_cast<const std::byte*>(in_copy) - copy.data()) -
           (static_cast<const std::byte*>(in_image) - image->blob.data());
  };
  EXPECT_EQ(offset(bound.embedding().scale, image->weights->embedding().scale), 0);
  EXPECT_EQ(offset(bound.head().output.scale, image->weights->head().output.scale), 0);
  EXPECT_EQ(offset(bound.head().lora.b, image->weights->head().lora.b), 0);
}

TEST(AdapterImageTest, PartsThatDoNotFitAreRefused) {
  const Base base("llama-forms");
  const auto image = base.Image("saved-linear");
  const auto accepted = [&](size_t i, const AdapterPart& part) {
    std::vector<AdapterPart> parts = image->parts;
    parts[i] = part;
    return CheckParts(parts, image->blob.size(), base.spec.num_layers).has_value();
  };
  std::set<Kind> kinds;
  for (size_t i = 0; i < image->parts.size(); ++i) {
    AdapterPart part = image->parts[i];
    if (!kinds.insert(part.kind).second) continue;
    EXPECT_TRUE(accepted(i, part));
    const auto refused = [&](auto change) {
      AdapterPart changed = part;
      change(changed);
      EXPECT_FALSE(accepted(i, changed)) << "kind " << static_cast<int>(part.kind);
    };
    refused([](AdapterPart& p) { p.offset += 32; });
    refused([&](AdapterPart& p) { p.offset = image->blob.size() + 64; });
    refused([&](AdapterPart& p) { p.num_bytes = image->blob.size() + 1; });
    refused([](AdapterPart& p) { p.num_bytes = ~uint64_t{0}; });
    refused([](AdapterPart& p) { p.kind = Kind{99}; });
    refused([](AdapterPart& p) { p.kind = Kind{0}; });
    refused([](AdapterPart& p) { p.site = Site::kEnd; });
    refused([](AdapterPart& p) { p.site = Site::kNone; });
    refused([](AdapterPart& p) { p.layer = 2; });
    refused([](AdapterPart& p) { p.n = 0; });
    refused([](AdapterPart& p) { p.rank = -1; });
    if (part.kind == Kind::kNorm || part.kind == Kind::kOffset || part.kind == Kind::kWeightF32) {
      refused([](AdapterPart& p) { p.n += 16; });
    }
  }
  EXPECT_GE(kinds.size(), 5u);
}

}  // namespace
}  // namespace lorry::adapters
