// An adapter at true rank and size, in the layout that the kernels read: one piece of memory, and a
// list of what lies where in it. The same bytes stand in the disk cache, on the host and in the
// page pool, so that moving up a tier is a copy at most.
// Owns: a buffer, or what was read of a cache file (adapter_file.h).
// Thread: built on any, then read-only. Never: pads a rank to another adapter's.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "device/buffer.h"
#include "formats/adapter_text.h"
#include "formats/checkpoint.h"
#include "formats/file_bytes.h"
#include "formats/peft_adapter.h"
#include "model/adapter_weights.h"
#include "model/model_spec.h"
#include "request/adapter_handle.h"

namespace lorry::adapters {

// One matrix or vector. Stored in cache files as it is.
struct AdapterPart {
  enum class Kind : uint8_t {
    kLoraA = 1,        // [rank, in] act dtype, row-major; of the embedding [vocab, rank]
    kLoraB = 2,        // packed [n, rank] act dtype; carries the pair's scale
    kScale = 3,        // [n padded to 16] f32: DoRA's magnitude over norm
    kOffset = 4,       // [n padded to 16] f32: biases
    kWeightF32 = 5,    // packed [n, rank] f32: the module's whole weight, `rank` being its inputs
    kWeightBF16 = 6,   // the same in bf16
    kNorm = 7,         // [n padded to 16] f32: a norm's whole weight
    kTokenIds = 8,     // [n] i32 ascending
    kTokenRows = 9,    // [n, rank] act dtype: the rows of these tokens
    kVocabulary = 10,  // nothing: n is the size of the adapter's own vocabulary
  };
  // What it belongs to: the seven projections of `layer`, then what has one place.
  enum class Site : uint8_t {
    kHead = formats::kNumProjections,
    kEmbedding,
    kAttentionNorm,  // of `layer`
    kMlpNorm,        // of `layer`
    kFinalNorm,
    kNone,
    kEnd
  };
  Kind kind = Kind::kLoraA;
  Site site = Site{};
  uint16_t layer = 0;
  int32_t rank = 0;
  int32_t n = 0;        // outputs, unpadded
  float scale = 0;      // of kLoraA and kLoraB: alpha / rank, or alpha / sqrt(rank)
  uint64_t offset = 0;  // from the start of the blob, a multiple of 64; two parts may share it
  uint64_t num_bytes = 0;
};
static_assert(sizeof(AdapterPart) == 32);

struct AdapterImage final : AdapterHandle {
  int max_rank = 0;
  int num_modules = 0;
  size_t weight_bytes = 0;  // of all parts; the blob adds what aligning them takes
  std::vector<AdapterPart> parts;
  std::span<const std::byte> blob;               // 64-byte aligned
  std::optional<model::AdapterWeights> weights;  // in the blob

  Buffer buffer;                           // what holds the blob: this,
  std::optional<formats::FileBytes> file;  // or this
  formats::AdapterText own_text;           // what `text` views, if there is no file

  size_t host_bytes() const {
    return blob.size() + text.tokenizer_json.size() + text.config_json.size();
  }
};

// Under which an adapter of these weights is known if this is what it brings as text.
AdapterId ContentId(const AdapterId& weights, const formats::AdapterText& text);

AdapterPart::Site SiteOf(formats::ModuleKind kind, formats::Projection projection);

// `adapter` has been opened against this model, so every shape fits. `base`: the model's own
// weights, of which some forms read rows (DoRA's norms, biases). Refused: a DoRA without a norm to
// divide by, too many added tokens. `text`: what it brings of its own; a part of its identity.
Result<std::shared_ptr<const AdapterImage>> MakeAdapterImage(const formats::PeftAdapter& adapter,
                                                             const model::ModelSpec& spec,
                                                             const formats::Checkpoint& base,
                                                             formats::AdapterText text = {});

// The weights of an image whose blob (or a copy of it) begins at `base`.
model::AdapterWeights BindWeights(std::span<const AdapterPart> parts, const std::byte* base,
                                  int num_layers);

// Parts read from a file: they lie within the blob, and layers and projections exist.
Status CheckParts(std::span<const AdapterPart> parts, size_t blob_bytes, int num_layers);

}  // namespace lorry::adapters
