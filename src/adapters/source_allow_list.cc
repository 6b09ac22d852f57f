#include "adapters/source_allow_list.h"

#include <algorithm>
#include <filesystem>

#include "base/ascii.h"

namespace lorry::adapters {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kParam = "source";

tl::unexpected<Error> Ambiguous(std::string_view why) {
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("A source that a request names must not have {}.", why),
              std::string(kParam));
}

// What clients, servers and URL parsers could take for something else.
Status CheckPlain(std::string_view path, bool may_escape_slashes) {
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7f) {
      return Ambiguous("spaces or characters beyond ASCII");
    }
    if (c == '\\') return Ambiguous("backslashes");
    if (c == '#') return Ambiguous("a fragment");
    if (c != '%') continue;
    const bool is_slash = EqualIgnoringCase(path.substr(i, 3), "%2f");
    if (!may_escape_slashes || !is_slash) return Ambiguous("escapes (%)");
  }
  return {};
}

Status CheckParts(std::string_view path) {
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") {
      return Ambiguous("empty parts, \".\" or \"..\" in its path");
    }
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return {};
}

bool IsPlainHost(std::string_view host) {
  const size_t colon = host.find(':');
  const std::string_view port = colon == std::string_view::npos ? "" : host.substr(colon + 1);
  const std::string_view name = host.substr(0, colon);
  return !name.empty() && (colon == std::string_view::npos || !port.empty()) &&
         std::ranges::all_of(
             name, [](char c) { return IsAsciiAlphanumeric(c) || c == '.' || c == '-'; }) &&
         std::ranges::all_of(port, IsAsciiDigit);
}

// A URL with scheme and host in lower case; its query may have what it likes.
Result<std::string> PlainUrl(std::string_view text) {
  const size_t host_begin = text.find("://") + 3;
  const size_t host_end = std::min(text.find_first_of("/?#", host_begin), text.size());
  const std::string_view host = text.substr(host_begin, host_end - host_begin);
  if (host.find('@') != std::string_view::npos) return Ambiguous("a user or password");
  if (!IsPlainHost(host)) return Ambiguous("a host that is not written plainly");
  const size_t query = std::min(text.find('?'), text.size());
  std::string_view path = text.substr(host_end, query - host_end);
  RETURN_IF_ERROR(CheckPlain(path, false));
  if (path.starts_with('/')) RETURN_IF_ERROR(CheckParts(path.substr(1)));
  if (text.find('#') != std::string_view::npos) return Ambiguous("a fragment");
  return AsciiLower(text.substr(0, host_end)) + std::string(text.substr(host_end));
}

// Absolute, its links followed; what of it is missing stays as it is.
Result<std::string> PlainDirectory(const std::string& location) {
  if (!location.starts_with('/')) return Ambiguous("a relative path");
  RETURN_IF_ERROR(CheckParts(std::string_view(location).substr(1)));
  std::error_code error;
  std::string path = fs::weakly_canonical(location, error).string();
  if (error) return Ambiguous("a path that cannot be followed");
  return path;
}

// A star at the end takes all, others nothing that a path or a query divides. So parts stand
// against parts, and within one it is enough to go back to the last star.
bool Fits(std::string_view pattern, std::string_view text) {
  constexpr size_t kNone = std::string_view::npos;
  size_t p = 0, t = 0, star = kNone, star_end = 0;  // what the last star takes ends before star_end
  while (true) {
    if (p < pattern.size() && pattern[p] == '*') {
      if (p + 1 == pattern.size()) return true;
      star = p++;
      star_end = t;
    } else if (p < pattern.size() && t < text.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (p == pattern.size() && t == text.size()) {
      return true;
    } else {
      if (star == kNone || star_end == text.size()) return false;
      if (text[star_end] == '/' || text[star_end] == '?') return false;
      t = ++star_end;
      p = star + 1;
    }
  }
}

// The links of a directory's pattern are followed up to its first star.
std::string FollowLinks(const std::string& pattern) {
  const size_t star = pattern.find('*');
  const size_t slash = pattern.rfind('/', star);
  std::error_code error;
  if (star == std::string::npos) {
    const fs::path whole = fs::weakly_canonical(pattern, error);
    return error ? pattern : whole.string();
  }
  std::string head = fs::weakly_canonical(pattern.substr(0, slash + 1), error).string();
  if (error) return pattern;
  while (head.ends_with('/')) head.pop_back();
  return head + pattern.substr(slash);
}

Result<std::string> CheckPattern(const std::string& pattern) {
  const auto wrong = [&](std::string_view why) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--allow-request-source {}: {}", pattern, why), "allow-request-source");
  };
  if (pattern.starts_with('/')) return FollowLinks(pattern);
  const size_t colon = pattern.find("://");
  const std::string scheme = AsciiLower(pattern.substr(0, colon));
  const auto schemes = {"hf", "s3", "gs", "az", "http", "https"};
  if (colon == std::string::npos || std::ranges::find(schemes, scheme) == schemes.end()) {
    return wrong("is neither a directory nor hf://, s3://, gs://, az://, http:// or https://");
  }
  const size_t slash = pattern.find('/', colon + 3);
  if (slash == std::string::npos || slash == colon + 3) {
    return wrong("needs a / after its host, organisation or bucket: without it others would fit");
  }
  const bool is_url = scheme == "http" || scheme == "https";
  const size_t lower_end = is_url ? slash : colon;
  return AsciiLower(pattern.substr(0, lower_end)) + pattern.substr(lower_end);
}

}  // namespace

Result<SourceAllowList> SourceAllowList::Create(const std::vector<std::string>& patterns) {
  SourceAllowList list;
  for (const std::string& pattern : patterns) {
    ASSIGN_OR_RETURN(std::string plain, CheckPattern(pattern));
    list.patterns_.push_back(std::move(plain));
  }
  return list;
}

Result<SourceUri> SourceAllowList::Check(std::string_view source) const {
  ASSIGN_OR_RETURN(SourceUri uri, ParseSourceUri(source));
  std::string compared;
  if (uri.kind == SourceKind::kDirectory) {
    ASSIGN_OR_RETURN(compared, PlainDirectory(uri.location));
    uri.text = uri.location = compared;
  } else if (uri.kind == SourceKind::kHttp) {
    ASSIGN_OR_RETURN(compared, PlainUrl(source));
    ASSIGN_OR_RETURN(uri, ParseSourceUri(compared));
  } else {
    RETURN_IF_ERROR(CheckPlain(uri.text, uri.kind == SourceKind::kHub));
    compared = uri.text;
  }
  const bool fits = std::ranges::any_of(
      patterns_, [&](const std::string& pattern) { return Fits(pattern, compared); });
  if (fits) return uri;
  return Fail(ErrorCode::kPermission,
              fmt::format("{} is not a source that requests may name: the server's operator allows "
                          "them with --allow-request-source.",
                          uri.text),
              std::string(kParam));
}

}  // namespace lorry::adapters
