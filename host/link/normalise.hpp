// A value as a link key: the same for everything that should be one, so that equality is a digest.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "contract/manifest.hpp"
#include "pg/params.hpp"

namespace sluice::link {

/// The normal form, or nullopt when the value is no key (blank, not an address, longer than
/// kKeyBytesMax).
///   email        trimmed, NFKC, Unicode case folded; one '@' with something on both sides; no plus
///   or dot stripping domain       trimmed, folded, without a final dot, IDNA to ASCII username
///   trimmed, NFKC, folded phone        digits with a leading '+' kept; E.164 when it is
///   international; anything else is no key external_id, exact   the bytes as they are
[[nodiscard]] std::optional<std::string> normalise(contract::KeyKind kind, std::string_view value);

/// 16 bytes of BLAKE2b over kind and normal form: what link_key and link_queue hold.
[[nodiscard]] pg::Uuid digest(contract::KeyKind kind, std::string_view normal_form);

inline constexpr std::size_t kKeyBytesMax = 1024;

}  // namespace sluice::link
