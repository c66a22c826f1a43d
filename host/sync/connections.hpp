// Installations and connections: what an admin turns on, and what a run needs to know about it.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/ids.hpp"
#include "connector/registry.hpp"
#include "contract/manifest.hpp"
#include "fetch/client.hpp"
#include "sync/audit.hpp"
#include "sync/loader.hpp"
#include "sync/services.hpp"
#include "sync/step_pool.hpp"
#include "sync/view_rounds.hpp"
#include "work/queue.hpp"

namespace sluice::sync {

/// Secrets as they come from a request; wiped when destroyed.
using SecretValues = std::map<std::string, vault::Secret>;

/// Whether a connection may be the second one of its vendor account: then each of the account's
/// rows is there twice.
enum class AccountUse { alone, also };

struct NewConnection {
  std::string connector;
  std::string name;  ///< [a-z][a-z0-9_-]*
  nlohmann::json config = nlohmann::json::object();
  nlohmann::json egress = nlohmann::json::object();  ///< explicit allowance, see fetch/policy.hpp
  std::map<std::string, std::int64_t> intervals;     ///< stream -> seconds, over the manifest's
  SecretValues secrets;
  AccountUse account_use = AccountUse::alone;
};

struct CheckOutcome {
  std::string account_id;
  std::string account_name;
  std::string mode;
  nlohmann::json notes = nlohmann::json::array();
};

/// Who asks for a version: an operator, whose word lets its code run on the hosts of this database,
/// or somebody who may have only what an operator let in.
enum class Approval { needed, given };

/// Which version of a connector a workspace is to have.
struct InstallRequest {
  std::string connector;
  std::string version;  ///< empty: the newest that lies in this host's directories
  std::string sha256;   ///< or the beginning of one, 8 digits at least; empty: any
  /// It may lack or change what the installed one brought; data that it lacks stays as it is.
  bool accept_loss = false;
  Approval approval = Approval::needed;
};

struct ApprovedVersion {
  std::string connector, version, sha256;
};

struct InstallOutcome {
  std::string connector, version, sha256;
  std::string replaced;  ///< the version that was installed before; empty when there was none
  std::string state;  ///< "enabled" or "disabled": installing does not turn on what was turned off
  std::vector<std::string> new_streams;   ///< added to the connections that there are
  std::vector<std::string> gone_streams;  ///< turned off in them: this version has no such streams
  std::vector<std::string> notes;
};

/// What a newer manifest has and an older one has not: "attribute customer.tax", "stream refunds".
[[nodiscard]] std::vector<std::string> lost_between(const contract::Manifest& installed,
                                                    const contract::Manifest& wanted);

/// Why a connection is off; also kept while it is being turned off.
inline constexpr std::string_view kOffWithConnector = "its connector is disabled";
inline constexpr std::string_view kOffByAdmin = "disabled by an admin";
inline constexpr std::string_view kBeingDeleted = "is being deleted";

/// A connection as a run sees it.
struct LoadedConnection {
  WorkspaceId workspace;
  ConnectionId id;
  std::string name;
  std::string connector;
  std::string state, state_reason;
  std::string vendor_account;
  std::string mode;
  nlohmann::json config;
  nlohmann::json egress;
  std::shared_ptr<const connector::ConnectorCode> code;

  [[nodiscard]] const contract::Manifest& manifest() const { return code->manifest(); }
};

/// Whose steps a session's are; `what` in words.
[[nodiscard]] StepOwner step_owner(const LoadedConnection& connection,
                                   const contract::SessionArgs& args, std::string what);

/// Who says that a secret may go to where its connection leads now, though the value before was
/// sealed for something else. Where an allowance leads it there, it takes an operator.
enum class NewDestination { nobody, admin, operator_ };

/// Whether snapshots are read again from their start, and whether that one complete read may
/// overwrite rows whose source_version is higher than the vendor's now.
enum class ReadAgain { no, full, trusting_vendor };

/// Reading and changing them; every change commits together with its line in the audit table, under
/// the name of its `actor` ("token 3"). One loop, owned by main.
class Connections {
 public:
  explicit Connections(Services services);

  // Connectors in a workspace (installation.cpp).

  /// Brings a connector's version into the workspace, with its entity types, link rules and views:
  /// all of it or nothing. Entities that were there before get their new keys and links by durable
  /// work (sync/work_kinds.hpp), which the same transaction writes. Sessions that run go on with
  /// the code they have; new ones use this. Connections get the streams that are new, streams that
  /// it lacks are turned off, no stream is begun again. Errors: connector.unknown (with what there
  /// is), connector.refused_file (why), connector.version_unknown, connector.version_ambiguous,
  /// connector.version_lacks, connector.not_approved, connector.held, connector.revoked, those of
  /// Loader::obtain() and model::install_types() (type.name_taken, …).
  Task<Result<InstallOutcome>> install(WorkspaceId workspace, InstallRequest wanted, Actor actor);

  /// An operator lets a version's code run, in every workspace; nothing of it runs yet. Again: the
  /// same. What was held of it (sync/deaths.hpp) is so no more. The audit's line is in `workspace`,
  /// the operator's own. Errors: those of choosing in install().
  Task<Result<ApprovedVersion>> approve(WorkspaceId workspace, InstallRequest wanted, Actor actor);

  /// An operator takes that back: of the contents that `wanted` names, all of the connector where
  /// it names none. Nobody installs them any more, and where they are installed nothing of them is
  /// begun: sessions end at their next step, on each host; what they stored stays. Until one of
  /// them is approved again, or another version is installed. The audit's line is in `workspace`,
  /// the operator's own. Error: connector.nothing_to_revoke (not_found).
  Task<Result<std::vector<ApprovedVersion>>> revoke(WorkspaceId workspace, InstallRequest wanted,
                                                    Actor actor);

  /// Turns it off: its connections become DISCONNECTING, which the engine works off (sessions end
  /// at a step's boundary, rows are soft-deleted), then DISCONNECTED. Returns their names. Again:
  /// the same. Error: installation.missing.
  Task<Result<std::vector<std::string>>> disable_connector(WorkspaceId workspace,
                                                           std::string connector, Actor actor);
  /// Turns it and the connections on that went off with it: everything is read again, rows come
  /// back with the ids they had. Connections that were disabled one by one stay off. Errors:
  /// installation.missing, connection.disconnecting (not all of it is off yet).
  Task<Result<std::vector<std::string>>> enable_connector(WorkspaceId workspace,
                                                          std::string connector, Actor actor);

  // Connections.

  /// Stores the secrets, asks the vendor by CHECK, and only then keeps the connection: a wrong key
  /// leaves nothing behind. Errors: connection.name_taken, connection.missing_secret,
  /// connection.unknown_secret, config.invalid, egress.invalid, egress.unknown_host, check.failed
  /// (with the vendor's own words), connection.account_connected, installation.missing,
  /// connector.disabled.
  Task<Result<CheckOutcome>> create(WorkspaceId workspace, NewConnection wanted, Actor actor);

  /// CHECK again; updates state and reason. The account and mode must be what they were:
  /// connection.other_account, connection.other_mode.
  Task<Result<CheckOutcome>> check(WorkspaceId workspace, std::string name, Actor actor);

  /// Before everything is read again, or after the vendor refused the key: does it still answer for
  /// the account and mode that the connection holds data of? The reason when it does not, or
  /// refuses the key: then the caller parks its streams. Or the connector does not come back from
  /// it (kStepGivenUp): then the caller holds them. What may pass (the vendor is away, its rate is
  /// used up) is no reason against.
  Task<std::optional<Error>> confirm_account(const LoadedConnection& connection,
                                             std::function<bool()> stopping);

  /// A new value of a secret: staged, asked about by CHECK, and current only when that says the
  /// same account and mode. Else the old value stays in use, the connection goes on as it was, and
  /// the error says so. Failed streams are tried again at once. Where the value before was sealed
  /// for another destination, or cannot be opened, nothing is sent before somebody says that the
  /// new one is meant: connection.secret_leads_elsewhere.
  Task<Result<CheckOutcome>> set_secret(WorkspaceId workspace, std::string name, std::string secret,
                                        vault::Secret value, NewDestination stated_by, Actor actor);

  /// Changes members of the configuration, null removes one; checked like a new secret. What is
  /// read with another configuration is not read again by itself: request_sync(full). Secrets stay
  /// as they are while they go where they went; a change that leads one elsewhere comes with its
  /// value in `secrets`, else it is refused: connection.secret_needed.
  Task<Result<CheckOutcome>> set_config(WorkspaceId workspace, std::string name,
                                        nlohmann::json changes, SecretValues secrets, Actor actor);

  /// Off and on again, one connection; see disable_connector(). A connection that FAILED is off
  /// just the same. Errors of enabling: connector.disabled, connection.disconnecting.
  Task<Result<void>> disable_connection(WorkspaceId workspace, std::string name, Actor actor);
  Task<Result<void>> enable_connection(WorkspaceId workspace, std::string name, Actor actor);

  /// A connection that is DISCONNECTED goes, with its entities, streams, runs, quarantine and
  /// secrets, by the durable work that is returned (kDeleteConnection); until that is done the
  /// connection is shown, with kBeingDeleted. Error: connection.not_disconnected.
  Task<Result<work::WorkId>> delete_connection(WorkspaceId workspace, std::string name,
                                               Actor actor);

  /// Asks for a run now: of all change and poll streams, or of those named; ReadAgain reads
  /// snapshots again from their start. While a stream runs: a change or poll stream runs once more
  /// afterwards; a snapshot under way is the answer, unless it is to be read again, which ends
  /// it at its next page and begins anew. Returns the streams. Errors: stream.unknown,
  /// stream.paused, connection.disabled.
  Task<Result<std::vector<std::string>>> request_sync(WorkspaceId workspace, std::string name,
                                                      std::vector<std::string> streams,
                                                      ReadAgain again, Actor actor);

  Task<Result<void>> set_interval(WorkspaceId workspace, std::string name, std::string stream,
                                  std::int64_t seconds, Actor actor);

  /// Pauses a stream, or lets it go on from its checkpoint; nothing is cleared. Errors:
  /// stream.unknown, stream.not_in_version.
  Task<Result<void>> set_stream_enabled(WorkspaceId workspace, std::string name, std::string stream,
                                        bool enabled, Actor actor);

  /// A person's word on deletions that the limits stopped (sync/reconcile.hpp): yes, or no, which
  /// keeps everything until the next complete enumeration. Error: reconcile.not_blocked.
  Task<Result<void>> confirm_reconcile(WorkspaceId workspace, std::string connection,
                                       std::string stream, bool confirm, Actor actor);

  /// Not found: Error(not_found, "connection.unknown").
  Task<Result<LoadedConnection>> load(WorkspaceId workspace, std::string name);
  Task<Result<LoadedConnection>> load(WorkspaceId workspace, ConnectionId id);

  [[nodiscard]] const Loader& loader() const { return loader_; }
  /// Of all that changes catalogues on this host.
  [[nodiscard]] ViewRounds& view_rounds() { return view_rounds_; }

  /// Called with the workspace after a change that makes work due or changes what may be stored.
  void on_change(std::function<void(WorkspaceId)> callback) { changed_ = std::move(callback); }

 private:
  struct Choice;
  /// Of what this host has: the shelf first, then versions that lie in its store only.
  Task<Result<Choice>> choose(pg::Pool& pool, const InstallRequest& wanted);
  static Task<std::optional<Error>> may_not_run(pg::Pool& pool, const ConnectorFile& file,
                                                Approval approval);
  /// Whether it is new.
  static Task<bool> put_approval(pg::Transaction& transaction, const ApprovedVersion& version,
                                 Actor actor);
  Task<Result<void>> change_catalogue(pg::Transaction& transaction, WorkspaceId workspace,
                                      const connector::ConnectorCode& code,
                                      const InstallRequest& wanted, const Actor& actor,
                                      InstallOutcome& outcome);
  Task<void> change_streams(pg::Transaction& transaction, WorkspaceId workspace,
                            const contract::Manifest& manifest, InstallOutcome& outcome);
  Task<std::vector<std::string>> restart(pg::Transaction& transaction, WorkspaceId workspace,
                                         pg::Array connections);

  Task<Result<CheckOutcome>> run_check(const LoadedConnection& connection,
                                       std::set<std::string> staged_secrets,
                                       std::function<bool()> stopping);
  Task<Result<CheckOutcome>> run_check(
      const LoadedConnection& connection,
      std::set<std::string> staged_secrets = std::set<std::string>()) {
    return run_check(connection, std::move(staged_secrets), std::function<bool()>());
  }
  /// A connector that does not come back from a CHECK is not to be run again by itself: all of the
  /// connection is held, as with a CHECK that the engine makes (confirm_account).
  Task<void> hold_given_up(const LoadedConnection& connection, const Result<CheckOutcome>& outcome);
  /// Why the value in use is not opened for where the connection leads; null when it is, or when
  /// there is none.
  Task<std::optional<Error>> leads_elsewhere(const LoadedConnection& connection,
                                             std::string secret);
  /// New values beside those in use, for where `connection` leads. Error: connection.unknown when
  /// it was deleted meanwhile.
  Task<Result<std::vector<vault::SecretInfo>>> stage(const LoadedConnection& connection,
                                                     SecretValues secrets);
  /// Refuses an answer from another account, or in another mode, than the connection holds data of.
  static Result<CheckOutcome> require_same(const LoadedConnection& connection,
                                           Result<CheckOutcome> outcome);
  Task<Result<LoadedConnection>> loaded(pg::Pool& pool, const pg::QueryResult& row);
  /// Of the version that is installed; `owner` says for which workspace and connector, and who
  /// waits while it is loaded.
  Task<Result<std::shared_ptr<const connector::ConnectorCode>>> code_of(pg::Pool& pool,
                                                                        StepOwner owner);
  /// What an admin of the workspace asks for goes by its share of the connections for changing.
  [[nodiscard]] pg::Pool changing(WorkspaceId workspace) const {
    return services_.changing.share(workspace.value);
  }
  /// What CHECK said yes to becomes a connection; or nothing of it stays, and why. While the vendor
  /// answered the connector may have been disabled, another version installed, or the same account
  /// connected. It is made with the streams of the version that is installed now, so that one which
  /// cannot be loaded refuses it, as it would have at the beginning.
  Task<std::optional<Error>> make_whole(pg::Pool& pool, StepOwner owner,
                                        LoadedConnection& connection, const NewConnection& wanted,
                                        const CheckOutcome& outcome, Actor actor);
  /// Of a connection that CHECK said no to: nothing stays.
  Task<void> take_back(pg::Pool& pool, WorkspaceId workspace, ConnectionId connection);
  static Task<void> take_back(pg::Transaction& transaction, WorkspaceId workspace,
                              ConnectionId connection);
  /// connection.account_connected: another connection has the account that CHECK answered.
  static Task<std::optional<Error>> refusal_of(pg::Transaction& transaction,
                                               const LoadedConnection& made,
                                               const CheckOutcome& outcome, AccountUse use);

  Services services_;
  Loader loader_;
  ViewRounds view_rounds_;
  std::function<void(WorkspaceId)> changed_;
};

}  // namespace sluice::sync
