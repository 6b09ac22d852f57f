// The engine's metrics under the names that vLLM gave them, so that dashboards and routers made for
// it read them too, and lorry:* for what it does not count: adapters one by one. Owns: handles into
// the registry, which owns the values. Latencies are of sequences: n of them for a request with n.
// Thread: the engine's; reading (a scrape) goes through the registry.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "engine/engine_observer.h"
#include "engine/sequence.h"
#include "engine/sequence_table.h"
#include "request/model_directory.h"

namespace lorry::engine {

// Where requests for one name are counted. Of a name that is gone: the others'.
struct AdapterCounters {
  prometheus::Counter* requests;
  prometheus::Counter* prompt_tokens;
  prometheus::Counter* generation_tokens;
};

// What is fixed once the engine stands.
struct CacheConfig {
  int page_tokens = 0;
  int num_pages = 0;
  std::string dtype;
  int max_num_seqs = 0;
};

class EngineMetrics {
 public:
  EngineMetrics(prometheus::Registry& registry, const std::string& model_name,
                const CacheConfig& cache);

  // Where requests of these adapters are counted: each once; the base if there is none. Only names
  // that are known have series of their own, as many as a scrape should hold; the others share one,
  // which also gets what was counted for a name that leaves, so that sums stay what they were.
  std::vector<std::shared_ptr<AdapterCounters>> CountersFor(std::span<const AdapterTerm> adapters);
  void SetNames(std::span<const NameChange> changes);

  void OnRequest(const RequestState& state);
  void OnPrompt(const Sequence& sequence);                // computed to its end
  void OnToken(const Sequence& sequence, Micros now_us);  // drawn; before the sequence notes it
  void OnFinish(const Sequence& sequence, FinishReason reason, Micros now_us);
  void OnStep(const StepInfo& step);
  void SetQueues(int num_running, int num_waiting, double kv_usage);
  // Which adapters run and wait, for routers that send requests to where an adapter already is.
  void SetAdapters(const SequenceTable& table, std::span<const std::string> waiting_elsewhere);

 private:
  using Labels = std::map<std::string, std::string>;

  std::shared_ptr<AdapterCounters> CountersOf(const AdapterTerm& adapter);
  std::shared_ptr<AdapterCounters> SeriesOf(const std::string& label);
  void Forget(const std::string& name);
  prometheus::Gauge& AddGauge(const char* name, const char* help);
  prometheus::Counter& AddCounter(const char* name, const char* help);
  prometheus::Histogram& AddHistogram(const char* name, const char* help,
                                      const prometheus::Histogram::BucketBoundaries& buckets);

  prometheus::Registry& registry_;
  const std::string model_name_;
  const Labels labels_;
  const int max_num_seqs_;

  prometheus::Gauge& running_;
  prometheus::Gauge& waiting_;
  prometheus::Gauge& kv_usage_;
  prometheus::Counter& preemptions_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generation_tokens_;
  std::array<prometheus::Counter*, 4> finished_;  // by FinishReason

  prometheus::Counter* plan_seconds_;
  prometheus::Counter* forward_seconds_;
  prometheus::Counter* sample_seconds_;
  prometheus::Counter* apply_seconds_;

  prometheus::Gauge& most_adapters_;
  prometheus::Histogram& step_tokens_;
  prometheus::Histogram& first_token_seconds_;
  prometheus::Histogram& inter_token_seconds_;
  prometheus::Histogram& total_seconds_;
  prometheus::Histogram& queue_seconds_;
  prometheus::Histogram& prefill_seconds_;
  prometheus::Histogram& decode_seconds_;
  prometheus::Histogram& inference_seconds_;
  prometheus::Histogram& request_prompt_tokens_;
  prometheus::Histogram& request_generation_tokens_;
  prometheus::Histogram& request_n_;
  prometheus::Histogram& request_max_tokens_;

  prometheus::Family<prometheus::Gauge>& lora_info_;
  prometheus::Gauge* lora_info_now_ = nullptr;
  Labels lora_labels_;

  prometheus::Family<prometheus::Counter>& adapter_requests_;
  prometheus::Family<prometheus::Counter>& adapter_prompt_tokens_;
  prometheus::Family<prometheus::Counter>& adapter_generation_tokens_;
  std::unordered_map<std::string, std::shared_ptr<AdapterCounters>> series_;  // by label
  std::shared_ptr<AdapterCounters> base_counters_, other_counters_;           // null: no series yet
  std::unordered_set<std::string> known_names_;
  bool are_names_told_ = false;
};

}  // namespace lorry::engine
