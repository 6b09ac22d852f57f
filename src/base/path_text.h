// Errors about a file begin with its path: "/dir/x.json: is empty". Whoever says in front of one
// where it happened takes away what would be said twice.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <string_view>

namespace lorry {

// WithoutPath("/dir", "/dir: is empty") is "is empty", WithoutPath("/dir", "/dir/x.json: is empty")
// is "x.json: is empty"; any other message stays.
inline std::string_view WithoutPath(std::string_view path, std::string_view message) {
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.empty() || !message.starts_with(path)) return message;
  std::string_view rest = message.substr(path.size());
  const bool is_inside = rest.starts_with('/');
  while (rest.starts_with('/')) rest.remove_prefix(1);
  if (rest.starts_with(": ")) return rest.substr(2);
  return is_inside ? rest : message;
}

}  // namespace lorry
