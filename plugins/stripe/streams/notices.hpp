// What an event means: which of our objects it says something about.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "stripe.hpp"

namespace stripe {

struct Hint {
  std::uint32_t type = 0;
  std::string_view id;    ///< borrowed from the event
  std::int32_t kind = 0;  ///< SLUICE_NOTICE_*
};

/// Is it about an account as such? Such events name the account they are about, also when it is not
/// the one that was asked.
bool is_about_accounts(std::string_view event_type);

/// Fills `hints` with what one event says about objects of ours; empty: nothing that is synced. The
/// payload may be in any API version: only ids are taken from it, and from both places where older
/// and newer versions put them.
void hints_of(const json::Value& event, std::vector<Hint>& hints);

}  // namespace stripe
