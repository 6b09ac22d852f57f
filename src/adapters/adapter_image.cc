#include "adapters/adapter_image.h"

#include "adapters/image_builder.h"
#include "formats/content_hash.h"
#include "kernels/packed_matrix.h"

namespace lorry::adapters {
namespace {

using formats::ModuleKind;
using formats::Projection;
using Kind = AdapterPart::Kind;
using Site = AdapterPart::Site;

bool IsProjection(Site site) { return static_cast<int>(site) < formats::kNumProjections; }
bool IsLinear(Site site) { return IsProjection(site) || site == Site::kHead; }
bool IsNormSite(Site site) { return site >= Site::kAttentionNorm && site <= Site::kFinalNorm; }

ModuleKind NormKind(Site site) {
  if (site == Site::kAttentionNorm) return ModuleKind::kAttentionNorm;
  return site == Site::kMlpNorm ? ModuleKind::kMlpNorm : ModuleKind::kFinalNorm;
}

void BindLora(const AdapterPart& part, const std::byte* data, kernels::LoraPair& pair) {
  (part.kind == Kind::kLoraA ? pair.a : pair.b) = data;
  pair.rank = part.rank;
  pair.n = part.n;
  pair.scale = part.scale;
}

kernels::PackedMatrix MatrixOf(const AdapterPart& part, const std::byte* data) {
  return {data, part.kind == Kind::kWeightF32 ? DType::kF32 : DType::kBF16,
          kernels::NumPanels(part.n), part.rank};
}

void BindOutput(const AdapterPart& part, const std::byte* data, model::OutputChange& change) {
  const auto* vector = reinterpret_cast<const float*>(data);
  if (part.kind == Kind::kScale) change.scale = vector;
  if (part.kind == Kind::kOffset) change.offset = vector;
  if (part.kind == Kind::kWeightF32 || part.kind == Kind::kWeightBF16) {
    change.weight = MatrixOf(part, data);
  }
}

void BindTokens(const AdapterPart& part, const std::byte* data, kernels::TokenTable& tokens) {
  if (part.kind == Kind::kTokenIds) tokens.ids = reinterpret_cast<const int32_t*>(data);
  if (part.kind == Kind::kTokenRows) tokens.rows = data;
  tokens.count = part.n;
}

void BindEmbedding(const AdapterPart& part, const std::byte* data,
                   model::EmbeddingChange& embedding) {
  switch (part.kind) {
    case Kind::kLoraA:
    case Kind::kLoraB:
      return BindLora(part, data, embedding.lora);
    case Kind::kScale:
      embedding.scale = reinterpret_cast<const float*>(data);
      return;
    case Kind::kTokenIds:
    case Kind::kTokenRows:
      return BindTokens(part, data, embedding.tokens);
    default:
      embedding.table = MatrixOf(part, data);
  }
}

void BindHead(const AdapterPart& part, const std::byte* data, model::HeadChange& head) {
  switch (part.kind) {
    case Kind::kLoraA:
    case Kind::kLoraB:
      return BindLora(part, data, head.lora);
    case Kind::kTokenIds:
    case Kind::kTokenRows:
      return BindTokens(part, data, head.tokens);
    default:
      return BindOutput(part, data, head.output);
  }
}

void BindProjection(const AdapterPart& part, const std::byte* data,
                    model::AdapterWeights& weights) {
  const auto projection = static_cast<Projection>(part.site);
  if (part.kind != Kind::kLoraA && part.kind != Kind::kLoraB) {
    return BindOutput(part, data, weights.MutableChange(part.layer, projection));
  }
  kernels::LoraPair pair = weights.Get(part.layer, projection);
  BindLora(part, data, pair);
  weights.Set(part.layer, projection, pair);
}

// Bytes that a part must have; 0: the model's shape would be needed to say.
uint64_t BytesOf(const AdapterPart& part) {
  switch (part.kind) {
    case Kind::kScale:
    case Kind::kOffset:
    case Kind::kNorm:
      return uint64_t{sizeof(float)} * kernels::kPanel * kernels::NumPanels(part.n);
    case Kind::kWeightF32:
    case Kind::kWeightBF16:
      return kernels::PanelBytes(part.rank,
                                 part.kind == Kind::kWeightF32 ? DType::kF32 : DType::kBF16) *
             kernels::NumPanels(part.n);
    case Kind::kTokenIds:
      return uint64_t{sizeof(int32_t)} * part.n;
    default:
      return 0;
  }
}

bool KindFitsSite(const AdapterPart& part) {
  switch (part.kind) {
    case Kind::kLoraA:
    case Kind::kLoraB:
    case Kind::kWeightF32:
    case Kind::kWeightBF16:
      return part.rank > 0 && (IsLinear(part.site) || part.site == Site::kEmbedding);
    case Kind::kScale:
      return IsLinear(part.site) || part.site == Site::kEmbedding;
    case Kind::kOffset:
      return IsLinear(part.site);
    case Kind::kNorm:
      return IsNormSite(part.site);
    case Kind::kTokenIds:
      return part.site == Site::kHead || part.site == Site::kEmbedding;
    case Kind::kTokenRows:
      return part.rank > 0 && (part.site == Site::kHead || part.site == Site::kEmbedding);
    case Kind::kVocabulary:
      return part.site == Site::kNone;
  }
  return false;
}

AdapterText ViewOf(const formats::AdapterText& text) {
  if (text.empty()) return {};
  const formats::ContentPart parts[] = {
      {"tokenizer", std::as_bytes(std::span(text.tokenizer_json))},
      {"config", std::as_bytes(std::span(text.config_json))}};
  return {text.tokenizer_json, text.config_json, formats::HashAdapterContent(parts)};
}

}  // namespace

Site SiteOf(ModuleKind kind, Projection projection) {
  switch (kind) {
    case ModuleKind::kProjection:
      return static_cast<Site>(projection);
    case ModuleKind::kEmbedding:
      return Site::kEmbedding;
    case ModuleKind::kHead:
      return Site::kHead;
    case ModuleKind::kAttentionNorm:
      return Site::kAttentionNorm;
    case ModuleKind::kMlpNorm:
      return Site::kMlpNorm;
    case ModuleKind::kFinalNorm:
      return Site::kFinalNorm;
    case ModuleKind::kOther:
      break;
  }
  return Site::kNone;
}

AdapterId ContentId(const AdapterId& weights, const formats::AdapterText& text) {
  if (text.empty()) return weights;
  const AdapterId text_id = ViewOf(text).id;
  const formats::ContentPart parts[] = {{"weights", std::as_bytes(std::span(weights.bytes))},
                                        {"text", std::as_bytes(std::span(text_id.bytes))}};
  return formats::HashAdapterContent(parts);
}

Result<std::shared_ptr<const AdapterImage>> MakeAdapterImage(const formats::PeftAdapter& adapter,
                                                             const model::ModelSpec& spec,
                                                             const formats::Checkpoint& base,
                                                             formats::AdapterText text) {
  ImageBuilder builder(adapter, spec, base);
  RETURN_IF_ERROR(builder.Plan());
  auto image = std::make_shared<AdapterImage>();
  image->max_rank = static_cast<int>(adapter.max_rank());
  image->num_modules = static_cast<int>(adapter.modules.size());
  image->weight_bytes = builder.weight_bytes();
  image->parts = builder.parts();
  ASSIGN_OR_RETURN(image->buffer, Buffer::AllocateUnzeroed(builder.blob_bytes()));
  image->blob = {image->buffer.data(), builder.blob_bytes()};
  builder.Write(image->buffer.data());
  image->weights = BindWeights(image->parts, image->blob.data(), spec.num_layers);
  image->vocab_size = image->weights->vocab_size();
  image->own_text = std::move(text);
  image->text = ViewOf(image->own_text);
  image->id = ContentId(adapter.id(), image->own_text);
  return std::shared_ptr<const AdapterImage>(std::move(image));
}

model::AdapterWeights BindWeights(std::span<const AdapterPart> parts, const std::byte* base,
                                  int num_layers) {
  model::AdapterWeights weights(num_layers);
  for (const AdapterPart& part : parts) {
    const std::byte* data = base + part.offset;
    if (IsProjection(part.site)) {
      BindProjection(part, data, weights);
    } else if (IsNormSite(part.site)) {
      weights.SetNorm(NormKind(part.site), part.layer, reinterpret_cast<const float*>(data));
    } else if (part.site == Site::kEmbedding) {
      BindEmbedding(part, data, weights.mutable_embedding());
    } else if (part.site == Site::kHead) {
      BindHead(part, data, weights.mutable_head());
    } else {
      weights.set_vocab_size(part.n);
    }
  }
  return weights;
}

Status CheckParts(std::span<const AdapterPart> parts, size_t blob_bytes, int num_layers) {
  for (const AdapterPart& part : parts) {
    const bool is_inside = part.offset % 64 == 0 && part.offset <= blob_bytes &&
                           part.num_bytes <= blob_bytes - part.offset;
    if (is_inside && part.site < Site::kEnd && part.layer < num_layers && part.n > 0 &&
        part.rank >= 0 && KindFitsSite(part) &&
        (BytesOf(part) == 0 || BytesOf(part) == part.num_bytes)) {
      continue;
    }
    return Fail(ErrorCode::kDataLoss,
                fmt::format("part {} of {} is out of place", &part - parts.data(), parts.size()));
  }
  return {};
}

}  // namespace lorry::adapters
