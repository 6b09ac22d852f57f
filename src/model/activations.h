// Scratch for the activations of one step, sized once.
// Owns: one buffer. Thread: the engine's. Never: grows.
#pragma once

#include "base/result.h"
#include "device/buffer.h"
#include "model/model_spec.h"

namespace lorry::model {

struct Activations {
  static Result<Activations> Allocate(const ModelSpec& spec, int max_rows, int max_logit_rows);

  Buffer buffer;
  int qkv_stride = 0;      // columns of the q|k|v product, padded per projection
  int gate_up_stride = 0;  // columns of the interleaved gate and up product
  int ffn_stride = 0;      // ffn padded to a panel
  int hidden_stride = 0;   // hidden padded to a panel
  int logits_stride = 0;   // vocab and room for an adapter's added tokens, padded to a panel

  float* residual = nullptr;    // [max_rows, hidden] f32
  std::byte* normed = nullptr;  // [max_rows, hidden] act
  float* projected =
      nullptr;  // [max_rows, max(qkv_stride, gate_up_stride)] f32: q|k|v, later gate and up
  std::byte* q = nullptr;         // [max_rows, num_heads * head_dim] act
  std::byte* attended = nullptr;  // [max_rows, num_heads * head_dim] act
  std::byte* gated = nullptr;     // [max_rows, ffn_stride] act
  float* delta = nullptr;  // [max_rows, hidden_stride] f32: what a block adds to the residual
  float* last_residual = nullptr;  // [max_logit_rows, hidden] f32: the rows that get logits
  float* last_delta = nullptr;     // [max_logit_rows, hidden_stride] f32
  float* logits = nullptr;         // [max_logit_rows, logits_stride] f32
  std::byte* lora = nullptr;       // shrunk rows of one product's tasks, act
};

}  // namespace lorry::model
