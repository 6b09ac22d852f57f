#include "adapters/registry_file.h"

#include <atomic>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "formats/file_bytes.h"
#include "formats/file_descriptor.h"
#include "formats/file_lock.h"
#include "formats/json.h"
#include "formats/output_file.h"

namespace lorry::adapters {
namespace {

namespace json = boost::json;

constexpr int kVersion = 1;
constexpr formats::JsonLimits kLimits = {.max_bytes = size_t{64} << 20, .max_depth = 6};

std::optional<AdapterId> IdFromHex(std::string_view hex) {
  AdapterId id;
  if (hex.size() != 2 * id.bytes.size()) return std::nullopt;
  for (size_t i = 0; i < id.bytes.size(); ++i) {
    const char* digits = hex.data() + 2 * i;
    if (std::from_chars(digits, digits + 2, id.bytes[i], 16).ptr != digits + 2) return std::nullopt;
  }
  return id;
}

Result<int64_t> ReadCount(const formats::JsonFields& fields, const char* key, int64_t max) {
  ASSIGN_OR_RETURN(const int64_t count, fields.Or<int64_t>(key, 0));
  if (count >= 0 && count <= max) return count;
  return fields.FieldError(key, "is out of range", ErrorCode::kDataLoss);
}

Status ReadAdapter(const json::value& value, const std::string& where, RegistryContent& content) {
  if (!value.is_object()) return Fail(ErrorCode::kDataLoss, where + ": not a list of objects");
  const formats::JsonFields fields(value.get_object(), where);
  RegisteredAdapter adapter;
  ASSIGN_OR_RETURN(adapter.name, fields.Required<std::string>("name"));
  ASSIGN_OR_RETURN(adapter.source, fields.Required<std::string>("source"));
  ASSIGN_OR_RETURN(adapter.is_pinned, fields.Or<bool>("pinned", false));
  ASSIGN_OR_RETURN(adapter.created_s, fields.Or<int64_t>("created", 0));
  content.adapters.push_back(std::move(adapter));
  return {};
}

Status ReadSource(const std::string& text, const json::value& value, const std::string& where,
                  RegistryContent& content) {
  if (!value.is_object()) return Fail(ErrorCode::kDataLoss, where + ": not an object of objects");
  const formats::JsonFields fields(value.get_object(), where);
  KnownSource source;
  ASSIGN_OR_RETURN(source.revision, fields.Required<std::string>("revision"));
  ASSIGN_OR_RETURN(const std::string hex, fields.Required<std::string>("id"));
  const auto id = IdFromHex(hex);
  if (!id) return fields.FieldError("id", "is not 32 hexadecimal digits", ErrorCode::kDataLoss);
  source.id = *id;
  ASSIGN_OR_RETURN(source.max_rank, ReadCount(fields, "rank", INT_MAX));
  ASSIGN_OR_RETURN(source.num_modules, ReadCount(fields, "modules", INT_MAX));
  ASSIGN_OR_RETURN(source.num_bytes, ReadCount(fields, "bytes", INT64_MAX));
  content.sources[text] = std::move(source);
  return {};
}

Result<RegistryContent> Parse(const std::string& text, const std::string& path) {
  ASSIGN_OR_RETURN(const json::object object, formats::ParseJsonObject(text, path, kLimits));
  const formats::JsonFields fields(object, path);
  ASSIGN_OR_RETURN(const int64_t version, fields.Required<int64_t>("version"));
  if (version > kVersion) {
    return fields.FieldError("version", "is of a newer Lorry, so the file is left as it is",
                             ErrorCode::kUnsupported);
  }
  if (version != kVersion)
    return fields.FieldError("version", "is not known", ErrorCode::kDataLoss);
  RegistryContent content;
  if (const json::value* adapters = fields.Find("adapters"); adapters && adapters->is_array()) {
    for (const json::value& value : adapters->get_array()) {
      RETURN_IF_ERROR(ReadAdapter(value, path, content));
    }
  }
  if (const json::value* sources = fields.Find("sources"); sources && sources->is_object()) {
    for (const auto& [text, value] : sources->get_object()) {
      RETURN_IF_ERROR(ReadSource(text, value, path, content));
    }
  }
  return content;
}

}  // namespace

void ForgetUnnamed(std::map<std::string, KnownSource>& sources, const std::set<std::string>& named,
                   size_t max_unnamed) {
  size_t num_unnamed = 0;
  std::erase_if(sources, [&](const auto& source) {
    return !named.contains(source.first) && ++num_unnamed > max_unnamed;
  });
}

void RegistryChange::ApplyTo(RegistryContent& content) const {
  std::erase_if(content.adapters,
                [&](const RegisteredAdapter& adapter) { return adapters.contains(adapter.name); });
  for (const auto& [name, adapter] : adapters) {
    if (adapter) content.adapters.push_back(*adapter);
  }
  for (const auto& [key, source] : sources) content.sources[key] = source;
}

Result<RegistryContent> RegistryFile::Read() const {
  if (path_.empty()) return RegistryContent();
  ASSIGN_OR_RETURN(const auto text, formats::ReadFileIfThere(path_, kLimits.max_bytes));
  if (!text) return RegistryContent();
  Result<RegistryContent> content = Parse(*text, path_);
  if (!content && content.error().code != ErrorCode::kUnsupported) {
    content.error().code = ErrorCode::kDataLoss;
  }
  return content;
}

Result<RegistryContent> RegistryFile::ReadOrPutAside(bool& was_there) const {
  std::error_code error;
  was_there = std::filesystem::exists(path_, error);
  Result<RegistryContent> content = Read();
  if (content || content.error().code != ErrorCode::kDataLoss) return content;
  const std::string aside = path_ + ".broken";
  log::Warning("adapter registry: {}; it is put aside as {}", content.error().message, aside);
  if (std::rename(path_.c_str(), aside.c_str()) != 0) return formats::SystemFailure(path_, errno);
  was_there = false;
  return RegistryContent();
}

Result<bool> RegistryFile::Change(const std::function<void(RegistryContent&)>& change) const {
  if (path_.empty()) return true;
  // Whoever holds it for long has been stopped, or its disk has: callers are waiting for their
  // answers.
  const Micros give_up_us = Clock::Steady().NowUs() + max_wait_us_;
  std::atomic<bool> is_late = false;
  const auto look = [&] { is_late = Clock::Steady().NowUs() > give_up_us; };
  std::error_code made;  // if it cannot be, the lock says so
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), made);
  const auto lock = formats::FileLock::Acquire(path_ + ".lock", &is_late, look);
  if (!lock && is_late) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("{}: another process has held its lock for over {} s", path_,
                            max_wait_us_ / 1'000'000));
  }
  if (!lock) return tl::unexpected(lock.error());
  bool was_there = false;
  ASSIGN_OR_RETURN(RegistryContent content, ReadOrPutAside(was_there));
  change(content);
  RETURN_IF_ERROR(Write(content));
  return was_there;
}

Status RegistryFile::Write(const RegistryContent& content) const {
  json::array adapters;
  for (const RegisteredAdapter& adapter : content.adapters) {
    adapters.push_back({{"name", adapter.name},
                        {"source", adapter.source},
                        {"pinned", adapter.is_pinned},
                        {"created", adapter.created_s}});
  }
  json::object sources;
  for (const auto& [text, source] : content.sources) {
    sources[text] = {{"revision", source.revision},
                     {"id", source.id.Hex()},
                     {"rank", source.max_rank},
                     {"modules", source.num_modules},
                     {"bytes", source.num_bytes}};
  }
  const std::string text = json::serialize(json::object{
      {"version", kVersion}, {"adapters", std::move(adapters)}, {"sources", std::move(sources)}});
  if (text.size() > kLimits.max_bytes) {
    return Fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: would have {} bytes, and the limit is {}: remove adapters that "
                            "nobody uses",
                            path_, text.size(), kLimits.max_bytes));
  }
  RETURN_IF_ERROR(formats::WriteTextFile(path_, text, true));
  const std::string dir = std::filesystem::path(path_).parent_path();
  return formats::SyncDirectory(dir.empty() ? "." : dir);
}

}  // namespace lorry::adapters
