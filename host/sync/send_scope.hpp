// A connection's side of vendor HTTP: its credentials from the vault, its allowance, its account's
// budget.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fetch/client.hpp"
#include "sync/connections.hpp"
#include "vault/vault.hpp"

namespace sluice::sync {

/// Hands out the secrets of one connection, one request at a time, each for where that request
/// goes. Of the secrets named in `staged` it hands out the pending version and nothing else: a
/// CHECK of a new key must not pass by the old one. `connection` and `addresses` outlive it.
class VaultCredentials final : public fetch::CredentialSource {
 public:
  VaultCredentials(vault::Vault& vault, const LoadedConnection& connection,
                   const fetch::AddressAllowance& addresses, std::set<std::string> staged)
      : vault_(vault), connection_(connection), addresses_(addresses), staged_(std::move(staged)) {}
  Task<Result<fetch::Credential>> credential(fetch::SecretUse use,
                                             fetch::CredentialVersion version) override;

 private:
  vault::Vault& vault_;
  const LoadedConnection& connection_;
  const fetch::AddressAllowance& addresses_;
  std::set<std::string> staged_;
};

class Budgets;
struct SessionEnd;

/// How one run asks.
struct SendOptions {
  fetch::Priority priority = fetch::Priority::snapshot;
  std::string what;  ///< "stream invoices": what one that hangs is told apart by
  bool each_path_apart = false;
  std::optional<fetch::Patience> patience;
  AtWork* at_work = nullptr;             ///< outlives the scope
  std::set<std::string> staged_secrets;  ///< see VaultCredentials
};

/// What one run sends its requests with; lives as long as the run. `connection` outlives it.
class SendScope {
 public:
  SendScope(vault::Vault& vault, Budgets& budgets, const LoadedConnection& connection,
            SendOptions options = {});
  SendScope(const SendScope&) = delete;
  SendScope& operator=(const SendScope&) = delete;
  [[nodiscard]] const fetch::SendContext& context() const { return context_; }
  [[nodiscard]] const fetch::FetchStats& stats() const { return stats_; }
  /// Of the session that asked with it: one that ended RATE_LIMITED holds the account for as long
  /// as it says, or for kHoldUntold, unless it was we who held its request back.
  void heed(const SessionEnd& end);
  [[nodiscard]] fetch::BudgetStats account() const { return budget_->stats(); }

 private:
  static constexpr std::chrono::milliseconds kHoldUntold{2'000};

  fetch::EgressAllowance allowance_;
  VaultCredentials credentials_;
  std::shared_ptr<fetch::Budget> budget_;
  fetch::FetchStats stats_;
  fetch::SendContext context_;
};

/// {"base_urls":{"api":"http://127.0.0.1:4010"},"allow_loopback":true,"allow_private":false}; what
/// is unknown or ill-typed is an Error "egress.invalid".
Result<fetch::EgressAllowance> read_allowance(const nlohmann::json& egress);

/// purpose_of() a secret of a connection as it is set up now.
[[nodiscard]] vault::Purpose leads_to(const LoadedConnection& connection, std::string_view secret);

/// The budgets of this host, one for each account of a connector at one destination in one
/// workspace: its connections share it. Who an account is, is said by the vendor's side, and where
/// that is may be chosen; so neither another workspace nor another address has a part in it. Of an
/// account's places one is kept for changes, and one stream has at most half of them; what a vendor
/// has not answered for kHungAfter holds up its stream only. One loop.
class Budgets {
 public:
  static constexpr std::chrono::milliseconds kHungAfter{10'000};
  /// A budget that nobody has used for so long, and whose vendor asked for no pause, is forgotten.
  static constexpr std::chrono::minutes kKept{60};

  /// `pace`: how many times as fast as connectors declare; the setting fetch.pace_percent.
  Budgets(const Clock& clock, fetch::Delay& delay, double pace = 1)
      : clock_(clock), delay_(delay), pace_(pace) {}
  std::shared_ptr<fetch::Budget> of(const LoadedConnection& connection,
                                    const fetch::EgressAllowance& allowance);
  /// Requests that have not been answered for kHungAfter.
  [[nodiscard]] std::vector<fetch::HungRequest> hung() const;
  /// Requests that wait for their vendor's rate, as far as this host knows it.
  [[nodiscard]] std::vector<fetch::HeldRequest> held() const;
  [[nodiscard]] std::size_t size() const { return budgets_.size(); }

 private:
  struct Kept {
    std::shared_ptr<fetch::Budget> budget;
    std::chrono::steady_clock::time_point asked_for{};
  };
  void forget_unused(std::chrono::steady_clock::time_point now);

  const Clock& clock_;
  fetch::Delay& delay_;
  const double pace_;
  std::map<std::string, Kept> budgets_;
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace sluice::sync
