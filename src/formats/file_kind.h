// What a file is that is not what its name says, told from how it begins: what people get where a
// download went wrong.
// Owns: nothing.
// Thread: any. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace lorry::formats {

// As much of a file's beginning as KindOf looks at.
inline constexpr size_t kKindBytes = 1024;

// A stand-in of a few lines that Git leaves where the file itself was not fetched.
bool IsLfsPointer(std::string_view begin);

// "is an HTML page, …", with what to do about it; empty: nothing that is known. `begin` is the
// file's beginning, all of it if the file is shorter than kKindBytes.
std::string KindOf(std::string_view begin);
std::string KindOf(std::span<const std::byte> begin);

}  // namespace lorry::formats
