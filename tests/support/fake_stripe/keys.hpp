#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "query.hpp"

namespace fake_stripe {

/// The API keys that are accepted. Safe from any thread.
class Keys {
 public:
  /// "sk_test_x", or "rk_test_x:rak_customer_read,rak_event_read" for a restricted key.
  void add(std::string_view text);
  /// The key answers `api_key_expired` from now on.
  void remove(const std::string& key);

  /// Throws ApiError: 401 for no, a wrong, an expired or a publishable key; 403 when a restricted
  /// key lacks `permission`. `authorization` is the header's value, Bearer or Basic. True when
  /// the key is one of the live mode.
  bool check(std::string_view authorization, std::string_view permission,
             std::string_view account) const;
  /// Every key is one of the live mode, and there is one: then so is the account.
  [[nodiscard]] bool all_live() const;
  /// The 403 that names the permission a key lacks, whether it does or not.
  [[nodiscard]] ApiError forbidden(std::string_view authorization, std::string_view permission,
                                   std::string_view account) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::optional<std::set<std::string, std::less<>>>> keys_;
  std::set<std::string> expired_;
};

}  // namespace fake_stripe
