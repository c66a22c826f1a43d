// A value as a link key: the same for everything that should be one, so that equality is a digest.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "contract/manifest.hpp"
#include "pg/params.hpp"

namespace sluice::link {

/// The normal form, or nullopt when the value is no key (blank, not an address, longer than
/// kKeyBytesMax). Values that a program would write differently for one and the same become one;
/// what only looks alike stays apart, since whoever writes one of the two chooses whom he is linked
/// to.
///   email               trimmed; one '@' with something on both sides; before it NFC and simple
///                       case folding (each code point by itself: a superscript two stays, a sharp
///                       s stays, the Kelvin sign is K), no plus or dot stripping; behind it as a
///                       domain
///   domain              trimmed, IDNA (UTS 46, non-transitional) to lower-case ASCII, without a
///                       final dot
///   username            trimmed, NFC, simple case folding
///   phone               digits with a leading '+' kept; E.164 when it is international; anything
///                       else is no key
///   external_id, exact  the bytes as they are
/// Marks that cannot be seen, such as a zero width space, count in none of the first four.
/// A change of any form makes all keys stored before strangers to those made from then on: it needs
/// a migration that has them made again (keys_by_form does).
[[nodiscard]] std::optional<std::string> normalise(contract::KeyKind kind, std::string_view value);

/// 16 bytes of BLAKE2b over kind and normal form: what link_key and link_queue hold.
[[nodiscard]] pg::Uuid digest(contract::KeyKind kind, std::string_view normal_form);

inline constexpr std::size_t kKeyBytesMax = 1024;

}  // namespace sluice::link
