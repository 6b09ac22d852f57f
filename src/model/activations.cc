#include "model/activations.h"

#include <algorithm>

#include "formats/peft_config.h"
#include "model/linear_layout.h"

namespace lorry::model {

Result<Activations> Activations::Allocate(const ModelSpec& spec, int max_rows, int max_logit_rows) {
  constexpr size_t kPanel = kernels::kPanel;
  const size_t act = DTypeBytes(spec.dtype);
  const size_t rows = max_rows, logit_rows = max_logit_rows;
  const size_t qkv = NumPanelsOf(spec, LinearGroup::kQkv) * kPanel;
  const size_t gate_up = NumPanelsOf(spec, LinearGroup::kGateUp) * kPanel;
  const size_t ffn = gate_up / 2;
  const size_t hidden = NumPanelsOf(spec, LinearGroup::kDown) * kPanel;
  const size_t vocab = kernels::NumPanels(spec.vocab_size) * kPanel;
  const size_t q = static_cast<size_t>(spec.num_heads) * spec.head_dim;
  // q, k and v are the most tasks that one product has; every row is in at most one segment. A task's part starts
  // aligned, hence the slack for as many tasks as there can be rows.
  const size_t lora = rows * 3 * (formats::kMaxLoraRank * act + 64);

  const size_t sizes[] = {rows * hidden * 4,      rows * hidden * act,
                          rows * std::max(qkv, gate_up) * 4,
                          rows * q * act,         rows * q * act,
                          rows * ffn * act,       rows * hidden * 4,
                          logit_rows * hidden * 4, logit_rows * hidden * 4,
                          logit_rows * vocab * 4, lora};
  size_t total = 0;
  for (size_t size : sizes) total += (size + 63) / 64 * 64;

  Activations a;
  ASSIGN_OR_RETURN(a.buffer, Buffer::Allocate(total));
  std::byte* next = a.buffer.data();
  const auto take = [&next, size_idx = 0, &sizes]() mutable {
    std::byte* piece = next;
    next += (sizes[size_idx++] + 63) / 64 * 64;
    return piece;
  };
  a.qkv_stride = static_cast<int>(qkv);
  a.gate_up_stride = static_cast<int>(gate_up);
  a.ffn_stride = static_cast<int>(ffn);
  a.hidden_stride = static_cast<int>(hidden);
  a.logits_stride = static_cast<int>(vocab);
  a.residual = reinterpret_cast<float*>(take());
  a.normed = take();
  a.projected = reinterpret_cast<float*>(take());
  a.q = take();
  a.attended = take();
  a.gated = take();
  a.delta = reinterpret_cast<float*>(take());
  a.last_residual = reinterpret_cast<float*>(take());
  a.last_delta = reinterpret_cast<float*>(take());
  a.logits = reinterpret_cast<float*>(take());
  a.lora = take();
  return a;
}

}  // namespace lorry::model
