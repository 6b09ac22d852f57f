// The input as a chat template: it must compile and render, or be refused, in time and memory that
// the limits of the run (run.sh) notice.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using lorry::text::ChatTemplate;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto chat_template =
      ChatTemplate::FromSource(source, {.bos = "<s>", .eos = "</s>"}, "fuzz",
                               {.base_steps = 30'000, .steps_per_message = 1'000});
  if (!chat_template) return 0;
  const auto text =
      chat_template->Render({.messages_json = R"([{"role": "system", "content": "Be kind."},
                            {"role": "user", "content": "What's <|2|> + 2?"},
                            {"role": "assistant", "content": null, "tool_calls": [
                              {"function": {"name": "add", "arguments": {"a": 2, "b": [2.5]}}}]}])",
                             .tools_json = R"([{"type": "function", "function": {"name": "add"}}])",
                             .now_unix_s = 1'700'000'000});
  return text ? 0 : text.error().message.empty();
}
