#include "bench/step_bench.h"

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <random>

#include "adapters/adapter_image.h"
#include "base/log.h"
#include "bench/limits.h"
#include "bench/paged_images.h"
#include "bench/process_memory.h"
#include "bench/statistics.h"
#include "formats/peft_adapter.h"
#include "model/model.h"

namespace lorry::bench {
namespace {

namespace json = boost::json;

constexpr int kPageTokens = 16;

struct Work {
  double bytes = 0;  // that must be read from memory at least once
  double operations = 0;
};

// One synthetic step: `num_sequences` sequences of `rows_each` rows, after `context` tokens.
class Step {
 public:
  Step(model::Model& model, const Stream& stream, std::byte* kv_arena, int num_sequences,
       int rows_each, int context, std::vector<const adapters::AdapterImage*> images)
      : model_(model), stream_(stream), context_(context), rows_each_(rows_each) {
    const int pages_each = (context + rows_each + kPageTokens - 1) / kPageTokens;
    pages_.resize(num_sequences * pages_each);
    std::iota(pages_.begin(), pages_.end(), 0);
    std::shuffle(pages_.begin(), pages_.end(), std::mt19937_64(1));  // as after an hour of serving
    for (int s = 0; s < num_sequences; ++s) {
      const int row = s * rows_each;
      sequences_.push_back({row, rows_each, context, pages_.data() + s * pages_each});
      logit_rows_.push_back(row + rows_each - 1);
      for (int i = 0; i < rows_each; ++i) {
        tokens_.push_back((1 + 7919 * (row + i)) % model.spec().vocab_size);
      }
      if (images.empty()) continue;
      const auto* image = images[s % images.size()];
      if (!segments_.empty() && segments_.back().adapter == &*image->weights) {
        segments_.back().row_end = row + rows_each;
      } else {
        segments_.push_back({row, row + rows_each, &*image->weights});
        adapter_bytes_ += static_cast<double>(image->weight_bytes);
      }
    }
    batch_ = {
        tokens_, sequences_, segments_, logit_rows_, {kv_arena, model.spec().Kv(kPageTokens)}};
  }

  double Seconds() {
    const auto start = std::chrono::steady_clock::now();
    model_.Forward(stream_, batch_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  double adapter_bytes() const { return adapter_bytes_; }

  Work work() const {
    const model::ModelSpec& spec = model_.spec();
    const double element = static_cast<double>(DTypeBytes(spec.dtype));
    const double embedding = static_cast<double>(spec.vocab_size) * spec.hidden;
    const double rows = static_cast<double>(tokens_.size());
    const double logit_rows = static_cast<double>(logit_rows_.size());
    // Every weight but an untied embedding table, of which a step reads `rows` rows only.
    const double weights = static_cast<double>(model_.weight_bytes()) / element -
                           (spec.tied_embeddings ? 0 : embedding);
    const double kv_per_token = 2.0 * spec.num_layers * spec.num_kv_heads * spec.head_dim * element;
    // Query x keys and weights x values, each a multiply-add per (row, earlier token, head
    // dimension).
    const double attended = rows * (context_ + (rows_each_ + 1) / 2.0);
    return {weights * element + adapter_bytes_ +
                static_cast<double>(sequences_.size()) * context_ * kv_per_token,
            2.0 * rows * (weights - embedding) + 2.0 * logit_rows * embedding +
                4.0 * attended * spec.num_layers * spec.num_heads * spec.head_dim};
  }

 private:
  model::Model& model_;
  const Stream& stream_;
  int context_;
  int rows_each_;
  std::vector<TokenId> tokens_;
  std::vector<int32_t> pages_;
  std::vector<kernels::SequenceRows> sequences_;
  std::vector<int32_t> logit_rows_;
  std::vector<model::AdapterSegment> segments_;
  double adapter_bytes_ = 0;
  model::ForwardBatch batch_;
};

// A row of the report: the same step measured once a round.
struct Row {
  std::string name;
  std::string compared_to;  // for adapters: the base row of the same batch
  Step step;
  std::vector<double> seconds = {};
  std::vector<double> over_limit = {};        // seconds / limit, round by round
  std::vector<double> extra_over_bytes = {};  // (seconds - base's) / (adapter bytes / read rate)
  std::vector<double> arithmetic_share = {};  // of the arithmetic rate
};

void Measure(Row& row, const Row* base, double read_rate, double arithmetic_rate) {
  // Best of three: a neighbour that steals a core for a moment is not the step's cost.
  double seconds = row.step.Seconds();
  for (int i = 0; i < 2; ++i) seconds = std::min(seconds, row.step.Seconds());
  const Work work = row.step.work();
  const double limit = std::max(work.bytes / read_rate, work.operations / arithmetic_rate);
  row.seconds.push_back(seconds);
  row.over_limit.push_back(seconds / limit);
  row.arithmetic_share.push_back(work.operations / seconds / arithmetic_rate);
  if (base != nullptr) {
    row.extra_over_bytes.push_back((seconds - base->seconds.back()) /
                                   (row.step.adapter_bytes() / read_rate));
  }
}

json::object ReportRow(const Row& row) {
  const Work work = row.step.work();
  json::object out{{"step", row.name},
                   {"median_ms", Median(row.seconds) * 1e3},
                   {"bytes", work.bytes},
                   {"operations", work.operations},
                   {"over_limit", Median(row.over_limit)},
                   {"arithmetic_share", Median(row.arithmetic_share)}};
  std::string extra = "-";
  if (!row.extra_over_bytes.empty()) {
    out["extra_over_adapter_bytes"] = Median(row.extra_over_bytes);
    extra = fmt::format("{:.2f}", Median(row.extra_over_bytes));
  }
  fmt::print("{:<40}{:>10.2f}{:>12.2f}{:>14.2f}{:>18}\n", row.name, Median(row.seconds) * 1e3,
             Median(row.over_limit), Median(row.arithmetic_share), extra);
  return out;
}

}  // namespace

Result<json::object> RunStepBench(const StepBenchOptions& options) {
  const Stream stream(options.num_threads);
  int max_sequences = 1;
  for (int batch : options.batches) max_sequences = std::max(max_sequences, batch);
  const size_t rss_before = ResidentBytes();
  ASSIGN_OR_RETURN(auto model, model::Model::Load(
                                   options.model_dir,
                                   {.dtype = options.dtype,
                                    .max_step_rows = std::max(options.prompt_tokens, max_sequences),
                                    .max_logit_rows = max_sequences},
                                   stream));
  std::vector<std::shared_ptr<const adapters::AdapterImage>> owned;
  std::vector<const adapters::AdapterImage*> images;
  size_t adapter_bytes = 0;
  for (const std::string& dir : options.adapter_dirs) {
    ASSIGN_OR_RETURN(auto adapter, formats::OpenPeftAdapter(dir, model->config()));
    ASSIGN_OR_RETURN(auto image,
                     adapters::MakeAdapterImage(adapter, model->spec(), model->checkpoint()));
    adapter_bytes += image->blob.size();
    images.push_back(image.get());
    owned.push_back(std::move(image));
  }
  const int pages_each = (options.context_tokens + 1 + kPageTokens - 1) / kPageTokens;
  const int num_pages =
      std::max(max_sequences * pages_each, (options.prompt_tokens + kPageTokens - 1) / kPageTokens);
  const size_t kv_bytes = num_pages * model->spec().Kv(kPageTokens).PageBytes();
  ASSIGN_OR_RETURN(Buffer kv, Buffer::Allocate(kv_bytes));
  // Memory that nothing was written to is one page of zeros, which the nearest cache holds. These
  // bytes are 0.0115 in bf16 as in f32.
  std::memset(kv.data(), 0x3c, kv.num_bytes());

  PagedImages paged;
  std::vector<const adapters::AdapterImage*> paged_images;
  if (options.with_paged) {
    const size_t page_bytes = model->spec().Kv(kPageTokens).PageBytes();
    ASSIGN_OR_RETURN(paged, MakePaged(images, page_bytes, model->spec().num_layers));
    for (const auto& image : paged.images) paged_images.push_back(image.get());
    fmt::print("{} adapters in {} pages of {} bytes: {:.1f} % of them unused\n", images.size(),
               paged.num_pages, page_bytes,
               100 - 100.0 * static_cast<double>(adapter_bytes) /
                         static_cast<double>(paged.num_pages * page_bytes));
  }

  std::vector<Row> rows;
  for (int batch : options.batches) {
    const auto add = [&](const char* kind, const std::string& base,
                         std::vector<const adapters::AdapterImage*> used) {
      rows.push_back(
          {fmt::format("decode, {} sequences, {}", batch, kind), base,
           Step(*model, stream, kv.data(), batch, 1, options.context_tokens, std::move(used))});
    };
    const std::string base = fmt::format("decode, {} sequences, base", batch);
    add("base", "", {});
    if (images.empty()) continue;
    add("same", base, {images.front()});
    if (batch > 1) add("distinct", base, images);
    if (batch > 1 && !paged_images.empty()) add("distinct, in pages", base, paged_images);
  }
  if (options.prompt_tokens > 0) {
    const std::string base = fmt::format("prompt of {}, base", options.prompt_tokens);
    rows.push_back({base, "", Step(*model, stream, kv.data(), 1, options.prompt_tokens, 0, {})});
    if (!images.empty()) {
      rows.push_back(
          {fmt::format("prompt of {}, adapter", options.prompt_tokens), base,
           Step(*model, stream, kv.data(), 1, options.prompt_tokens, 0, {images.front()})});
    }
  }
  for (Row& row : rows) row.step.Seconds();  // touches everything once
  const size_t resident = ResidentBytes() - rss_before;

  ASSIGN_OR_RETURN(const LimitProbe probe, LimitProbe::Create(options.probe_bytes));
  std::vector<double> read_rates, arithmetic_rates;
  for (int round = 0; round < options.rounds; ++round) {
    std::fprintf(stderr, "\rround %d of %d", round + 1, options.rounds);
    const double arithmetic = model->spec().dtype == DType::kBF16 && probe.Bf16Rate(stream) > 0
                                  ? probe.Bf16Rate(stream)
                                  : probe.F32Rate(stream);
    arithmetic_rates.push_back(arithmetic);
    for (size_t i = 0; i < rows.size(); ++i) {
      // The read rate of these machines changes within seconds: one reading beside each step.
      const double read = probe.ReadRateOf(stream, options.probe_bytes / 4);
      read_rates.push_back(read);
      const Row* base = nullptr;
      for (const Row& candidate : rows) {
        if (!rows[i].compared_to.empty() && candidate.name == rows[i].compared_to)
          base = &candidate;
      }
      Measure(rows[i], base, read, arithmetic);
    }
  }
  std::fprintf(stderr, "\r%20s\r", "");

  json::object report{{"machine", MachineName(options.num_threads)},
                      {"model", options.model_dir},
                      {"rounds", options.rounds},
                      {"context_tokens", options.context_tokens},
                      {"read_bytes_per_s", Median(read_rates)},
                      {"arithmetic_per_s", Median(arithmetic_rates)}};
  fmt::print("{}\nread rate {:.1f} GB/s, arithmetic rate {:.0f} GFLOP/s, medians of {} rounds\n\n",
             MachineName(options.num_threads), Median(read_rates) * 1e-9,
             Median(arithmetic_rates) * 1e-9, options.rounds);
  fmt::print("{:<40}{:>10}{:>12}{:>14}{:>18}\n", "step", "ms", "x limit", "x arithmetic",
             "x adapter bytes");
  json::array steps;
  for (const Row& row : rows) steps.push_back(ReportRow(row));
  report["steps"] = std::move(steps);

  const size_t needed = model->weight_bytes() + adapter_bytes + kv_bytes;
  fmt::print(
      "\nresident {:.0f} MB over {:.0f} MB of weights, adapters and KV: x {:.2f} + {:.0f} MB\n",
      resident * 1e-6, needed * 1e-6, 1.15,
      (static_cast<double>(resident) - 1.15 * static_cast<double>(needed)) * 1e-6);
  report["resident_bytes"] = resident;
  report["needed_bytes"] = needed;
  return report;
}

}  // namespace lorry::bench
