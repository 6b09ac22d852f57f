// What the environment says in other people's names: the Hub's, the object stores', the user's
// cache. Thread: before others start.
#pragma once

#include <optional>
#include <string>

#include "adapters/sources/source.h"
#include "text/text_sandbox.h"

namespace lorry::apps {

// HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HOME, HF_HUB_OFFLINE; AWS_*, GOOGLE_* and AZURE_* for the
// stores.
void ReadSourceVariables(adapters::SourceOptions& sources);

// Workers of this program; templates that write the time see TZ.
text::SandboxOptions AdapterTextLimits();

// $XDG_CACHE_HOME/lorry or ~/.cache/lorry; empty without a home.
std::string DefaultCacheDir();

// The adapter cache by its option: empty is the default, "none" and no home are nullopt.
std::optional<std::string> AdapterCacheDir(const std::string& option);

// The same, to look into: kNotFound where the option names no directory.
Result<std::string> ExistingCacheDir(const std::string& option);

}  // namespace lorry::apps
