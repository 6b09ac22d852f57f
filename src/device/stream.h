// Stream: where kernels run. On the CPU a pool of compute threads, of which the calling thread is
// number 0. Owns: the worker threads (num_threads - 1 of them). Thread: one caller (the engine's
// thread); workers spin briefly between regions and then sleep. Never: two callers at once, nested
// regions.
#pragma once

#include <memory>
#include <type_traits>

namespace lorry {

class Stream {
 public:
  explicit Stream(int num_threads);
  ~Stream();

  int num_threads() const;

  // Calls body(item_idx, thread_idx) once for each item in [0, num_items). Thread t begins with its
  // share of them, [num_items * t / num_threads, num_items * (t + 1) / num_threads), in ascending
  // order, so what neighbouring items read is one stream; who is done takes the last items of
  // others, so a thread that the machine slows down does fewer. Returns when all are done. Which
  // thread ran an item must not change a bit of its result. One item, or one thread, runs inline.
  template <typename Body>
  void ParallelFor(int num_items, const Body& body) const {
    if (num_items <= 0) return;
    Run(num_items, &Call<Body>, &body);
  }

 private:
  using Function = void (*)(const void* body, int item_idx, int thread_idx);

  template <typename Body>
  static void Call(const void* body, int item_idx, int thread_idx) {
    (*static_cast<const Body*>(body))(item_idx, thread_idx);
  }
  void Run(int num_items, Function function, const void* body) const;

  struct Pool;
  std::unique_ptr<Pool> pool_;
};

}  // namespace lorry
