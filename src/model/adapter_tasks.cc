#include "model/adapter_tasks.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "kernels/embedding.h"

namespace lorry::model {

using formats::Projection;

void CheckSegments(const ForwardBatch& batch) {
  const AdapterSegment* last = nullptr;
  int over_last = 0;  // segments of last's rows
  for (const AdapterSegment& segment : batch.segments) {
    CHECK(segment.adapter != nullptr);
    const bool same = last != nullptr && segment.row_begin == last->row_begin;
    CHECK(same ? segment.row_end == last->row_end
               : last == nullptr || segment.row_begin >= last->row_end);
    over_last = same ? over_last + 1 : 1;
    CHECK_LE(over_last, kMaxAdaptersPerRow);
    if (same || segment.weight != 1) {
      CHECK(segment.adapter->WhyNotComposable() == nullptr);
      CHECK(!same || last->adapter->WhyNotComposable() == nullptr);
    }
    last = &segment;
  }
}

RowRange LogitRows(const ForwardBatch& batch, const AdapterSegment& segment) {
  const auto begin = batch.logit_rows.begin();
  const auto first = std::lower_bound(begin, batch.logit_rows.end(), segment.row_begin);
  const auto end = std::lower_bound(first, batch.logit_rows.end(), segment.row_end);
  return {static_cast<int>(first - begin), static_cast<int>(end - begin)};
}

AdapterTasks::AdapterTasks(const ModelSpec& spec, int max_step_rows) : spec_(spec) {
  // q, k and v of every row on adapters of its own.
  lora_.reserve(static_cast<size_t>(3) * kMaxAdaptersPerRow * max_step_rows);
  own_.reserve(static_cast<size_t>(3) * max_step_rows);
}

void AdapterTasks::Add(RowRange rows, float weight, const kernels::LoraPair& pair,
                       const OutputChange* change, const PanelRange& panels, int n) {
  kernels::LoraTask task{.row_begin = rows.begin,
                         .row_end = rows.end,
                         .pair = pair,
                         .y_panel_begin = panels.panel_begin,
                         .y_panel_step = panels.panel_step,
                         .offset_weight = weight};
  task.pair.scale *= weight;
  task.pair.n = n;
  if (change != nullptr) {
    task.y_scale = change->scale;
    task.y_offset = change->offset;
    if (change->weight.data != nullptr) {
      own_.push_back({rows.begin, rows.end, change->weight, panels.panel_begin, panels.panel_step});
    }
  }
  if (pair.rank > 0 || task.y_scale != nullptr || task.y_offset != nullptr) lora_.push_back(task);
}

void AdapterTasks::Collect(std::span<const AdapterSegment> segments, int layer, LinearGroup group) {
  lora_.clear();
  own_.clear();
  for (const AdapterSegment& segment : segments) {
    for (int p = 0; p < formats::kNumProjections; ++p) {
      const auto projection = static_cast<Projection>(p);
      const PanelRange panels = PanelsOf(spec_, projection);
      if (panels.group != group) continue;
      const kernels::LoraPair& pair = segment.adapter->Get(layer, projection);
      const OutputChange* change = segment.adapter->Change(layer, projection);
      if (pair.rank == 0 && change == nullptr) continue;
      Add({segment.row_begin, segment.row_end}, segment.weight, pair, change, panels,
          spec_.OutFeatures(projection));
    }
  }
}

void AdapterTasks::CollectHead(const ForwardBatch& batch) {
  lora_.clear();
  own_.clear();
  for (const AdapterSegment& segment : batch.segments) {
    const HeadChange& head = segment.adapter->head();
    if (!head.any()) continue;
    const RowRange rows = LogitRows(batch, segment);
    if (rows.begin == rows.end) continue;
    const int vocab = segment.adapter->vocab_size();
    Add(rows, segment.weight, head.lora, &head.output, {LinearGroup::kQkv, 0, 1},
        vocab != 0 ? vocab : spec_.vocab_size);
  }
}

void NormAgain(const Stream& stream, const kernels::RmsNormArgs& args, RowRange rows,
               const float* weight) {
  if (weight == nullptr || rows.begin == rows.end) return;
  const ptrdiff_t offset = static_cast<ptrdiff_t>(rows.begin) * args.hidden;
  kernels::RmsNormArgs own = args;
  own.residual = args.residual + offset;
  own.delta = nullptr;
  own.weight = weight;
  own.rows = rows.end - rows.begin;
  own.out =
      static_cast<std::byte*>(args.out) + offset * static_cast<ptrdiff_t>(DTypeBytes(args.act));
  kernels::RmsNorm(stream, own);
}

namespace {

// The rows of a segment in runs of tokens that its adapter's vocabulary has, and runs that it
// lacks.
template <typename Function>
void ForRuns(const ForwardBatch& batch, const AdapterSegment& segment, const Function& function) {
  const int vocab = segment.adapter->vocab_size();
  const auto has = [&](int row) { return vocab == 0 || batch.tokens[row] < vocab; };
  for (int begin = segment.row_begin; begin < segment.row_end;) {
    int end = begin + 1;
    while (end < segment.row_end && has(end) == has(begin)) ++end;
    function(RowRange{begin, end}, has(begin));
    begin = end;
  }
}

// An adapter's LoRA and rows of tokens, over the embeddings of some of its rows.
void ChangeEmbeddings(const Stream& stream, std::span<const TokenId> tokens,
                      const AdapterSegment& segment, const ModelSpec& spec, float* out) {
  const EmbeddingChange& change = segment.adapter->embedding();
  if (change.lora.rank > 0) {
    kernels::LoraPair pair = change.lora;
    pair.scale *= segment.weight;
    kernels::EmbeddingLora(stream, {tokens, pair, spec.dtype, change.scale, out});
  }
  if (change.tokens.count > 0) {
    kernels::TokenEmbedding({tokens, change.tokens, spec.dtype, spec.hidden, out});
  }
}

}  // namespace

// A token that is in the base's vocabulary and not in a smaller one of its adapter is the base's
// own: whoever admits sequences should refuse it, and nothing is read beyond a table's end.
void EmbedTokens(const Stream& stream, const ForwardBatch& batch, const EmbedArgs& args) {
  const auto tokens_of = [&](RowRange rows) {
    return batch.tokens.subspan(rows.begin, rows.end - rows.begin);
  };
  const auto out_of = [&](int row) {
    return args.out + static_cast<ptrdiff_t>(row) * args.spec.hidden;
  };
  int done = 0;
  const auto base_rows_to = [&](int end) {
    kernels::Embedding(stream, {tokens_of({done, end}), args.table, out_of(done)});
    done = end;
  };
  for (const AdapterSegment& segment : batch.segments) {
    const kernels::PackedMatrix& table = segment.adapter->embedding().table;
    if (table.data == nullptr) continue;
    ForRuns(batch, segment, [&](RowRange rows, bool in_vocabulary) {
      if (!in_vocabulary) return;
      base_rows_to(rows.begin);
      kernels::Embedding(stream, {tokens_of(rows), table, out_of(rows.begin)});
      done = rows.end;
    });
  }
  base_rows_to(static_cast<int>(batch.tokens.size()));

  for (const AdapterSegment& segment : batch.segments) {
    if (!segment.adapter->embedding().any()) continue;
    ForRuns(batch, segment, [&](RowRange rows, bool in_vocabulary) {
      if (!in_vocabulary) return;
      ChangeEmbeddings(stream, tokens_of(rows), segment, args.spec, out_of(rows.begin));
    });
  }
}

void FinishLogits(const Stream& stream, const ForwardBatch& batch, const LogitArgs& args) {
  for (const AdapterSegment& segment : batch.segments) {
    const kernels::TokenTable& tokens = segment.adapter->head().tokens;
    const int vocab = segment.adapter->vocab_size();
    const bool smaller = vocab != 0 && vocab < args.spec.vocab_size;
    if (tokens.count == 0 && !smaller) continue;
    const RowRange rows = LogitRows(batch, segment);
    if (rows.begin == rows.end) continue;
    float* logits = args.logits + static_cast<ptrdiff_t>(rows.begin) * args.stride;
    if (tokens.count > 0) {
      const ptrdiff_t x = static_cast<ptrdiff_t>(rows.begin) * args.spec.hidden *
                          static_cast<ptrdiff_t>(DTypeBytes(args.spec.dtype));
      kernels::TokenLogits(
          stream, {static_cast<const std::byte*>(args.x) + x, rows.end - rows.begin, tokens,
                   args.spec.dtype, args.spec.hidden, logits, args.stride});
    }
    if (!smaller) continue;
    for (int i = 0; i < rows.end - rows.begin; ++i, logits += args.stride) {
      std::fill(logits + vocab, logits + args.spec.vocab_size,
                -std::numeric_limits<float>::infinity());
    }
  }
}

}  // namespace lorry::model
