#include "merge/tensor_change.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace lorry::merge {
namespace {

using formats::AdapterModule;
using formats::ModuleKind;
using formats::PeftAdapter;
using formats::SavedParameter;
using formats::TokenRows;

bool IsVocabulary(ModuleKind kind) {
  return kind == ModuleKind::kEmbedding || kind == ModuleKind::kHead;
}

const char* TokensWeight(const TokenRows& rows) {
  return rows.kind == ModuleKind::kHead ? kHeadWeight : kEmbeddingWeight;
}

bool IsPlain(const AdapterModule& module) { return !module.b_bias && !module.magnitude; }

bool IsPlain(const PeftAdapter& adapter) {
  return adapter.saved.empty() && adapter.token_rows.empty() &&
         std::all_of(adapter.modules.begin(), adapter.modules.end(),
                     [](const AdapterModule& module) { return IsPlain(module); });
}

tl::unexpected<Error> Refuse(const PeftAdapter& adapter, std::string_view why) {
  return Fail(ErrorCode::kUnsupported,
              fmt::format("{}: {} ({})", adapter.dir, why, fmt::join(adapter.Forms(), ", ")));
}

}  // namespace

formats::TensorView Part(const formats::TensorView& tensor, int64_t first_element,
                         int64_t num_elements) {
  const size_t element_bytes = DTypeBytes(tensor.dtype);
  formats::TensorView part{.dtype = tensor.dtype, .shape = {num_elements}};
  part.bytes = tensor.bytes.subspan(static_cast<size_t>(first_element) * element_bytes,
                                    static_cast<size_t>(num_elements) * element_bytes);
  return part;
}

std::string SavedName(const SavedParameter& saved) {
  return saved.module.name + (saved.is_bias ? ".bias" : ".weight");
}

bool ChangesVocabulary(const PeftAdapter& adapter) {
  return !adapter.token_rows.empty() ||
         std::any_of(adapter.modules.begin(), adapter.modules.end(),
                     [](const AdapterModule& m) { return IsVocabulary(m.kind); }) ||
         std::any_of(adapter.saved.begin(), adapter.saved.end(),
                     [](const SavedParameter& p) { return IsVocabulary(p.module.kind); });
}

TensorChange ChangeOf(const MergePlan& plan, const std::string& tensor_name) {
  TensorChange change;
  for (const PeftAdapter& adapter : plan.adapters()) {
    for (const SavedParameter& saved : adapter.saved) {
      if (tensor_name == SavedName(saved)) change.replacement = saved.values;
    }
    for (const TokenRows& rows : adapter.token_rows) {
      if (tensor_name == TokensWeight(rows)) change.token_rows = &rows;
    }
  }
  const size_t dot = tensor_name.rfind('.');
  const auto found = plan.modules().find(tensor_name.substr(0, dot));
  if (found == plan.modules().end()) return change;
  const ModuleTerm& first = found->second.terms.front();  // the only one, beyond LoRA
  if (tensor_name.substr(dot + 1) == "weight") {
    change.product = plan.Combine(found->second);
    if (first.module->kind == ModuleKind::kEmbedding) change.product = Transposed(*change.product);
    change.magnitude = first.module->magnitude;
  } else if (first.module->b_bias) {
    change.offset = first.module->b_bias;
    change.offset_scale = static_cast<float>(first.module->scaling);
  }
  return change;
}

Status CheckVocabulary(const PeftAdapter& adapter, const formats::HfConfig& base) {
  if (adapter.vocab_size == base.vocab_size) return {};
  return Refuse(
      adapter,
      fmt::format("is made for {} tokens, the base has {}; a vocabulary of another size is "
                  "not merged",
                  adapter.vocab_size, base.vocab_size));
}

Status CheckForms(const PeftAdapter& adapter, const MergeOptions& options) {
  for (const AdapterModule& module : adapter.modules) {
    if (module.kind != ModuleKind::kEmbedding) continue;
    if (options.as_adapter) {
      return Refuse(adapter, "LoRA on the embedding is merged into a model only");
    }
    if (module.magnitude) return Refuse(adapter, "DoRA on the embedding is not merged");
  }
  if (IsPlain(adapter)) return {};
  if (options.adapters.size() > 1 || options.as_adapter || options.adapters[0].weight != 1) {
    return Refuse(adapter,
                  "is more than LoRA; it can be merged alone, with weight 1 and into a model");
  }
  return {};
}

}  // namespace lorry::merge
