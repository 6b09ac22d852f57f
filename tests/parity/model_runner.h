// Runs token sequences through a model directly, without engine or scheduler: what parity with the
// oracle is tested on.
#pragma once

#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "device/buffer.h"
#include "device/stream.h"
#include "model/adapter_weights.h"
#include "model/model.h"

namespace lorry {

struct WeightedAdapter {
  const model::AdapterWeights* adapter = nullptr;
  float weight = 1;
};

class ModelRunner {
 public:
  static constexpr int kMaxTokens = 256;

  ModelRunner(model::Model& model, const Stream& stream)
      : model_(model),
        stream_(stream),
        layout_(model.spec().Kv(kernels::kKvBlockTokens)),
        pages_(kMaxTokens / kernels::kKvBlockTokens),
        kv_(*Buffer::Allocate(pages_.size() * layout_.PageBytes())) {
    // Out of order, so that a kernel that forgets the page table is found out.
    for (size_t i = 0; i < pages_.size(); ++i) {
      pages_[i] = static_cast<int32_t>(pages_.size() - 1 - i);
    }
  }

  // Appends the tokens to the sequence; the logits after each of them, [tokens][vocab of the
  // adapter]. Several adapters: their weighted sum.
  std::vector<std::vector<float>> Append(std::span<const TokenId> tokens,
                                         std::span<const WeightedAdapter> adapters) {
    const int num_rows = static_cast<int>(tokens.size());
    const kernels::SequenceRows sequence{0, num_rows, num_tokens_, pages_.data()};
    std::vector<int32_t> logit_rows(num_rows);
    std::iota(logit_rows.begin(), logit_rows.end(), 0);
    std::vector<model::AdapterSegment> segments;
    int vocab_size = model_.spec().vocab_size;
    for (const auto& [adapter, weight] : adapters) {
      segments.push_back({0, num_rows, adapter, weight});
      if (adapter->vocab_size() != 0) vocab_size = adapter->vocab_size();
    }
    const float* logits = model_.Forward(stream_, {.tokens = tokens,
                                                   .sequences = {&sequence, 1},
                                                   .segments = segments,
                                                   .logit_rows = logit_rows,
                                                   .kv = {kv_.data(), layout_}});
    num_tokens_ += num_rows;
    std::vector<std::vector<float>> rows;
    for (int row = 0; row < num_rows; ++row) {
      const float* begin = logits + static_cast<size_t>(row) * model_.logits_stride();
      rows.emplace_back(begin, begin + vocab_size);
    }
    return rows;
  }

  std::vector<std::vector<float>> Append(std::span<const TokenId> tokens,
                                         const model::AdapterWeights* adapter) {
    const WeightedAdapter one{adapter};
    return Append(tokens, std::span(&one, adapter == nullptr ? 0 : 1));
  }

  void Reset() { num_tokens_ = 0; }

 private:
  model::Model& model_;
  const Stream& stream_;
  kernels::KvLayout layout_;
  std::vector<int32_t> pages_;
  Buffer kv_;
  int num_tokens_ = 0;
};

}  // namespace lorry
