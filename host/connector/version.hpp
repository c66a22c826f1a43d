// The order of connector versions.
#pragma once

#include <compare>
#include <string_view>

namespace sluice::connector {

/// By semantic versioning's precedence: numbers as numbers ("0.10.0" above "0.9.0"), a pre-release
/// below its release ("1.0.0-rc.1" below "1.0.0"), build metadata ("+…") counts for nothing. What
/// follows no such form compares as text, below everything that does.
std::strong_ordering compare_versions(std::string_view a, std::string_view b);

}  // namespace sluice::connector
