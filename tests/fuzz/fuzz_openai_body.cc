// Any bytes as the body of each OpenAI route.
#include <string_view>

#include "api/openai/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const lorry::api::openai::ParseLimits limits;
  (void)lorry::api::openai::ParseCompletion(body, limits);
  (void)lorry::api::openai::ParseChat(body, limits);
  (void)lorry::api::openai::ParseTokenize(body, limits);
  (void)lorry::api::openai::ParseDetokenize(body, limits);
  return 0;
}
