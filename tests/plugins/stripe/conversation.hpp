// Plays the host for one session of the Stripe connector: steps it to its end, answering each
// request by asking a Vendor. What comes out is kept in a form that half a million records fit in.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "connector/registry.hpp"
#include "contract/exchange.hpp"

namespace sluice::stripe_test {

inline constexpr std::int64_t kNow = 1'795'410'000;  ///< seconds; 2026-11-23 05:00 UTC

struct Answer {
  int status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};
using Vendor = std::function<Answer(const std::string& target)>;

/// How a session ended, and what it said on the way.
struct Outcome {
  bool done = false;
  std::optional<contract::ConnectorFailure> failure;
  std::string
      broken;  ///< the contract's rule that the connector broke; always a failure of the test
  std::unordered_map<std::string, int> records;  ///< "type id" → how often; the first thousands
  std::unordered_map<std::string, int> notices;
  /// How often the id that ends in a number was put out, by that number: of all there were.
  std::vector<std::uint8_t> times;
  /// "type id" → the discovered attributes of its last record, by name, as a person would write
  /// them; of those that have any.
  std::unordered_map<std::string, std::map<std::string, std::string>> discovered;
  std::set<std::string> whole;        ///< "type id" whose last record said all its properties
  std::vector<std::string> rejected;  ///< codes
  std::vector<std::string> reasons;   ///< of them, in their order
  std::vector<std::string> checkpoints;
  /// How many records and notices there were when checkpoint i was written.
  std::vector<std::size_t> before;
  std::vector<std::string> order;  ///< the first thousands of records and notices
  std::vector<std::string> requests;
  std::size_t puts = 0;
  std::size_t most_at_once = 0;  ///< requests under way together
  std::string result;
  [[nodiscard]] std::size_t largest_checkpoint() const;
  [[nodiscard]] std::size_t distinct() const;  ///< of `times`
};

/// The connector, loaded by the host's own loader. One for all tests of the process.
const connector::ConnectorCode& stripe_code();

inline std::uint32_t type_named(std::string_view name) {
  return stripe_code().manifest().type_index(std::string(name)).value();
}

inline contract::SessionArgs reading(std::string stream, std::string checkpoint = {}) {
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.stream = std::move(stream);
  args.checkpoint_format = checkpoint.empty() ? 0 : 2;
  args.checkpoint = std::move(checkpoint);
  return args;
}

/// Runs to the end, or to `steps_max` steps (then neither done nor failed).
Outcome converse(const contract::SessionArgs& args, const Vendor& vendor, std::int64_t now = kNow,
                 std::size_t steps_max = 200'000);

/// The value of a query parameter, decoded; empty when it is not there.
std::string parameter(const std::string& target, std::string_view name);

}  // namespace sluice::stripe_test
