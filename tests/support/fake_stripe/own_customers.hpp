#pragma once

#include <cstdint>
#include <string>

#include "render.hpp"
#include "world.hpp"

namespace fake_stripe {

/// The organisation's own customers as CSV with the header email,name,plan: deterministic in
/// (seed, customers, count), never touched by changes of the world. Seven of ten rows name a
/// seeded Stripe customer in other letters; some name the same one twice in different spelling.
std::string own_customers_csv(const Settings& settings, std::uint64_t count);

/// How the live Stripe customers fall under the rule customer.email -> own email, both folded:
/// {"linked","pending","contested","without_key"}. The caller holds the world's mutex.
Json expect_links(const World& world, std::uint64_t count);

}  // namespace fake_stripe
