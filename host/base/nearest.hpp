// What somebody meant who misspelt a word.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// Letters to add, take away, replace, or swap with their neighbour, until `a` is `b`.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// The known word that `word` most likely stands for: the nearest one, when no more than a third of
/// its letters, and at most three, are wrong; else the only one that it is the beginning of. Empty:
/// it is like none of them.
[[nodiscard]] std::string nearest(std::string_view word, std::span<const std::string> known);

/// The same as a hint, before the rest of it: "Did you mean 'billing'? ", or nothing.
[[nodiscard]] std::string did_you_mean(std::string_view word, std::span<const std::string> known);

}  // namespace sluice
