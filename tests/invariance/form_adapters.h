// Adapters of the forms that go beyond plain LoRA on linear layers, with random weights, for any
// base: PEFT's directories written by hand.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "formats/base_modules.h"
#include "formats/safetensors_writer.h"

namespace lorry {

class FormAdapterWriter {
 public:
  FormAdapterWriter(std::filesystem::path root, formats::HfConfig base)
      : root_(std::move(root)), base_(std::move(base)), modules_(formats::ListBaseModules(base_)) {}

  // Writes one directory for each form; false if a file could not be written.
  bool WriteAll() {
    using formats::ModuleKind;
    const auto projection = [](const auto& m) { return m.kind == ModuleKind::kProjection; };
    const auto some = [&](const auto& m) {
      return projection(m) && (m.name.ends_with("q_proj") || m.name.ends_with("down_proj"));
    };
    const auto ends = [](const auto& m) {
      return m.kind == ModuleKind::kEmbedding || m.kind == ModuleKind::kHead;
    };
    const auto saved = [&](const auto& m) {
      return IsNorm(m.kind) || m.name == "model.layers.1.self_attn.k_proj" ||
             (projection(m) && m.name.starts_with("model.layers.0.mlp."));
    };
    const std::string prefix = "base_model.model.";
    bool written = Write("dora", R"("r": 6, "use_dora": true, "target_modules": "all-linear")",
                         Lora(projection, 6, true));
    written &= Write("dora-ends",
                     R"("r": 3, "use_dora": true, "target_modules": ["embed_tokens", "lm_head"])",
                     Lora(ends, 3, true));
    Tensors biased = Lora(some, 5, false);
    for (const auto& module : modules_) {
      if (some(module)) {
        biased.push_back(
            {prefix + module.name + ".lora_B.bias", DType::kF32, {module.out_features}});
      }
    }
    written &=
        Write("lora-bias",
              R"("r": 5, "lora_bias": true, "target_modules": ["q_proj", "down_proj"])", biased);
    written &= Write("ends", R"("r": 17, "target_modules": ["embed_tokens", "lm_head"])",
                     Lora(ends, 17, false));
    Tensors whole = Lora(some, 2, false);
    std::erase_if(whole,
                  [](const auto& t) { return t.name.find("layers.0.mlp") != std::string::npos; });
    for (const auto& module : modules_) {
      if (saved(module)) {
        whole.push_back({prefix + module.name + ".weight", DType::kF32, module.weight_shape()});
      }
    }
    written &= Write("saved",
                     R"("r": 2, "target_modules": ["q_proj", "down_proj"],
                        "modules_to_save": ["norm", "1.self_attn.k_proj", "0.mlp"])",
                     whole);
    Tensors tokens = Lora(some, 1, false);
    tokens.push_back({prefix + "model.embed_tokens.token_adapter.trainable_tokens_delta",
                      DType::kF32,
                      {90, base_.hidden_size}});
    std::vector<int> ids(90);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int>(7 * i + 3);
    written &= Write("tokens",
                     fmt::format(R"("r": 1, "target_modules": ["q_proj", "down_proj"],
                                    "trainable_token_indices": [{}])",
                                 fmt::join(ids, ", ")),
                     tokens);
    Tensors added = Lora(some, 4, false);
    for (const char* module : {"model.embed_tokens", "lm_head"}) {
      added.push_back(
          {prefix + module + ".weight", DType::kF32, {base_.vocab_size + 21, base_.hidden_size}});
    }
    written &= Write("added",
                     R"("r": 4, "target_modules": ["q_proj", "down_proj"],
                        "modules_to_save": ["embed_tokens", "lm_head"])",
                     added);
    return written;
  }

 private:
  using Tensors = std::vector<formats::TensorSpec>;

  Tensors Lora(const std::function<bool(const formats::BaseModule&)>& targets, int64_t rank,
               bool dora) const {
    Tensors tensors;
    for (const formats::BaseModule& module : modules_) {
      if (!targets(module)) continue;
      const std::string name = "base_model.model." + module.name;
      const bool embedding = module.kind == formats::ModuleKind::kEmbedding;
      tensors.push_back({name + (embedding ? ".lora_embedding_A" : ".lora_A.weight"),
                         DType::kF32,
                         {rank, module.in_features}});
      tensors.push_back({name + (embedding ? ".lora_embedding_B" : ".lora_B.weight"),
                         DType::kF32,
                         {module.out_features, rank}});
      if (dora) {
        tensors.push_back({name + ".lora_magnitude_vector", DType::kF32, {module.out_features}});
      }
    }
    return tensors;
  }

  bool Write(const std::string& name, const std::string& config, const Tensors& tensors) {
    const std::filesystem::path dir = root_ / name;
    std::filesystem::create_directories(dir);
    std::ofstream(dir / "adapter_config.json")
        << R"({"peft_type": "LORA", "lora_alpha": 8, )" << config << "}";
    auto writer =
        formats::SafetensorsWriter::Create((dir / "adapter_model.safetensors").string(), tensors);
    if (!writer) return false;
    for (const formats::TensorSpec& tensor : tensors) {
      // Vectors (norms, magnitudes, biases) lie around 1, matrices around 0.
      const bool vector = tensor.shape.size() == 1;
      std::normal_distribution<float> normal(vector ? 1.0f : 0.0f, vector ? 0.2f : 0.05f);
      std::vector<float> values(tensor.shape[0] * (vector ? 1 : tensor.shape[1]));
      for (float& value : values) value = normal(random_);
      if (!writer->Append(tensor.name, std::as_bytes(std::span(values)))) return false;
    }
    return writer->Finish().has_value();
  }

  std::filesystem::path root_;
  formats::HfConfig base_;
  std::vector<formats::BaseModule> modules_;
  std::mt19937 random_{7};
};

}  // namespace lorry
