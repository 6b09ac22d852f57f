#include "apps/demo_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

namespace lorry::apps {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// {"adapter": …, "messages": [{"role": "user", "content": …}], "answer": …}; nothing for longer
// conversations.
Result<std::optional<DemoPrompt>> ParsePrompt(const std::string& line) {
  try {
    const json::value value = json::parse(line);
    const json::array& messages = value.at("messages").as_array();
    if (messages.size() != 1) return std::optional<DemoPrompt>();
    return DemoPrompt{json::value_to<std::string>(value.at("adapter")),
                      json::value_to<std::string>(messages[0].at("content")),
                      json::value_to<std::string>(value.at("answer"))};
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kDataLoss, fmt::format("not a prompt of the demo: {}", error.what()));
  }
}

}  // namespace

Result<DemoFiles> DemoFilesIn(const std::string& demo_dir) {
  const fs::path dir(demo_dir);
  std::error_code error;
  DemoFiles files;
  files.base_dir = dir / "base";
  files.prompts_file = dir / "first_minute.jsonl";
  if (!fs::is_directory(files.base_dir, error)) {
    return Fail(ErrorCode::kNotFound, fmt::format("no demo in {}", demo_dir));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(dir / "adapters", error)) {
    if (entry.is_directory(error))
      files.adapters.push_back({entry.path().filename(), entry.path()});
  }
  if (files.adapters.empty()) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}/adapters: no adapters there", demo_dir));
  }
  std::sort(files.adapters.begin(), files.adapters.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return files;
}

Result<DemoFiles> FindDemo() {
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  const fs::path installed = binary.parent_path().parent_path() / "share/lorry/demo";
  for (const fs::path& dir : {installed, fs::path(LORRY_DEMO_DIR)}) {
    if (auto files = DemoFilesIn(dir)) return files;
  }
  return Fail(ErrorCode::kNotFound,
              fmt::format("no model given, and the demo is neither in {} nor in {}; name a model "
                          "directory: lorry serve MODEL",
                          installed.string(), LORRY_DEMO_DIR));
}

Result<std::vector<DemoPrompt>> FirstPrompts(const std::string& prompts_file) {
  std::ifstream file(prompts_file);
  if (!file) return Fail(ErrorCode::kNotFound, fmt::format("{}: cannot be read", prompts_file));
  std::vector<DemoPrompt> prompts;
  for (std::string line; std::getline(file, line);) {
    auto prompt = ParsePrompt(line);
    if (!prompt) return Annotate(std::move(prompt.error()), prompts_file);
    if (!*prompt) continue;
    const auto same = [&](const DemoPrompt& other) { return other.adapter == (*prompt)->adapter; };
    if (std::none_of(prompts.begin(), prompts.end(), same)) prompts.push_back(std::move(**prompt));
  }
  return prompts;
}

}  // namespace lorry::apps
