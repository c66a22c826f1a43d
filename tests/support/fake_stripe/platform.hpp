#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "world.hpp"

namespace fake_stripe {

/// The account of the keys and the accounts connected to it, each with a data set of its own.
/// Accounts are never taken out of memory, so that their addresses hold. Safe from any thread;
/// each World has its own lock.
class Platform {
 public:
  Platform(Settings settings, Clock& clock);

  [[nodiscard]] World& own() { return *own_; }
  /// The data set of an account, the own one included; nullptr when it is not connected (any
  /// more).
  [[nodiscard]] World* find(std::string_view account);
  /// Seeds a new account and connects it. `settings.account_id` empty: one is made. Throws
  /// std::invalid_argument when the id is taken. The caller holds no world's lock.
  World& connect(Settings settings);
  /// The account takes its access back; false when it is not connected.
  bool disconnect(std::string_view account);
  [[nodiscard]] std::vector<World*> all();

 private:
  Clock& clock_;
  std::unique_ptr<World> own_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<World>, std::less<>> connected_;
};

}  // namespace fake_stripe
