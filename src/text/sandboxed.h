// A tokenizer and a chat template that live in text workers, as the server has them.
// Owns: the table of the tokenizer's tokens, checked, so that ids become text in this process.
// Thread: any, read-only.
// Never: hands on an answer of a worker that it has not checked.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/text_backend.h"
#include "text/text_sandbox.h"

namespace lorry::text {

// What a worker and its objects have in common.
class Sandboxed {
 public:
  Sandboxed(std::shared_ptr<TextSandbox> sandbox, std::shared_ptr<const WorkerObject> object)
      : sandbox_(std::move(sandbox)), object_(std::move(object)) {}
  Sandboxed(const Sandboxed&) = delete;
  Sandboxed& operator=(const Sandboxed&) = delete;

  Result<WorkerReply> Call(WorkerOp op, FrameWriter fields) const {
    return sandbox_->Call(object_, op, fields.bytes());
  }

 private:
  std::shared_ptr<TextSandbox> sandbox_;
  std::shared_ptr<const WorkerObject> object_;
};

class SandboxedTokenizer final : public TokenizerBackend {
 public:
  // From what the worker answered to kNewTokenizer.
  static Result<std::shared_ptr<const TokenizerBackend>> FromReply(
      std::shared_ptr<TextSandbox> sandbox, std::shared_ptr<const WorkerObject> object,
      std::string_view fields);

  SandboxedTokenizer(std::shared_ptr<TextSandbox> sandbox,
                     std::shared_ptr<const WorkerObject> object)
      : remote_(std::move(sandbox), std::move(object)) {}

  tk_vocab vocab() const override;
  Result<std::string> SpecialTokens() const override { return special_tokens_; }
  const tk_tokenizer* handle() const override { return nullptr; }
  Result<std::optional<TokenId>> Find(std::string_view name) const override;
  Status Encode(std::string_view text, uint32_t flags, std::vector<TokenId>* ids) const override;
  Status EncodeTyped(std::string_view text, std::span<const uint32_t> typed,
                     std::vector<TokenId>* ids) const override;

 private:
  Status AppendIds(const Result<WorkerReply>& reply, std::vector<TokenId>* ids) const;
  uint32_t size() const { return static_cast<uint32_t>(flags_.size()); }

  const Sandboxed remote_;
  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> offsets_;
  std::vector<uint8_t> flags_;
  bool strip_space_ = false;
  std::string special_tokens_;
};

class SandboxedTemplate final : public TemplateBackend {
 public:
  SandboxedTemplate(std::shared_ptr<TextSandbox> sandbox,
                    std::shared_ptr<const WorkerObject> object)
      : remote_(std::move(sandbox), std::move(object)) {}

  Result<Rendering> Render(const Chat& chat, const TokenizerBackend* tokens) const override;

 private:
  const Sandboxed remote_;
};

}  // namespace lorry::text
