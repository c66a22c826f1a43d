#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>

namespace fake_stripe {

/// What the Stripe side was asked and answered. Safe from any thread.
class Stats {
 public:
  struct Request {
    std::string route;  ///< path with ids replaced by {id}
    std::string method;
    std::string target;
    std::string account;  ///< the header's; empty: none
    std::string stripe_version;
    std::string request_id;
    std::string fault;       ///< its kind; empty: none
    bool spoiled = false;    ///< the fault left nothing that a client could use
    bool is_page = false;    ///< a list's page, answered well
    std::uint32_t page = 0;  ///< its number in the listing, from 1
    std::size_t objects = 0;
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
  static constexpr std::size_t kTargetsMax = 4'000'000;

  struct Path {
    std::uint64_t requests = 0;
    std::uint64_t ok = 0;       ///< answered with 200 and nothing spoiled
    std::uint64_t faulted = 0;  ///< spoiled by a fault
    std::uint64_t refused = 0;  ///< every other status than 200
    std::uint64_t pages = 0;
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
    std::uint64_t repeats = 0;  ///< ok, but the same request had been ok before
    std::map<std::string, std::uint64_t> statuses;
  };

  void count_path(const Request& request);

  mutable std::mutex mutex_;
  std::map<std::string, Path> paths_;
  std::map<std::string, std::uint64_t> statuses_;
  std::map<std::string, std::uint64_t> versions_;
  std::unordered_set<std::uint64_t> answered_;  ///< hashes of the requests that were ok
  std::uint64_t total_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t faults_ = 0;
  std::deque<Request> journal_;
};

}  // namespace fake_stripe
