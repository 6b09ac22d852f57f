#include "text/worker_main.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <malloc.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>

#include "base/child_process.h"
#include "text/textkit_buffers.h"
#include "text/worker_filter.h"
#include "text/worker_frames.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LORRY_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LORRY_SANITIZED
#endif
#endif

namespace lorry::text {
namespace {

constexpr int kSocket = ChildProcess::kSocket;
constexpr int kNice = 5;
// Every process of a size that texts reach on this machine is more worth keeping.
constexpr std::string_view kOomScore = "1000";
// Whatever the server says, a worker grows no further: it holds 512 MiB and loads with 1 GiB more.
constexpr uint64_t kMaxBytes = uint64_t{4} << 30;
// What free() keeps of a call's memory counts against the next call's.
constexpr int kMaxKeptBytes = 1 << 20;
constexpr uint64_t kMaxLeftBytes = 16 << 20;  // by calls that keep nothing, until it is looked for

[[noreturn]] void EndOutOfMemory() { _exit(kExitOutOfMemory); }

// Memory that counts against RLIMIT_DATA, which is what can be written and is nobody else's.
class DataMemory {
 public:
  DataMemory() : statm_(open("/proc/self/statm", O_RDONLY | O_CLOEXEC)) {}

  uint64_t Bytes() const {
    char line[256] = {};
    if (pread(statm_, line, sizeof(line) - 1, 0) <= 0) return 0;
    // size resident shared text lib data dt, in pages
    unsigned long long pages = 0;
    std::sscanf(line, "%*u %*u %*u %*u %*u %llu", &pages);
    return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }

 private:
  const int statm_;
};

bool ReadAll(void* data, size_t size) {
  auto* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t count = read(kSocket, at, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    at += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

bool WriteAll(const void* data, size_t size) {
  const auto* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = send(kSocket, at, size, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    at += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

struct Object {
  std::unique_ptr<tk_tokenizer, Freer<tk_tokenizer_free>> tokenizer;
  std::unique_ptr<tk_template, Freer<tk_template_free>> chat_template;
  std::unique_ptr<tk_guard, Freer<tk_guard_free>> guard;
};

class Worker {
 public:
  int Run() {
    idle_bytes_ = memory_.Bytes();
    const rlimit most = {idle_bytes_ + kMaxBytes, idle_bytes_ + kMaxBytes};
    setrlimit(RLIMIT_DATA, &most);
    RequestHead head;
    while (ReadAll(&head, sizeof(head))) {
      SetLimits(head);
      std::string fields(head.size, '\0');
      if (!ReadAll(fields.data(), fields.size())) return EXIT_FAILURE;
      if (head.op == WorkerOp::kDrop) {
        objects_.erase(head.object);
        EndOfCall(/*keeps=*/true);
        continue;
      }
      FrameWriter reply;
      ReplyHead reply_head;
      const uint64_t bytes_before = idle_bytes_;
      reply_head.status = Do(head, FrameReader(fields), &reply);
      fields = {};
      const bool is_new = head.op == WorkerOp::kNewTokenizer || head.op == WorkerOp::kNewTemplate;
      EndOfCall(is_new);
      if (is_new && idle_bytes_ > bytes_before) reply_head.held_bytes = idle_bytes_ - bytes_before;
      reply_head.size = static_cast<uint32_t>(reply.bytes().size());
      if (!WriteAll(&reply_head, sizeof(reply_head)) ||
          !WriteAll(reply.bytes().data(), reply.bytes().size())) {
        return EXIT_FAILURE;
      }
    }
    return EXIT_SUCCESS;
  }

 private:
  // Of calls that make objects beyond what there is now, of others beyond what the objects hold.
  void SetLimits(const RequestHead& head) const {
    rlimit limit{};
    getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = std::min<rlim_t>(idle_bytes_ + head.memory_bytes, limit.rlim_max);
    setrlimit(RLIMIT_DATA, &limit);
    timespec used{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    getrlimit(RLIMIT_CPU, &limit);
    limit.rlim_cur = static_cast<rlim_t>(used.tv_sec) + head.cpu_seconds;
    setrlimit(RLIMIT_CPU, &limit);
  }

  void EndOfCall(bool keeps) {
    if (keeps || memory_.Bytes() > idle_bytes_ + kMaxLeftBytes) malloc_trim(0);
    if (keeps) idle_bytes_ = memory_.Bytes();
  }

  uint32_t Do(const RequestHead& head, FrameReader fields, FrameWriter* reply) {
    OwnedText reason;
    const uint32_t status = Call(head, fields, reply, &reason);
    if (status != TK_OK) {
      reply->bytes() = {};
      reply->Text(reason.view());
    }
    return status;
  }

  uint32_t Call(const RequestHead& head, FrameReader& fields, FrameWriter* reply,
                OwnedText* reason) {
    if (head.op == WorkerOp::kNewTokenizer) return NewTokenizer(head, fields, reply, reason);
    if (head.op == WorkerOp::kNewTemplate) return NewTemplate(head, fields, reason);
    const auto found = objects_.find(head.object);
    if (found == objects_.end()) return TK_PANIC;
    const Object& object = found->second;
    if (head.op == WorkerOp::kRender) {
      if (object.chat_template == nullptr) return TK_PANIC;
      return Render(object, fields, reply, reason);
    }
    if (object.tokenizer == nullptr) return TK_PANIC;
    if (head.op == WorkerOp::kFind) {
      reply->Number(tk_tokenizer_token_id(object.tokenizer.get(), View(fields.Text())));
      return TK_OK;
    }
    return Encode(*object.tokenizer, head.op, fields, reply, reason);
  }

  uint32_t NewTokenizer(const RequestHead& head, FrameReader& fields, FrameWriter* reply,
                        OwnedText* reason) {
    const std::string_view json = fields.Text();
    const std::string_view more_tokens = fields.Text();
    tk_tokenizer* tokenizer = nullptr;
    tk_status status = tk_tokenizer_new(View(json), View(more_tokens), &tokenizer, &reason->text);
    if (status != TK_OK) return status;
    Object object;
    object.tokenizer.reset(tokenizer);
    OwnedText special;
    status = tk_tokenizer_special_tokens(tokenizer, &special.text, &reason->text);
    if (status != TK_OK) return status;
    const tk_vocab vocab = tk_tokenizer_vocab(tokenizer);
    reply->Number(vocab.strip_space);
    reply->Text({reinterpret_cast<const char*>(vocab.bytes), vocab.offsets[vocab.size]});
    reply->Numbers(std::span(vocab.offsets, size_t{vocab.size} + 1));
    reply->Numbers(std::span(vocab.flags, vocab.size));
    reply->Text(special.view());
    objects_[head.object] = std::move(object);
    return TK_OK;
  }

  uint32_t NewTemplate(const RequestHead& head, FrameReader& fields, OwnedText* reason) {
    const std::string_view source = fields.Text();
    const std::string_view variables = fields.Text();
    tk_limits limits{};
    limits.base_steps = fields.Number<uint64_t>();
    limits.steps_per_message = fields.Number<uint64_t>();
    limits.max_steps = fields.Number<uint64_t>();
    limits.max_output_bytes = fields.Number<uint64_t>();
    const std::string_view special = fields.Text();
    tk_template* chat_template = nullptr;
    tk_status status =
        tk_template_new(View(source), View(variables), &limits, &chat_template, &reason->text);
    if (status != TK_OK) return status;
    Object object;
    object.chat_template.reset(chat_template);
    tk_guard* guard = nullptr;
    status = tk_guard_new(View(special), &guard, &reason->text);
    if (status != TK_OK) return status;
    object.guard.reset(guard);
    objects_[head.object] = std::move(object);
    return TK_OK;
  }

  static uint32_t Encode(const tk_tokenizer& tokenizer, WorkerOp op, FrameReader& fields,
                         FrameWriter* reply, OwnedText* reason) {
    OwnedIds ids;
    tk_status status = TK_OK;
    if (op == WorkerOp::kEncode) {
      const auto flags = fields.Number<uint32_t>();
      status = tk_tokenizer_encode(&tokenizer, View(fields.Text()), flags, &ids.ids, &reason->text);
    } else {
      const std::vector<uint32_t> typed = fields.Numbers<uint32_t>();
      status = tk_tokenizer_encode_typed(&tokenizer, View(fields.Text()), typed.data(),
                                         typed.size(), &ids.ids, &reason->text);
    }
    if (status == TK_OK) reply->Numbers(std::span<const uint32_t>(ids.ids.data, ids.ids.size));
    return status;
  }

  static uint32_t Render(const Object& object, FrameReader& fields, FrameWriter* reply,
                         OwnedText* reason) {
    const bool guards = fields.Number<uint8_t>() != 0;
    tk_chat chat{};
    chat.messages = View(fields.Text());
    chat.tools = View(fields.Text());
    chat.documents = View(fields.Text());
    chat.variables = View(fields.Text());
    chat.add_generation_prompt = fields.Number<uint8_t>();
    chat.now_unix_s = fields.Number<int64_t>();
    OwnedText text;
    OwnedIds typed;
    int32_t has_typed = 0;
    const tk_status status =
        tk_template_render(object.chat_template.get(), guards ? object.guard.get() : nullptr, &chat,
                           &text.text, &typed.ids, &has_typed, &reason->text);
    if (status != TK_OK) return status;
    reply->Text(text.view());
    reply->Number(static_cast<uint8_t>(has_typed));
    reply->Numbers(std::span<const uint32_t>(typed.ids.data, typed.ids.size));
    return TK_OK;
  }

  const DataMemory memory_;
  uint64_t idle_bytes_ = 0;  // with the objects, between calls
  std::unordered_map<uint64_t, Object> objects_;
};

// A busy worker does not hear that the server has gone; this thread does.
void EndWithTheServer() {
  std::thread([] {
    pollfd socket = {kSocket, POLLRDHUP, 0};
    while (poll(&socket, 1, -1) < 0 && errno == EINTR) {
    }
    _exit(EXIT_SUCCESS);
  }).detach();
}

void GiveUpRights() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  setrlimit(RLIMIT_FSIZE, &none);
  setpriority(PRIO_PROCESS, 0, kNice);
}

void BecomeFirstToGo() {
  const int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  const ssize_t ignored = write(file, kOomScore.data(), kOomScore.size());
  static_cast<void>(ignored);
  close(file);
}

}  // namespace

int RunTextWorker() {
  int type = 0;
  socklen_t size = sizeof(type);
  if (getsockopt(kSocket, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    fmt::print(stderr,
               "lorry {}: this is how a server runs the texts of adapters; it starts such "
               "processes itself\n",
               kWorkerCommand);
    return 2;
  }
  BecomeFirstToGo();
  tzset();  // reads its file now
  GiveUpRights();
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_TRIM_THRESHOLD, kMaxKeptBytes);
  mallopt(M_MMAP_THRESHOLD, kMaxKeptBytes);
  std::set_new_handler(EndOutOfMemory);
  tk_exit_when_out_of_memory(kExitOutOfMemory);
  Worker worker;
#if !defined(LORRY_SANITIZED)  // their runtimes call more
  AllowOnlyWorkersCalls();
#endif
  EndWithTheServer();
  return worker.Run();
}

}  // namespace lorry::text
