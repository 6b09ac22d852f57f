// The embedded demo: a tiny base and its task adapters, installed beside the binary or in the
// source tree. Owns: nothing. Thread: any.
#pragma once

#include <string>
#include <vector>

#include "apps/adapter_arguments.h"
#include "base/result.h"

namespace lorry::apps {

struct DemoFiles {
  std::string base_dir;
  std::vector<AdapterArgument> adapters;  // by name
  std::string prompts_file;               // one conversation a line, with its right answer
};

// Looks in ../share/lorry/demo from the binary, then in the source tree that it was built from.
Result<DemoFiles> FindDemo();
Result<DemoFiles> DemoFilesIn(const std::string& demo_dir);

struct DemoPrompt {
  std::string adapter;
  std::string question;
  std::string answer;
};

// The first question of each adapter that needs no conversation before it.
Result<std::vector<DemoPrompt>> FirstPrompts(const std::string& prompts_file);

}  // namespace lorry::apps
