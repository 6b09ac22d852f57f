#include "engine/engine.h"

#include <prometheus/registry.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/thread_name.h"
#include "engine/adapter_sum.h"
#include "engine/engine_core.h"
#include "pages/page_pool.h"

namespace lorry::engine {
namespace {

Status CheckEach(const EngineOptions& options) {
  const auto refuse = [](std::string message, const char* param) {
    return Fail(ErrorCode::kInvalidArgument, std::move(message), param);
  };
  if (options.max_num_seqs < 1) return refuse("--max-num-seqs must be at least 1", "max_num_seqs");
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    return refuse(fmt::format("--max-num-batched-tokens {} must be at least --max-num-seqs {}",
                              options.max_num_batched_tokens, options.max_num_seqs),
                  "max_num_batched_tokens");
  }
  if (options.page_tokens < kernels::kKvBlockTokens ||
      options.page_tokens % kernels::kKvBlockTokens != 0) {
    return refuse(fmt::format("--page-size must be a multiple of {}, not {}",
                              kernels::kKvBlockTokens, options.page_tokens),
                  "page_tokens");
  }
  if (options.max_waiting < 1) return refuse("--max-waiting must be at least 1", "max_waiting");
  if (options.max_prompt_chunk < 0 || options.max_reserved_output_tokens < 1) {
    return refuse(
        "--max-prompt-chunk must not be negative, --max-reserved-output-tokens at least 1",
        "max_prompt_chunk");
  }
  if (options.num_threads < 1) return refuse("--threads must be at least 1", "num_threads");
  return {};
}

Status CheckRows(const EngineOptions& options, const StepModel& model) {
  if (options.max_num_seqs > model.max_logit_rows()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--max-num-seqs is {}, but the model was loaded for {} rows of logits",
                            options.max_num_seqs, model.max_logit_rows()),
                "max_num_seqs");
  }
  if (options.max_num_batched_tokens > model.max_step_rows()) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--max-num-batched-tokens is {}, but the model was loaded for {} rows",
                            options.max_num_batched_tokens, model.max_step_rows()),
                "max_num_batched_tokens");
  }
  return {};
}

// Sets max_model_len from what the model and the pool allow, and says how many pages there are.
Result<int> FitPool(EngineOptions& options, size_t page_bytes, int limit) {
  const size_t num_pages = options.pool_bytes / page_bytes;
  if (options.max_model_len < 0 || options.max_model_len > limit) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--max-model-len is {}, but the model is good for {} tokens",
                            options.max_model_len, limit),
                "max_model_len");
  }
  const size_t capacity = num_pages * options.page_tokens;
  const int wanted = options.max_model_len == 0 ? 1 : options.max_model_len;
  const size_t needed_bytes = PagesForTokens(wanted, options.page_tokens) * page_bytes;
  if (needed_bytes > options.pool_bytes) {
    const bool is_asked = options.max_model_len > 0;
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format(
            "--kv-memory {}: room for {} tokens; {}", options.pool_bytes, capacity,
            is_asked ? fmt::format("--max-model-len {} needs {} bytes", options.max_model_len,
                                   needed_bytes)
                     : fmt::format("it takes {} bytes or more, and {} for all {} "
                                   "tokens that the model is good for",
                                   needed_bytes,
                                   PagesForTokens(limit, options.page_tokens) * page_bytes, limit)),
        "pool_bytes");
  }
  if (options.max_model_len == 0) {
    options.max_model_len = static_cast<int>(std::min<size_t>(limit, capacity));
  }
  return static_cast<int>(std::min<size_t>(num_pages, std::numeric_limits<int32_t>::max()));
}

Status CheckTokens(std::span<const TokenId> tokens, int vocab_size, const char* param) {
  for (TokenId token : tokens) {
    if (token >= 0 && token < vocab_size) continue;
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("token id {} in {} is out of range: the vocabulary has {} tokens",
                            token, param, vocab_size),
                param);
  }
  return {};
}

}  // namespace

Status Engine::CheckOptions(EngineOptions options, const model::ModelSpec& spec) {
  RETURN_IF_ERROR(CheckEach(options));
  if (options.pool_bytes == 0) options.pool_bytes = std::numeric_limits<size_t>::max();
  RETURN_IF_ERROR(FitPool(options, spec.Kv(options.page_tokens).PageBytes(), spec.max_positions));
  return {};
}

Result<std::unique_ptr<Engine>> Engine::Create(EngineOptions options,
                                               std::unique_ptr<StepModel> model,
                                               prometheus::Registry* registry) {
  RETURN_IF_ERROR(CheckRows(options, *model));
  RETURN_IF_ERROR(CheckEach(options));
  const size_t page_bytes = model->spec().Kv(options.page_tokens).PageBytes();
  ASSIGN_OR_RETURN(const int num_pages, FitPool(options, page_bytes, model->max_positions()));
  ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(page_bytes, num_pages));
  return std::unique_ptr<Engine>(
      new Engine(std::move(options), std::move(model), std::move(pool), *registry));
}

Engine::Engine(EngineOptions options, std::unique_ptr<StepModel> model, PagePool pool,
               prometheus::Registry& registry)
    : options_(std::move(options)),
      mailbox_(options_.max_waiting),
      core_(std::make_unique<EngineCore>(
          options_, std::move(model), std::move(pool),
          [this](AdapterCopied copied) { mailbox_.SendAlways(std::move(copied)); }, registry)),
      thread_([this] { Run(); }) {}

Engine::~Engine() { Stop(std::chrono::milliseconds(0)); }

Status Engine::CheckRequest(const GenerateRequest& request) const {
  RETURN_IF_ERROR(CheckSum(request.adapters));
  const int vocab_size = VocabSize(SumOf(request.adapters), core_->model().spec());
  const SamplingParams& sampling = request.sampling;
  const auto refuse = [](std::string message, const char* param) {
    return Fail(ErrorCode::kInvalidArgument, std::move(message), param);
  };
  if (request.prompt.empty()) return refuse("The prompt has no tokens.", "prompt");
  if (sampling.max_tokens < 0) return refuse("max_tokens must not be negative.", "max_tokens");
  if (request.num_sequences < 1 || request.num_sequences > options_.max_sequences()) {
    return refuse(fmt::format("n must be between 1 and {}.", options_.max_sequences()), "n");
  }
  if (sampling.num_logprobs < -1 || sampling.num_logprobs > vocab_size) {
    return refuse(fmt::format("logprobs must be between 0 and {}.", vocab_size), "logprobs");
  }
  const size_t new_tokens = std::min(sampling.max_tokens, 1);
  if (request.prompt.size() + new_tokens > static_cast<size_t>(options_.max_model_len)) {
    return refuse(fmt::format("This model's maximum context length is {} tokens. However, you "
                              "requested {} tokens ({} in the prompt, at least {} in the "
                              "completion). Please reduce the length of the prompt.",
                              options_.max_model_len, request.prompt.size() + new_tokens,
                              request.prompt.size(), new_tokens),
                  "prompt");
  }
  RETURN_IF_ERROR(CheckTokens(request.prompt, vocab_size, "prompt"));
  RETURN_IF_ERROR(CheckTokens(sampling.stop_token_ids, vocab_size, "stop_token_ids"));
  for (const auto& bias : sampling.logit_bias) {
    RETURN_IF_ERROR(CheckTokens(std::span(&bias.first, 1), vocab_size, "logit_bias"));
  }
  return {};
}

Status Engine::Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) {
  RETURN_IF_ERROR(CheckRequest(request));
  const auto stopping = [] {
    return Fail(ErrorCode::kUnavailable, "The server is shutting down.");
  };
  if (stopping_.load()) return stopping();

  const int num_sequences = request.num_sequences;
  std::atomic<int>& num_queued = core_->num_queued();
  if (num_queued.fetch_add(num_sequences) + num_sequences > options_.max_waiting) {
    num_queued.fetch_sub(num_sequences);
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("The queue is full: {} sequences are waiting already. Try again later.",
                            options_.max_waiting));
  }
  // From here on the mailbox may not refuse for want of room: max_waiting bounds it, cancellations
  // aside.
  if (request.arrival_us == 0) request.arrival_us = options_.clock->NowUs();
  if (!mailbox_.SendAlways(SubmitMessage{std::move(request), std::move(sink)})) {
    num_queued.fetch_sub(num_sequences);
    return stopping();
  }
  return {};
}

void Engine::Cancel(RequestId request, int seq_idx) {
  mailbox_.SendAlways(CancelMessage{request, seq_idx});
}

void Engine::Complete(RequestId request, int seq_idx) {
  mailbox_.SendAlways(CancelMessage{request, seq_idx, FinishReason::kStop});
}

void Engine::Warm(std::shared_ptr<const AdapterHandle> adapter) {
  mailbox_.SendAlways(KeepMessage{ImageOf(std::move(adapter)), KeepMessage::How::kWarm});
}

void Engine::Pin(std::shared_ptr<const AdapterHandle> adapter) {
  mailbox_.SendAlways(KeepMessage{ImageOf(std::move(adapter)), KeepMessage::How::kPin});
}

void Engine::Unpin(AdapterId adapter) { mailbox_.SendAlways(UnpinMessage{adapter}); }

void Engine::Drop(AdapterId adapter) { mailbox_.SendAlways(DropMessage{adapter}); }

void Engine::ShowWaiting(WaitingRequests requests) {
  mailbox_.SendAlways(WaitingMessage{std::move(requests)});
}

void Engine::ShowNames(std::vector<NameChange> changes) {
  mailbox_.SendAlways(NamesMessage{std::move(changes)});
}

std::shared_ptr<const std::vector<AdapterId>> Engine::resident_adapters() const {
  return core_->resident_adapters();
}

void Engine::Stop(std::chrono::milliseconds drain) {
  stopping_.store(true);
  const Micros drain_us = std::chrono::duration_cast<std::chrono::microseconds>(drain).count();
  mailbox_.SendAlways(StopMessage{options_.clock->NowUs() + drain_us});
  if (!joining_.exchange(true)) thread_.join();
}

EngineStats Engine::stats() const { return core_->stats(); }

size_t Engine::max_adapter_bytes() const {
  return core_->residency().max_pages() * core_->pool().page_bytes();
}

size_t Engine::pool_bytes() const { return core_->pool().page_bytes() * core_->pool().num_pages(); }

void Engine::Run() {
  NameThisThread("lorry-engine");
  for (;;) {
    Receive();
    if (stop_deadline_us_ && (core_->idle() || options_.clock->NowUs() >= *stop_deadline_us_)) {
      break;
    }
    if (core_->Step()) continue;
    core_->OnIdle();
    mailbox_.WaitFor(std::chrono::hours(1));
  }
  // Whoever sends from here on is refused; those who came before get their last event.
  mailbox_.Close();
  Receive();
  core_->CancelAll();
  core_->OnIdle();
}

void Engine::Receive() {
  mailbox_.Drain(inbox_);
  for (Message& message : inbox_) {
    std::visit([this](auto& content) { Handle(std::move(content)); }, message);
  }
}

void Engine::Handle(SubmitMessage message) { core_->Submit(std::move(message)); }

void Engine::Handle(const CancelMessage& message) {
  core_->Cancel(message.request, message.seq_idx, message.reason);
}

void Engine::Handle(const KeepMessage& message) { core_->Keep(message); }

void Engine::Handle(const UnpinMessage& message) { core_->Unpin(message.adapter); }

void Engine::Handle(const DropMessage& message) { core_->Drop(message.adapter); }

void Engine::Handle(AdapterCopied message) { core_->OnCopied(std::move(message)); }

void Engine::Handle(WaitingMessage message) { core_->ShowWaiting(std::move(message.requests)); }

void Engine::Handle(const NamesMessage& message) { core_->ShowNames(message.changes); }

void Engine::Handle(const StopMessage& message) {
  stop_deadline_us_ =
      std::min(stop_deadline_us_.value_or(message.deadline_us), message.deadline_us);
}

}  // namespace lorry::engine
