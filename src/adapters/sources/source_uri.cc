#include "adapters/sources/source_uri.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "base/path_text.h"

namespace lorry::adapters {
namespace {

constexpr size_t kMaxUriBytes = 4096;
constexpr size_t kMaxNameBytes = 96;  // the Hub's limit for org and name

tl::unexpected<Error> Bad(std::string_view text, std::string_view why) {
  return Fail(ErrorCode::kInvalidArgument, fmt::format("adapter source \"{}\" {}", text, why),
              "source");
}

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Of an organisation, a repository, a file: what the Hub allows, and nothing that leads elsewhere.
bool IsHubName(std::string_view name) {
  const bool fits = !name.empty() && name.size() <= kMaxNameBytes &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return IsAsciiAlphanumeric(c) || c == '-' || c == '_' || c == '.';
                    });
  return fits && name.front() != '.' && name.front() != '-' && name.back() != '.' &&
         name.find("..") == std::string_view::npos && name.find("--") == std::string_view::npos;
}

// Folders, keys, revisions: relative, every segment a plain name.
bool IsPlainPath(std::string_view path) {
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view segment = path.substr(0, slash);
    if (segment.empty() || segment == "." || segment == "..") return false;
    if (segment.find('\\') != std::string_view::npos) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

std::string_view TrimSlashes(std::string_view path) {
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

std::pair<std::string_view, std::string_view> SplitAt(std::string_view text, char separator) {
  const size_t at = text.find(separator);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

// %2F becomes a slash again; anything else stays as it is.
std::string UnescapeSlashes(std::string_view revision) {
  std::string out;
  for (size_t i = 0; i < revision.size(); ++i) {
    const std::string_view three = revision.substr(i, 3);
    const bool escaped = three == "%2F" || three == "%2f";
    out += escaped ? '/' : revision[i];
    if (escaped) i += 2;
  }
  return out;
}

// `rest` is "org/name[@revision][/folder]".
Result<SourceUri> ParseHub(std::string_view text, std::string_view rest) {
  const auto [org, after_org] = SplitAt(rest, '/');
  const auto [repo, folder] = SplitAt(after_org, '/');
  const auto [name, revision] = SplitAt(repo, '@');
  if (!IsHubName(org) || !IsHubName(name)) {
    return Bad(text, "is not hf://organisation/name[@revision][/folder]");
  }
  SourceUri uri{.kind = SourceKind::kHub};
  uri.location = fmt::format("{}/{}", org, name);
  uri.path = TrimSlashes(folder);
  if (!uri.path.empty() && !IsPlainPath(uri.path)) return Bad(text, "has a folder that climbs");
  uri.revision = revision.empty() ? "main" : UnescapeSlashes(revision);
  if ((revision.empty() && repo.find('@') != std::string_view::npos) ||
      !IsPlainPath(uri.revision)) {
    return Bad(text, "has a revision that cannot be one");
  }
  uri.text = fmt::format("hf://{}{}{}{}{}", uri.location, revision.empty() ? "" : "@", revision,
                         uri.path.empty() ? "" : "/", uri.path);
  return uri;
}

Result<SourceUri> ParseBucket(SourceKind kind, std::string_view scheme, std::string_view text,
                              std::string_view rest) {
  const auto [bucket, key] = SplitAt(rest, '/');
  const bool fits = !bucket.empty() && std::all_of(bucket.begin(), bucket.end(), [](char c) {
    return IsAsciiAlphanumeric(c) || c == '-' || c == '_' || c == '.';
  });
  if (!fits) return Bad(text, fmt::format("is not {}://bucket/prefix", scheme));
  SourceUri uri{
      .kind = kind, .location = std::string(bucket), .path = std::string(TrimSlashes(key))};
  if (!uri.path.empty() && !IsPlainPath(uri.path)) {
    return Bad(text, "has an empty, \".\" or \"..\" part in its key");
  }
  uri.text = fmt::format("{}://{}{}{}", scheme, bucket, uri.path.empty() ? "" : "/", uri.path);
  return uri;
}

Result<SourceUri> ParseHttp(std::string_view scheme, std::string_view text, std::string_view rest) {
  const std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  const std::string_view host = authority.substr(authority.rfind('@') + 1);
  if (host.empty() || host.find_first_of(" \\") != std::string_view::npos) {
    return Bad(text, "has no host");
  }
  const std::string_view after = rest.substr(authority.size());
  SourceUri uri{.kind = SourceKind::kHttp, .location = std::string(text)};
  uri.text = fmt::format("{}://{}{}", scheme, host, after.substr(0, after.find_first_of("?#")));
  return uri;
}

Result<SourceUri> ParseDirectory(std::string_view text, std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  if (path.empty()) return Bad(text, "names no directory");
  return SourceUri{
      .kind = SourceKind::kDirectory, .text = std::string(path), .location = std::string(path)};
}

Result<SourceUri> ParseFileUrl(std::string_view text, std::string_view rest) {
  if (rest.starts_with("localhost/")) rest.remove_prefix(std::string_view("localhost").size());
  if (!rest.starts_with('/')) return Bad(text, "is not file:///absolute/path");
  return ParseDirectory(text, rest);
}

Result<SourceUri> ParseScheme(std::string_view scheme, std::string_view text,
                              std::string_view rest) {
  if (scheme == "hf") return ParseHub(text, rest);
  if (scheme == "s3") return ParseBucket(SourceKind::kS3, scheme, text, rest);
  if (scheme == "gs") return ParseBucket(SourceKind::kGs, scheme, text, rest);
  if (scheme == "az") return ParseBucket(SourceKind::kAzure, scheme, text, rest);
  if (scheme == "http" || scheme == "https") return ParseHttp(scheme, text, rest);
  if (scheme == "file") return ParseFileUrl(text, rest);
  return Bad(text, "has a scheme that is none of hf, s3, gs, az, http, https, file");
}

}  // namespace

std::string_view SourceKindName(SourceKind kind) {
  switch (kind) {
    case SourceKind::kDirectory:
      return "directory";
    case SourceKind::kHub:
      return "hub";
    case SourceKind::kS3:
      return "s3";
    case SourceKind::kGs:
      return "gs";
    case SourceKind::kAzure:
      return "azure";
    case SourceKind::kHttp:
      return "http";
  }
  return "unknown";
}

Result<SourceUri> ParseSourceUri(std::string_view text) {
  if (text.size() > kMaxUriBytes) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("adapter source has {} bytes; the limit is {}", text.size(), kMaxUriBytes),
        "source");
  }
  if (std::any_of(text.begin(), text.end(), IsControl)) {
    return Fail(ErrorCode::kInvalidArgument, "adapter source has a control character", "source");
  }
  const size_t colon = text.find("://");
  if (colon != std::string_view::npos && text.find('/') == colon + 1) {
    return ParseScheme(text.substr(0, colon), text, text.substr(colon + 3));
  }
  const bool is_path = text.starts_with('/') || text.starts_with("./") || text.starts_with("../") ||
                       text == "." || text == "..";
  if (is_path) return ParseDirectory(text, text);
  if (text.starts_with('~')) {
    return Bad(text,
               "begins with ~, which shells replace at the start of a word only: write the "
               "path itself");
  }
  if (std::count(text.begin(), text.end(), '/') == 1) return ParseHub(text, text);
  return Bad(text, "is neither a path (/dir, ./dir), organisation/name of the Hub, nor a URL");
}

SourceUri Anchored(SourceUri uri, std::string_view working_directory) {
  if (uri.kind != SourceKind::kDirectory || uri.location.starts_with('/')) return uri;
  uri.location =
      (std::filesystem::path(working_directory) / uri.location).lexically_normal().string();
  if (uri.location.size() > 1 && uri.location.ends_with('/')) uri.location.pop_back();
  uri.text = uri.location;
  return uri;
}

std::string HostOf(const SourceUri& uri) {
  switch (uri.kind) {
    case SourceKind::kDirectory:
      return {};
    case SourceKind::kHub:
      return "hf";
    case SourceKind::kS3:
    case SourceKind::kGs:
    case SourceKind::kAzure:
      return fmt::format("{} {}", SourceKindName(uri.kind), uri.location);
    case SourceKind::kHttp:
      break;
  }
  const std::string_view text = uri.text;  // without user, password and query
  const size_t begin = text.find("//") + 2;
  return std::string(text.substr(begin, text.find('/', begin) - begin));
}

bool IsSameSource(const SourceUri& a, const SourceUri& b) {
  return a.kind == b.kind && a.location == b.location && a.path == b.path &&
         a.revision == b.revision;
}

std::string AboutSource(const SourceUri& uri, std::string_view message) {
  if (uri.kind == SourceKind::kDirectory) message = WithoutPath(uri.location, message);
  if (uri.kind == SourceKind::kHub) {
    message = WithoutPath(fmt::format("hf://{}@{}", uri.location, uri.revision), message);
  }
  return fmt::format("{}: {}", uri.text, WithoutPath(uri.text, message));
}

std::string_view ArchiveSuffix(std::string_view path) {
  constexpr std::array<std::string_view, 4> kSuffixes = {".tar.gz", ".tgz", ".tar", ".zip"};
  for (const std::string_view suffix : kSuffixes) {
    if (path.size() <= suffix.size()) continue;
    if (EqualIgnoringCase(path.substr(path.size() - suffix.size()), suffix)) return suffix;
  }
  return {};
}

}  // namespace lorry::adapters
