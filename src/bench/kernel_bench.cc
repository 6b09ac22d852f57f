#include "bench/kernel_bench.h"

#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <numeric>

#include "bench/limits.h"
#include "bench/make_model.h"
#include "bench/statistics.h"
#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/silu_mul.h"

namespace lorry::bench {
namespace {

namespace json = boost::json;
using kernels::kPanel;

// Weights are read from a ring of copies that no cache holds, as a step reads layer after layer.
constexpr size_t kLeastRingBytes = size_t{384} << 20;

struct Case {
  std::string name;
  int rows;
  double bytes;  // from memory
  double operations;
  std::function<void(int)> run;  // of the i-th call
};

// Small finite values, none of them zero or denormal, in either type.
Result<Buffer> Values(size_t count, DType dtype) {
  ASSIGN_OR_RETURN(Buffer buffer,
                   Buffer::Allocate(std::max<size_t>(count, 64) * DTypeBytes(dtype)));
  for (size_t i = 0; i < count; ++i) {
    const float value =
        0.01f * static_cast<float>(static_cast<int>(i * 2654435761u % 15) - 7) + 0.005f;
    if (dtype == DType::kF32) {
      buffer.As<float>()[i] = value;
    } else {
      buffer.As<BFloat16>()[i] = ToBFloat16(value);
    }
  }
  return buffer;
}

// One shape's kernels at one number of rows. Owns the operands of its cases.
class Suite {
 public:
  Suite(const KernelBenchOptions& options, const Shape& shape, const Stream& stream)
      : options_(options),
        shape_(shape),
        stream_(stream),
        act_(options.bf16 ? DType::kBF16 : DType::kF32) {}

  Status Prepare() {
    const size_t widest = 2 * static_cast<size_t>(std::max(shape_.ffn, shape_.hidden * 2));
    const size_t max_rows = *std::max_element(options_.rows.begin(), options_.rows.end());
    const size_t head_bytes = kernels::PanelBytes(shape_.hidden, act_) *
                              static_cast<size_t>(kernels::NumPanels(shape_.vocab_size));
    ASSIGN_OR_RETURN(ring_, Values(std::max(kLeastRingBytes, head_bytes) / DTypeBytes(act_), act_));
    ASSIGN_OR_RETURN(x_, Values(max_rows * widest, act_));
    ASSIGN_OR_RETURN(out_, Values(max_rows * widest, act_));
    ASSIGN_OR_RETURN(f32_, Values(max_rows * widest, DType::kF32));
    ASSIGN_OR_RETURN(y_,
                     Values(max_rows * std::max<size_t>(widest, shape_.vocab_size), DType::kF32));
    ASSIGN_OR_RETURN(scratch_, Values(max_rows * 3 * (options_.rank + 64), act_));
    const kernels::KvLayout layout{1, shape_.num_kv_heads, shape_.head_dim, 16, act_};
    pages_.resize((options_.context_tokens + max_rows + 16) / 16 * max_rows);
    std::iota(pages_.begin(), pages_.end(), 0);
    ASSIGN_OR_RETURN(kv_, Values(pages_.size() * layout.PageBytes() / DTypeBytes(act_), act_));
    return {};
  }

  std::vector<Case> Cases(int rows) {
    const int q = shape_.num_heads * shape_.head_dim;
    const int qkv = q + 2 * shape_.num_kv_heads * shape_.head_dim;
    std::vector<Case> cases = {
        LinearCase("q|k|v", rows, shape_.hidden, qkv, 0),
        LinearCase("o", rows, q, shape_.hidden, 0),
        LinearCase("gate|up", rows, shape_.hidden, 2 * shape_.ffn, 0),
        LinearCase("down", rows, shape_.ffn, shape_.hidden, 0),
        LinearCase("gate|up + lora", rows, shape_.hidden, 2 * shape_.ffn, rows <= 16 ? rows : 1)};
    if (rows <= 64) cases.push_back(LinearCase("head", rows, shape_.hidden, shape_.vocab_size, 0));
    cases.push_back(AttentionCase(rows));
    cases.push_back({"norm", rows, 0, 4.0 * rows * shape_.hidden, [=, this](int) {
                       kernels::RmsNorm(stream_, {.residual = f32_.As<float>(),
                                                  .weight = f32_.As<float>(),
                                                  .epsilon = 1e-5f,
                                                  .rows = rows,
                                                  .hidden = shape_.hidden,
                                                  .act = act_,
                                                  .out = out_.data()});
                     }});
    cases.push_back({"silu x up", rows, 0, 8.0 * rows * shape_.ffn, [=, this](int) {
                       kernels::SiluMul(stream_, {.gate_up = y_.As<float>(),
                                                  .rows = rows,
                                                  .num_panels = shape_.ffn / kPanel,
                                                  .act = act_,
                                                  .out = out_.data()});
                     }});
    return cases;
  }

 private:
  // `num_adapters` > 0: the rows in as many equal segments, each on its own adapter.
  Case LinearCase(const std::string& name, int rows, int k, int n, int num_adapters) {
    const int num_panels = kernels::NumPanels(n);
    const size_t weight_bytes = kernels::PanelBytes(k, act_) * num_panels;
    const size_t a_bytes = static_cast<size_t>(options_.rank) * k * DTypeBytes(act_);
    const size_t b_bytes = kernels::PanelBytes(options_.rank, act_) * num_panels;
    const size_t adapter_bytes = (a_bytes + b_bytes + 63) / 64 * 64;
    const size_t call_bytes = weight_bytes + num_adapters * adapter_bytes;
    const size_t copies = std::max<size_t>(1, ring_.num_bytes() / call_bytes);
    const double lora_operations = num_adapters == 0 ? 0 : 2.0 * rows * options_.rank * (k + n);
    return {name, rows, static_cast<double>(call_bytes), 2.0 * rows * k * n + lora_operations,
            [=, this](int call) {
              const std::byte* weights = ring_.data() + call % copies * call_bytes;
              tasks_.clear();
              for (int a = 0; a < num_adapters; ++a) {
                const std::byte* adapter = weights + weight_bytes + a * adapter_bytes;
                tasks_.push_back({rows * a / num_adapters,
                                  rows * (a + 1) / num_adapters,
                                  {adapter, adapter + a_bytes, options_.rank, n, 2.0f}});
              }
              kernels::Linear(stream_, {.x = x_.data(),
                                        .rows = rows,
                                        .x_stride = k,
                                        .weight = {weights, act_, num_panels, k},
                                        .y = y_.As<float>(),
                                        .y_stride = num_panels * kPanel,
                                        .lora = tasks_,
                                        .lora_scratch = scratch_.data()});
            }};
  }

  // Up to 64 rows: decode, each its own sequence. More: one prompt.
  Case AttentionCase(int rows) {
    const bool decode = rows <= 64;
    const int context = decode ? options_.context_tokens : 0;
    const int pages_each = (context + rows + 15) / 16;
    const auto sequences = std::make_shared<std::vector<kernels::SequenceRows>>();
    if (decode) {
      for (int row = 0; row < rows; ++row) {
        sequences->push_back({row, 1, context - 1, pages_.data() + row * pages_each});
      }
    } else {
      sequences->push_back({0, rows, 0, pages_.data()});
    }
    const double attended = decode ? static_cast<double>(rows) * context : rows * (rows + 1) / 2.0;
    const kernels::KvLayout layout{1, shape_.num_kv_heads, shape_.head_dim, 16, act_};
    return {decode ? fmt::format("attention, {} tokens", context) : "attention, prompt", rows,
            decode ? static_cast<double>(rows) * context / 16 * layout.PageBytes() : 0,
            4.0 * attended * shape_.num_heads * shape_.head_dim, [=, this](int) {
              kernels::PagedAttention(stream_, {.q = x_.data(),
                                                .num_heads = shape_.num_heads,
                                                .scale = 0.125f,
                                                .sequences = *sequences,
                                                .layer = 0,
                                                .kv = {kv_.data(), layout},
                                                .out = out_.data()});
            }};
  }

  const KernelBenchOptions& options_;
  const Shape& shape_;
  const Stream& stream_;
  DType act_;
  Buffer ring_, x_, out_, f32_, y_, scratch_, kv_;
  std::vector<int32_t> pages_;
  std::vector<kernels::LoraTask> tasks_;
};

double SecondsPerCall(const Case& test, double target_s) {
  using Clock = std::chrono::steady_clock;
  int calls = 0;
  const auto start = Clock::now();
  double elapsed_s = 0;
  do {
    test.run(calls++);
    elapsed_s = std::chrono::duration<double>(Clock::now() - start).count();
  } while (elapsed_s < target_s);
  return elapsed_s / calls;
}

}  // namespace

Result<json::object> RunKernelBench(const KernelBenchOptions& options) {
  const Shape* shape = nullptr;
  for (const Shape& candidate : Shapes()) {
    if (candidate.name == options.shape) shape = &candidate;
  }
  if (shape == nullptr) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("no shape `{}`", options.shape), "shape");
  }
  const Stream stream(options.num_threads);
  Suite suite(options, *shape, stream);
  RETURN_IF_ERROR(suite.Prepare());
  ASSIGN_OR_RETURN(const LimitProbe probe, LimitProbe::Create(size_t{512} << 20));
  const Limits limits = probe.Measure(stream, 5);
  const double arithmetic = limits.ArithmeticRate(options.bf16);

  json::object report{{"machine", MachineName(options.num_threads)},
                      {"shape", options.shape},
                      {"read_bytes_per_s", limits.read_bytes_per_s},
                      {"arithmetic_per_s", arithmetic}};
  fmt::print(
      "{}\nshape {}, read rate {:.1f} GB/s, arithmetic rate {:.0f} GFLOP/s, medians of {}\n\n",
      MachineName(options.num_threads), options.shape, limits.read_bytes_per_s * 1e-9,
      arithmetic * 1e-9, options.rounds);
  fmt::print("{:<22}{:>6}{:>12}{:>10}{:>12}{:>10}\n", "kernel", "rows", "us", "GB/s", "GFLOP/s",
             "x limit");
  json::array kernels;
  for (int rows : options.rows) {
    for (const Case& test : suite.Cases(rows)) {
      std::vector<double> seconds;
      for (int round = 0; round < options.rounds; ++round) {
        seconds.push_back(SecondsPerCall(test, 0.01));
      }
      const double median = Median(seconds);
      const double limit =
          std::max(test.bytes / limits.read_bytes_per_s, test.operations / arithmetic);
      fmt::print("{:<22}{:>6}{:>12.1f}{:>10.1f}{:>12.1f}{:>10.2f}\n", test.name, rows, median * 1e6,
                 test.bytes / median * 1e-9, test.operations / median * 1e-9, median / limit);
      kernels.push_back({{"kernel", test.name},
                         {"rows", rows},
                         {"median_us", median * 1e6},
                         {"bytes", test.bytes},
                         {"operations", test.operations},
                         {"over_limit", median / limit}});
    }
  }
  report["kernels"] = std::move(kernels);
  return report;
}

}  // namespace lorry::bench
