// What a link may be, wherever it is asked or said.
#pragma once

#include <array>
#include <string_view>

namespace sluice::model {

/// What sluice.link may say of a link. `suggested` is nobody's yet.
inline constexpr std::array<std::string_view, 7> kLinkStates = {
    "linked", "pending", "contested", "suggested", "confirmed", "rejected", "inactive"};

/// Those of a link whose rule is on and whose source is there.
inline constexpr std::array<std::string_view, 5> kLivingLinkStates = {
    "pending", "linked", "contested", "confirmed", "rejected"};

/// That of all others: as good as no link.
inline constexpr std::string_view kInactiveLink = "inactive";

/// Asked of like a state: there is no link, because its source has no key.
inline constexpr std::string_view kNoKey = "no_key";

}  // namespace sluice::model
