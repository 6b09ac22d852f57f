// "Did you mean ...?": the known word that is nearest to a mistyped one.
// Owns: nothing. Thread: any. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace lorry {

// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal
// string alignment).
int EditDistance(std::string_view a, std::string_view b);

// The nearest of `known`, or empty when none is near enough to be what was meant: within a third of
// the word's length (at least 1), or a word that starts with what was typed.
std::string Nearest(std::string_view word, std::span<const std::string> known);

}  // namespace lorry
