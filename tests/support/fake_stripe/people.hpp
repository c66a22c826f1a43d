#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace fake_stripe {

/// Who the seeded customer number `index` is. Pure functions of (seed, index), so that the
/// organisation's own customer list can be written without looking at the world.
struct Person {
  std::string name;
  std::string email;  ///< the plain small-letter form; unique per index
};

Person person(std::uint64_t seed, std::uint64_t index);

/// The e-mail as it stands in Stripe: missing, blank, in capitals, with spaces, decomposed, or the
/// neighbour's in other letters. nullopt: null.
std::optional<std::string> stripe_email(std::uint64_t seed, std::uint64_t index);

/// "ann.smith@example.com" -> "Ann.Smith@EXAMPLE.COM"
std::string title_case(const std::string& email);

}  // namespace fake_stripe
