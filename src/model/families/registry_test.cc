#include <gtest/gtest.h>

#include "model/families/family.h"

namespace lorry::model {
namespace {

formats::HfConfig Config() {
  formats::HfConfig config;
  config.vocab_size = 512;
  config.hidden_size = 64;
  config.intermediate_size = 160;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = 128;
  config.rms_norm_eps = 1e-5;
  return config;
}

TEST(RegistryTest, MakesASpec) {
  const auto spec = MakeSpec(Config());
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->OutFeatures(formats::Projection::kK), 32);
  EXPECT_EQ(spec->InFeatures(formats::Projection::kDown), 160);
  EXPECT_EQ(spec->rope_inverse_frequencies.size(), 8u);
  EXPECT_FLOAT_EQ(spec->rope_inverse_frequencies[0], 1.0f);
}

TEST(RegistryTest, QwenHasBiasesOnQkvOnly) {
  formats::HfConfig config = Config();
  config.family = formats::ModelFamily::kQwen2;
  const auto spec = MakeSpec(config);
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->HasBias(formats::Projection::kV));
  EXPECT_FALSE(spec->HasBias(formats::Projection::kO));
}

// What the kernels CHECK must end as an error of the file.
TEST(RegistryTest, RefusesWhatTheKernelsDoNotIndex) {
  formats::HfConfig wide = Config();
  wide.head_dim = 1024;
  ASSERT_FALSE(MakeSpec(wide));
  EXPECT_EQ(MakeSpec(wide).error().code, ErrorCode::kTooLarge);
  formats::HfConfig huge = Config();
  huge.vocab_size = int64_t{1} << 40;
  EXPECT_FALSE(MakeSpec(huge));
}

TEST(RopeTest, Llama3KeepsShortWavesAndStretchesLongOnes) {
  const formats::RopeConfig plain{.theta = 500000.0};
  const formats::RopeConfig scaled{.type = formats::RopeType::kLlama3,
                                   .theta = 500000.0,
                                   .factor = 8.0,
                                   .low_freq_factor = 1.0,
                                   .high_freq_factor = 4.0,
                                   .original_max_position_embeddings = 8192};
  const auto base = RopeInverseFrequencies(plain, 64);
  const auto stretched = RopeInverseFrequencies(scaled, 64);
  EXPECT_EQ(stretched.front(), base.front());
  EXPECT_FLOAT_EQ(stretched.back(), base.back() / 8);
  for (size_t i = 1; i < base.size(); ++i) {
    EXPECT_LE(stretched[i], base[i]);
    EXPECT_GE(stretched[i], base[i] / 8 * 0.999f);
  }
}

}  // namespace
}  // namespace lorry::model
