// What an admin changes about a connection that is there: its key, its configuration, its streams,
// whether it is on, and that it goes.
#include <fmt/format.h>

#include "base/log.hpp"
#include "contract/config.hpp"
#include "sync/audit.hpp"
#include "sync/connections.hpp"
#include "sync/deaths.hpp"
#include "sync/half_made.hpp"
#include "sync/secret_purpose.hpp"
#include "sync/send_scope.hpp"
#include "sync/stream_words.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

const pg::Statement kChecked{"changes_checked", R"(
  update sluice.connection set account_name = $3,
         mode = case when mode = '' then $4 else mode end,
         state = case when state = 'FAILED' then 'SYNCING' else state end,
         state_reason = case when state = 'FAILED' then '' else state_reason end
  where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kRetryFailed{"changes_retry_failed", R"(
  update sluice.stream s set next_run_at = now() from sluice.connection c
  where s.workspace_id = $1 and s.connection_id = $2 and s.enabled and s.consecutive_failures > 0
    and c.workspace_id = $1 and c.connection_id = $2 and c.state not in ('DISCONNECTING','DISCONNECTED'))"};

const pg::Statement kConfigure{"changes_configure", R"(
  update sluice.connection set config = $3
  where workspace_id = $1 and connection_id = $2 and config = $4 returning connection_id)"};

// To be changed by what was read: nobody else changes it until the end of the transaction.
const pg::Statement kState{"changes_state", R"(
  select connection_id, connector, state, state_reason, coalesce(vendor_account, '') <> ''
  from sluice.connection where workspace_id = $1 and name = $2 for no key update)"};

const pg::Statement kDisconnect{"changes_disconnect", R"(
  update sluice.connection set state = 'DISCONNECTING', state_reason = $3
  where workspace_id = $1 and connection_id = $2 and state not in ('DISCONNECTING','DISCONNECTED')
  returning connection_id)"};

// Off with its connector before; now by its own name too, so that it stays off.
const pg::Statement kKeepOff{"changes_keep_off", R"(
  update sluice.connection set state_reason = $3
  where workspace_id = $1 and connection_id = $2 and state in ('DISCONNECTING','DISCONNECTED')
    and state_reason <> $4)"};

const pg::Statement kInstalledShare{"changes_installed_share", R"(
  select state from sluice.installation where workspace_id = $1 and connector = $2 for share)"};

const pg::Statement kConnectAgain{"changes_connect_again", R"(
  update sluice.connection set state = 'CONNECTED', state_reason = ''
  where workspace_id = $1 and connection_id = any ($2) and state = 'DISCONNECTED'
  returning name)"};

// Rows were soft-deleted: whatever is not read again stays deleted. A change stream, too, begins
// again, because its first checkpoint must be older than the snapshots.
const pg::Statement kRestartStreams{"changes_restart_streams", R"(
  update sluice.stream set reading = reading + 1, checkpoint = null, checkpoint_format = 0, snapshot_done = false,
         next_run_at = case when enabled then now() end, state = 'new',
         reason = case when enabled then '' else reason end, error_class = null, consecutive_failures = 0,
         vendor_total = 0, enumerated_records = 0, reconcile = 'none', reconcile_detail = null
  where workspace_id = $1 and connection_id = any ($2))"};

const pg::Statement kForgetRefetch{"changes_forget_refetch", R"(
  with pauses as (delete from sluice.refetch_pause where workspace_id = $1 and connection_id = any ($2))
  delete from sluice.refetch where workspace_id = $1 and connection_id = any ($2))"};

const pg::Statement kPause{"changes_pause", R"(
  update sluice.stream set enabled = false, next_run_at = null, reason = $4,
         error_class = case when error_class <> 'HELD' then error_class end
  where workspace_id = $1 and connection_id = $2 and stream = $3 returning stream)"};

// What was held with all of its connection (stream_state::hold_all).
const pg::Statement kResumeRefetch{"changes_resume_refetch", R"(
  delete from sluice.refetch_pause
  where workspace_id = $1 and connection_id = $2 and type = '' and error_class = 'HELD')"};

// Goes on from its checkpoint. A snapshot that was read to its end has nothing to go on with: it is
// read again when it would have been.
const pg::Statement kResume{"changes_resume", R"(
  update sluice.stream s set enabled = true, reason = '',
         state = case when s.error_class = 'HELD' then 'waiting' else s.state end,
         consecutive_failures = case when s.error_class = 'HELD' then 0 else s.consecutive_failures end,
         error_class = case when s.error_class <> 'HELD' then s.error_class end,
         next_run_at = case when c.state in ('DISCONNECTING','DISCONNECTED') then null
                            when s.enabled then s.next_run_at
                            when s.mode = 'snapshot' and s.snapshot_done and s.interval_seconds = 0 then null
                            when s.mode = 'snapshot' and s.snapshot_done then
                              greatest(now(), s.last_success_at + s.interval_seconds * interval '1 second')
                            else now() end
  from sluice.connection c
  where s.workspace_id = $1 and s.connection_id = $2 and s.stream = $3
    and c.workspace_id = $1 and c.connection_id = $2
  returning s.stream)"};

// Nothing reads it yet, so it is off at once.
const pg::Statement kGiveUp{"changes_give_up", R"(
  update sluice.connection set state = 'DISCONNECTED' where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kBeginDeletion{"changes_begin_deletion", R"(
  update sluice.connection set state_reason = $3
  where workspace_id = $1 and connection_id = $2 and state = 'DISCONNECTED' returning connection_id)"};

std::unexpected<Error> unknown_connection(const std::string& name) {
  return fail(ErrorKind::not_found, "connection.unknown", "there is no connection '" + name + "'",
              "sluice connection list");
}

/// A configuration that leads a secret elsewhere needs it entered again, and nobody gives one that
/// the connector does not have.
Result<void> secrets_needed(const LoadedConnection& connection, const json& before,
                            const SecretValues& given) {
  const contract::Manifest& manifest = connection.manifest();
  for (const auto& [name, value] : given) {
    if (auto declared = check_declared(manifest, name); !declared) return declared;
  }
  const fetch::EgressAllowance allowance = expect(read_allowance(connection.egress));
  for (const contract::AuthSlot& slot : manifest.auth) {
    if (given.contains(slot.secret)) continue;
    const vault::Purpose was = purpose_of(manifest, before, allowance, slot.secret);
    const vault::Purpose will = leads_to(connection, slot.secret);
    if (was == will) continue;
    return fail(ErrorKind::bad_input, "connection.secret_needed",
                fmt::format("the secret '{}' was entered for {}, and this leads it to {}",
                            slot.secret, was.describe(), will.describe()),
                "Give its value with the change: {\"config\": …, \"secrets\": {\"" + slot.secret +
                    "\": …}}, or sluice connection config " + connection.name +
                    " … --secret-stdin " + slot.secret);
  }
  return {};
}

/// Whoever changed the connection by SQL gets no new value either.
Error to_be_stated(const LoadedConnection& connection, const std::string& secret,
                   const Error& elsewhere) {
  const char* const who = connection.egress.empty() ? "say so" : "an operator says so";
  return Error(
      ErrorKind::denied, "connection.secret_leads_elsewhere",
      fmt::format("'{}' would go to {}, and nothing was sent: {}", secret,
                  leads_to(connection, secret).describe(), elsewhere.message),
      fmt::format("Find out who changed the connection. Where that is where it is to go, "
                  "{}: {{\"value\": …, \"to_new_destination\": true}}, or sluice connection "
                  "set-secret {} {} --to-new-destination",
                  who, connection.name, secret));
}

/// The old value stays in use: the error says so.
Error kept(Error error) {
  error.hint = "The value that was in use before stays in use. " + error.hint;
  return error;
}

/// The transaction of set_config(); a refusal, or what is thrown, leaves all as it was.
Task<std::optional<Error>> configure(pg::Pool& pool, vault::Vault& vault,
                                     const LoadedConnection& connection, const json& before,
                                     const json& changes,
                                     const std::vector<vault::SecretInfo>& staged,
                                     const CheckOutcome& outcome, Actor actor) {
  const WorkspaceId workspace = connection.workspace;
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  // The vault's lock first, as everywhere; then the connection's.
  for (const vault::SecretInfo& one : staged) {
    const auto current =
        co_await vault.promote(transaction, workspace, connection.id, one.name, one.version);
    if (current) continue;
    co_return Error(ErrorKind::conflict, "connection.secret_superseded",
                    fmt::format("somebody else gave '{}' a new value meanwhile", one.name),
                    "See which of the two is wanted, and change it again");
  }
  pg::Params values(workspace, connection.id, connection.config, before);
  const auto set = co_await transaction.query(kConfigure, std::move(values));
  if (set.empty()) {
    co_return Error(
        ErrorKind::conflict, "connection.config_changed",
        "somebody else changed the configuration of '" + connection.name + "' meanwhile",
        "Look at it, and change it again");
  }
  json detail = json::object();
  detail["changed"] = json::array();
  for (const auto& [member, value] : changes.items()) detail["changed"].push_back(member);
  if (!staged.empty()) detail["secrets"] = json::array();
  for (const vault::SecretInfo& one : staged) detail["secrets"].push_back(one.name);
  co_await audit(transaction, workspace, std::move(actor), "connection.set_config", connection.name,
                 std::move(detail));
  pg::Params checked(workspace, connection.id, outcome.account_name, outcome.mode);
  co_await transaction.query(kChecked, std::move(checked));
  co_await transaction.query(kRetryFailed, pg::Params(workspace, connection.id));
  co_await transaction.commit();
  co_return std::nullopt;
}

}  // namespace

Task<std::optional<Error>> Connections::leads_elsewhere(const LoadedConnection& connection,
                                                        std::string secret) {
  const std::vector<vault::Wanted> each = leads_to(connection, secret).each();
  try {
    for (const vault::Wanted& wanted : each) {
      const auto value =
          co_await services_.vault.use(connection.workspace, connection.id, secret, wanted);
      if (value && value->refused) co_return value->refused;
      if (!value && value.error().code == "vault.secret.not_found") co_return std::nullopt;
      if (!value) co_return value.error();
    }
    co_return std::nullopt;
  } catch (const Failure& failure) {
    if (!failure.error().code.starts_with("vault.")) throw;
    co_return failure.error();
  }
}

Task<Result<CheckOutcome>> Connections::set_secret(WorkspaceId workspace, std::string name,
                                                   std::string secret, vault::Secret value,
                                                   NewDestination stated_by, Actor actor) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  if (auto declared = check_declared(connection->manifest(), secret); !declared)
    co_return std::unexpected(declared.error());
  const NewDestination enough =
      connection->egress.empty() ? NewDestination::admin : NewDestination::operator_;
  if (stated_by < enough) {
    const std::optional<Error> elsewhere = co_await leads_elsewhere(*connection, secret);
    if (elsewhere) co_return std::unexpected(kept(to_be_stated(*connection, secret, *elsewhere)));
  }
  SecretValues given;
  given.emplace(secret, std::move(value));
  const auto all_staged = co_await stage(*connection, std::move(given));
  if (!all_staged) co_return std::unexpected(all_staged.error());
  const vault::SecretInfo& staged = all_staged->front();
  Result<CheckOutcome> outcome =
      fail(ErrorKind::internal, "check.failed", "the check did not come to an end");
  std::exception_ptr surprise;
  try {
    std::set<std::string> only;
    only.insert(secret);
    Result<CheckOutcome> answered = co_await run_check(*connection, std::move(only));
    co_await hold_given_up(*connection, answered);
    outcome = require_same(*connection, std::move(answered));
  } catch (...) {
    surprise = std::current_exception();
  }
  json detail = json::object();
  detail["accepted"] = outcome.has_value();
  if (!outcome) detail["code"] = outcome.error().code;
  std::optional<Error> superseded;
  std::exception_ptr broken;
  try {
    pg::Pool pool = changing(workspace);
    auto lease = co_await pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    if (outcome) {
      const auto current = co_await services_.vault.promote(transaction, workspace, connection->id,
                                                            secret, staged.version);
      if (!current) {
        superseded = Error(ErrorKind::conflict, "connection.secret_superseded",
                           fmt::format("somebody else gave '{}' a new value meanwhile", secret),
                           "See which of the two is wanted, and give that one");
      } else {
        pg::Params checked(workspace, connection->id, outcome->account_name, outcome->mode);
        co_await transaction.query(kChecked, std::move(checked));
        co_await transaction.query(kRetryFailed, pg::Params(workspace, connection->id));
      }
    } else {
      co_await services_.vault.discard(transaction, workspace, connection->id, secret,
                                       staged.version);
    }
    if (!superseded) {
      co_await audit(transaction, workspace, actor, "connection.set_secret", name + "/" + secret,
                     std::move(detail));
      co_await transaction.commit();
    }
  } catch (...) {
    broken = std::current_exception();
  }
  if (broken) co_await settle(services_.vault, *connection, *all_staged, broken);
  if (superseded) co_return std::unexpected(std::move(*superseded));
  if (surprise) std::rethrow_exception(surprise);
  if (!outcome) co_return std::unexpected(kept(outcome.error()));
  if (changed_) changed_(workspace);
  co_return outcome;
}

Task<Result<std::vector<vault::SecretInfo>>> Connections::stage(const LoadedConnection& connection,
                                                                SecretValues secrets) {
  std::vector<vault::SecretInfo> staged;
  bool gone = false;
  std::exception_ptr surprise;
  try {
    for (auto& [name, value] : secrets) {
      vault::Purpose purpose = leads_to(connection, name);
      staged.push_back(co_await services_.vault.stage(connection.workspace, connection.id, name,
                                                      std::move(value), std::move(purpose)));
    }
  } catch (const pg::QueryError& error) {
    gone = error.constraint() == "secret_of_connection";  // deleted since we looked
    surprise = std::current_exception();
  } catch (...) {
    surprise = std::current_exception();
  }
  if (gone) co_return unknown_connection(connection.name);
  if (surprise) {
    co_await sync::take_back(services_.vault, connection, staged);
    std::rethrow_exception(surprise);
  }
  co_return staged;
}

Task<Result<CheckOutcome>> Connections::set_config(WorkspaceId workspace, std::string name,
                                                   json changes, SecretValues secrets,
                                                   Actor actor) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  const json before = connection->config;
  for (const auto& [member, value] : changes.items()) {
    if (value.is_null()) {
      connection->config.erase(member);
    } else {
      connection->config[member] = value;
    }
  }
  if (auto fits = contract::check_config(connection->manifest(), connection->config); !fits)
    co_return std::unexpected(kept(fits.error()));
  if (auto needed = secrets_needed(*connection, before, secrets); !needed)
    co_return std::unexpected(kept(needed.error()));
  const auto staged = co_await stage(*connection, std::move(secrets));
  if (!staged) co_return std::unexpected(staged.error());
  Result<CheckOutcome> outcome =
      fail(ErrorKind::internal, "check.failed", "the check did not come to an end");
  std::exception_ptr surprise;
  try {
    std::set<std::string> names;
    for (const vault::SecretInfo& one : *staged) names.insert(one.name);
    Result<CheckOutcome> answered = co_await run_check(*connection, std::move(names));
    co_await hold_given_up(*connection, answered);
    outcome = require_same(*connection, std::move(answered));
  } catch (...) {
    surprise = std::current_exception();
  }
  std::optional<Error> refused;
  if (!outcome) refused = kept(outcome.error());
  std::exception_ptr broken;
  try {
    if (!refused) {
      pg::Pool pool = changing(workspace);
      refused = co_await configure(pool, services_.vault, *connection, before, changes, *staged,
                                   *outcome, std::move(actor));
    }
  } catch (...) {
    broken = std::current_exception();
  }
  if (broken) co_await settle(services_.vault, *connection, *staged, broken);
  if (refused) {
    co_await sync::take_back(services_.vault, *connection, *staged);
    if (surprise) std::rethrow_exception(surprise);
    co_return std::unexpected(std::move(*refused));
  }
  if (changed_) changed_(workspace);
  co_return outcome;
}

Task<Result<void>> Connections::disable_connection(WorkspaceId workspace, std::string name,
                                                   Actor actor) {
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto row = co_await transaction.query(kState, pg::Params(workspace, name));
  if (row.empty() || !row.get<bool>(0, 4)) co_return unknown_connection(name);
  const auto id = row.get<ConnectionId>(0, 0);
  const auto off = co_await transaction.query(kDisconnect, pg::Params(workspace, id, kOffByAdmin));
  pg::Params keep(workspace, id, kOffByAdmin, kBeingDeleted);
  if (off.empty()) co_await transaction.query(kKeepOff, std::move(keep));
  co_await audit(transaction, workspace, actor, "connection.disable", name, json::object());
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

Task<std::vector<std::string>> Connections::restart(pg::Transaction& transaction,
                                                    WorkspaceId workspace, pg::Array connections) {
  std::vector<std::string> names;
  co_await forget_deaths(transaction, workspace, connections);
  pg::Params again(workspace, connections);
  const auto on = co_await transaction.query(kConnectAgain, std::move(again));
  for (int row = 0; row < on.rows(); ++row) names.push_back(on.get<std::string>(row, 0));
  pg::Params streams(workspace, connections);
  co_await transaction.query(kRestartStreams, std::move(streams));
  pg::Params refetch(workspace, connections);
  co_await transaction.query(kForgetRefetch, std::move(refetch));
  co_return names;
}

Task<Result<void>> Connections::enable_connection(WorkspaceId workspace, std::string name,
                                                  Actor actor) {
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto row = co_await transaction.query(kState, pg::Params(workspace, name));
  std::optional<Error> refused;
  if (row.empty()) {
    refused = unknown_connection(name).error();
  } else if (row.text(0, 2) == "DISCONNECTING") {
    // Pages of a session that still ends could store a checkpoint behind the one that we clear.
    refused = Error(ErrorKind::conflict, "connection.disconnecting",
                    "connection '" + name + "' is still being turned off",
                    "Ask again when sluice connection list says DISCONNECTED");
  } else if (row.text(0, 3) == kBeingDeleted) {
    refused = Error(ErrorKind::conflict, "connection.deleting",
                    "connection '" + name + "' is being deleted",
                    "When it is gone, make one of that name anew");
  } else {
    const auto connector = row.get<std::string>(0, 1);
    const auto installed =
        co_await transaction.query(kInstalledShare, pg::Params(workspace, connector));
    if (installed.empty() || installed.text(0, 0) != "enabled") {
      refused = Error(ErrorKind::conflict, "connector.disabled",
                      "connector '" + connector + "' is disabled in this workspace",
                      "sluice connector enable " + connector);
    }
  }
  if (refused) {
    co_await transaction.rollback();
    co_return std::unexpected(std::move(*refused));
  }
  pg::Array one(pg::Oid::int8);
  one.add(row.get<ConnectionId>(0, 0).value);
  co_await forget_deaths(transaction, workspace, one);
  if (row.text(0, 2) == "DISCONNECTED") {
    co_await restart(transaction, workspace, std::move(one));
  }
  co_await audit(transaction, workspace, actor, "connection.enable", name, json::object());
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

Task<Result<work::WorkId>> Connections::delete_connection(WorkspaceId workspace, std::string name,
                                                          Actor actor) {
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto row = co_await transaction.query(kState, pg::Params(workspace, name));
  if (row.empty()) {
    co_await transaction.rollback();
    co_return unknown_connection(name);
  }
  const auto id = row.get<ConnectionId>(0, 0);
  const auto connector = row.get<std::string>(0, 1);
  const bool half_made = row.text(0, 3) == kBeingMade;
  if (half_made) co_await transaction.query(kGiveUp, pg::Params(workspace, id));
  if (!half_made && row.text(0, 2) != "DISCONNECTED") {
    co_await transaction.rollback();
    co_return fail(ErrorKind::conflict, "connection.not_disconnected",
                   fmt::format("connection '{}' is {}", name, row.text(0, 2)),
                   "sluice connection disable " + name + ", and delete it when it is DISCONNECTED");
  }
  co_await transaction.query(kBeginDeletion, pg::Params(workspace, id, kBeingDeleted));
  json detail = json::object();
  detail["connector"] = connector;
  co_await audit(transaction, workspace, actor, "connection.delete", name, std::move(detail));
  work::NewWork work;
  work.kind = kDeleteConnection;
  work.subject = name;
  work.task["connection"] = id.value;
  work.task["connector"] = connector;
  work.actor = actor.name();
  const work::WorkId begun_work = co_await work::put(transaction, workspace, std::move(work));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return begun_work;
}

Task<Result<void>> Connections::set_stream_enabled(WorkspaceId workspace, std::string name,
                                                   std::string stream, bool enabled, Actor actor) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  if (enabled && connection->manifest().find_stream(stream) == nullptr) {
    co_return fail(ErrorKind::conflict, "stream.not_in_version",
                   fmt::format("{} {} has no stream '{}'", connection->connector,
                               connection->manifest().version, stream),
                   "Install a version that has it");
  }
  pg::Params params(workspace, connection->id, stream);
  if (!enabled) params.add(std::string_view("paused by an admin"));
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto set = co_await transaction.query(enabled ? kResume : kPause, std::move(params));
  if (set.empty()) co_return unknown_stream(name, stream);
  if (enabled) {
    co_await forget_deaths(transaction, workspace, connection->id, stream);
    co_await transaction.query(kResumeRefetch, pg::Params(workspace, connection->id));
  }
  co_await audit(transaction, workspace, actor, enabled ? "stream.resume" : "stream.pause",
                 name + "/" + stream, json::object());
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

}  // namespace sluice::sync
