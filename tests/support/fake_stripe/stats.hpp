#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

namespace fake_stripe {

/// What the Stripe side was asked and answered. Safe from any thread.
class Stats {
 public:
  struct Request {
    std::string route;  ///< path with ids replaced by {id}
    std::string method;
    std::string target;
    std::string stripe_version;
    std::string request_id;
    std::string fault;
    int status = 0;
    std::size_t bytes = 0;
  };

  void count(Request request);
  void clear();
  [[nodiscard]] nlohmann::json summary() const;
  /// The last `count` requests, oldest first; at most kJournalMax are kept.
  [[nodiscard]] nlohmann::json last(std::size_t count) const;

 private:
  static constexpr std::size_t kJournalMax = 5000;

  mutable std::mutex mutex_;
  std::map<std::string, std::uint64_t> requests_;
  std::map<std::string, std::uint64_t> statuses_;
  std::map<std::string, std::uint64_t> versions_;
  std::uint64_t total_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t faults_ = 0;
  std::deque<Request> journal_;
};

}  // namespace fake_stripe
