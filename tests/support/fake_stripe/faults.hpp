#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fake_stripe {

/// One scripted misbehaviour of the Stripe side; README.md lists the kinds.
struct Fault {
  std::string match;    ///< a path, in which '*' stands for anything; with a '?' the target's start
  std::string account;  ///< only with this Stripe-Account; empty: any
  std::int64_t nth = 1;    ///< the first matching request that is hit, counted from the posting
  std::int64_t times = 1;  ///< how many are hit; 0: for ever
  double probability = 1;
  std::uint64_t seed = 1;
  std::uint32_t page = 0;       ///< only this page of a listing, counted from 1; 0: any
  std::uint32_t from_page = 0;  ///< only from this page on
  std::string kind;
  int status = 500;
  std::map<std::string, std::string> headers;
  std::int64_t delay_ms = 0;
  std::int64_t every_ms = 20;  ///< trickle: between two pieces
  std::int64_t bytes = 0;      ///< cut: where; trickle: a piece; wrong_length: off by; inflate: all
  std::string body;
  std::string reason;  ///< 429: Stripe-Rate-Limited-Reason, or lock_timeout; empty: no header
  std::string code;
  std::string type;
  std::string message;
  std::string permission;
  std::string field;                    ///< rewrite: a name or a JSON pointer
  std::optional<nlohmann::json> value;  ///< rewrite: nullopt takes the field away
  double share = 1;                     ///< rewrite, omit: of the objects
  std::vector<std::string> paths;       ///< expanded: which references; empty: all
  std::int64_t seen = 0;
  std::int64_t hits = 0;

  /// Such a fault changes a good answer; any number of them go together.
  [[nodiscard]] bool shapes() const;
  /// True when the client can do nothing with what it gets.
  [[nodiscard]] bool spoils() const;
  /// Whether the object belongs to the share; the same for the same id at any time.
  [[nodiscard]] bool takes(std::string_view id) const;
};

/// What one request runs into: at most one fault that answers, and those that shape.
struct Misfortune {
  std::optional<Fault> fault;
  std::vector<Fault> shaping;

  /// For the statistics: all kinds, joined by '+'.
  [[nodiscard]] std::string kinds() const;
  /// The first shaping fault of that kind; nullptr when there is none.
  [[nodiscard]] const Fault* shape(std::string_view kind) const;
};

/// The script. Safe from any thread.
class Faults {
 public:
  /// Throws std::invalid_argument that names what is wrong.
  void add(const nlohmann::json& description);
  void clear();
  [[nodiscard]] nlohmann::json describe() const;
  /// Counts the request against every fault. `page` 0: not a list.
  Misfortune hit(std::string_view target, std::string_view account, std::uint32_t page);

 private:
  mutable std::mutex mutex_;
  std::vector<Fault> faults_;
};

/// Knows which page of a listing a cursor leads to, so that faults can be set on "page 7". Safe
/// from any thread.
class PageBook {
 public:
  /// The page that this request asks for; 1 without a cursor or with an unknown one.
  [[nodiscard]] std::uint32_t page_of(std::string_view account, std::string_view target) const;
  /// The page that was answered ends with `last`: who starts after it gets the next one.
  void note(std::string_view account, std::string_view target, std::uint32_t page,
            std::string_view last);

 private:
  static constexpr std::size_t kEntriesMax = 1'000'000;

  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::uint32_t> pages_;
};

}  // namespace fake_stripe
