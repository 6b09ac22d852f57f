#include "model/activations.h"

#include <algorithm>

#include "device/arena.h"
#include "formats/peft_config.h"
#include "model/forward_batch.h"
#include "model/linear_layout.h"

namespace lorry::model {

namespace {

void Place(const ModelSpec& spec, size_t rows, size_t logit_rows, Arena& arena, Activations& a) {
  constexpr size_t kPanel = kernels::kPanel;
  const size_t act = DTypeBytes(spec.dtype);
  const size_t q = static_cast<size_t>(spec.num_heads) * spec.head_dim;
  a.qkv_stride = NumPanelsOf(spec, LinearGroup::kQkv) * kPanel;
  a.gate_up_stride = NumPanelsOf(spec, LinearGroup::kGateUp) * kPanel;
  a.ffn_stride = a.gate_up_stride / 2;
  a.hidden_stride = NumPanelsOf(spec, LinearGroup::kDown) * kPanel;
  a.logits_stride = kernels::NumPanels(spec.vocab_size + kMaxAddedTokens) * kPanel;

  a.residual = arena.Take<float>(rows * spec.hidden);
  a.normed = arena.Take<std::byte>(rows * spec.hidden * act);
  a.projected = arena.Take<float>(rows * std::max(a.qkv_stride, a.gate_up_stride));
  a.q = arena.Take<std::byte>(rows * q * act);
  a.attended = arena.Take<std::byte>(rows * q * act);
  a.gated = arena.Take<std::byte>(rows * a.ffn_stride * act);
  a.delta = arena.Take<float>(rows * a.hidden_stride);
  a.last_residual = arena.Take<float>(logit_rows * spec.hidden);
  a.last_delta = arena.Take<float>(logit_rows * a.hidden_stride);
  a.logits = arena.Take<float>(logit_rows * a.logits_stride);
  // q, k and v are the most tasks that one product has. A task's part starts aligned, hence 64
  // bytes of slack for as many tasks as there can be. Address space: only what steps use is
  // resident.
  const size_t task_rows = 3 * kMaxAdaptersPerRow * rows;
  a.lora = arena.Take<std::byte>(task_rows * (formats::kMaxLoraRank * act + 64));
}

}  // namespace

Result<Activations> Activations::Allocate(const ModelSpec& spec, int max_rows, int max_logit_rows) {
  Activations a;
  Arena counter(nullptr);
  Place(spec, max_rows, max_logit_rows, counter, a);
  ASSIGN_OR_RETURN(a.buffer, Buffer::Allocate(counter.used_bytes()));
  Arena arena(a.buffer.data());
  Place(spec, max_rows, max_logit_rows, arena, a);
  return a;
}

}  // namespace lorry::model
