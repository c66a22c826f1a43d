#pragma once

#include <cstdint>
#include <string>

#include "render.hpp"
#include "world.hpp"

namespace fake_stripe {

/// What an account really holds, for tests to compare with. The caller holds the world's mutex.

/// Live objects per type, and `deleted` per type.
Json truth_counts(const World& world);

/// NDJSON of the live objects, newest first, complete: the stored ones, then the generated ones
/// [from, from + count). Throws std::invalid_argument when more than kTruthMax would be shown.
std::string truth_lines(const World& world, const std::string& type, std::uint64_t from,
                        std::uint64_t count);
inline constexpr std::uint64_t kTruthMax = 200'000;

/// The ids of the live objects, one in a line.
std::string truth_ids(const World& world, const std::string& type);

/// {"count","sum"} over an integer field at the top of each live object's text.
Json truth_sum(const World& world, const std::string& type, const std::string& field);

/// The fewest requests that read everything: pages per list, and requests for nested lists that
/// are longer than what parents embed.
Json minimum_requests(const World& world, std::uint64_t limit);

}  // namespace fake_stripe
