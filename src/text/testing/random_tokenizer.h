// Tokenizers and texts from a row of choices: every kind of step that the `tokenizers` crate has,
// with arguments that grow, repeat and look far. Random bytes give random ones, a fuzzer's bytes
// lead it. Owns: what of the choices is left. Thread: one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lorry::text {

class RandomTokenizer {
 public:
  explicit RandomTokenizer(std::span<const uint8_t> choices) : choices_(choices) {}

  // Bytes for it.
  static std::vector<uint8_t> Choices(uint64_t seed);

  std::string Json();  // a tokenizer.json
  // The number says what kind of harm the text means; there are twenty.
  std::string Text(int number);

 private:
  uint32_t Choose(uint32_t num_choices);
  std::string_view OneOf(std::span<const std::string_view> texts);
  bool Flip() { return Choose(2) != 0; }
  std::string Repeated();  // a short text many times
  std::string Pattern();   // {"String": …} or {"Regex": …}
  std::string Quoted(std::string_view text);
  std::string Bool() { return Flip() ? "true" : "false"; }

  std::string Normalizer(int depth);
  std::string PreTokenizer(int depth);
  std::string Model();
  std::string PostProcessor(int depth);
  std::string Decoder(int depth);
  std::string AddedTokens();

  std::span<const uint8_t> choices_;
};

}  // namespace lorry::text
