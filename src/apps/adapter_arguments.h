// How adapters are named on the command line: ours (--adapter NAME=PATH) and vLLM's
// (--lora-modules). Owns: nothing. Thread: any. Pure, but for the names of directories.
#pragma once

#include <string>
#include <vector>

#include "adapters/sources/source_uri.h"
#include "base/result.h"

namespace lorry::apps {

struct AdapterArgument {
  std::string name;  // checked (request/model_directory.h)
  std::string path;
};

// NAME=PATH, or PATH: then the directory's own name.
Result<AdapterArgument> ParseAdapterArgument(const std::string& text);

// What one --lora-modules value may be: name=path, or JSON: {"name": …, "path": …} or an array of
// these. Other keys of vLLM's objects ("base_model_name") say nothing that we need.
Result<std::vector<AdapterArgument>> ParseLoraModules(const std::string& text);

struct AdapterArguments {
  std::vector<AdapterArgument> adapters;
  std::vector<Error> errors;  // of those that are not among them; each names the option
};

// All of both lists. Of two adapters of one name the second is an error.
AdapterArguments ParseAdapterArguments(const std::vector<std::string>& adapters,
                                       const std::vector<std::string>& lora_modules);

// A source as the operator of this machine writes it: what is here may be named without "./".
Result<adapters::SourceUri> ParseSourceWord(const std::string& word);

}  // namespace lorry::apps
