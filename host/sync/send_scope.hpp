// A connection's side of vendor HTTP: its credentials from the vault, its allowance, its account's
// budget.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "fetch/client.hpp"
#include "sync/connections.hpp"
#include "vault/vault.hpp"

namespace sluice::sync {

/// Hands out the secrets of one connection, one request at a time.
class VaultCredentials final : public fetch::CredentialSource {
 public:
  VaultCredentials(vault::Vault& vault, WorkspaceId workspace, ConnectionId connection)
      : vault_(vault), workspace_(workspace), connection_(connection) {}
  Task<Result<fetch::Credential>> credential(std::string secret_name,
                                             fetch::CredentialVersion version) override;

 private:
  vault::Vault& vault_;
  WorkspaceId workspace_;
  ConnectionId connection_;
};

/// What one run sends its requests with; lives as long as the run. `connection` outlives it.
class SendScope {
 public:
  SendScope(vault::Vault& vault, fetch::Budget& budget, const LoadedConnection& connection);
  SendScope(const SendScope&) = delete;
  SendScope& operator=(const SendScope&) = delete;
  [[nodiscard]] const fetch::SendContext& context() const { return context_; }
  [[nodiscard]] const fetch::FetchStats& stats() const { return stats_; }

 private:
  VaultCredentials credentials_;
  fetch::EgressAllowance allowance_;
  fetch::FetchStats stats_;
  fetch::SendContext context_;
};

/// {"base_urls":{"api":"http://127.0.0.1:4010"},"allow_loopback":true,"allow_private":false}; what
/// is unknown or ill-typed is an Error "egress.invalid".
Result<fetch::EgressAllowance> read_allowance(const nlohmann::json& egress);

/// The budgets of this host, one a vendor account: every connection of the account shares it. One
/// loop.
class Budgets {
 public:
  Budgets(const Clock& clock, fetch::Delay& delay) : clock_(clock), delay_(delay) {}
  fetch::Budget& of(const LoadedConnection& connection);

 private:
  const Clock& clock_;
  fetch::Delay& delay_;
  std::map<std::string, std::unique_ptr<fetch::Budget>> budgets_;
};

}  // namespace sluice::sync
