// For tests: a model of one layer, and every way in which a checkpoint may be broken.
// Owns: nothing; what it writes lies in the directory it is given. Thread: one test.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "formats/test_files.h"

namespace lorry::model {

// Vocabulary 8, hidden 4, two heads of 2, one KV head, feed-forward 6.
struct TinyModel {
  std::string architecture = "LlamaForCausalLM";
  std::string fields;  // more of config.json: `, "attention_bias": true`
  std::vector<formats::TestTensor> tensors;

  TinyModel() {
    Add("model.embed_tokens.weight", {8, 4});
    Add("model.norm.weight", {4});
    Add("lm_head.weight", {8, 4});
    const std::string layer = "model.layers.0.";
    Add(layer + "input_layernorm.weight", {4});
    Add(layer + "post_attention_layernorm.weight", {4});
    Add(layer + "self_attn.q_proj.weight", {4, 4});
    Add(layer + "self_attn.k_proj.weight", {2, 4});
    Add(layer + "self_attn.v_proj.weight", {2, 4});
    Add(layer + "self_attn.o_proj.weight", {4, 4});
    Add(layer + "mlp.gate_proj.weight", {6, 4});
    Add(layer + "mlp.up_proj.weight", {6, 4});
    Add(layer + "mlp.down_proj.weight", {4, 6});
  }

  void Add(const std::string& name, const std::vector<int>& shape) {
    std::vector<float> values(1);
    for (int dim : shape) values.resize(values.size() * dim);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((i * 7 + name.size()) % 16) / 8.0f - 1.0f;
    }
    tensors.push_back({name, "F32", Shape(shape), formats::FloatBytes(values)});
  }
  static std::string Shape(const std::vector<int>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
  }
  formats::TestTensor& At(const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(),
                         [&](const formats::TestTensor& tensor) { return tensor.name == name; });
  }
  void Remove(const std::string& name) {
    std::erase_if(tensors, [&](const formats::TestTensor& t) { return t.name == name; });
  }
  // The weights become doubles that floats cannot hold exactly.
  void MakeDouble() {
    for (formats::TestTensor& tensor : tensors) {
      std::vector<double> values(tensor.data.size() / sizeof(float));
      for (size_t i = 0; i < values.size(); ++i) {
        float value;
        std::memcpy(&value, tensor.data.data() + i * sizeof(float), sizeof(float));
        values[i] = value * (1.0 + 1e-10);
      }
      tensor.dtype = "F64";
      tensor.data.assign(reinterpret_cast<const char*>(values.data()),
                         values.size() * sizeof(double));
    }
  }

  void WriteConfig(const formats::TempDir& dir) const {
    dir.Write("config.json",
              fmt::format(R"({{"architectures": ["{}"], "vocab_size": 8, "hidden_size": 4,
                  "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2,
                  "num_key_value_heads": 1{}}})",
                          architecture, fields));
  }
  void Write(const formats::TempDir& dir) const {
    WriteConfig(dir);
    dir.Write("model.safetensors", formats::MakeSafetensors(tensors));
  }
};

struct BrokenModel {
  std::string what;
  std::function<void(const formats::TempDir&)> write;
  std::string message;  // a part of it
};

// Changes the model, then writes it.
inline BrokenModel Broken(const std::string& what, std::function<void(TinyModel&)> change,
                          const std::string& message) {
  return {what,
          [change](const formats::TempDir& dir) {
            TinyModel model;
            change(model);
            model.Write(dir);
          },
          message};
}

// Two files with all tensors between them, under this index.
inline void WriteShards(const formats::TempDir& dir, const std::string& index) {
  const TinyModel model;
  model.WriteConfig(dir);
  const std::vector<formats::TestTensor> first(model.tensors.begin(), model.tensors.begin() + 6);
  const std::vector<formats::TestTensor> rest(model.tensors.begin() + 6, model.tensors.end());
  dir.Write("one.safetensors", formats::MakeSafetensors(first));
  dir.Write("two.safetensors", formats::MakeSafetensors(rest));
  dir.Write("model.safetensors.index.json", index);
}

inline std::vector<BrokenModel> BrokenModels() {
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  const std::string norm = "model.norm.weight";
  const auto whole = [](size_t cut, const std::string& more) {
    return [cut, more](const formats::TempDir& dir) {
      const TinyModel model;
      model.WriteConfig(dir);
      const std::string bytes = formats::MakeSafetensors(model.tensors);
      dir.Write("model.safetensors", bytes.substr(0, bytes.size() - cut) + more);
    };
  };
  return {
      Broken(
          "missing", [=](TinyModel& m) { m.Remove(q); }, "q_proj.weight\" is missing"),
      Broken(
          "no norm", [=](TinyModel& m) { m.Remove(norm); }, "model.norm.weight\" is missing"),
      Broken(
          "no head", [](TinyModel& m) { m.Remove("lm_head.weight"); },
          "lm_head.weight\" is missing"),
      Broken(
          "no embedding", [](TinyModel& m) { m.Remove("model.embed_tokens.weight"); },
          "embed_tokens.weight\" is missing"),
      Broken(
          "no layer", [](TinyModel& m) { m.fields = R"(, "num_hidden_layers": 2)"; },
          "model.layers.1.input_layernorm.weight\" is missing"),
      Broken(
          "biases that are not there", [](TinyModel& m) { m.fields = R"(, "mlp_bias": true)"; },
          "gate_proj.bias\" is missing"),
      Broken(
          "Qwen2 without its biases", [](TinyModel& m) { m.architecture = "Qwen2ForCausalLM"; },
          "q_proj.bias\" is missing"),
      Broken(
          "misshapen", [=](TinyModel& m) { m.At(q).shape = "[2, 8]"; },
          "is F32 [2, 8], config.json needs"),
      Broken(
          "a vector as a matrix", [=](TinyModel& m) { m.At(norm).shape = "[4, 1]"; },
          "is F32 [4, 1], config.json needs"),
      Broken(
          "another head_dim", [](TinyModel& m) { m.fields = R"(, "head_dim": 4)"; },
          "config.json needs F64, F32, BF16 or F16 [8, 4]"),
      Broken(
          "another vocabulary", [](TinyModel& m) { m.fields = R"(, "vocab_size": 9)"; },
          "F16 [9, 4]"),
      Broken(
          "integers", [=](TinyModel& m) { m.At(q).dtype = "I32"; }, "is I32 [4, 4]"),
      Broken(
          "an eight-bit float",
          [=](TinyModel& m) {
            m.At(q).dtype = "F8_E4M3";
            m.At(q).data.resize(16);
          },
          "is F8_E4M3 [4, 4]"),
      Broken(
          "a norm of queries",
          [](TinyModel& m) { m.Add("model.layers.0.self_attn.q_norm.weight", {2}); },
          "q_norm.weight\" is not part of the llama architecture"),
      Broken(
          "a layer more", [](TinyModel& m) { m.Add("model.layers.1.input_layernorm.weight", {4}); },
          "model.layers.1.input_layernorm.weight\" is not part"),
      Broken(
          "a bias that nothing asks for",
          [](TinyModel& m) { m.Add("model.layers.0.self_attn.q_proj.bias", {4}); },
          "q_proj.bias\" is not part"),
      Broken(
          "a quantised weight's scale",
          [](TinyModel& m) { m.Add("model.layers.0.self_attn.q_proj.weight_scale", {4}); },
          "weight_scale\" is not part"),
      Broken(
          "tied, with another head",
          [](TinyModel& m) { m.fields = R"(, "tie_word_embeddings": true)"; },
          "lm_head.weight\" is not the same as \"model.embed_tokens.weight\""),
      Broken(
          "tied, with a head of another shape",
          [](TinyModel& m) {
            m.fields = R"(, "tie_word_embeddings": true)";
            m.At("lm_head.weight").shape = "[4, 8]";
          },
          "is F32 [4, 8]"),
      Broken(
          "the same name twice", [=](TinyModel& m) { m.tensors.push_back(m.At(q)); }, "q_proj"),
      {"cut off", whole(3, ""), "model.safetensors"},
      {"longer than its tensors", whole(0, "more"), "model.safetensors"},
      {"a header cut off", whole(1200, ""), "model.safetensors"},
      {"an index of a file that is not there",
       [](const formats::TempDir& dir) {
         WriteShards(dir, R"({"weight_map": {"model.norm.weight": "three.safetensors"}})");
       },
       "three.safetensors"},
      {"an index of a tensor that is not in its file",
       [](const formats::TempDir& dir) {
         WriteShards(dir, R"({"weight_map": {"lm_head.weight": "two.safetensors"}})");
       },
       "tensor \"lm_head.weight\" is not in \"two.safetensors\""},
      {"an index that leaves a file out",
       [](const formats::TempDir& dir) {
         WriteShards(dir, R"({"weight_map": {"lm_head.weight": "one.safetensors"}})");
       },
       "up_proj.weight\" is missing"},
      {"an index beyond the directory",
       [](const formats::TempDir& dir) {
         WriteShards(dir, R"({"weight_map": {"lm_head.weight": "../one.safetensors"}})");
       },
       "is not the name of a file of this directory"},
      {"a tensor in two files",
       [](const formats::TempDir& dir) {
         WriteShards(dir, R"({"weight_map": {"lm_head.weight": "one.safetensors",
                              "model.norm.weight": "again.safetensors"}})");
         dir.Write("again.safetensors", formats::ReadWhole(dir.Path("one.safetensors")));
       },
       "is also in"},
      {"pickles",
       [](const formats::TempDir& dir) {
         TinyModel().WriteConfig(dir);
         dir.Write("pytorch_model.bin", "x");
       },
       "safetensors"},
      {"nothing", [](const formats::TempDir& dir) { TinyModel().WriteConfig(dir); },
       "model.safetensors"},
  };
}

}  // namespace lorry::model
