#include <algorithm>

#include "api/openai/format.h"
#include "api/openai/json_text.h"

namespace lorry::api::openai {
namespace {

// Calls `append(item)` for each, with commas between.
template <typename Items, typename Append>
void AppendList(std::string& out, const Items& items, Append append) {
  out += '[';
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += ',';
    first = false;
    append(item);
  }
  out += ']';
}

// {"token":logprob,…}. Tokens may read alike, as parts of characters all do that become U+FFFD; the
// likeliest stays, since clients keep the last of a key. The chosen token is always there.
void AppendTopMap(std::string& out, const LogprobRow& row) {
  struct Entry {
    std::string key;  // as it is written
    float logprob;
  };
  std::vector<Entry> entries;
  entries.reserve(row.top.size() + 1);
  const auto add = [&](const TokenText& token) {
    std::string key;
    AppendJsonString(key, token.text);
    const auto known = std::ranges::find(entries, key, &Entry::key);
    if (known == entries.end()) {
      entries.push_back({std::move(key), token.logprob});
    } else {
      known->logprob = std::max(known->logprob, token.logprob);
    }
  };
  for (const TokenText& token : row.top) add(token);
  add(row.token);
  out += '{';
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out += ',';
    out += entries[i].key;
    out += ':';
    AppendJsonFloat(out, entries[i].logprob);
  }
  out += '}';
}

// "token":…,"logprob":…,"bytes":[…]
void AppendChatToken(std::string& out, const TokenText& token) {
  out += R"("token":)";
  AppendJsonString(out, token.text);
  out += R"(,"logprob":)";
  AppendJsonFloat(out, token.logprob);
  out += R"(,"bytes":)";
  AppendList(out, token.text,
             [&](char byte) { AppendJsonInt(out, static_cast<unsigned char>(byte)); });
}

}  // namespace

void AppendCompletionLogprobs(std::string& out, std::span<const LogprobRow> rows) {
  out += R"({"tokens":)";
  AppendList(out, rows, [&](const LogprobRow& row) { AppendJsonString(out, row.token.text); });
  out += R"(,"token_logprobs":)";
  AppendList(out, rows, [&](const LogprobRow& row) {
    if (row.has_logprob) {
      AppendJsonFloat(out, row.token.logprob);
    } else {
      out += "null";
    }
  });
  out += R"(,"top_logprobs":)";
  AppendList(out, rows, [&](const LogprobRow& row) {
    if (row.has_logprob) {
      AppendTopMap(out, row);
    } else {
      out += "null";
    }
  });
  out += R"(,"text_offset":)";
  AppendList(out, rows, [&](const LogprobRow& row) { AppendJsonInt(out, row.text_offset); });
  out += '}';
}

void AppendChatLogprobs(std::string& out, std::span<const LogprobRow> rows) {
  out += R"({"content":)";
  AppendList(out, rows, [&](const LogprobRow& row) {
    out += '{';
    AppendChatToken(out, row.token);
    out += R"(,"top_logprobs":)";
    AppendList(out, row.top, [&](const TokenText& token) {
      out += '{';
      AppendChatToken(out, token);
      out += '}';
    });
    out += '}';
  });
  out += R"(,"refusal":null})";
}

void AppendTokenIds(std::string& out, std::span<const TokenId> ids) {
  AppendList(out, ids, [&](TokenId id) { AppendJsonInt(out, id); });
}

}  // namespace lorry::api::openai
