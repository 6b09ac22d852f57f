// The members of a zip whose members are stored, not compressed, as torch.save writes it: views of
// the bytes.
// Owns: nothing. Thread: any, read-only. Never: trusts a size or an offset. Checksums are not
// looked at, as torch.load does not: torch.save can be told to leave them out.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry::formats {

class StoredZip {
 public:
  // `bytes` must outlive the result; `where` names the file in errors.
  static Result<StoredZip> Parse(std::span<const std::byte> bytes, std::string_view where);

  // By the whole name in the zip.
  const std::map<std::string, std::span<const std::byte>, std::less<>>& members() const {
    return members_;
  }
  std::optional<std::span<const std::byte>> Find(std::string_view name) const;

 private:
  std::map<std::string, std::span<const std::byte>, std::less<>> members_;
};

}  // namespace lorry::formats
