#include "server/text_threads.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>

#include "base/background.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/thread_name.h"

namespace lorry::server {
namespace {

// Tokenising this takes some 15 ms.
constexpr size_t kShortBytes = 32 << 10;
// Objects are messages, their parts, tools: a template may go through all of them for each.
constexpr int64_t kShortObjects = 64;

// Tokenising takes up to 140 times a text's bytes (decision 0011), of which the C library would
// keep what lies between pieces in use.
constexpr size_t kTrimmedBytes = 128 << 10;

// At most once a second, since whoever else allocates meanwhile waits.
void GiveBackMemory() {
  static std::atomic<Micros> next_us = 0;
  const Micros now_us = Clock::Steady().NowUs();
  Micros due_us = next_us;
  if (now_us < due_us || !next_us.compare_exchange_strong(due_us, now_us + 1'000'000)) return;
  malloc_trim(0);
}

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

Status TooMany(std::string_view what, const std::string& limit) {
  return Fail(ErrorCode::kResourceExhausted,
              fmt::format("As many {} wait already as may: {}. Try again later.", what, limit));
}

Status Reserve(BodyBudget& budget, std::string_view what, TextTask& task) {
  if (task.body.size() <= kShortBytes || budget.Reserve(task.body.size(), task.held)) return {};
  return TooMany(what, fmt::format("{} MiB of them", budget.max_bytes() >> 20));
}

}  // namespace

TextThreads::TextThreads(const TextThreadOptions& options, Work work)
    : work_(std::move(work)),
      long_bytes_(options.max_pending_bytes / 2),
      waiting_bytes_(options.max_pending_bytes / 2),
      short_{.what = "requests",
             .thread_name = "lorry-text",
             .num_threads = options.num_threads,
             .is_background = false,
             .queue = {static_cast<size_t>(options.max_pending), 0}},
      long_{.what = "requests with long texts",
            .thread_name = "lorry-text-long",
            .num_threads = options.num_threads,
            .is_background = true,
            .queue = {static_cast<size_t>(options.max_pending), 0}},
      own_{.what = "requests for adapters with a tokenizer or chat template of their own",
           .thread_name = "lorry-text-own",
           .num_threads = options.num_own_threads,
           .is_background = true,
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
  stopping_ = true;
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
  RETURN_IF_ERROR(Reserve(&lane == &own_ ? waiting_bytes_ : long_bytes_, lane.what, task));
  if (lane.queue.TrySend(KeyOf(task), std::move(task))) return {};
  return TooMany(lane.what, fmt::format("{}", lane.queue.capacity()));
}

Status TextThreads::HoldElsewhere(TextTask& task) {
  return Reserve(waiting_bytes_, "requests with long texts", task);
}

void TextThreads::Run(Lane& lane) {
  NameThisThread(lane.thread_name);
  if (lane.is_background) BecomeBackgroundThread();
  while (auto turn = lane.queue.Take()) {
    const bool is_large = turn->message.body.size() > kTrimmedBytes;
    work_(std::move(turn->message));
    if (is_large) GiveBackMemory();
    lane.queue.Done(turn->key);
  }
}

}  // namespace lorry::server
