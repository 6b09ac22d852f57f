// What an adapter's directory has of text of its own: tokenizer, special tokens, chat template, the
// ids that end a text. Trainers save a copy of the base's beside most adapters: a copy, or what
// differs only in what nobody reads, counts as nothing.
// Owns: of the base, the texts that adapters are compared with. Thread: any.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/chat_template_files.h"
#include "formats/tokenizer_digest.h"

namespace lorry::formats {

inline constexpr size_t kMaxAdapterTokenizerBytes = size_t{64} << 20;
inline constexpr size_t kMaxAdapterConfigBytes = size_t{16} << 20;

struct AdapterText {
  std::string tokenizer_json;  // a whole tokenizer.json; empty: the base's
  // {"tokenizer": …, "chat_template": …, "eos_token_id": […]}, what is not there being the base's;
  // empty: nothing is. "tokenizer" has fields of tokenizer_config.json, those of
  // special_tokens_map.json and added_tokens.json among them.
  std::string config_json;

  bool empty() const { return tokenizer_json.empty() && config_json.empty(); }
};

// The same of any directory, in a form that can be compared.
struct TextFields {
  boost::json::object tokenizer;  // fields of tokenizer_config.json that matter
  ChatTemplates chat_templates;
  boost::json::array eos_token_id;  // of generation_config.json; empty: it does not say
};

class BaseText {
 public:
  static Result<BaseText> Read(const std::string& model_dir);

  // kTooLarge: over a limit above. kUnfit: not JSON, or a field is of the wrong kind.
  Result<AdapterText> OwnTextOf(const std::string& adapter_dir) const;

  uint64_t digest() const { return digest_; }  // of all that adapters are compared with

 private:
  BaseText(std::string tokenizer_json, TokenizerDigest tokenizer, TextFields fields);
  Result<AdapterText> ReadOwnText(const std::string& adapter_dir) const;
  Status FillUp(const std::string& adapter_dir, bool has_tokenizer, TextFields& fields) const;
  Result<bool> HasSameTokens(std::string_view tokenizer_json, const TextFields& fields,
                             const std::string& adapter_dir) const;

  std::string tokenizer_json_;
  TokenizerDigest tokenizer_;
  TextFields fields_;
  uint64_t digest_ = 0;
};

}  // namespace lorry::formats
