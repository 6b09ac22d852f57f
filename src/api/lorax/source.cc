#include "api/lorax/source.h"

#include <algorithm>
#include <array>

namespace lorry::api::lorax {
namespace {

struct Source {
  std::string_view name;
  std::string_view scheme;  // put before an id that has none; "": the id says all
};

constexpr std::array<Source, 6> kSources = {
    {{"hub", "hf"}, {"s3", "s3"}, {"gs", "gs"}, {"az", "az"}, {"local", ""}, {"url", ""}}};

}  // namespace

Result<std::string> SourceOf(std::string_view adapter_id, std::string_view adapter_source) {
  const size_t colon = adapter_id.find("://");
  const bool has_scheme = colon != std::string_view::npos;
  if (adapter_source.empty() && (has_scheme || adapter_id.starts_with('/'))) {
    return std::string(adapter_id);
  }
  const std::string_view wanted = adapter_source.empty() ? "hub" : adapter_source;
  const auto source =
      std::ranges::find(kSources, wanted, [](const Source& known) { return known.name; });
  if (source == kSources.end()) {
    return Fail(ErrorCode::kInvalidArgument,
                "'adapter_source' must be one of hub, s3, gs, az, local, url.", "adapter_source");
  }
  const std::string_view scheme = has_scheme ? adapter_id.substr(0, colon) : "";
  const auto wrong = [&](std::string_view form) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("'adapter_id' must be {} when 'adapter_source' is '{}'.", form, wanted),
                "adapter_id");
  };
  if (wanted == "local") {
    if (scheme == "file" || adapter_id.starts_with('/')) return std::string(adapter_id);
    return wrong("an absolute path");
  }
  if (wanted == "url") {
    if (scheme == "https" || scheme == "http") return std::string(adapter_id);
    return wrong("a URL");
  }
  if (!has_scheme) return fmt::format("{}://{}", source->scheme, adapter_id);
  if (scheme == source->scheme) return std::string(adapter_id);
  return wrong(fmt::format("without a scheme, or {}://…", source->scheme));
}

}  // namespace lorry::api::lorax
