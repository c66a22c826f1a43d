// How much one answer may be, besides the number of its rows. Internal to feed/.
#pragma once

#include <cstddef>

namespace sluice::feed {

/// A page ends with the row that fills it; the cursor goes on behind that row.
inline constexpr std::size_t kPageBytes = 4u << 20;
/// All that the expansions of one answer add to it, each entity as often as it is shown.
inline constexpr std::size_t kExpandedBytesMax = 16u << 20;

}  // namespace sluice::feed
