// The stack that serve, run and bench stand on: from options to model, adapters, tokenizer and a
// running engine. Owns: all of them. Thread: built on one; then as each part says. Never: knows of
// HTTP or the terminal's dialogue.
#pragma once

#include <prometheus/registry.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_table.h"
#include "base/result.h"
#include "engine/engine.h"
#include "formats/generation_config.h"
#include "request/model_directory.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace lorry::apps {

struct StackOptions {
  std::string model;                            // a Hugging Face directory; empty: the demo
  std::vector<std::string> served_model_names;  // empty: the directory's name
  std::vector<std::string> adapters;            // NAME=PATH
  std::vector<std::string> lora_modules;        // vLLM's form
  bool enable_lora = true;                      // vLLM's switch; off: no adapters may be given
  bool skip_bad_adapters = false;
  int max_lora_rank = 512;
  std::string chat_template;  // a file; empty: the model's own
  std::string dtype = "auto";
  std::string cpu = "auto";    // instruction set (kernels/isa.h)
  int threads = 0;             // compute threads; 0: the cores that this process may use
  size_t kv_memory_bytes = 0;  // 0: chosen from what is free
  engine::EngineOptions
      engine;  // its model_name, num_threads and kv_cache_bytes are set from the above
};

struct MemoryUse {
  size_t weight_bytes = 0;
  size_t kv_bytes = 0;
  size_t adapter_bytes = 0;
  size_t scratch_bytes = 0;
  size_t free_bytes = 0;  // that this process could still take
};

// "  KV cache   1,073,741,824   1.07 GB": a line each.
std::string MemoryTable(const MemoryUse& memory);

struct Stack {
  static Result<std::unique_ptr<Stack>> Build(StackOptions options);

  bool is_demo = false;
  std::string prompts_file;  // of the demo
  MemoryUse memory;
  formats::GenerationConfig generation;
  std::optional<text::Tokenizer> tokenizer;
  std::optional<text::ChatTemplate> chat_template;  // none: the model has none
  prometheus::Registry metrics;
  adapters::AdapterTable adapters;
  std::optional<ModelDirectory> directory;
  std::unique_ptr<engine::Engine> engine;  // last: it ends first, and uses the others
};

// Half of what is free, but no more than all sequences at full length need, and at least one of
// them.
struct KvDemand {
  size_t page_bytes = 0;
  int page_tokens = 16;
  int max_model_len = 0;
  int max_num_seqs = 0;
  size_t free_bytes = 0;
};
size_t ChooseKvBytes(const KvDemand& demand);

// The name that a model directory goes by: its last component; "org/name" inside a Hugging Face
// cache.
std::string NameOfDirectory(const std::string& directory);

}  // namespace lorry::apps
