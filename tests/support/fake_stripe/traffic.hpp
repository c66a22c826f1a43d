#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "http_server.hpp"
#include "world.hpp"

namespace fake_stripe {

/// Business as usual: changes to the account at a steady rate, on a thread of its own, until told
/// to be silent. Which change comes next follows from the seed; when it comes, from real time.
class Traffic {
 public:
  struct Plan {
    double per_second = 0;  ///< 0: silence
    std::uint64_t seed = 1;
    std::vector<std::string> types;  ///< empty: all that can be created
    unsigned create_percent = 25;
    unsigned delete_percent = 10;  ///< the rest are changes
  };

  Traffic(World& world, Stop& stop) : world_(world), stop_(stop) {}
  ~Traffic() { stop(); }
  Traffic(const Traffic&) = delete;

  /// Replaces the plan. Throws std::invalid_argument for a type that there is not. Safe from
  /// any thread.
  void start(Plan plan);
  void stop();
  [[nodiscard]] nlohmann::json describe() const;

 private:
  void halt();
  void run(const Plan& plan);
  void step(const Plan& plan, Dice& dice);

  World& world_;
  Stop& stop_;
  std::mutex mutex_;  ///< of the thread's handle
  std::thread thread_;
  std::atomic<bool> running_{false};
  std::atomic<std::uint64_t> created_{0};
  std::atomic<std::uint64_t> changed_{0};
  std::atomic<std::uint64_t> deleted_{0};
};

}  // namespace fake_stripe
