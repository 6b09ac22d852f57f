// The stack that serve, run and bench stand on: from options to model, adapters, tokenizer and a
// running engine. Owns: all of them. Thread: built on one; then as each part says. Never: knows of
// HTTP or the terminal's dialogue.
#pragma once

#include <prometheus/registry.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/catalogue.h"
#include "adapters/directory_watch.h"
#include "apps/environment.h"
#include "apps/step_log.h"
#include "base/result.h"
#include "engine/engine.h"
#include "formats/generation_config.h"
#include "request/model_directory.h"
#include "text/model_text.h"
#include "text/text_sandbox.h"

namespace lorry::apps {

struct StackOptions {
  std::string model;                            // a Hugging Face directory; empty: the demo
  std::vector<std::string> served_model_names;  // empty: the directory's name
  std::vector<std::string> adapters;            // NAME=PATH
  std::vector<std::string> lora_modules;        // vLLM's form
  bool enable_lora = true;                      // vLLM's switch; off: no adapters may be given
  bool skip_bad_adapters = false;
  int max_lora_rank = 512;
  std::vector<std::string> adapter_dirs;  // watched: each of their directories is an adapter
  std::string adapter_cache;              // a directory; empty: none
  size_t adapter_cache_bytes = size_t{20} << 30;
  size_t adapter_host_bytes = size_t{1} << 30;
  int adapter_fetchers = 16;
  int adapter_loaders = 2;
  std::string step_log;  // a file; empty: none
  size_t adapter_ready_bytes = size_t{64} << 20;
  int max_adapter_waiting = 256;
  size_t adapter_waiting_bytes = size_t{256} << 20;
  Micros adapter_timeout_us = 120'000'000;
  std::vector<std::string> allow_private_hosts;    // that a URL may lead to
  std::vector<std::string> allow_request_sources;  // that requests may name (source_allow_list.h)
  std::string chat_template;                       // a file; empty: the model's own
  std::string dtype = "auto";
  std::string cpu = "auto";    // instruction set (kernels/isa.h)
  int threads = 0;             // compute threads; 0: the cores that this process may use
  size_t kv_memory_bytes = 0;  // of the page pool; 0: chosen from what is free
  engine::EngineOptions
      engine;  // its model_name, num_threads and pool_bytes are set from the above
};

struct MemoryUse {
  size_t weight_bytes = 0;
  size_t pool_bytes = 0;
  size_t host_bytes = 0;
  size_t waiting_bytes = 0;
  size_t scratch_bytes = 0;
  size_t free_bytes = 0;  // that this process could still take
};

// "  KV cache   1,073,741,824   1.07 GB": a line each.
std::string MemoryTable(const MemoryUse& memory);

struct Stack {
  static Result<std::unique_ptr<Stack>> Build(StackOptions options);
  ~Stack();

  std::shared_ptr<const ModelDirectory> directory() const { return catalogue->directory(); }
  // What a model's name stands for; waits for an adapter's weights.
  Result<ModelChoice> Choose(const std::string& model);
  // The text of such a choice.
  Result<std::shared_ptr<const text::ModelText>> TextOf(const ModelChoice& model) const;

  bool is_demo = false;
  std::string prompts_file;  // of the demo
  MemoryUse memory;
  formats::GenerationConfig generation;
  std::shared_ptr<const text::ModelText> text;  // of the base
  // Where the texts of adapters run that one command speaks with; a server has its own.
  const std::shared_ptr<text::TextSandbox> sandbox = text::TextSandbox::Create(AdapterTextLimits());
  prometheus::Registry metrics;
  std::vector<std::string> adapter_names;  // given at start, in their order
  std::unique_ptr<StepLog> step_log;       // null: none is written
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<adapters::Catalogue> catalogue;
  std::unique_ptr<adapters::DirectoryWatch> watch;  // null: nothing is watched
};

// Half of what is free, but no more than all sequences at full length and many adapters need, and
// at least one sequence.
struct PoolDemand {
  size_t page_bytes = 0;
  int page_tokens = 16;
  int max_model_len = 0;
  int max_num_seqs = 0;
  size_t adapter_bytes = 0;
  size_t free_bytes = 0;
};
size_t ChoosePoolBytes(const PoolDemand& demand);

// The name that a model directory goes by: its last component; "org/name" inside a Hugging Face
// cache.
std::string NameOfDirectory(const std::string& directory);

}  // namespace lorry::apps
