#include "formats/peft_assemble.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include "base/background.h"
#include "formats/json.h"

namespace lorry::formats {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr size_t kMaxReasons = 100;  // kept

// What a tensor is to its module.
enum Part {
  kLoraA,
  kLoraB,
  kLoraBias,
  kMagnitude,
  kEmbeddingA,
  kEmbeddingB,
  kWeight,
  kBias,
  kBaseWeight,      // of the layer inside a LoRA layer
  kBaseBias,        // the same
  kOriginalWeight,  // of the module beside the saved one, which is not used
  kSavedAgain,      // the saved module under its name in memory
  kTokenDelta,      // rows of tokens
  kTokenBase,       // the whole weight that they replace rows of
  kNumParts
};

struct PartName {
  std::string_view suffix;
  Part part;
};

// PEFT also takes names with that of the adapter in memory, "default".
constexpr std::array kPartNames = {
    PartName{".lora_A.weight", kLoraA},
    PartName{".lora_A.default.weight", kLoraA},
    PartName{".lora_B.weight", kLoraB},
    PartName{".lora_B.default.weight", kLoraB},
    PartName{".lora_B.bias", kLoraBias},
    PartName{".lora_B.default.bias", kLoraBias},
    PartName{".lora_magnitude_vector", kMagnitude},
    PartName{".lora_magnitude_vector.weight", kMagnitude},
    PartName{".lora_magnitude_vector.default", kMagnitude},
    PartName{".lora_magnitude_vector.default.weight", kMagnitude},
    PartName{".lora_embedding_A", kEmbeddingA},
    PartName{".lora_embedding_A.default", kEmbeddingA},
    PartName{".lora_embedding_B", kEmbeddingB},
    PartName{".lora_embedding_B.default", kEmbeddingB},
    PartName{".weight", kWeight},
    PartName{".bias", kBias},
    PartName{".base_layer.weight", kBaseWeight},
    PartName{".base_layer.bias", kBaseBias},
    PartName{".original_module.weight", kOriginalWeight},
    PartName{".modules_to_save.weight", kSavedAgain},
    PartName{".token_adapter.trainable_tokens_delta", kTokenDelta},
    PartName{".token_adapter.base_layer.weight", kTokenBase},
};

std::string_view PartSuffix(Part part) {
  const auto* found = std::find_if(kPartNames.begin(), kPartNames.end(),
                                   [part](const PartName& name) { return name.part == part; });
  return found->suffix.substr(1);
}

// The same for people.
std::string_view PartLabel(Part part) {
  if (part == kLoraA) return "lora_A";
  return part == kLoraB ? "lora_B" : PartSuffix(part);
}

// Of outlines: whether they may be the same.
bool SameContent(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.bytes.size() == b.bytes.size() &&
         (a.bytes.empty() || std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0);
}

// b == aᵀ; of outlines: whether it may be
bool IsTransposed(const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype || a.shape.size() != 2 || b.shape.size() != 2) return false;
  const int64_t rows = a.shape[0], columns = a.shape[1];
  if (b.shape[0] != columns || b.shape[1] != rows) return false;
  if (a.bytes.empty() || b.bytes.empty()) return true;
  const size_t size = DTypeBytes(a.dtype);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      if (std::memcmp(a.bytes.data() + (row * columns + column) * size,
                      b.bytes.data() + (column * rows + row) * size, size) != 0) {
        return false;
      }
    }
  }
  return true;
}

enum class Role { kNone, kLora, kSaved, kTokens };

struct Slot {
  Role role = Role::kNone;
  const TargetedModule* lora = nullptr;
  const TokenTarget* tokens = nullptr;
  std::array<const TensorView*, kNumParts> parts{};
};

class Assembler {
 public:
  explicit Assembler(const AssembleArgs& args) : args_(args), slots_(args.modules.size()) {
    for (size_t i = 0; i < args.modules.size(); ++i) {
      index_.emplace(args.modules[i].name, i);
      if (args.modules[i].kind == ModuleKind::kEmbedding) embedding_idx_ = i;
      if (args.modules[i].kind == ModuleKind::kHead) head_idx_ = i;
    }
    for (const TargetedModule& target : args.plan.lora) {
      slots_[target.module_idx].role = Role::kLora;
      slots_[target.module_idx].lora = &target;
    }
    for (size_t module_idx : args.plan.saved) slots_[module_idx].role = Role::kSaved;
    for (const TokenTarget& target : args.plan.tokens) {
      slots_[target.module_idx].role = Role::kTokens;
      slots_[target.module_idx].tokens = &target;
    }
  }

  AssembledAdapter Run() {
    for (const TensorView& tensor : args_.tensors) Take(tensor);
    for (size_t i = 0; i < slots_.size(); ++i) {
      RefuseStrangers(i);
      if (slots_[i].role == Role::kLora) AddLora(i);
      if (slots_[i].role == Role::kTokens) AddTokens(i);
      AddBias(i);
    }
    AddWeights();
    CheckTiedLora();
    std::sort(result_.modules.begin(), result_.modules.end(),
              [](const AdapterModule& a, const AdapterModule& b) {
                return std::tuple(a.kind == ModuleKind::kHead, a.layer_idx, a.projection) <
                       std::tuple(b.kind == ModuleKind::kHead, b.layer_idx, b.projection);
              });
    if (num_reasons_ > kMaxReasons) {
      result_.reasons.push_back(fmt::format("and {} more", num_reasons_ - kMaxReasons));
    }
    return std::move(result_);
  }

 private:
  template <typename... Args>
  void Refuse(fmt::format_string<Args...> format, Args&&... args) {
    if (++num_reasons_ <= kMaxReasons) {
      result_.reasons.push_back(fmt::format(format, std::forward<Args>(args)...));
    }
  }

  // Finds the module and the part that a tensor's name says.
  void Take(const TensorView& tensor) {
    std::string_view name = tensor.name;
    if (name.starts_with(kPrefix)) {
      name.remove_prefix(kPrefix.size());
      for (const PartName& part : kPartNames) {
        if (!name.ends_with(part.suffix)) continue;
        const auto found =
            index_.find(std::string(name.substr(0, name.size() - part.suffix.size())));
        if (found == index_.end()) continue;
        const TensorView*& place = slots_[found->second].parts[part.part];
        if (place != nullptr) return Refuse("tensor {}: stands there twice", Quoted(tensor.name));
        place = &tensor;
        return;
      }
    }
    Refuse("tensor {}: nothing that this adapter's config makes use of", Quoted(tensor.name));
  }

  // Parts that a module of its role cannot have.
  void RefuseStrangers(size_t i) {
    const Slot& slot = slots_[i];
    const BaseModule& module = args_.modules[i];
    for (int p = 0; p < kNumParts; ++p) {
      const TensorView* tensor = slot.parts[p];
      if (tensor == nullptr || Belongs(module, slot.role, static_cast<Part>(p))) continue;
      switch (static_cast<Part>(p)) {
        case kMagnitude:
          Refuse("tensor {}: the config does not ask for DoRA here", Quoted(tensor->name));
          break;
        case kLoraBias:
          Refuse("tensor {}: the config does not ask for lora_bias here", Quoted(tensor->name));
          break;
        case kBias:
        case kBaseBias:
          Refuse("tensor {}: {}", Quoted(tensor->name),
                 module.has_bias ? "PEFT does not look for a bias under this name"
                                 : "the base has no bias there");
          break;
        case kLoraA:
        case kLoraB:
        case kEmbeddingA:
        case kEmbeddingB:
          Refuse("tensor {}: the config does not target its module", Quoted(tensor->name));
          break;
        default:
          Refuse("tensor {}: PEFT does not look for a weight under this name with this config",
                 Quoted(tensor->name));
      }
    }
  }

  bool Belongs(const BaseModule& module, Role role, Part part) const {
    const bool embedding = module.kind == ModuleKind::kEmbedding;
    switch (role) {
      case Role::kNone:
        return (part == kWeight && module.kind != ModuleKind::kOther) ||
               (part == kBias && module.has_bias);
      case Role::kLora:
        if (part == kLoraA || part == kLoraB) return !embedding;
        if (part == kEmbeddingA || part == kEmbeddingB) return embedding;
        if (part == kLoraBias) return args_.config.lora_bias;
        if (part == kMagnitude) return args_.config.use_dora;
        return part == kBaseWeight || (part == kBaseBias && module.has_bias);
      case Role::kSaved:
        return part == kWeight || (part == kBias && module.has_bias) || part == kOriginalWeight ||
               part == kSavedAgain;
      case Role::kTokens:
        return part == kTokenDelta || part == kTokenBase;
    }
    return false;
  }

  // A part that must be there and right.
  bool Check(size_t i, Part part, const std::vector<int64_t>& shape) {
    if (slots_[i].parts[part] != nullptr) return CheckTensor(i, part, shape);
    Refuse("module {}: {} is missing", Quoted(args_.modules[i].name), PartLabel(part));
    return false;
  }

  bool CheckTensor(size_t i, Part part, const std::vector<int64_t>& shape) {
    const TensorView& tensor = *slots_[i].parts[part];
    const std::string& name = args_.modules[i].name;
    if (!IsFloatWeight(tensor.dtype)) {
      Refuse("module {}: {} is {}, must be F64, F32, BF16 or F16", Quoted(name), PartLabel(part),
             DTypeName(tensor.dtype));
      return false;
    }
    if (tensor.shape != shape) {
      Refuse("module {}: {} is {}, base and config need [{}]", Quoted(name), PartLabel(part),
             tensor.Describe(), fmt::join(shape, ", "));
      return false;
    }
    if (!args_.has_values) return true;
    LetOthersRun();
    if (!AllFinite(tensor)) {
      Refuse("module {}: {} holds NaN or infinity", Quoted(name), PartLabel(part));
      return false;
    }
    return true;
  }

  void AddLora(size_t i) {
    const BaseModule& base = args_.modules[i];
    const Slot& slot = slots_[i];
    const bool embedding = base.kind == ModuleKind::kEmbedding;
    const Part a = embedding ? kEmbeddingA : kLoraA, b = embedding ? kEmbeddingB : kLoraB;
    bool fits = Check(i, a, {slot.lora->rank, base.in_features});
    fits = Check(i, b, {base.out_features, slot.lora->rank}) && fits;
    if (args_.config.lora_bias) fits = Check(i, kLoraBias, {base.out_features}) && fits;
    if (args_.config.use_dora) fits = Check(i, kMagnitude, {base.out_features}) && fits;
    if (!fits) return;
    AdapterModule module{.name = base.name,
                         .kind = base.kind,
                         .layer_idx = base.layer_idx,
                         .projection = base.projection,
                         .in_features = base.in_features,
                         .out_features = base.out_features,
                         .rank = slot.lora->rank,
                         .scaling = slot.lora->scaling,
                         .a = *slot.parts[a],
                         .b = *slot.parts[b]};
    if (args_.config.lora_bias) module.b_bias = *slot.parts[kLoraBias];
    if (args_.config.use_dora) module.magnitude = *slot.parts[kMagnitude];
    result_.modules.push_back(std::move(module));
  }

  void AddTokens(size_t i) {
    const BaseModule& base = args_.modules[i];
    const TokenTarget& target = *slots_[i].tokens;
    const int64_t vocab = args_.modules[embedding_idx_].in_features;
    const int64_t last = *std::max_element(target.token_ids.begin(), target.token_ids.end());
    if (last >= vocab) {
      return Refuse("trainable_token_indices: token {} is not in the vocabulary of {}", last,
                    vocab);
    }
    const TensorView* own = slots_[i].parts[kTokenDelta];
    const size_t source = target.follows_embedding ? embedding_idx_ : i;
    const auto num_rows = static_cast<int64_t>(target.token_ids.size());
    if (target.follows_embedding) {
      const TensorView* embeddings = slots_[embedding_idx_].parts[kTokenDelta];
      if (own != nullptr && embeddings != nullptr && !SameContent(*own, *embeddings)) {
        return Refuse("tensor {}: is not the embedding's, which the head is tied to",
                      Quoted(own->name));
      }
      if (embeddings == nullptr) return;  // said of the embedding
    }
    const int64_t hidden = args_.modules[embedding_idx_].out_features;
    if (!Check(source, kTokenDelta, {num_rows, hidden})) return;
    result_.token_rows.push_back({base.kind, target.token_ids, *slots_[source].parts[kTokenDelta]});
  }

  void AddBias(size_t i) {
    const Slot& slot = slots_[i];
    const Part part = slot.role == Role::kLora ? kBaseBias : kBias;
    const BaseModule& module = args_.modules[i];
    if (!module.has_bias) return;
    if (slot.parts[part] == nullptr) {
      if (slot.role == Role::kSaved) Check(i, part, {});
      return;
    }
    if (CheckTensor(i, part, {module.out_features})) {
      result_.saved.push_back({module, true, *slot.parts[part]});
    }
  }

  // The base's own weight where the file brings another: loaded in place, so that what is tied to
  // it changes too.
  const TensorView* InPlaceWeight(size_t i) {
    static constexpr Part kParts[] = {kWeight, kBaseWeight, kOriginalWeight, kTokenBase};
    const Slot& slot = slots_[i];
    const Part part = kParts[static_cast<int>(slot.role)];
    if (slot.parts[part] == nullptr) return nullptr;
    return CheckTensor(i, part, args_.modules[i].weight_shape()) ? slot.parts[part] : nullptr;
  }

  const TensorView* SavedWeight(size_t i) {
    const Slot& slot = slots_[i];
    if (!Check(i, kWeight, args_.modules[i].weight_shape())) return nullptr;
    const TensorView* again = slot.parts[kSavedAgain];
    if (again != nullptr && !SameContent(*again, *slot.parts[kWeight])) {
      Refuse("tensor {}: is not the same as the module's weight", Quoted(again->name));
    }
    return slot.parts[kWeight];
  }

  // Weights that are replaced whole, those of embedding and head first: they may be tied.
  void AddWeights() {
    const TensorView* embedding = InPlaceWeight(embedding_idx_);
    const TensorView* head = InPlaceWeight(head_idx_);
    if (args_.base.tie_word_embeddings) {
      if (embedding != nullptr && head != nullptr && !SameContent(*embedding, *head)) {
        Refuse("tensors {} and {} differ, but the base has tied them", Quoted(embedding->name),
               Quoted(head->name));
      }
      if (embedding == nullptr) embedding = head;
      head = embedding;  // one tensor from here on, and so one place in memory
    }
    if (slots_[embedding_idx_].role == Role::kSaved) embedding = SavedWeight(embedding_idx_);
    if (slots_[head_idx_].role == Role::kSaved) head = SavedWeight(head_idx_);
    if (args_.plan.head_is_saved_embedding && embedding != nullptr && head != nullptr) {
      if (!SameContent(*embedding, *head)) {
        Refuse("tensor {}: is not the embedding's, which the head is tied to", Quoted(head->name));
      }
      head = embedding;
    }
    CheckVocabulary(embedding, head);
    AddWeight(embedding_idx_, embedding);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (i == embedding_idx_ || i == head_idx_ || args_.modules[i].kind == ModuleKind::kOther) {
        continue;
      }
      AddWeight(i, slots_[i].role == Role::kSaved ? SavedWeight(i) : InPlaceWeight(i));
    }
    AddWeight(head_idx_, head);
  }

  void AddWeight(size_t i, const TensorView* weight) {
    if (weight != nullptr) result_.saved.push_back({args_.modules[i], false, *weight});
  }

  // Rows that the base does not have must be in the file; PEFT would leave them random.
  void CheckVocabulary(const TensorView* embedding, const TensorView* head) {
    const int64_t vocab = args_.modules[embedding_idx_].in_features;
    if (vocab <= args_.base.vocab_size) return;
    for (const auto& [weight, idx] : {std::pair(embedding, embedding_idx_), {head, head_idx_}}) {
      if (weight != nullptr) continue;
      Refuse(
          "module {}: the adapter's vocabulary has {} tokens and the base's {}, but the weight "
          "that goes with it is missing",
          Quoted(args_.modules[idx].name), vocab, args_.base.vocab_size);
    }
  }

  // ensure_weight_tying: the head's two matrices are the embedding's, transposed and swapped.
  void CheckTiedLora() {
    if (!args_.plan.head_lora_is_embeddings) return;
    const auto& embedding = slots_[embedding_idx_].parts;
    const auto& head = slots_[head_idx_].parts;
    if (!embedding[kEmbeddingA] || !embedding[kEmbeddingB] || !head[kLoraA] || !head[kLoraB]) {
      return;  // said of the module
    }
    if (!IsTransposed(*embedding[kEmbeddingA], *head[kLoraB]) ||
        !IsTransposed(*embedding[kEmbeddingB], *head[kLoraA])) {
      Refuse("module {}: its LoRA is not the embedding's, which the head is tied to",
             Quoted(args_.modules[head_idx_].name));
    }
  }

  const AssembleArgs& args_;
  std::vector<Slot> slots_;  // by module
  std::unordered_map<std::string, size_t> index_;
  size_t embedding_idx_ = 0;
  size_t head_idx_ = 0;
  AssembledAdapter result_;
  size_t num_reasons_ = 0;
};

}  // namespace

AssembledAdapter AssemblePeftAdapter(const AssembleArgs& args) { return Assembler(args).Run(); }

int64_t VocabSizeOf(const std::vector<TensorView>& tensors, const HfConfig& base) {
  for (const TensorView& tensor : tensors) {
    std::string_view name = tensor.name;
    if (!name.starts_with(kPrefix)) continue;
    name.remove_prefix(kPrefix.size());
    for (std::string_view module : {"model.embed_tokens", "lm_head"}) {
      if (!name.starts_with(module)) continue;
      const std::string_view part = name.substr(module.size());
      for (Part known : {kWeight, kBaseWeight, kTokenBase}) {
        if (part == std::string(".").append(PartSuffix(known)) && tensor.shape.size() == 2) {
          return tensor.shape[0];
        }
      }
    }
  }
  return base.vocab_size;
}

}  // namespace lorry::formats
