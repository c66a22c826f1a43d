// What one sync run (or one connection) spent on the vendor.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::fetch {

/// Counters that only grow. Owner: whoever passes it in a SendContext; loop thread only.
struct FetchStats {
  std::uint64_t requests = 0;  ///< calls of Client::send
  std::uint64_t attempts = 0;  ///< transfers, retries included
  std::uint64_t retries = 0;
  std::uint64_t rate_limited = 0;        ///< 429 answers
  std::uint64_t rate_limited_waits = 0;  ///< waits that a 429 or a Retry-After caused
  std::uint64_t budget_waits = 0;        ///< attempts that the budget made wait
  std::uint64_t budget_wait_us = 0;      ///< how long, all together
  std::uint64_t held_back = 0;  ///< attempts not sent, because the vendor wants none for so long
  /// Attempts by how they ended: [0] no answer, [2] 2xx … [5] 5xx; what is no HTTP status counts
  /// with [0].
  std::array<std::uint64_t, 6> by_status_class{};
  std::uint64_t transport_errors = 0;  ///< attempts without an answer
  std::uint64_t refused = 0;           ///< sends that the egress policy refused
  std::uint64_t bytes_sent = 0;        ///< request bodies
  std::uint64_t bytes_received = 0;    ///< response bodies as they came over the wire
  std::uint64_t bytes_inflated = 0;    ///< response bodies as handed on
};

}  // namespace sluice::fetch
