#include "formats/tokenizer_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <boost/json/basic_parser_impl.hpp>

#include "formats/file_kind.h"
#include "formats/json.h"

namespace lorry::formats {
namespace {

namespace json = boost::json;

enum class Kind : uint64_t { kNull, kBool, kInteger, kReal, kString, kArray, kObject };

uint64_t Join(uint64_t a, uint64_t b) {
  const std::array<uint64_t, 2> both = {a, b};
  return XXH3_64bits(both.data(), sizeof(both));
}

uint64_t Join(Kind kind, uint64_t value) { return Join(static_cast<uint64_t>(kind), value); }

// A text that comes in parts.
class TextDigest {
 public:
  TextDigest() { XXH3_64bits_reset(&state_); }
  void Add(json::string_view part) { XXH3_64bits_update(&state_, part.data(), part.size()); }
  uint64_t Take() {
    const uint64_t digest = XXH3_64bits_digest(&state_);
    XXH3_64bits_reset(&state_);
    return digest;
  }

 private:
  XXH3_state_t state_;
};

uint64_t DigestOf(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

// Reads values one after the other and keeps one number for each list or object that is open.
struct DigestHandler {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  struct Open {
    bool is_object = false;
    uint64_t digest = 0;
    uint64_t key = 0;  // of an object, the last one
  };

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_array_begin(json::error_code&) { return Begin(false); }
  bool on_object_begin(json::error_code&) { return Begin(true); }
  bool on_array_end(size_t, json::error_code&) { return End(Kind::kArray); }
  bool on_object_end(size_t, json::error_code&) { return End(Kind::kObject); }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    text.Add(part);
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    text.Add(part);
    open.back().key = text.Take();
    return true;
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    text.Add(part);
    return true;
  }
  bool on_string(json::string_view part, size_t, json::error_code& error) {
    text.Add(part);
    const uint64_t digest = text.Take();
    return (!IsAddedToken() || AddToken(digest, error)) && Take(Join(Kind::kString, digest));
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t value, json::string_view, json::error_code&) {
    return Take(Join(Kind::kInteger, static_cast<uint64_t>(value)));
  }
  bool on_uint64(uint64_t value, json::string_view, json::error_code&) {
    return Take(Join(Kind::kInteger, value));
  }
  bool on_double(double value, json::string_view, json::error_code&) {
    return Take(Join(Kind::kReal, std::bit_cast<uint64_t>(value)));
  }
  bool on_bool(bool value, json::error_code&) { return Take(Join(Kind::kBool, value)); }
  bool on_null(json::error_code&) { return Take(Join(Kind::kNull, 0)); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  bool Begin(bool is_object) {
    open.push_back({.is_object = is_object});
    return true;
  }

  bool End(Kind kind) {
    const uint64_t digest = Join(kind, open.back().digest);
    open.pop_back();
    return Take(digest);
  }

  // A value is complete.
  bool Take(uint64_t digest) {
    if (open.empty()) {
      result.value = digest;
      return true;
    }
    Open& holder = open.back();
    if (!holder.is_object) {
      holder.digest = Join(holder.digest, digest);
    } else if (open.size() > 1 || (holder.key != kTruncation && holder.key != kPadding)) {
      holder.digest += Join(holder.key, digest);  // a sum knows no order
    }
    return true;
  }

  // A string that is an item of "added_tokens", or the content of one.
  bool IsAddedToken() const {
    if (open.size() < 2 || open[0].key != kAddedTokens || open[1].is_object) return false;
    return open.size() == 2 || (open.size() == 3 && open[2].is_object && open[2].key == kContent);
  }

  bool AddToken(uint64_t digest, json::error_code& error) {
    has_too_many = result.added.size() == kMaxAddedTokens;
    if (has_too_many) {
      error = json::error::exception;  // any error ends the parse
      return false;
    }
    result.added.push_back(digest);
    return true;
  }

  const uint64_t kTruncation = DigestOf("truncation");
  const uint64_t kPadding = DigestOf("padding");
  const uint64_t kAddedTokens = DigestOf("added_tokens");
  const uint64_t kContent = DigestOf("content");
  TextDigest text;
  std::vector<Open> open;
  TokenizerDigest result;
  bool has_too_many = false;
};

}  // namespace

bool TokenizerDigest::HasAdded(std::string_view content) const {
  return std::ranges::binary_search(added, DigestOf(content));
}

Result<TokenizerDigest> DigestTokenizer(std::string_view json, std::string_view where) {
  json::parse_options options;
  options.max_depth = JsonLimits().max_depth;
  json::basic_parser<DigestHandler> parser(options);
  json::error_code error;
  const size_t num_read = parser.write_some(false, json.data(), json.size(), error);
  if (!error && num_read < json.size()) error = json::error::extra_data;
  if (parser.handler().has_too_many) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: over {} added tokens", where, kMaxAddedTokens));
  }
  if (error == json::error::too_deep) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("{}: nested deeper than {} levels", where, options.max_depth));
  }
  if (error) {
    const std::string kind = KindOf(json);
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: not valid JSON: {}", where,
                            kind.empty() ? error.message() : "it " + kind));
  }
  if (json.find_first_not_of(" \t\r\n") != json.find('{')) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: must be a JSON object", where));
  }
  TokenizerDigest digest = std::move(parser.handler().result);
  std::ranges::sort(digest.added);
  return digest;
}

}  // namespace lorry::formats
