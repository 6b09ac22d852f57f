// Any text as adapter_config.json or config.json, matched against a model's modules.
#include <string_view>

#include "formats/base_modules.h"
#include "formats/generation_config.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/peft_config.h"
#include "formats/peft_match.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace formats = lorry::formats;
  static const auto modules = [] {
    formats::HfConfig config;
    config.hidden_size = config.intermediate_size = config.vocab_size = 64;
    config.num_layers = 3;
    config.num_heads = config.num_kv_heads = 2;
    config.head_dim = 32;
    return formats::ListBaseModules(config);
  }();
  const auto json = formats::ParseJsonObject({reinterpret_cast<const char*>(data), size}, "input");
  if (!json) return 0;
  (void)formats::ParseHfConfig(*json, "input");
  (void)formats::ParseGenerationConfig(*json, "input");
  const auto config = formats::ParsePeftLoraConfig(*json, "input");
  for (const bool tied : {false, true}) {
    if (config)
      (void)formats::PlanPeftModules(*config, formats::ModelFamily::kLlama, modules, tied);
  }
  return 0;
}
