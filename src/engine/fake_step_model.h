// For tests: a StepModel whose logits depend on every token before, read back from the KV pages
// where earlier steps put them. A wrong page table, position, chunk or adapter segment changes
// every later token.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "adapters/adapter_image.h"
#include "engine/step_model.h"

namespace lorry::engine {

struct FakeModelOptions {
  int vocab_size = 40;
  int max_step_rows = 64;
  int max_logit_rows = 64;
  int max_positions = 256;
  std::vector<TokenId> eos_ids = {0};
};

inline uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

// An adapter of one to three pages of 256 bytes. Its part spans the blob and says so in n; what the
// fake computes depends on every byte. vocab_size 0: the base's.
inline std::shared_ptr<const adapters::AdapterImage> FakeAdapter(int number, int vocab_size = 0) {
  auto image = std::make_shared<adapters::AdapterImage>();
  image->id.bytes[0] = static_cast<uint8_t>(number + 1);
  const size_t num_bytes = 200 + 256 * (number % 3);
  image->buffer = *Buffer::Allocate(num_bytes);
  image->blob = {image->buffer.data(), num_bytes};
  for (size_t i = 0; i < num_bytes; ++i) {
    image->buffer.As<uint8_t>()[i] = static_cast<uint8_t>(Mix(number, i) >> 32);
  }
  image->parts = {{.rank = 1, .n = static_cast<int32_t>(num_bytes), .num_bytes = num_bytes}};
  if (vocab_size != 0) {
    image->parts.push_back({.kind = adapters::AdapterPart::Kind::kVocabulary,
                            .site = adapters::AdapterPart::Site::kNone,
                            .n = vocab_size});
  }
  image->vocab_size = vocab_size;
  image->weights = adapters::BindWeights(image->parts, image->blob.data(), 1);
  return image;
}

// What an adapter (null: the base) adds to the hash of a token, alone and with weight 1.
inline uint64_t FakeMark(const model::AdapterWeights* adapter) {
  if (adapter == nullptr) return 0;
  const kernels::LoraPair& pair = adapter->Get(0, formats::Projection::kQ);
  uint64_t mark = 1;
  for (int i = 0; i < pair.n; ++i) mark = Mix(mark, static_cast<const uint8_t*>(pair.a)[i]);
  return mark;
}

// What sums add, term by term, in their order.
inline uint64_t FakeMarkWith(uint64_t mark, const model::AdapterWeights* adapter, float weight) {
  if (mark == 0 && weight == 1) return FakeMark(adapter);
  return Mix(Mix(mark, FakeMark(adapter)), std::bit_cast<uint32_t>(weight));
}

class FakeStepModel final : public StepModel {
 public:
  explicit FakeStepModel(const FakeModelOptions& options)
      : options_(options), logits_(size_t(options.max_logit_rows) * logits_stride()) {
    spec_.vocab_size = options.vocab_size;
    spec_.num_layers = 1;
    spec_.num_kv_heads = 1;
    spec_.head_dim = 2;
    spec_.max_positions = options.max_positions;
    spec_.eos_ids = options.eos_ids;
    spec_.dtype = DType::kF32;
  }

  const model::ModelSpec& spec() const override { return spec_; }
  int max_step_rows() const override { return options_.max_step_rows; }
  int max_logit_rows() const override { return options_.max_logit_rows; }
  int max_positions() const override { return options_.max_positions; }
  int logits_stride() const override { return options_.vocab_size + kMaxAdded; }

  const float* Forward(const Stream&, const model::ForwardBatch& batch) override {
    if (before_forward) before_forward();
    CheckShape(batch);
    size_t logit_idx = 0;
    for (const kernels::SequenceRows& sequence : batch.sequences) {
      for (int i = 0; i < sequence.num_rows; ++i) {
        const int row = sequence.row_begin + i;
        const Slot slot = {batch.tokens[row], sequence.first_position + i, MarkOf(batch, row)};
        std::memcpy(SlotAt(batch, sequence, slot.position), &slot, sizeof(slot));
        if (logit_idx == batch.logit_rows.size() || batch.logit_rows[logit_idx] != row) continue;
        const std::span row_logits =
            std::span(logits_).subspan(logit_idx++ * logits_stride(), logits_stride());
        std::ranges::fill(row_logits, std::numeric_limits<float>::max());  // not to be looked at
        Logits(HashUpTo(batch, sequence, slot.position),
               row_logits.first(VocabOf(AdapterOf(batch, row))));
      }
    }
    EXPECT_EQ(logit_idx, batch.logit_rows.size());
    return logits_.data();
  }

  // What Forward answers after `tokens` on an adapter (null: the base).
  std::vector<float> LogitsAfter(std::span<const TokenId> tokens,
                                 const model::AdapterWeights* adapter = nullptr) const {
    uint64_t hash = 1;
    for (TokenId token : tokens) hash = Mix(Mix(hash, token), FakeMark(adapter));
    std::vector<float> logits(VocabOf(adapter));
    Logits(hash, logits);
    return logits;
  }

  std::function<void()> before_forward;

 private:
  struct Slot {  // 16 bytes, what two f32 of K and two of V take
    int32_t token;
    int32_t position;
    uint64_t adapter_mark;
  };
  static_assert(sizeof(Slot) == 16);
  static constexpr int kMaxAdded = 16;

  size_t VocabOf(const model::AdapterWeights* adapter) const {
    const bool has_own = adapter != nullptr && adapter->vocab_size() != 0;
    return has_own ? adapter->vocab_size() : options_.vocab_size;
  }

  static std::byte* SlotAt(const model::ForwardBatch& batch, const kernels::SequenceRows& sequence,
                           int position) {
    const int page_tokens = batch.kv.layout.page_tokens;
    return batch.kv.arena + sequence.pages[position / page_tokens] * batch.kv.layout.PageBytes() +
           position % page_tokens * sizeof(Slot);
  }

  // The only adapter of its row, as those with a vocabulary of their own are; else the first.
  static const model::AdapterWeights* AdapterOf(const model::ForwardBatch& batch, int row) {
    for (const model::AdapterSegment& segment : batch.segments) {
      if (row >= segment.row_begin && row < segment.row_end) return segment.adapter;
    }
    return nullptr;
  }

  static uint64_t MarkOf(const model::ForwardBatch& batch, int row) {
    uint64_t mark = 0;
    for (const model::AdapterSegment& segment : batch.segments) {
      if (row < segment.row_begin || row >= segment.row_end) continue;
      mark = FakeMarkWith(mark, segment.adapter, segment.weight);
    }
    return mark;
  }

  static uint64_t HashUpTo(const model::ForwardBatch& batch, const kernels::SequenceRows& sequence,
                           int last) {
    uint64_t hash = 1;
    for (int position = 0; position <= last; ++position) {
      Slot slot;
      std::memcpy(&slot, SlotAt(batch, sequence, position), sizeof(slot));
      EXPECT_EQ(slot.position, position) << "the page holds something else";
      hash = Mix(Mix(hash, slot.token), slot.adapter_mark);
    }
    return hash;
  }

  static void Logits(uint64_t hash, std::span<float> logits) {
    for (size_t i = 0; i < logits.size(); ++i) {
      logits[i] = static_cast<float>(Mix(hash, i) >> 40) * 0x1p-22f;  // 0 to 4
    }
  }

  void CheckShape(const model::ForwardBatch& batch) const {
    EXPECT_LE(static_cast<int>(batch.tokens.size()), options_.max_step_rows);
    EXPECT_LE(static_cast<int>(batch.logit_rows.size()), options_.max_logit_rows);
    int row = 0;
    for (const kernels::SequenceRows& sequence : batch.sequences) {
      EXPECT_EQ(sequence.row_begin, row);
      EXPECT_GE(sequence.num_rows, 1);
      row += sequence.num_rows;
    }
    EXPECT_EQ(row, static_cast<int>(batch.tokens.size()));
    int begin = 0, end = 0;
    for (const model::AdapterSegment& segment : batch.segments) {
      const bool is_of_the_same_sum = segment.row_begin == begin && segment.row_end == end;
      EXPECT_TRUE(is_of_the_same_sum || segment.row_begin >= end);
      EXPECT_LT(segment.row_begin, segment.row_end);
      EXPECT_NE(segment.adapter, nullptr);
      begin = segment.row_begin;
      end = segment.row_end;
    }
    EXPECT_LE(end, row);
  }

  FakeModelOptions options_;
  model::ModelSpec spec_;
  std::vector<float> logits_;  // [max_logit_rows, vocab + kMaxAdded]
};

}  // namespace lorry::engine
