#include "text/sandboxed.h"

#include <algorithm>
#include <utility>

#include "text/chat_template.h"

namespace lorry::text {
namespace {

// A token of an adapter that adds more to a text is refused: answers are made of such pieces.
constexpr uint32_t kMaxTokenBytes = 16 << 10;

Error Nonsense() {
  return {ErrorCode::kUnfit,
          "the process that runs this model's own tokenizer and chat template gave "
          "an answer without sense",
          "model"};
}

bool IsTable(std::span<const uint32_t> offsets, size_t num_tokens, size_t num_bytes) {
  return offsets.size() == num_tokens + 1 && num_tokens < INT32_MAX && offsets.front() == 0 &&
         std::is_sorted(offsets.begin(), offsets.end()) && offsets.back() == num_bytes;
}

}  // namespace

Result<std::shared_ptr<const TokenizerBackend>> SandboxedTokenizer::FromReply(
    std::shared_ptr<TextSandbox> sandbox, std::shared_ptr<const WorkerObject> object,
    std::string_view fields) {
  auto made = std::make_shared<SandboxedTokenizer>(std::move(sandbox), std::move(object));
  FrameReader reader(fields);
  made->strip_space_ = reader.Number<uint8_t>() != 0;
  made->bytes_ = reader.Numbers<uint8_t>();
  made->offsets_ = reader.Numbers<uint32_t>();
  made->flags_ = reader.Numbers<uint8_t>();
  made->special_tokens_ = reader.Text();
  if (!reader.AtEnd() || !IsTable(made->offsets_, made->flags_.size(), made->bytes_.size())) {
    return tl::unexpected(Nonsense());
  }
  for (size_t id = 0; id < made->flags_.size(); ++id) {
    const uint32_t num_bytes = made->offsets_[id + 1] - made->offsets_[id];
    if (num_bytes <= kMaxTokenBytes) continue;
    return Fail(ErrorCode::kUnfit,
                fmt::format("its token {} stands for {} bytes of text; the limit is {}", id,
                            num_bytes, kMaxTokenBytes),
                "model");
  }
  return made;
}

tk_vocab SandboxedTokenizer::vocab() const {
  return {.size = size(),
          .bytes = bytes_.data(),
          .offsets = offsets_.data(),
          .flags = flags_.data(),
          .strip_space = strip_space_};
}

Result<std::optional<TokenId>> SandboxedTokenizer::Find(std::string_view name) const {
  FrameWriter fields;
  fields.Text(name);
  ASSIGN_OR_RETURN(const WorkerReply reply, remote_.Call(WorkerOp::kFind, std::move(fields)));
  FrameReader reader(reply.fields);
  const auto id = reader.Number<int64_t>();
  if (!reader.AtEnd() || id >= size()) return tl::unexpected(Nonsense());
  if (id < 0) return std::optional<TokenId>();
  return std::optional(static_cast<TokenId>(id));
}

Status SandboxedTokenizer::Encode(std::string_view text, uint32_t flags,
                                  std::vector<TokenId>* ids) const {
  FrameWriter fields;
  fields.Number(flags);
  fields.Text(text);
  return AppendIds(remote_.Call(WorkerOp::kEncode, std::move(fields)), ids);
}

Status SandboxedTokenizer::EncodeTyped(std::string_view text, std::span<const uint32_t> typed,
                                       std::vector<TokenId>* ids) const {
  FrameWriter fields;
  fields.Numbers(typed);
  fields.Text(text);
  return AppendIds(remote_.Call(WorkerOp::kEncodeTyped, std::move(fields)), ids);
}

Status SandboxedTokenizer::AppendIds(const Result<WorkerReply>& reply,
                                     std::vector<TokenId>* ids) const {
  if (!reply) return tl::unexpected(reply.error());
  FrameReader reader(reply->fields);
  const std::vector<TokenId> found = reader.Numbers<TokenId>();
  if (!reader.AtEnd()) return tl::unexpected(Nonsense());
  for (const TokenId id : found) {
    if (id >= 0 && static_cast<uint32_t>(id) < size()) continue;
    return Fail(
        ErrorCode::kUnfit,
        fmt::format("this model's own tokenizer gives the id {}, which is none of its tokens",
                    static_cast<uint32_t>(id)),
        "model");
  }
  ids->insert(ids->end(), found.begin(), found.end());
  return {};
}

Result<Rendering> SandboxedTemplate::Render(const Chat& chat,
                                            const TokenizerBackend* tokens) const {
  FrameWriter fields;
  fields.Number(static_cast<uint8_t>(tokens != nullptr));
  fields.Text(chat.messages_json);
  fields.Text(chat.tools_json);
  fields.Text(chat.documents_json);
  fields.Text(chat.variables_json);
  fields.Number(static_cast<uint8_t>(chat.add_generation_prompt));
  fields.Number(chat.now_unix_s);
  const auto reply = remote_.Call(WorkerOp::kRender, std::move(fields));
  if (!reply) {
    Error error = reply.error();
    // The base's template would say so of messages that are too long; this one's steps are its own.
    if (error.code == ErrorCode::kTooLarge) {
      error = {ErrorCode::kUnfit,
               fmt::format("this model's own chat template went beyond a limit: {}", error.message),
               "model"};
    }
    return tl::unexpected(std::move(error));
  }
  FrameReader reader(reply->fields);
  Rendering rendering;
  rendering.text = reader.Text();
  rendering.has_typed = reader.Number<uint8_t>() != 0;
  rendering.typed = reader.Numbers<uint32_t>();
  // That the positions are those of characters is checked where they are used.
  if (!reader.AtEnd()) return tl::unexpected(Nonsense());
  return rendering;
}

}  // namespace lorry::text
