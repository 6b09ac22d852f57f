#include "api/openai/body_form.h"

#include <fmt/format.h>

#include "api/openai/json_text.h"

namespace lorry::api::openai {
namespace {

using namespace std::string_view_literals;

struct Form {
  std::string_view begin;
  std::string_view text;
};
constexpr std::string_view kUtf16 = "it is UTF-16; JSON is sent as UTF-8.";
constexpr Form kForms[] = {
    {"\x1F\x8B"sv, "it is compressed by gzip, without a Content-Encoding; send it uncompressed."},
    {"\x28\xB5\x2F\xFD"sv,
     "it is compressed by zstd, without a Content-Encoding; send it uncompressed."},
    {"\xFF\xFE"sv, kUtf16},
    {"\xFE\xFF"sv, kUtf16},
    {"{\0"sv, kUtf16},
    {"\0{"sv, kUtf16},
    {"\0\0\0{"sv, "it is UTF-32; JSON is sent as UTF-8."},
};

}  // namespace

std::string_view WithoutByteOrderMark(std::string_view body) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return body.starts_with(kMark) ? body.substr(kMark.size()) : body;
}

std::string_view OtherForm(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return "it is empty.";
  for (const Form& form : kForms) {
    if (body.starts_with(form.begin)) return form.text;
  }
  return "";
}

std::string OtherEncoding(std::string_view body) {
  const size_t at = FindInvalidUtf8(body);
  if (at == std::string_view::npos) return "";
  return fmt::format(
      "the byte 0x{:02X} at byte {} is not UTF-8 (is it Latin-1?); JSON is sent as "
      "UTF-8.",
      static_cast<unsigned char>(body[at]), at);
}

}  // namespace lorry::api::openai
