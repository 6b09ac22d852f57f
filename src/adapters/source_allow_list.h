// SourceAllowList: which sources requests may name. Empty: none.
//
// A pattern is a source as it is shown, "hf://org/name" or "/srv/adapters/a", in which a star
// stands for anything within one part of a path, and at the end for all that follows:
// "hf://myorg/*", "s3://bucket/prefix/*", "https://*.example.org/adapters/*", "/srv/adapters/*".
//
// What is compared is one form only, and whatever could be read in two ways is refused before:
// a URL with a user, escapes or empty parts, a path that climbs. Links of directories are followed
// first. The query of a URL is a part of it: only a star at the end lets any pass.
//
// Owns: the patterns. Thread: any, read-only; Check looks at the file system.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "adapters/sources/source_uri.h"
#include "base/result.h"

namespace lorry::adapters {

class SourceAllowList {
 public:
  // kInvalidArgument, param "allow-request-source": a pattern that is no source's.
  static Result<SourceAllowList> Create(const std::vector<std::string>& patterns);
  SourceAllowList() = default;

  // The source to read, in that form. kPermission: no pattern fits; the error shows no secrets.
  Result<SourceUri> Check(std::string_view source) const;

 private:
  std::vector<std::string> patterns_;
};

}  // namespace lorry::adapters
