#include "engine/metrics.h"

#include <algorithm>
#include <chrono>
#include <set>

namespace lorry::engine {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// A token takes a millisecond on a tiny model and a second on a large one without a GPU.
const Buckets kFirstTokenSeconds = {.001, .0025, .005, .01, .02, .04, .06, .08, .1, .25, .5,
                                    .75,  1,     2.5,  5,   7.5, 10,  20,  40,  80, 160};
const Buckets kInterTokenSeconds = {.0005, .001, .0025, .005, .01, .015, .025, .05, .075,
                                    .1,    .15,  .2,    .3,   .4,  .5,   .75,  1,   2.5};
const Buckets kRequestSeconds = {.005, .01, .025, .05, .1, .25, .5,  1,  2.5,
                                 5,    10,  20,   40,  80, 160, 320, 640};
const Buckets kTokens = {1,   2,    5,    10,   20,    50,    100,   200,
                         500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
const Buckets kStepTokens = {1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
const Buckets kSequences = {1, 2, 5, 10, 20};

// The label of all that have no series of their own; no adapter can have it for a name.
constexpr char kOthers[] = "(others)";

std::string Join(const std::set<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) {
    if (!joined.empty()) joined += ',';
    joined += name;
  }
  return joined;
}

prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry& registry,
                                                       const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

EngineMetrics::EngineMetrics(prometheus::Registry& registry, const std::string& model_name,
                             const CacheConfig& cache)
    : registry_(registry),
      model_name_(model_name),
      labels_({{"model_name", model_name}, {"engine", "0"}}),
      max_num_seqs_(cache.max_num_seqs),
      running_(AddGauge("vllm:num_requests_running", "Sequences that run.")),
      waiting_(AddGauge("vllm:num_requests_waiting",
                        "Sequences that wait, and requests that wait for adapters.")),
      kv_usage_(AddGauge("vllm:kv_cache_usage_perc", "Share of the KV pages in use, 0 to 1.")),
      preemptions_(AddCounter("vllm:num_preemptions_total",
                              "Sequences that gave up their pages to run again later.")),
      prompt_tokens_(AddCounter("vllm:prompt_tokens_total",
                                "Prompt tokens of sequences whose "
                                "prompt was computed to its end.")),
      generation_tokens_(
          AddCounter("vllm:generation_tokens_total", "Tokens drawn, end-of-sequence ids too.")),
      most_adapters_(AddGauge("lorry:step_adapters_max",
                              "The most distinct adapters that have shared a step.")),
      step_tokens_(
          AddHistogram("vllm:iteration_tokens_total", "Rows computed in a step.", kStepTokens)),
      first_token_seconds_(AddHistogram("vllm:time_to_first_token_seconds",
                                        "From arrival to the first token.", kFirstTokenSeconds)),
      inter_token_seconds_(AddHistogram("vllm:inter_token_latency_seconds", "Between two tokens.",
                                        kInterTokenSeconds)),
      total_seconds_(AddHistogram("vllm:e2e_request_latency_seconds", "From arrival to the end.",
                                  kRequestSeconds)),
      queue_seconds_(AddHistogram("vllm:request_queue_time_seconds",
                                  "From arrival to the first step.", kRequestSeconds)),
      prefill_seconds_(AddHistogram("vllm:request_prefill_time_seconds",
                                    "From the first step to the first token.", kRequestSeconds)),
      decode_seconds_(AddHistogram("vllm:request_decode_time_seconds",
                                   "From the first token to the last.", kRequestSeconds)),
      inference_seconds_(AddHistogram("vllm:request_inference_time_seconds",
                                      "From the first step to the last token.", kRequestSeconds)),
      request_prompt_tokens_(
          AddHistogram("vllm:request_prompt_tokens", "Tokens of a prompt.", kTokens)),
      request_generation_tokens_(
          AddHistogram("vllm:request_generation_tokens", "Tokens drawn for a sequence.", kTokens)),
      request_n_(AddHistogram("vllm:request_params_n", "The parameter n.", kSequences)),
      request_max_tokens_(
          AddHistogram("vllm:request_params_max_tokens", "The parameter max_tokens.", kTokens)),
      lora_info_(prometheus::BuildGauge()
                     .Name("vllm:lora_requests_info")
                     .Help("Adapters whose requests run and wait; the value is the time.")
                     .Register(registry)),
      adapter_requests_(CounterFamily(registry, "lorry:adapter_requests_total",
                                      "Requests for an adapter or the base.")),
      adapter_prompt_tokens_(CounterFamily(registry, "lorry:adapter_prompt_tokens_total",
                                           "Prompt tokens, counted as vllm:prompt_tokens_total.")),
      adapter_generation_tokens_(
          CounterFamily(registry, "lorry:adapter_generation_tokens_total", "Tokens drawn.")) {
  auto& phases =
      CounterFamily(registry, "lorry:step_seconds_total", "Time spent in steps, by phase.");
  for (const auto& [phase, counter] : {std::pair{"plan", &plan_seconds_},
                                       {"forward", &forward_seconds_},
                                       {"sample", &sample_seconds_},
                                       {"apply", &apply_seconds_}}) {
    Labels labels = labels_;
    labels["phase"] = phase;
    *counter = &phases.Add(labels);
  }
  auto& success = CounterFamily(registry, "vllm:request_success_total", "Sequences that ended.");
  for (size_t i = 0; i < finished_.size(); ++i) {
    Labels labels = labels_;
    labels["finished_reason"] = FinishReasonName(static_cast<FinishReason>(i));
    finished_[i] = &success.Add(labels);
  }
  prometheus::BuildGauge()
      .Name("vllm:cache_config_info")
      .Help("The KV cache; the value is 1.")
      .Register(registry)
      .Add({{"engine", "0"},
            {"block_size", std::to_string(cache.page_tokens)},
            {"num_gpu_blocks", std::to_string(cache.num_pages)},
            {"cache_dtype", cache.dtype}})
      .Set(1);
}

prometheus::Gauge& EngineMetrics::AddGauge(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels_);
}

prometheus::Counter& EngineMetrics::AddCounter(const char* name, const char* help) {
  return CounterFamily(registry_, name, help).Add(labels_);
}

prometheus::Histogram& EngineMetrics::AddHistogram(const char* name, const char* help,
                                                   const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add(labels_,
                                                                                    buckets);
}

std::vector<std::shared_ptr<AdapterCounters>> EngineMetrics::CountersFor(
    std::span<const AdapterTerm> adapters) {
  if (adapters.empty()) {
    if (base_counters_ == nullptr) base_counters_ = SeriesOf(model_name_);
    return {base_counters_};
  }
  std::vector<std::shared_ptr<AdapterCounters>> all;
  for (const AdapterTerm& term : adapters) {
    auto counters = CountersOf(term);
    if (std::find(all.begin(), all.end(), counters) == all.end()) all.push_back(counters);
  }
  return all;
}

std::shared_ptr<AdapterCounters> EngineMetrics::CountersOf(const AdapterTerm& adapter) {
  constexpr size_t kMaxNames = 4096;
  const auto found = series_.find(adapter.name);
  if (found != series_.end() && !adapter.source) return found->second;
  // What a request brings along is nobody's name, and one may have gone on the way here.
  const bool is_known =
      !adapter.source && (!are_names_told_ || known_names_.contains(adapter.name));
  if (is_known && series_.size() < kMaxNames) {
    return series_[adapter.name] = SeriesOf(adapter.name);
  }
  if (other_counters_ == nullptr) other_counters_ = SeriesOf(kOthers);
  return other_counters_;
}

std::shared_ptr<AdapterCounters> EngineMetrics::SeriesOf(const std::string& label) {
  Labels labels = labels_;
  labels["adapter"] = label;
  return std::make_shared<AdapterCounters>(
      AdapterCounters{&adapter_requests_.Add(labels), &adapter_prompt_tokens_.Add(labels),
                      &adapter_generation_tokens_.Add(labels)});
}

void EngineMetrics::SetNames(std::span<const NameChange> changes) {
  are_names_told_ = true;
  for (const NameChange& change : changes) {
    if (change.is_known) {
      known_names_.insert(change.name);
    } else if (known_names_.erase(change.name) > 0) {
      Forget(change.name);
    }
  }
}

void EngineMetrics::Forget(const std::string& name) {
  const auto found = series_.find(name);
  if (found == series_.end()) return;
  if (other_counters_ == nullptr) other_counters_ = SeriesOf(kOthers);
  AdapterCounters& counters = *found->second;
  const auto move = [](auto& family, prometheus::Counter*& from, prometheus::Counter* to) {
    to->Increment(from->Value());
    family.Remove(from);
    from = to;  // requests that still run go on there
  };
  move(adapter_requests_, counters.requests, other_counters_->requests);
  move(adapter_prompt_tokens_, counters.prompt_tokens, other_counters_->prompt_tokens);
  move(adapter_generation_tokens_, counters.generation_tokens, other_counters_->generation_tokens);
  series_.erase(found);
}

void EngineMetrics::OnRequest(const RequestState& state) {
  for (const auto& counters : state.counters) counters->requests->Increment();
  request_n_.Observe(state.request.num_sequences);
  request_max_tokens_.Observe(state.request.sampling.max_tokens);
}

void EngineMetrics::OnPrompt(const Sequence& sequence) {
  prompt_tokens_.Increment(sequence.num_prompt);
  for (const auto& counters : sequence.request->counters) {
    counters->prompt_tokens->Increment(sequence.num_prompt);
  }
}

void EngineMetrics::OnToken(const Sequence& sequence, Micros now_us) {
  const RequestState& state = *sequence.request;
  if (sequence.num_drawn == 0) {
    first_token_seconds_.Observe(SecondsBetween(state.request.arrival_us, now_us));
  } else {
    inter_token_seconds_.Observe(SecondsBetween(sequence.last_token_us, now_us));
  }
  generation_tokens_.Increment();
  for (const auto& counters : state.counters) counters->generation_tokens->Increment();
}

void EngineMetrics::OnFinish(const Sequence& sequence, FinishReason reason, Micros now_us) {
  finished_[static_cast<size_t>(reason)]->Increment();
  const Micros arrival_us = sequence.request->request.arrival_us;
  total_seconds_.Observe(SecondsBetween(arrival_us, now_us));
  request_prompt_tokens_.Observe(sequence.num_prompt);
  request_generation_tokens_.Observe(sequence.num_drawn);
  if (sequence.is_queued) return;
  queue_seconds_.Observe(SecondsBetween(arrival_us, sequence.scheduled_us));
  if (sequence.num_drawn == 0) return;
  prefill_seconds_.Observe(SecondsBetween(sequence.scheduled_us, sequence.first_token_us));
  decode_seconds_.Observe(SecondsBetween(sequence.first_token_us, sequence.last_token_us));
  inference_seconds_.Observe(SecondsBetween(sequence.scheduled_us, sequence.last_token_us));
}

void EngineMetrics::OnStep(const StepInfo& step) {
  step_tokens_.Observe(step.num_rows);
  if (step.num_adapters > most_adapters_.Value()) most_adapters_.Set(step.num_adapters);
  plan_seconds_->Increment(step.plan_us * 1e-6);
  forward_seconds_->Increment(step.forward_us * 1e-6);
  sample_seconds_->Increment(step.sample_us * 1e-6);
  apply_seconds_->Increment(step.apply_us * 1e-6);
  if (step.num_preempted > 0) preemptions_.Increment(step.num_preempted);
}

void EngineMetrics::SetQueues(int num_running, int num_waiting, double kv_usage) {
  running_.Set(num_running);
  waiting_.Set(num_waiting);
  kv_usage_.Set(kv_usage);
}

void EngineMetrics::SetAdapters(const SequenceTable& table,
                                std::span<const std::string> waiting_elsewhere) {
  constexpr size_t kMaxNames = 256;  // in one label
  std::set<std::string> running, waiting;
  const auto add_name = [](const std::string& name, std::set<std::string>& names) {
    if (names.size() < kMaxNames) names.insert(name);
  };
  const auto add = [&](const Sequence& sequence, std::set<std::string>& names) {
    for (const AdapterTerm& term : sequence.request->request.adapters) {
      if (!term.source) add_name(term.name, names);
    }
  };
  for (const std::string& name : waiting_elsewhere) add_name(name, waiting);
  for (const Sequence* sequence : table.running()) add(*sequence, running);
  table.ForEachWaiting([&](const Sequence& sequence) { add(sequence, waiting); });

  // How many adapters a batch may hold: one for each sequence.
  Labels labels = {{"max_lora", std::to_string(max_num_seqs_)},
                   {"running_lora_adapters", Join(running)},
                   {"waiting_lora_adapters", Join(waiting)}};
  if (lora_info_now_ == nullptr || labels != lora_labels_) {
    // One series at a time: readers take the newest, and old ones would pile up.
    if (lora_info_now_ != nullptr) lora_info_.Remove(lora_info_now_);
    lora_info_now_ = &lora_info_.Add(labels);
    lora_labels_ = std::move(labels);
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  lora_info_now_->Set(std::chrono::duration<double>(now).count());
}

}  // namespace lorry::engine
