#include "formats/file_kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace lorry::formats {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kLfsBegin = "version https://git-lfs.github.com/spec/";
constexpr std::string_view kLfsSize = "\nsize ";

struct Magic {
  std::string_view begin;
  std::string_view says;
};

constexpr std::array kMagics = {
    Magic{"\x1f\x8b"sv, "is compressed with gzip; unpack it first"},
    Magic{"\x28\xb5\x2f\xfd"sv, "is compressed with zstd; unpack it first"},
    Magic{"\xfd"
          "7zXZ"sv,
          "is compressed with xz; unpack it first"},
    Magic{"PK\x03\x04"sv, "is a zip, or a file of torch.save; save it as safetensors"},
    Magic{"\x80\x02"sv, "is a pickle (torch.save); save it as safetensors"},
    Magic{"\x80\x03"sv, "is a pickle; save it as safetensors"},
    Magic{"\x80\x04"sv, "is a pickle; save it as safetensors"},
    Magic{"\x80\x05"sv, "is a pickle; save it as safetensors"},
    Magic{"GGUF"sv, "is a GGUF file; safetensors are read here"},
    Magic{"\x89HDF"sv, "is an HDF5 file; save it as safetensors"},
    Magic{"\x93NUMPY"sv, "is a NumPy file; save it as safetensors"},
    Magic{"\xff\xfe"sv, "is UTF-16 text; save it as UTF-8"},
    Magic{"\xfe\xff"sv, "is UTF-16 text; save it as UTF-8"},
};

std::string_view SkipSpace(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a mark of UTF-8
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::string LfsKind(std::string_view pointer) {
  const size_t at = pointer.find(kLfsSize);
  std::string_view digits =
      at == std::string_view::npos ? "" : pointer.substr(at + kLfsSize.size());
  digits = digits.substr(0, std::min(digits.find_first_not_of("0123456789"), digits.size()));
  return fmt::format("is a Git LFS pointer{}, the file itself was not fetched; `git lfs pull` does",
                     digits.empty() || digits.size() > 20
                         ? std::string()
                         : fmt::format(" to a file of {} bytes", digits));
}

}  // namespace

bool IsLfsPointer(std::string_view begin) { return begin.starts_with(kLfsBegin); }

std::string KindOf(std::string_view begin) {
  if (begin.empty()) return "is empty";
  begin = begin.substr(0, kKindBytes);
  if (IsLfsPointer(begin)) return LfsKind(begin);
  for (const Magic& magic : kMagics) {
    if (begin.starts_with(magic.begin)) return std::string(magic.says);
  }
  if (begin.find_first_not_of('\0') == std::string_view::npos) {
    return "holds nothing but zeros where it begins; its download was not completed";
  }
  const std::string_view text = SkipSpace(begin);
  if (BeginsIgnoringCase(text, "<!doctype html") || BeginsIgnoringCase(text, "<html") ||
      BeginsIgnoringCase(text, "<head")) {
    return "is an HTML page, perhaps of a login or an error; fetch the file again, with a token if "
           "it needs one";
  }
  if (BeginsIgnoringCase(text, "<?xml") || BeginsIgnoringCase(text, "<error>")) {
    return "is an XML text, perhaps a store's error; fetch the file again";
  }
  for (const std::string_view refusal :
       {"entry not found"sv, "repository not found"sv, "invalid username or password"sv,
        "access to model"sv, "{\"error\""sv, "not found"sv, "unauthorized"sv, "forbidden"sv}) {
    if (BeginsIgnoringCase(text, refusal)) {
      return "is a server's refusal saved as a file; fetch it again, with a token if it needs one";
    }
  }
  return {};
}

std::string KindOf(std::span<const std::byte> begin) {
  return KindOf(std::string_view(reinterpret_cast<const char*>(begin.data()), begin.size()));
}

}  // namespace lorry::formats
