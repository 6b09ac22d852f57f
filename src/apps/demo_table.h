// The demo's first minute: one question of each task, put to the base and to the task's adapter,
// all at once over HTTP, and the answers side by side. Owns: a thread and a connection for each
// question while it asks. Thread: one caller.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/demo_files.h"
#include "base/result.h"

namespace lorry::apps {

struct DemoServer {
  std::string host;
  int port = 0;
  std::string api_key;  // empty: none is needed
  std::string base;     // the base's name
};

struct DemoRow {
  std::string task;
  std::string question;
  std::string base_answer;
  std::string adapter_answer;
};

// Every question twice, all in flight at the same time. A request that fails shows its error as the
// answer.
std::vector<DemoRow> AskAll(const DemoServer& server, const std::vector<DemoPrompt>& prompts);

// Four columns within `width`; long cells wrap.
std::string RenderTable(const std::vector<DemoRow>& rows, size_t width);

// Three curl lines and a `lorry run` line to go on with.
std::string NextSteps(const DemoServer& server, const DemoPrompt& prompt, std::string_view binary);

// Pieces of at most `width` characters (UTF-8), broken at spaces where there are any.
std::vector<std::string> WrapText(std::string_view text, size_t width);

}  // namespace lorry::apps
