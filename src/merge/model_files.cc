#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <regex>

#include "formats/file_bytes.h"
#include "formats/json.h"
#include "formats/output_file.h"
#include "merge/model_output.h"

namespace lorry::merge {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxSmallFileBytes = size_t{256} << 20;  // tokenizers of large vocabularies: 35 MB
constexpr char kConfigFile[] = "config.json";

// README.md is the base's card, and the merged model gets its own.
bool GoesAlong(const std::string& name) {
  constexpr std::array<std::string_view, 5> kKinds = {".json", ".jinja", ".model", ".txt",
                                                      ".tiktoken"};
  if (name == kConfigFile || name.starts_with(".") || name.ends_with(".index.json")) return false;
  if (name.starts_with("LICENSE") || name.starts_with("NOTICE")) return true;
  return std::any_of(kKinds.begin(), kKinds.end(),
                     [&](std::string_view kind) { return name.ends_with(kind); });
}

std::string_view TorchName(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kBF16 ? "bfloat16" : "float16";
}

// The text of a JSON object with another value for a field, everything else as its author wrote it.
// A text without the field gets it first.
std::string WithField(const std::string& text, const std::string& name, const std::string& value) {
  const std::regex field(fmt::format(R"re("{}"\s*:\s*(?:"[^"]*"|null|true|false))re", name));
  const std::string written = fmt::format("\"{}\": {}", name, value);
  if (std::regex_search(text, field)) return std::regex_replace(text, field, written);
  std::string result = text;
  return result.insert(result.find('{') + 1, fmt::format("\n  {},", written));
}

// transformers 5 calls the field dtype, 4 torch_dtype.
std::string WithDType(const std::string& config, DType dtype) {
  const char* name = config.find("\"dtype\"") != std::string::npos ? "dtype" : "torch_dtype";
  return WithField(config, name, fmt::format("\"{}\"", TorchName(dtype)));
}

}  // namespace

Result<std::vector<std::string>> FilesBesideWeights(const std::string& base_dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(base_dir, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    const std::string name = entry->path().filename().string();
    if (GoesAlong(name) && entry->is_regular_file(unreadable)) names.push_back(name);
  }
  if (error) {
    return Fail(ErrorCode::kUnavailable, fmt::format("{}: {}", base_dir, error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status WriteModelFiles(const MergePlan& plan, const MergeOutput& output, const std::string& dir) {
  const auto read = [&](const std::string& name) {
    return formats::ReadSmallFile(fmt::format("{}/{}", plan.options().base_dir, name),
                                  kMaxSmallFileBytes);
  };
  const auto write = [&](const std::string& name, const std::string& text) {
    return formats::WriteTextFile(fmt::format("{}/{}", dir, name), text, true);
  };
  for (const std::string& name : output.copied_files) {
    ASSIGN_OR_RETURN(const std::string text, read(name));
    RETURN_IF_ERROR(write(name, text));
  }
  ASSIGN_OR_RETURN(std::string config, read(kConfigFile));
  if (plan.options().dtype) config = WithDType(config, *plan.options().dtype);
  if (plan.unties_head()) config = WithField(config, "tie_word_embeddings", "false");
  return write(kConfigFile, config);
}

}  // namespace lorry::merge
