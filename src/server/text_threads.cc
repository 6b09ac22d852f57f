#include "server/text_threads.h"

#include <algorithm>

#include "base/background.h"
#include "base/check.h"
#include "base/thread_name.h"

namespace lorry::server {
namespace {

// Tokenising this takes some 15 ms.
constexpr size_t kShortBytes = 32 << 10;
// Objects are messages, their parts, tools: a template may go through all of them for each.
constexpr int64_t kShortObjects = 64;

bool IsShort(std::string_view body) {
  return body.size() <= kShortBytes && std::ranges::count(body, '{') <= kShortObjects;
}

bool HasOwnText(const TextTask& task) {
  return task.adapters.size() == 1 && task.adapters[0].handle != nullptr &&
         !task.adapters[0].handle->text.empty();
}

TurnQueue<TextTask>::Key KeyOf(const TextTask& task) {
  if (!HasOwnText(task)) return TurnQueue<TextTask>::kNoKey;
  return std::hash<AdapterId>()(task.adapters[0].handle->text.id) | 1;
}

bool Reserve(size_t num_bytes, size_t max_bytes, std::atomic<size_t>& pending_bytes) {
  size_t pending = pending_bytes;
  do {
    if (pending > 0 && pending + num_bytes > max_bytes) return false;
  } while (!pending_bytes.compare_exchange_weak(pending, pending + num_bytes));
  return true;
}

}  // namespace

TextThreads::TextThreads(const TextThreadOptions& options, Work work)
    : work_(std::move(work)),
      max_pending_(options.max_pending),
      short_{.what = "requests",
             .thread_name = "lorry-text",
             .num_threads = options.num_threads,
             .is_background = false,
             .max_bytes = options.max_pending_bytes / 4,
             .queue = {static_cast<size_t>(options.max_pending), 0}},
      long_{.what = "requests with long texts",
            .thread_name = "lorry-text-long",
            .num_threads = options.num_threads,
            .is_background = true,
            .max_bytes = options.max_pending_bytes / 2,
            .queue = {static_cast<size_t>(options.max_pending), 0}},
      own_{.what = "requests for adapters with a tokenizer or chat template of their own",
           .thread_name = "lorry-text-own",
           .num_threads = options.num_own_threads,
           .is_background = true,
           .max_bytes = options.max_pending_bytes / 4,
           .queue = {static_cast<size_t>(options.max_pending),
                     static_cast<size_t>(std::max(1, options.max_pending / 4))}} {
  CHECK_GE(options.num_threads, 1);
}

TextThreads::~TextThreads() { Stop(); }

void TextThreads::Start() {
  for (Lane* lane : {&short_, &long_, &own_}) {
    for (int i = 0; i < lane->num_threads; ++i) {
      threads_.emplace_back([this, lane] { Run(*lane); });
    }
  }
}

void TextThreads::Stop() {
  for (Lane* lane : {&short_, &long_, &own_}) lane->queue.Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

TextThreads::Lane& TextThreads::LaneOf(const TextTask& task) {
  if (HasOwnText(task)) return own_;
  return IsShort(task.body) ? short_ : long_;
}

Status TextThreads::TrySend(TextTask&& task) {
  Lane& lane = LaneOf(task);
  const size_t num_bytes = task.body.size();
  if (Reserve(num_bytes, lane.max_bytes, lane.num_bytes)) {
    if (lane.queue.TrySend(KeyOf(task), std::move(task))) return {};
    lane.num_bytes -= num_bytes;
  }
  return Fail(ErrorCode::kResourceExhausted,
              fmt::format("As many {} wait already as may: {}, or {} MiB of them. Try again later.",
                          lane.what, max_pending_, lane.max_bytes >> 20));
}

void TextThreads::Run(Lane& lane) {
  NameThisThread(lane.thread_name);
  if (lane.is_background) BecomeBackgroundThread();
  while (auto turn = lane.queue.Take()) {
    const size_t num_bytes = turn->message.body.size();
    work_(std::move(turn->message));
    lane.num_bytes -= num_bytes;
    lane.queue.Done(turn->key);
  }
}

}  // namespace lorry::server
