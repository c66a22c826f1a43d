// Which kinds of value an attribute takes, and what is said of one that it does not.
#pragma once

#include <string>
#include <string_view>

#include "contract/manifest.hpp"
#include "contract/record.hpp"

namespace sluice::contract {

/// Whether a value that came as text, of a kind that the type does not take as it stands, is a
/// number that the type holds exactly: for integer a whole one of 64 bits, as a decimal or in JSON;
/// for decimal a JSON number, of which nothing but its beginning has been looked at.
[[nodiscard]] bool holds_exactly(AttributeType type, Kind kind, std::string_view text);

/// Whether a message may say what an attribute's value is.
enum class Shown { yes, no };

/// Why a value is refused for its kind, and what to send: "attribute 'seats' is integer, but the
/// record has decimal '19.5'; send int64, or …". Of the value at most 40 bytes, on one line.
[[nodiscard]] std::string wrong_kind(std::string_view attribute, AttributeType type, Shown shown,
                                     const Value& value);

}  // namespace sluice::contract
