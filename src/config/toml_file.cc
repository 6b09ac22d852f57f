#include "config/toml_file.h"

#include <fmt/core.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <optional>

namespace lorry::config {
namespace {

std::optional<std::string> ScalarText(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  return std::nullopt;
}

Result<FileEntry> ToEntry(const std::string& path, const toml::key& key, const toml::node& node) {
  FileEntry entry;
  entry.key = std::string(key.str());
  entry.where = fmt::format("{}:{}", path, key.source().begin.line);
  const auto refuse = [&] {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} must be a string, number, true, false or an array of these",
                            entry.where, entry.key));
  };
  if (const toml::array* array = node.as_array()) {
    for (const toml::node& element : *array) {
      std::optional<std::string> text = ScalarText(element);
      if (!text) return refuse();
      entry.values.push_back(std::move(*text));
    }
    return entry;
  }
  std::optional<std::string> text = ScalarText(node);
  if (!text) return refuse();
  entry.values.push_back(std::move(*text));
  return entry;
}

}  // namespace

Result<std::vector<FileEntry>> ReadTomlFile(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    return Fail(ErrorCode::kNotFound, fmt::format("{}: no such file", path));
  }
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}:{}: {}", path, error.source().begin.line, error.description()));
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: {}", path, error.what()));
  }
  // toml++ keeps keys sorted; errors are nicer in the order of the file.
  std::vector<std::pair<uint32_t, FileEntry>> by_line;
  for (const auto& [key, node] : table) {
    ASSIGN_OR_RETURN(FileEntry entry, ToEntry(path, key, node));
    by_line.emplace_back(key.source().begin.line, std::move(entry));
  }
  std::sort(by_line.begin(), by_line.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<FileEntry> entries;
  for (auto& [line, entry] : by_line) entries.push_back(std::move(entry));
  return entries;
}

}  // namespace lorry::config
