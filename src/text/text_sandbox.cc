#include "text/text_sandbox.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "text/sandboxed.h"
#include "text/textkit_buffers.h"
#include "text/utf8_stream.h"

namespace lorry::text {
namespace {

constexpr size_t kMaxRequestBytes = size_t{512} << 20;
constexpr size_t kMaxReasonBytes = 16 << 10;
constexpr int kMaxDoublings = 6;

bool MakesObject(WorkerOp op) {
  return op == WorkerOp::kNewTokenizer || op == WorkerOp::kNewTemplate;
}

Error ShuttingDown() { return {ErrorCode::kUnavailable, "The server is shutting down.", ""}; }

// What a worker says of a call that failed; it may say anything.
Error CallError(const WorkerReply& reply, WorkerOp op) {
  FrameReader fields(reply.fields);
  std::string reason;
  Utf8Stream utf8;
  utf8.Push(fields.Text().substr(0, kMaxReasonBytes), &reason);
  utf8.Flush(&reason);
  std::replace_if(reason.begin(), reason.end(), [](char c) { return c == '\0'; }, ' ');
  const auto status =
      static_cast<tk_status>(std::clamp<uint32_t>(reply.status, TK_INVALID, TK_PANIC));
  Error error = TextkitError(status, reason, op == WorkerOp::kRender ? "messages" : "");
  if (error.code == ErrorCode::kInternal) {
    error = {ErrorCode::kUnfit,
             "this model's own tokenizer or chat template failed on this text; the log says where",
             "model"};
  }
  return error;
}

}  // namespace

std::shared_ptr<TextSandbox> TextSandbox::Create(SandboxOptions options) {
  return std::shared_ptr<TextSandbox>(new TextSandbox(std::move(options)));
}

void TextSandbox::Stop() {
  max_cpu_us_ = 0;
  waiting_.TakeAll();
}

std::shared_ptr<WorkerObject> TextSandbox::NewObject(WorkerOp op, std::string fields) {
  auto object = std::make_shared<WorkerObject>();
  object->op = op;
  object->fields = std::move(fields);
  object->id = next_object_++;
  return object;
}

Result<std::shared_ptr<const TokenizerBackend>> TextSandbox::NewTokenizer(
    std::string_view json, std::string_view more_tokens) {
  FrameWriter fields;
  fields.Text(json);
  fields.Text(more_tokens);
  const auto object = NewObject(WorkerOp::kNewTokenizer, std::move(fields.bytes()));
  ASSIGN_OR_RETURN(const WorkerReply reply, Call(object, object->op, {}));
  return SandboxedTokenizer::FromReply(shared_from_this(), object, reply.fields);
}

Result<std::shared_ptr<const TemplateBackend>> TextSandbox::NewTemplate(
    std::string_view source, std::string_view variables, const tk_limits& limits,
    const TokenizerBackend* tokens) {
  std::string special_tokens = "[]";
  if (tokens != nullptr) {
    ASSIGN_OR_RETURN(special_tokens, tokens->SpecialTokens());
  }
  FrameWriter fields;
  fields.Text(source);
  fields.Text(variables);
  fields.Number(limits.base_steps);
  fields.Number(limits.steps_per_message);
  fields.Number(limits.max_steps);
  fields.Number(uint64_t{limits.max_output_bytes});
  fields.Text(special_tokens);
  const auto object = NewObject(WorkerOp::kNewTemplate, std::move(fields.bytes()));
  ASSIGN_OR_RETURN(const WorkerReply reply, Call(object, object->op, {}));
  return std::make_shared<const SandboxedTemplate>(shared_from_this(), object);
}

Result<WorkerReply> TextSandbox::Call(const std::shared_ptr<const WorkerObject>& object,
                                      WorkerOp op, std::string_view fields) {
  RETURN_IF_ERROR(CheckPause(*object));
  if (std::max(fields.size(), object->fields.size()) > kMaxRequestBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("the text has over {} MiB", kMaxRequestBytes >> 20));
  }
  ++stats_.num_calls;
  for (bool is_fresh = false;; is_fresh = true) {
    ASSIGN_OR_RETURN(Worker worker, TakeWorker(object->id, is_fresh));
    // What an earlier call did to a worker is not this one's fault: it is tried again in a new one.
    const bool may_be_others = worker->is_used();
    auto reply = CallOn(*worker, object, op, fields);
    if (reply) {
      object->num_ends = 0;
      PutBack(std::move(worker));
      if (reply->status != TK_OK) return tl::unexpected(CallError(*reply, op));
      return std::move(*reply);
    }
    const WorkerEnd end = reply.error();
    ++stats_.num_ends[static_cast<size_t>(end)];
    if (may_be_others && (end == WorkerEnd::kMemory || end == WorkerEnd::kCrash)) continue;
    return tl::unexpected(
        Ended(end, *object, MakesObject(op) ? options_.load : options_.call, MakesObject(op)));
  }
}

tl::expected<WorkerReply, WorkerEnd> TextSandbox::CallOn(
    WorkerProcess& worker, const std::shared_ptr<const WorkerObject>& object, WorkerOp op,
    std::string_view fields) const {
  if (!worker.Holds(object->id)) {
    worker.Forget(options_.max_held_bytes / 2);
    // It may have died while it waited.
    if (!worker.is_alive()) return tl::unexpected(WorkerEnd::kCrash);
    auto made = worker.Call(object->op, object->id, object->fields, options_.load);
    if (!made) return made;
    if (made->status == TK_OK) worker.Keep(object, made->held_bytes);
    if (made->status != TK_OK || MakesObject(op)) return made;
  }
  worker.Use(object->id);
  return worker.Call(op, object->id, fields, options_.call);
}

Result<TextSandbox::Worker> TextSandbox::TakeWorker(uint64_t object, bool fresh) {
  if (max_cpu_us_ <= 0) return tl::unexpected(ShuttingDown());
  if (!fresh) {
    Worker worker = waiting_.Take([&](const WorkerProcess& w) { return w.Holds(object); });
    if (worker != nullptr) return worker;
  }
  ++stats_.num_started;
  return WorkerProcess::Start(options_.command, options_.environment, max_cpu_us_);
}

void TextSandbox::PutBack(Worker worker) {
  Keep(std::move(worker));
  const auto holds_gone = [](const WorkerProcess& waiting) { return waiting.HoldsGone(); };
  while (Worker waiting = waiting_.TakeIf(holds_gone)) Keep(std::move(waiting));
}

void TextSandbox::Keep(Worker worker) {
  worker->Forget(options_.max_held_bytes);
  if (!worker->is_alive() || max_cpu_us_ <= 0) return;
  waiting_.Put(std::move(worker), options_.max_waiting_workers);
}

Status TextSandbox::CheckPause(const WorkerObject& object) {
  const Micros left_us = object.refused_until_us - options_.clock->NowUs();
  if (left_us <= 0) return {};
  if (is_hurried()) return tl::unexpected(ShuttingDown());
  ++stats_.num_refused;
  return Fail(ErrorCode::kUnfit,
              fmt::format("this model's own tokenizer or chat template went beyond its limits {} "
                          "times in a row; it is tried again in {} s",
                          object.num_ends.load(), left_us / 1'000'000 + 1),
              "model");
}

Error TextSandbox::Ended(WorkerEnd end, const WorkerObject& object, const CallBudget& budget,
                         bool is_load) {
  if (end == WorkerEnd::kStopped) {
    object.refused_until_us = INT64_MAX;  // another such call would only take time
    return ShuttingDown();
  }
  const int num_ends = ++object.num_ends;
  if (num_ends > 1) {
    const Micros pause_us = options_.pause_us << std::min(num_ends - 2, kMaxDoublings);
    object.refused_until_us = options_.clock->NowUs() + pause_us;
  }
  const std::string did =
      end == WorkerEnd::kTime
          ? fmt::format("took over {:.3g} s of processor time", SecondsBetween(0, budget.cpu_us))
      : end == WorkerEnd::kMemory ? fmt::format("took over {} MiB", budget.memory_bytes >> 20)
                                  : "ended the process that ran it";
  log::Warning("a model's own tokenizer or chat template {} {}", did,
               is_load ? "as it was loaded" : "on a request's text");
  return {ErrorCode::kUnfit,
          is_load ? fmt::format("loading it {}, the limit for what an adapter brings", did)
                  : fmt::format("this model's own tokenizer or chat template {} on this text, the "
                                "limit for what an adapter brings",
                                did),
          "model"};
}

}  // namespace lorry::text
