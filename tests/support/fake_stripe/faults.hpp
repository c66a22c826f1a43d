#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fake_stripe {

/// One scripted misbehaviour of the Stripe side; README.md lists the kinds.
struct Fault {
  std::string match;       ///< a path; a prefix when it ends in '*'; the target when it has a '?'
  std::int64_t nth = 1;    ///< the first matching request that is hit, counted from the posting
  std::int64_t times = 1;  ///< how many in a row; 0: for ever
  std::string kind;
  int status = 500;
  std::map<std::string, std::string> headers;
  std::int64_t delay_ms = 0;
  std::string body;
  std::string reason;  ///< 429: Stripe-Rate-Limited-Reason, or lock_timeout
  std::int64_t seen = 0;
  std::int64_t hits = 0;
};

/// The script. Safe from any thread.
class Faults {
 public:
  /// Throws std::invalid_argument that names what is wrong.
  void add(const nlohmann::json& description);
  void clear();
  [[nodiscard]] nlohmann::json describe() const;
  /// Counts the request against every fault; gives the first one that hits.
  std::optional<Fault> hit(std::string_view target);

 private:
  mutable std::mutex mutex_;
  std::vector<Fault> faults_;
};

}  // namespace fake_stripe
