#include "engine/engine_core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lorry::engine {
namespace {

sched::SchedOptions SchedOptionsOf(const EngineOptions& options, const StepModel& model,
                                   const PagePool& pool) {
  return {
      .max_num_seqs = options.max_num_seqs,
      .max_num_batched_tokens = options.max_num_batched_tokens,
      .max_logit_rows = model.max_logit_rows(),
      .max_prompt_chunk = options.max_prompt_chunk,
      .max_reserved_output_tokens = options.max_reserved_output_tokens,
      .page_tokens = options.page_tokens,
      .num_pages = pool.num_pages(),
  };
}

ResidencyOptions ResidencyOptionsOf(const EngineOptions& options, const PagePool& pool) {
  const int kv_floor = PagesForTokens(options.max_model_len, options.page_tokens);
  const auto wanted = static_cast<int>(options.adapter_floor_bytes / pool.page_bytes());
  return {.kv_floor_pages = kv_floor,
          .adapter_floor_pages = std::min(wanted, pool.num_pages() - kv_floor)};
}

bool Contains(std::span<const TokenId> ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool UsesAdapter(const Sequence& sequence, const AdapterId& id) {
  const auto& sum = sequence.request->adapters;
  return std::any_of(sum.begin(), sum.end(),
                     [&](const SummedAdapter& part) { return part.image->id == id; });
}

// "The adapter `a`", "The adapters `a`, `b`": as the request named them.
std::string NamesOf(const Sequence& sequence) {
  const auto& terms = sequence.request->request.adapters;
  std::string names = terms.size() == 1 ? "adapter" : "adapters";
  for (size_t i = 0; i < terms.size(); ++i) {
    names += fmt::format("{} `{}`", i == 0 ? "" : ",", terms[i].name);
  }
  return names;
}

TokenEvent EventOf(const Sequence& sequence) {
  TokenEvent event;
  event.request = sequence.request->request.id;
  event.seq_idx = sequence.seq_idx;
  return event;
}

}  // namespace

EngineCore::EngineCore(const EngineOptions& options, std::unique_ptr<StepModel> model,
                       PagePool pool, AdapterCopier::Done copied, prometheus::Registry& registry)
    : options_(options),
      model_(std::move(model)),
      pool_(std::move(pool)),
      stream_(options.num_threads),
      copier_(std::move(copied)),
      residency_(
          &pool_, ResidencyOptionsOf(options, pool_),
          [this](Residency::Image image, std::vector<std::span<std::byte>> touched) {
            if (touched.empty()) return true;
            copier_.Copy(std::move(image), std::move(touched));
            return false;
          },
          [this](AdapterCopy copy) { copier_.Free(std::move(copy)); }),
      sampler_(model_->spec().vocab_size + model::kMaxAddedTokens, model_->max_logit_rows(),
               options.num_threads),
      table_(&pool_, &residency_, options.page_tokens, options.max_num_seqs, options.max_model_len),
      builder_(options.max_num_batched_tokens, options.max_num_seqs, model_->max_logit_rows(),
               {pool_.arena(), model_->spec().Kv(options.page_tokens)}),
      metrics_(registry, options.model_name,
               {.page_tokens = options.page_tokens,
                .num_pages = pool_.num_pages(),
                .dtype = std::string(DTypeName(model_->spec().dtype)),
                .max_num_seqs = options.max_num_seqs}),
      residency_metrics_(registry),
      sched_options_(SchedOptionsOf(options, *model_, pool_)),
      outputs_(model_->max_logit_rows()) {
  const model::ModelSpec& spec = model_->spec();
  for (const std::vector<TokenId>* ids : {&spec.eos_ids, &options_.eos_ids}) {
    std::copy_if(ids->begin(), ids->end(), std::back_inserter(eos_ids_),
                 [&](TokenId id) { return id >= 0 && id < spec.vocab_size; });
  }
  draws_.reserve(outputs_.size());
  inputs_.reserve(outputs_.size());
  rows_.reserve(outputs_.size());
  targets_.reserve(outputs_.size());
}

void EngineCore::Submit(SubmitMessage message) {
  RequestState& state = table_.Add(std::move(message));
  state.vocab_size = VocabSize(state.adapters, model_->spec());
  state.banned = state.request.sampling.stop_token_ids;
  for (const auto* ids : {&eos_ids_, &state.request.eos_ids}) {
    state.banned.insert(state.banned.end(), ids->begin(), ids->end());
  }
  state.counters = metrics_.CountersFor(state.request.adapters);
  metrics_.OnRequest(state);
}

void EngineCore::Cancel(RequestId request, int seq_idx, FinishReason reason) {
  RequestState* state = table_.Find(request);
  if (state == nullptr) return;
  const Micros now_us = options_.clock->NowUs();
  for (Sequence& sequence : state->sequences) {
    if (sequence.is_finished || (seq_idx >= 0 && sequence.seq_idx != seq_idx)) continue;
    End(sequence, EventOf(sequence), reason, now_us);
  }
  table_.Sweep();
}

void EngineCore::CancelAll() {
  std::vector<RequestId> ids;
  for (const auto& [id, state] : table_.requests()) ids.push_back(id);
  for (RequestId id : ids) Cancel(id, -1);
}

void EngineCore::Keep(const KeepMessage& message) {
  switch (message.how) {
    case KeepMessage::How::kWarm:
      return residency_.Warm(message.image);
    case KeepMessage::How::kPin:
      return residency_.Pin(message.image);
  }
}

void EngineCore::OnCopied(AdapterCopied copied) {
  const AdapterId id = copied.id;
  residency_metrics_.OnCopied(copied);
  const std::optional<Error> error = residency_.OnCopied(std::move(copied));
  if (!error) return;
  table_.ForEachWaiting([&](Sequence& sequence) {
    if (UsesAdapter(sequence, id)) Fail(sequence, *error);
  });
  table_.Sweep();
}

void EngineCore::Fail(Sequence& sequence, const Error& error) {
  TokenEvent event = EventOf(sequence);
  event.error = error;
  End(sequence, std::move(event), FinishReason::kError, options_.clock->NowUs());
}

// Who waits for an adapter that cannot come.
void EngineCore::FailHopeless() {
  while (Sequence* sequence = table_.hopeless()) {
    const int num_pages = table_.AdapterPages(*sequence->request);
    Fail(*sequence,
         {ErrorCode::kTooLarge,
          fmt::format("The request needs {1} bytes for the {0}; the page pool has {2} for "
                      "adapters: start the server with a larger --kv-memory.",
                      NamesOf(*sequence), num_pages * pool_.page_bytes(),
                      residency_.max_pages() * pool_.page_bytes()),
          "model"});
    table_.Sweep();
    table_.View();
  }
  const Micros now_us = options_.clock->NowUs();
  while (Sequence* oldest = table_.overdue(now_us - options_.max_adapter_wait_us)) {
    Fail(*oldest, {ErrorCode::kUnavailable,
                   fmt::format("There is no room in memory for the {} at the moment: others are "
                               "in use. Try again later.",
                               NamesOf(*oldest)),
                   "model"});
    table_.Sweep();
    table_.View();
  }
}

bool EngineCore::Step() {
  if (table_.empty() && !residency_.has_more_to_load()) return false;
  const Clock& clock = *options_.clock;
  const Micros begin_us = clock.NowUs();
  sched::SchedView view = table_.View();
  if (table_.hopeless() != nullptr || table_.overdue(begin_us - options_.max_adapter_wait_us)) {
    FailHopeless();
    view = table_.View();
  }
  const sched::StepPlan plan = sched::Plan(view, sched_options_);
  if (plan.chunks.empty()) {
    CHECK(view.running.empty() && view.waiting.empty());
    return false;
  }
  table_.Apply(plan);
  for (const sched::Chunk& chunk : plan.chunks) {
    Sequence& sequence = *table_.running()[chunk.running_idx];
    if (!sequence.is_queued) continue;
    sequence.scheduled_us = begin_us;
    Leave(sequence);
  }
  const model::ForwardBatch& batch = builder_.Build(table_.running(), plan.chunks);
  const Micros planned_us = clock.NowUs();

  logits_ = model_->Forward(stream_, batch);
  const Micros computed_us = clock.NowUs();
  Sample();
  const Micros sampled_us = clock.NowUs();

  StepInfo step = {
      .num_rows = static_cast<int>(batch.tokens.size()),
      .num_decode_rows = builder_.num_decode_rows(),
      .num_prompt_rows = static_cast<int>(batch.tokens.size()) - builder_.num_decode_rows(),
      .num_sequences = static_cast<int>(batch.sequences.size()),
      .num_adapters = builder_.num_adapters(),
      .num_preempted = plan.num_preempted,
      .plan_us = planned_us - begin_us,
      .forward_us = computed_us - planned_us,
      .sample_us = sampled_us - computed_us,
  };
  Advance(plan.chunks, sampled_us);
  table_.Sweep();
  step.apply_us = clock.NowUs() - sampled_us;
  Observe(step);
  return true;
}

// The sequence no longer counts against max_waiting. While one of its request's does, that holds
// the adapters' images in whatever tier they are; from then on they are in the pool.
void EngineCore::Leave(Sequence& sequence) {
  sequence.is_queued = false;
  RequestState& state = *sequence.request;
  if (--state.num_queued == 0) state.request.waiting.reset();
  num_queued_.fetch_sub(1, std::memory_order_relaxed);
}

void EngineCore::Sample() {
  const std::span<const LogitRow> owners = builder_.logits();
  if (options_.observer != nullptr) {
    for (size_t i = 0; i < owners.size(); ++i) {
      const Sequence& sequence = *owners[i].sequence;
      options_.observer->OnLogits(sequence.request->request.id, sequence.seq_idx,
                                  owners[i].position, LogitsOf(i));
    }
  }
  TellPromptLogprobs();
  DrawTokens();
}

// As many as the row's model has tokens: what lies behind them belongs to other rows' adapters.
sampling::Sampler::Row EngineCore::LogitsOf(size_t logit_row) const {
  return {logits_ + logit_row * model_->logits_stride(),
          static_cast<size_t>(builder_.logits()[logit_row].sequence->request->vocab_size)};
}

// Rows of one sequence lie together; each sequence has its own number of alternatives.
void EngineCore::TellPromptLogprobs() {
  const std::span<const LogitRow> owners = builder_.logits();
  for (size_t begin = 0; begin < owners.size();) {
    Sequence& sequence = *owners[begin].sequence;
    rows_.clear();
    targets_.clear();
    size_t end = begin;
    for (; end < owners.size() && owners[end].sequence == &sequence; ++end) {
      if (owners[end].draws) continue;
      rows_.push_back(LogitsOf(end));
      targets_.push_back(sequence.tokens[owners[end].position + 1]);
    }
    begin = end;
    if (rows_.empty()) continue;
    const std::span outputs = std::span(outputs_).first(rows_.size());
    sampler_.Logprobs(stream_, rows_, targets_,
                      std::max(0, sequence.request->request.sampling.num_logprobs), outputs);
    std::move(outputs.begin(), outputs.end(), std::back_inserter(sequence.prompt_logprobs));
    sequence.num_prompt_logprobs += static_cast<int>(outputs.size());
  }
}

void EngineCore::DrawTokens() {
  const std::span<const LogitRow> owners = builder_.logits();
  draws_.clear();
  inputs_.clear();
  rows_.clear();
  for (size_t i = 0; i < owners.size(); ++i) {
    if (!owners[i].draws) continue;
    const Sequence& sequence = *owners[i].sequence;
    const RequestState& state = *sequence.request;
    const SamplingParams& params = state.request.sampling;
    const bool is_short = sequence.num_output() < params.min_tokens;
    draws_.push_back(&owners[i]);
    rows_.push_back(LogitsOf(i));
    inputs_.push_back(
        {&params, sequence.prompt(), sequence.output(), sequence.seq_idx,
         is_short ? std::span<const TokenId>(state.banned) : std::span<const TokenId>()});
  }
  if (inputs_.empty()) return;
  sampler_.Sample(stream_, inputs_, rows_, std::span(outputs_).first(inputs_.size()));
}

void EngineCore::Advance(std::span<const sched::Chunk> chunks, Micros now_us) {
  for (const sched::Chunk& chunk : chunks) {
    Sequence& sequence = *table_.running()[chunk.running_idx];
    sequence.num_computed += chunk.num_tokens;
    if (sequence.num_uncomputed() > 0) continue;
    if (sequence.num_drawn == 0) {
      shared_.prompt_tokens.fetch_add(sequence.num_prompt, std::memory_order_relaxed);
      metrics_.OnPrompt(sequence);
    }
    if (sequence.max_output == 0) {
      End(sequence, EventOf(sequence), FinishReason::kLength, now_us);
    }
  }
  for (size_t i = 0; i < draws_.size(); ++i) {
    TakeToken(*draws_[i]->sequence, std::move(outputs_[i]), now_us);
  }
}

void EngineCore::TakeToken(Sequence& sequence, TokenOutput output, Micros now_us) {
  const SamplingParams& params = sequence.request->request.sampling;
  metrics_.OnToken(sequence, now_us);
  shared_.generation_tokens.fetch_add(1, std::memory_order_relaxed);
  if (sequence.num_drawn++ == 0) sequence.first_token_us = now_us;
  sequence.last_token_us = now_us;

  TokenEvent event = EventOf(sequence);
  const TokenId token = output.token;
  const bool is_eos =
      Contains(eos_ids_, token) || Contains(sequence.request->request.eos_ids, token);
  if ((!params.ignore_eos && is_eos) || Contains(params.stop_token_ids, token)) {
    event.stop_token = std::move(output);
    return End(sequence, std::move(event), FinishReason::kStop, now_us);
  }
  sequence.tokens.push_back(token);
  event.tokens.push_back(std::move(output));
  if (sequence.num_output() == sequence.max_output) {
    return End(sequence, std::move(event), FinishReason::kLength, now_us);
  }
  if (!std::exchange(sequence.has_spoken, true)) {
    event.prompt_logprobs = std::move(sequence.prompt_logprobs);
  }
  sequence.request->sink->OnEvent(std::move(event));
}

void EngineCore::End(Sequence& sequence, TokenEvent event, FinishReason reason, Micros now_us) {
  metrics_.OnFinish(sequence, reason, now_us);
  if (sequence.is_queued) Leave(sequence);
  event.finish = reason;
  if (reason != FinishReason::kCancelled && !sequence.has_spoken) {
    event.prompt_logprobs = std::move(sequence.prompt_logprobs);
  }
  // The sink may end with its last event: the state goes only with the next Sweep.
  table_.Finish(sequence);
  sequence.request->sink->OnEvent(std::move(event));
}

void EngineCore::Observe(const StepInfo& step) {
  shared_.num_steps.fetch_add(1, std::memory_order_relaxed);
  shared_.num_preemptions.fetch_add(step.num_preempted, std::memory_order_relaxed);
  if (step.num_adapters > shared_.max_adapters_in_step.load(std::memory_order_relaxed)) {
    shared_.max_adapters_in_step.store(step.num_adapters, std::memory_order_relaxed);
  }
  metrics_.OnStep(step);
  // Joining names costs more than a counter, and nobody reads them at the pace of steps.
  constexpr Micros kAdaptersPeriodUs = 100'000;
  Publish(options_.clock->NowUs() - adapters_published_us_ >= kAdaptersPeriodUs);
  if (options_.observer != nullptr) options_.observer->OnStep(step);
}

void EngineCore::OnIdle() { Publish(true); }

void EngineCore::Publish(bool with_adapters) {
  const int num_running = static_cast<int>(table_.running().size());
  const int num_waiting = table_.num_waiting();
  const int used = pool_.num_pages() - pool_.num_free() - pool_.num_lent();
  shared_.num_running.store(num_running, std::memory_order_relaxed);
  shared_.num_waiting.store(num_waiting, std::memory_order_relaxed);
  shared_.kv_pages_used.store(used, std::memory_order_relaxed);
  const int for_kv = pool_.num_pages() - residency_.num_held_pages();
  metrics_.SetQueues(num_running, num_waiting + waiting_elsewhere_.num_requests,
                     double(used) / for_kv);
  if (!with_adapters) return;
  metrics_.SetAdapters(table_, waiting_elsewhere_.adapters);
  residency_metrics_.Set(residency_.stats(), pool_.page_bytes());
  resident_.Set(std::make_shared<const std::vector<AdapterId>>(residency_.ResidentIds()));
  adapters_published_us_ = options_.clock->NowUs();
}

EngineStats EngineCore::stats() const {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  return {
      .num_running = shared_.num_running.load(kRelaxed),
      .num_waiting = shared_.num_waiting.load(kRelaxed),
      .kv_pages_used = shared_.kv_pages_used.load(kRelaxed),
      .kv_pages_total = pool_.num_pages(),
      .max_adapters_in_step = shared_.max_adapters_in_step.load(kRelaxed),
      .num_steps = shared_.num_steps.load(kRelaxed),
      .num_preemptions = shared_.num_preemptions.load(kRelaxed),
      .prompt_tokens = shared_.prompt_tokens.load(kRelaxed),
      .generation_tokens = shared_.generation_tokens.load(kRelaxed),
  };
}

}  // namespace lorry::engine
