// How a stream is, in words: what happens, what is wrong, what to do about it, how long it takes.
// Pure: facts in, words out, so that every client says the same.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"

namespace sluice::api {

/// The run that a stream is in.
struct RunningFacts {
  std::int64_t run = 0;
  std::int64_t records = 0;
  std::int64_t pages = 0;
  std::chrono::milliseconds running_for{0};
  std::optional<double> records_per_second;  ///< of the last seconds; nothing when too young
  /// Its next request waits at least so long for what the vendor says of its rate.
  std::optional<std::chrono::milliseconds> held;
};

/// What the tables say of a stream, and what its connection is like.
struct StreamFacts {
  std::string connection;
  std::string connection_state;
  std::string held;  ///< why its connector runs for nobody; empty: it may
  std::string name;
  std::string mode;         ///< "snapshot", "changes", "poll"
  std::string state;        ///< sluice.stream.state
  std::string reason;       ///< the connector's or the engine's own words
  std::string error_class;  ///< contract::to_string(FailureClass); empty: none
  std::string secret;       ///< name of the secret that an admin would set; empty: unknown
  bool enabled = true;
  bool snapshot_done = false;
  std::int64_t interval_seconds = 0;
  std::int64_t failures = 0;  ///< in a row
  std::int64_t last_run = 0;
  std::optional<Micros> next_run_at;
  std::optional<Micros> last_success_at;
  Micros now{0};
  std::optional<RunningFacts> running;
  bool worked_on = false;              ///< some host holds the connection's lease
  std::int64_t enumerated = 0;         ///< records of the full read under way
  std::int64_t last_full_records = 0;  ///< records of the last complete one; 0: none
  std::int64_t vendor_total = 0;       ///< what the vendor says there is; 0: it does not say
  bool total_counts_records = false;   ///< and it counts the same things as `enumerated`
  /// Of the last full read but the first, or the one under way: new or other than stored.
  std::optional<std::int64_t> reread_found;
  std::optional<std::int64_t> reread_missing;  ///< and not in the list; nothing: not compared
  std::int64_t put_aside = 0;                  ///< its records in the quarantine
  bool reconcile_blocked = false;
  std::string reconcile_reason;
};

/// How long a full read still takes. No basis, no number.
struct Estimate {
  std::string basis;  ///< "vendor_total", "last_full_read" or "" (unknown)
  std::int64_t of_records = 0;
  std::optional<std::int64_t> seconds_left;
  std::string words;  ///< "about 12 min left, from the last full read" or why it is unknown
};
/// For a snapshot that is being read; empty words for anything else.
[[nodiscard]] Estimate estimate(const StreamFacts& stream);

struct StreamWords {
  /// ok · partial (well, but for records that are put aside) · running · waiting · failing (mends
  /// itself) · needs_action (a person must) · blocked (waits for a decision) · overdue (no host
  /// works on it) · off
  std::string_view health;
  std::string summary;
  std::string action;  ///< what to do; empty: nothing
};
[[nodiscard]] StreamWords describe(const StreamFacts& stream);

/// "3 records are put aside", and what to do about those of a connection.
[[nodiscard]] std::string put_aside_in_words(std::int64_t count, bool at_least);
[[nodiscard]] std::string put_aside_action(const std::string& connection);

/// "45 s", "12 min", "3 h 20 min", "2 days".
[[nodiscard]] std::string span_in_words(std::chrono::seconds span);

}  // namespace sluice::api
