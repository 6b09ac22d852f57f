// The input as a chat template, and as choices in a grammar of templates: each must compile and
// render, or be refused, in the time and memory that run.sh allows. The engine is not built for
// fuzzing, so the grammar, not the coverage, leads to what may grow.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace {

using lorry::text::ChatTemplate;

void Render(std::string_view source) {
  const auto chat_template =
      ChatTemplate::FromSource(source, {.bos = "<s>", .eos = "</s>"}, "fuzz",
                               {.base_steps = 30'000, .steps_per_message = 1'000});
  const auto text = !chat_template
                        ? tl::unexpected(chat_template.error())
                        : chat_template->Render(
                              {.messages_json = R"([{"role": "system", "content": "Be kind."},
                                      {"role": "user", "content": "What's <|2|> + 2?"},
                                      {"role": "assistant", "content": null, "tool_calls": [
                                        {"function": {"name": "f", "arguments": {"a": [2.5]}}}]}])",
                               .tools_json = R"([{"type": "function", "function": {"name": "f"}}])",
                               .now_unix_s = 1'700'000'000});
  // A panic of the engine is caught, but it is a mistake here.
  if (!text && text.error().code == lorry::ErrorCode::kInternal) std::abort();
}

// Writes a template; $ in a part stands for an expression, % for statements.
class Writer {
 public:
  explicit Writer(std::span<const uint8_t> choices) : choices_(choices) {}

  std::string Write() {
    out_ = "{% set ns = namespace(v='ab', w=[1]) %}{% set N = '1000000000' | int %}";
    while (!choices_.empty() && out_.size() < 20'000) Statement(0);
    return std::move(out_);
  }

 private:
  static constexpr std::array kExpressions = {"ns.v",
                                              "ns.w",
                                              "ns",
                                              "x",
                                              "N",
                                              "'a'",
                                              "7",
                                              "none",
                                              "messages",
                                              "messages[1].content",
                                              "($ ~ $)",
                                              "($ + $)",
                                              "($ * $)",
                                              "($ - $)",
                                              "($ // 2)",
                                              "($ ** 9)",
                                              "($ == $)",
                                              "($ < $ < $)",
                                              "($ in $)",
                                              "($ and $)",
                                              "(not $)",
                                              "(-$)",
                                              "($ if $ else $)",
                                              "[$, $]",
                                              "[$]",
                                              "($, $, $)",
                                              "{'k': $}",
                                              "{$: $}",
                                              "$[$]",
                                              "$[$:$]",
                                              "$[::-1]",
                                              "$.k",
                                              "dict(k=$)",
                                              "range($)",
                                              "f($)",
                                              "namespace(v=$)",
                                              "($ | join($))",
                                              "($ | replace($, $))",
                                              "($ | list)",
                                              "($ | tojson($))",
                                              "($ | string)",
                                              "($ | indent($))",
                                              "($ | format($))",
                                              "($ | map('upper') | list)",
                                              "($ | sort)",
                                              "($ | select('eq', $) | list)",
                                              "($ | unique | list)",
                                              "($ | batch($) | list)",
                                              "($ | first)",
                                              "($ | slice($) | list)",
                                              "($ | dictsort)",
                                              "($ | items | list)",
                                              "($ | length)",
                                              "($ | sum)",
                                              "($ | round($))",
                                              "($ | upper)",
                                              "($ | trim($))",
                                              "($ | default($))",
                                              "($ | map(attribute=$) | list)",
                                              "$.split($)",
                                              "$.replace($, $)",
                                              "$.join($)",
                                              "$.format($)",
                                              "$.strip($)",
                                              "$.items()",
                                              "$.get($)",
                                              "$.count($)",
                                              "$.rsplit($)",
                                              "$.splitlines()",
                                              "strftime_now($)",
                                              "($ is eq $)"};
  static constexpr std::array kStatements = {"{% set ns.v = $ %}",
                                             "{% set ns.w = $ %}",
                                             "{% set x = $ %}",
                                             "{{ $ }}",
                                             "text\n",
                                             "{% for x in $ %}%{% endfor %}",
                                             "{% for i in range(99) %}%{% endfor %}",
                                             "{% if $ %}%{% else %}%{% endif %}",
                                             "{% set x %}%{% endset %}",
                                             "{% macro f(x) %}%{% endmacro %}",
                                             "{% call f($) %}%{% endcall %}",
                                             "{% filter replace('a', $) %}%{% endfilter %}",
                                             "{% for x in $ recursive %}{{ loop($) }}{% endfor %}",
                                             "{% with x = $ %}%{% endwith %}",
                                             "{% set ns.v = ns.v ~ ns.v %}",
                                             "{% set ns.w = [ns.w, ns.w] %}"};

  uint8_t Choice() {
    if (choices_.empty()) return 0;
    const uint8_t choice = choices_.front();
    choices_ = choices_.subspan(1);
    return choice;
  }

  void Expression(int depth) {
    const size_t num_simple = 10;
    const size_t choice = Choice();
    Parts(kExpressions[depth > 5 ? choice % num_simple : choice % kExpressions.size()], depth);
  }

  void Statement(int depth) {
    const size_t num_simple = 5;
    const size_t choice = Choice();
    Parts(kStatements[depth > 4 ? choice % num_simple : choice % kStatements.size()], depth);
  }

  void Parts(std::string_view parts, int depth) {
    for (size_t i = 0; i < parts.size(); ++i) {
      const bool in_tag =
          i > 0 && (parts[i - 1] == '{' || (i + 1 < parts.size() && parts[i + 1] == '}'));
      if (parts[i] == '$') {
        Expression(depth + 1);
      } else if (parts[i] == '%' && !in_tag) {
        Statement(depth + 1);
        Statement(depth + 1);
      } else {
        out_ += parts[i];
      }
    }
  }

  std::span<const uint8_t> choices_;
  std::string out_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Render({reinterpret_cast<const char*>(data), size});
  Render(Writer({data, size}).Write());
  return 0;
}
