#include "bench/make_model.h"

#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>

#include "base/log.h"
#include "base/random.h"
#include "device/dtype.h"

namespace lorry::bench {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  bool ones = false;  // norms

  int64_t num_elements() const {
    int64_t count = 1;
    for (int64_t dim : shape) count *= dim;
    return count;
  }
};

// Normal deviates, standard deviation 0.02, as bf16: a table of 65,536 drawn through Box and
// Muller's transform, indexed by a generator that is fast enough to fill gigabytes.
class NormalSource {
 public:
  explicit NormalSource(uint64_t seed) : state_(seed * 2 + 1) {
    table_.reserve(1 << 16);
    for (uint64_t i = 0; i < (1 << 15); ++i) {
      const double radius = 0.02 * std::sqrt(-2.0 * std::log(1.0 - UniformAt(seed, 0, i)));
      const double angle = 2.0 * std::numbers::pi * UniformAt(seed, 1, i);
      table_.push_back(ToBFloat16(static_cast<float>(radius * std::cos(angle))));
      table_.push_back(ToBFloat16(static_cast<float>(radius * std::sin(angle))));
    }
  }

  void Fill(std::vector<BFloat16>& values) {
    for (BFloat16& value : values) {
      state_ ^= state_ << 13;  // xorshift64 (Marsaglia 2003)
      state_ ^= state_ >> 7;
      state_ ^= state_ << 17;
      value = table_[state_ >> 48];
    }
  }

 private:
  uint64_t state_;
  std::vector<BFloat16> table_;
};

Status WriteText(const fs::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file) return Fail(ErrorCode::kInternal, fmt::format("cannot write {}", path.string()));
  return {};
}

Status WriteSafetensors(const fs::path& path, const std::vector<Tensor>& tensors,
                        NormalSource& source) {
  json::object header;
  int64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    const int64_t end = offset + tensor.num_elements() * 2;
    header[tensor.name] = {{"dtype", "BF16"},
                           {"shape", json::value_from(tensor.shape)},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = json::serialize(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t header_bytes = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&header_bytes), 8).write(text.data(), text.size());
  std::vector<BFloat16> chunk;
  for (const Tensor& tensor : tensors) {
    for (int64_t left = tensor.num_elements(); left > 0; left -= chunk.size()) {
      chunk.assign(std::min<int64_t>(left, 1 << 20), ToBFloat16(1.0f));
      if (!tensor.ones) source.Fill(chunk);
      file.write(reinterpret_cast<const char*>(chunk.data()), chunk.size() * 2);
    }
  }
  file.flush();
  if (!file)
    return Fail(ErrorCode::kInternal, fmt::format("cannot write {}: disk full?", path.string()));
  return {};
}

struct Projection {
  std::string name;  // "self_attn.q_proj"
  int64_t out;
  int64_t in;
};

std::vector<Projection> ProjectionsOf(const Shape& shape) {
  const int64_t q = shape.num_heads * shape.head_dim, kv = shape.num_kv_heads * shape.head_dim;
  return {{"self_attn.q_proj", q, shape.hidden},      {"self_attn.k_proj", kv, shape.hidden},
          {"self_attn.v_proj", kv, shape.hidden},     {"self_attn.o_proj", shape.hidden, q},
          {"mlp.gate_proj", shape.ffn, shape.hidden}, {"mlp.up_proj", shape.ffn, shape.hidden},
          {"mlp.down_proj", shape.hidden, shape.ffn}};
}

std::vector<Tensor> BaseTensors(const Shape& shape) {
  std::vector<Tensor> tensors = {{"model.embed_tokens.weight", {shape.vocab_size, shape.hidden}},
                                 {"model.norm.weight", {shape.hidden}, true}};
  if (!shape.tied) tensors.push_back({"lm_head.weight", {shape.vocab_size, shape.hidden}});
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    tensors.push_back({prefix + "input_layernorm.weight", {shape.hidden}, true});
    tensors.push_back({prefix + "post_attention_layernorm.weight", {shape.hidden}, true});
    for (const Projection& p : ProjectionsOf(shape)) {
      tensors.push_back({prefix + p.name + ".weight", {p.out, p.in}});
    }
  }
  return tensors;
}

std::vector<Tensor> AdapterTensors(const Shape& shape, int rank) {
  std::vector<Tensor> tensors;
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    for (const Projection& p : ProjectionsOf(shape)) {
      const std::string name = fmt::format("base_model.model.model.layers.{}.{}", layer, p.name);
      tensors.push_back({name + ".lora_A.weight", {rank, p.in}});
      tensors.push_back({name + ".lora_B.weight", {p.out, rank}});
    }
  }
  return tensors;
}

std::string ConfigJson(const Shape& shape) {
  return json::serialize(json::object{{"architectures", {"LlamaForCausalLM"}},
                                      {"model_type", "llama"},
                                      {"vocab_size", shape.vocab_size},
                                      {"hidden_size", shape.hidden},
                                      {"intermediate_size", shape.ffn},
                                      {"num_hidden_layers", shape.num_layers},
                                      {"num_attention_heads", shape.num_heads},
                                      {"num_key_value_heads", shape.num_kv_heads},
                                      {"head_dim", shape.head_dim},
                                      {"hidden_act", "silu"},
                                      {"max_position_embeddings", shape.max_positions},
                                      {"rms_norm_eps", 1e-5},
                                      {"rope_theta", 10000.0},
                                      {"tie_word_embeddings", shape.tied},
                                      {"torch_dtype", "bfloat16"},
                                      {"bos_token_id", 0},
                                      {"eos_token_id", 0}});
}

std::string AdapterConfigJson(int rank) {
  return json::serialize(json::object{
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"r", rank},
      {"lora_alpha", 2 * rank},
      {"bias", "none"},
      {"target_modules",
       {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}}});
}

// A byte-level vocabulary without merges: token i is byte i, the rest are words that only a random
// model writes. So a text prompt of n ASCII characters has n tokens.
std::string TokenizerJson(int vocab_size) {
  json::object vocab;
  // The byte-level alphabet of GPT-2: printable bytes stand for themselves, the others for code
  // points from 256 up.
  int next_code_point = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const int code_point = printable ? byte : next_code_point++;
    std::string text;
    if (code_point < 0x80) {
      text = static_cast<char>(code_point);
    } else {
      text = {static_cast<char>(0xc0 | code_point >> 6),
              static_cast<char>(0x80 | (code_point & 63))};
    }
    vocab[text] = byte;
  }
  for (int token = 256; token < vocab_size; ++token) vocab[fmt::format("w{}", token)] = token;
  const json::object byte_level = {{"type", "ByteLevel"},
                                   {"add_prefix_space", false},
                                   {"trim_offsets", true},
                                   {"use_regex", false}};
  return json::serialize(json::object{{"version", "1.0"},
                                      {"truncation", nullptr},
                                      {"padding", nullptr},
                                      {"added_tokens", json::array()},
                                      {"normalizer", nullptr},
                                      {"pre_tokenizer", byte_level},
                                      {"post_processor", nullptr},
                                      {"decoder", byte_level},
                                      {"model",
                                       {{"type", "BPE"},
                                        {"dropout", nullptr},
                                        {"unk_token", nullptr},
                                        {"continuing_subword_prefix", nullptr},
                                        {"end_of_word_suffix", nullptr},
                                        {"fuse_unk", false},
                                        {"byte_fallback", false},
                                        {"vocab", vocab},
                                        {"merges", json::array()}}}});
}

// Builds `dir` through a neighbour and a rename, so that an interrupted run leaves nothing that
// looks complete.
template <typename Build>
Status BuildDirectory(const fs::path& dir, const Build& build) {
  if (fs::exists(dir)) {
    log::Info("{} is there already", dir.string());
    return {};
  }
  const fs::path partial = dir.string() + ".partial";
  std::error_code error;
  fs::remove_all(partial, error);
  if (!fs::create_directories(partial, error)) {
    return Fail(ErrorCode::kInternal,
                fmt::format("cannot create {}: {}", partial.string(), error.message()));
  }
  RETURN_IF_ERROR(build(partial));
  fs::rename(partial, dir, error);
  if (error)
    return Fail(ErrorCode::kInternal,
                fmt::format("cannot rename to {}: {}", dir.string(), error.message()));
  log::Info("wrote {}", dir.string());
  return {};
}

}  // namespace

const std::vector<Shape>& Shapes() {
  static const std::vector<Shape> shapes = {
      {"tiny", "for tests", 64, 2, 4, 2, 16, 160, 512, true, 1024},
      {"invariance", "two layers of SmolLM2-135M, for tests", 576, 2, 9, 3, 64, 1536, 1024, true,
       1024},
      {"135m", "SmolLM2-135M", 576, 30, 9, 3, 64, 1536, 49152, true, 8192},
      {"1.2b", "Llama-3.2-1B", 2048, 16, 32, 8, 64, 8192, 128256, true, 8192}};
  return shapes;
}

Status MakeModel(const MakeModelOptions& options) {
  const Shape* shape = nullptr;
  std::string known;
  for (const Shape& candidate : Shapes()) {
    if (candidate.name == options.shape) shape = &candidate;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", candidate.name);
  }
  if (shape == nullptr) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("no shape `{}`; there are {}", options.shape, known), "shape");
  }
  if (options.output_dir.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "where to? give --output DIR", "output");
  }
  const fs::path root(options.output_dir);
  NormalSource source(options.seed);
  RETURN_IF_ERROR(BuildDirectory(root / "base", [&](const fs::path& dir) -> Status {
    RETURN_IF_ERROR(WriteText(dir / "config.json", ConfigJson(*shape)));
    RETURN_IF_ERROR(WriteText(dir / "tokenizer.json", TokenizerJson(shape->vocab_size)));
    RETURN_IF_ERROR(WriteText(dir / "tokenizer_config.json", "{}"));
    return WriteSafetensors(dir / "model.safetensors", BaseTensors(*shape), source);
  }));
  for (int i = 0; i < options.num_adapters; ++i) {
    const fs::path dir = root / "adapters" / fmt::format("a{:04}", i);
    NormalSource adapter_source(options.seed + 1 + i);
    RETURN_IF_ERROR(BuildDirectory(dir, [&](const fs::path& partial) -> Status {
      RETURN_IF_ERROR(WriteText(partial / "adapter_config.json", AdapterConfigJson(options.rank)));
      return WriteSafetensors(partial / "adapter_model.safetensors",
                              AdapterTensors(*shape, options.rank), adapter_source);
    }));
  }
  return {};
}

}  // namespace lorry::bench
