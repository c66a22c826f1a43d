#pragma once

#include <string>
#include <string_view>

namespace fake_stripe {

/// Trims white space, then NFC, then simple case folding (one letter to one): right for ASCII,
/// Latin-1, Latin Extended-A, their combining marks and full-width ASCII, which is all that the
/// seed uses.
/// Written on its own so that it can check the product's folding.
std::string fold_email(std::string_view text);

/// The same text in capitals ("zoë" -> "ZOË").
std::string in_capitals(std::string_view text);

/// Accented letters as letter and combining mark ("ë" -> "e" U+0308). Looks the same, has other
/// bytes, folds to the same value.
std::string decomposed(std::string_view text);

/// The first letter as its full-width twin ("a" -> U+FF41): looks like it, and is another letter.
std::string full_width_first(std::string_view text);

}  // namespace fake_stripe
