// Installations and connections: what an admin turns on, and what a run needs to know about it.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "connector/registry.hpp"
#include "contract/manifest.hpp"
#include "fetch/client.hpp"
#include "sync/services.hpp"

namespace sluice::sync {

/// Secrets as they come from a request; wiped when destroyed.
using SecretValues = std::map<std::string, vault::Secret>;

struct NewConnection {
  std::string connector;
  std::string name;  ///< [a-z][a-z0-9_-]*
  nlohmann::json config = nlohmann::json::object();
  nlohmann::json egress = nlohmann::json::object();  ///< explicit allowance, see fetch/policy.hpp
  std::map<std::string, std::int64_t> intervals;     ///< stream -> seconds, over the manifest's
  SecretValues secrets;
};

struct CheckOutcome {
  std::string account_id;
  std::string account_name;
  std::string mode;
  nlohmann::json notes = nlohmann::json::array();
};

/// A connection as a run sees it.
struct LoadedConnection {
  WorkspaceId workspace;
  ConnectionId id;
  std::string name;
  std::string connector;
  std::string state;
  std::string vendor_account;
  std::string mode;
  nlohmann::json config;
  nlohmann::json egress;
  std::shared_ptr<const connector::ConnectorCode> code;

  [[nodiscard]] const contract::Manifest& manifest() const { return code->manifest(); }
};

/// Reading and changing them; every change is in the audit table. One loop, owned by main.
class Connections {
 public:
  explicit Connections(Services services);

  /// Turns a connector on in a workspace: the newest admitted version whose id is `connector`.
  /// Brings its entity types, link rules and views. Again: the same, or the newer version. Errors:
  /// connector.unknown (with what there is), type.name_taken, …
  Task<Result<void>> install(WorkspaceId workspace, std::string connector);

  /// Stores the secrets, asks the vendor by CHECK, and only then keeps the connection: a wrong key
  /// leaves nothing behind. Errors: connection.name_taken, connection.missing_secret,
  /// config.invalid, check.failed (with the vendor's own words), installation.missing.
  Task<Result<CheckOutcome>> create(WorkspaceId workspace, NewConnection wanted);

  /// CHECK again; updates state and reason. The account must be the one that it was:
  /// connection.other_account.
  Task<Result<CheckOutcome>> check(WorkspaceId workspace, std::string name);

  /// A new value of a secret, staged as the current one; then CHECK. Failed streams are tried again
  /// at once.
  Task<Result<CheckOutcome>> set_secret(WorkspaceId workspace, std::string name, std::string secret,
                                        vault::Secret value);

  /// Asks for a run now: of all change and poll streams, or of those named; `full` reads snapshots
  /// again from their start. Returns the streams.
  Task<Result<std::vector<std::string>>> request_sync(WorkspaceId workspace, std::string name,
                                                      std::vector<std::string> streams, bool full);

  Task<Result<void>> set_interval(WorkspaceId workspace, std::string name, std::string stream,
                                  std::int64_t seconds);

  /// Not found: Error(not_found, "connection.unknown").
  Task<Result<LoadedConnection>> load(WorkspaceId workspace, std::string name);
  Task<Result<LoadedConnection>> load(WorkspaceId workspace, ConnectionId id);

  /// Called with the workspace after a change that makes work due or changes what may be stored.
  void on_change(std::function<void(WorkspaceId)> callback) { changed_ = std::move(callback); }

 private:
  Task<Result<CheckOutcome>> run_check(const LoadedConnection& connection);
  Task<Result<LoadedConnection>> loaded(const pg::QueryResult& row);
  Task<Result<std::shared_ptr<const connector::ConnectorCode>>> code_of(
      WorkspaceId workspace, const std::string& connector);
  Task<void> audit(WorkspaceId workspace, std::string action, std::string subject,
                   nlohmann::json detail);

  Services services_;
  std::function<void(WorkspaceId)> changed_;
};

}  // namespace sluice::sync
