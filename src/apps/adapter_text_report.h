// What of an adapter's text `lorry inspect` shows: which of the tokenizer, the tokens by role, the
// chat template and the ids that end a text are its own.
// Owns: nothing. Thread: any; reads files.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "base/result.h"
#include "formats/adapter_text.h"

namespace lorry::apps {

struct AdapterTextReport {
  formats::AdapterText text;  // as a server keeps it
  boost::json::value json;    // null: it speaks with the base's, or nobody can tell
  std::string shown;
};

// `vocab_size`: how many tokens the adapter's weights know. kUnfit: its text cannot be read, or a
// server would refuse the adapter's requests for it.
Result<AdapterTextReport> ReportAdapterText(const std::string& adapter_dir,
                                            const std::string& base_dir, int64_t vocab_size);

}  // namespace lorry::apps
