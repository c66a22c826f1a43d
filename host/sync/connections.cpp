#include "sync/connections.hpp"

#include "base/log.hpp"
#include "feed/views.hpp"
#include "link/rules.hpp"
#include "model/storage.hpp"
#include "sync/run.hpp"
#include "sync/send_scope.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/asio/this_coro.hpp>

namespace sluice::sync {
namespace {

using nlohmann::json;

const pg::Statement kAdmit{"connections_admit", R"(
  insert into sluice.connector_version (connector, version, sha256, manifest)
  values ($1, $2, decode($3, 'hex'), $4) on conflict (connector, sha256) do nothing)"};

const pg::Statement kInstall{"connections_install", R"(
  insert into sluice.installation (workspace_id, connector, sha256)
  values ($1, $2, decode($3, 'hex'))
  on conflict (workspace_id, connector) do update set sha256 = excluded.sha256, state = 'enabled')"};

const pg::Statement kWorkspaceName{"connections_workspace", R"(
  select name from sluice.workspace where workspace_id = $1)"};

const pg::Statement kInsert{"connections_insert", R"(
  insert into sluice.connection (workspace_id, connector, name, config, egress)
  values ($1, $2, $3, $4, $5) returning connection_id)"};

// What a host that died between the first row and the vendor's answer left behind.
const pg::Statement kDeleteHalfMade{"connections_delete_half_made", R"(
  with gone as (
    delete from sluice.connection c
    where c.workspace_id = $1 and c.name = $2 and c.vendor_account is null
      and c.created_at < now() - interval '5 minutes'
      and not exists (select 1 from sluice.stream s
                      where s.workspace_id = c.workspace_id and s.connection_id = c.connection_id)
    returning connection_id)
  delete from sluice.secret where workspace_id = $1 and connection_id in (select connection_id from gone))"};

const pg::Statement kDelete{"connections_delete", R"(
  delete from sluice.connection where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kDeleteSecrets{"connections_delete_secrets", R"(
  delete from sluice.secret where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kAccount{"connections_account", R"(
  update sluice.connection set vendor_account = $3, account_name = $4, mode = $5, state = 'SYNCING',
         state_reason = '' where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kStream{"connections_stream", R"(
  insert into sluice.stream (workspace_id, connection_id, stream, mode, interval_seconds, next_run_at)
  values ($1, $2, $3, $4, $5, now()) on conflict do nothing)"};

const pg::Statement kFailed{"connections_failed", R"(
  update sluice.connection set state = 'FAILED', state_reason = $3 where workspace_id = $1 and connection_id = $2)"};

const pg::Statement kRetryFailed{"connections_retry_failed", R"(
  update sluice.stream set next_run_at = now()
  where workspace_id = $1 and connection_id = $2 and enabled and consecutive_failures > 0)"};

const pg::Statement kSyncNow{"connections_sync_now", R"(
  update sluice.stream set next_run_at = now(),
         checkpoint = case when $4 and mode = 'snapshot' then null else checkpoint end,
         checkpoint_format = case when $4 and mode = 'snapshot' then 0 else checkpoint_format end,
         snapshot_done = snapshot_done and not ($4 and mode = 'snapshot')
  where workspace_id = $1 and connection_id = $2 and enabled
    and (case when cardinality($3::text[]) > 0 then stream = any ($3)
              else $4 or mode <> 'snapshot' or not snapshot_done end)
  returning stream)"};

const pg::Statement kInterval{"connections_interval", R"(
  update sluice.stream set interval_seconds = $4,
         next_run_at = case when $4 > 0 then least(coalesce(next_run_at, 'infinity'), now() + $4 * interval '1 second') end
  where workspace_id = $1 and connection_id = $2 and stream = $3 returning stream)"};

constexpr std::string_view kLoadColumns = R"(
  select connection_id, name, connector, state, coalesce(vendor_account, ''), mode, config::text, egress::text,
         workspace_id
  from sluice.connection where workspace_id = $1 and )";
const pg::Statement kLoadByName{"connections_by_name", std::string(kLoadColumns) + "name = $2"};
const pg::Statement kLoadById{"connections_by_id",
                              std::string(kLoadColumns) + "connection_id = $2"};

const pg::Statement kInstalled{"connections_installed", R"(
  select encode(sha256, 'hex') from sluice.installation
  where workspace_id = $1 and connector = $2 and state = 'enabled')"};

const pg::Statement kAudit{"connections_audit", R"(
  insert into sluice.audit (workspace_id, actor, action, subject, detail) values ($1, 'admin', $2, $3, $4))"};

/// "0.10.2" above "0.9.0"; what is no number compares as text.
bool older(const std::string& a, const std::string& b) {
  const auto parts = [](const std::string& version) {
    std::array<long, 3> numbers{};
    std::sscanf(version.c_str(), "%ld.%ld.%ld", &numbers[0], &numbers[1], &numbers[2]);
    return numbers;
  };
  return std::pair(parts(a), a) < std::pair(parts(b), b);
}

std::string check_hint(const contract::ConnectorFailure& failure) {
  switch (failure.failure_class) {
    case contract::FailureClass::auth:
      return "Check the key and try again; nothing was stored";
    case contract::FailureClass::permission:
      return "Give the key the permission that is named, and try again";
    case contract::FailureClass::config:
      return "Correct the connection's configuration";
    default:
      return "Try again; if it goes on, look at the vendor's status page and the host's log";
  }
}

Result<CheckOutcome> read_outcome(const SessionEnd& end) {
  if (!end.done()) {
    const auto kind = end.failure->failure_class == contract::FailureClass::auth ||
                              end.failure->failure_class == contract::FailureClass::permission
                          ? ErrorKind::denied
                          : ErrorKind::bad_input;
    return fail(kind, "check.failed",
                fmt::format("{}: {}", contract::to_string(end.failure->failure_class),
                            end.failure->message),
                check_hint(*end.failure));
  }
  const json document = json::parse(end.result_json.value_or(""), nullptr, false);
  if (!document.is_object() || !document.contains("account") || !document["account"].is_object()) {
    return fail(ErrorKind::internal, "connector.contract", "CHECK answered no {\"account\":…}",
                "This is a defect of the connector");
  }
  CheckOutcome outcome;
  outcome.account_id = document["account"].value("id", "");
  outcome.account_name = document["account"].value("name", "");
  outcome.mode = document.value("mode", "");
  if (document.contains("notes")) outcome.notes = document["notes"];
  return outcome;
}

/// New keys and rules reach the entities that were there before. Harmless to repeat, but nothing
/// repeats it: a host that dies here leaves old entities with their old keys and links
/// (docs/decisions/0005).
Task<void> apply_to_what_is_there(pg::Connection& connection, const model::Catalog& catalog,
                                  const model::Installed& changed) {
  for (const model::Installed::Key& key : changed.keys) {
    const model::StoredType* type = catalog.find(key.type);
    if (type != nullptr)
      co_await link::rekey_attribute(connection, catalog.workspace, *type, key.attribute);
  }
  for (const model::StoredRule& rule : catalog.rules) {
    if (std::find(changed.rules.begin(), changed.rules.end(), rule.name) == changed.rules.end())
      continue;
    co_await link::deactivate_rule(connection, catalog.workspace, rule.id);
    if (rule.enabled) co_await link::rebuild_rule(connection, catalog.workspace, rule);
  }
}

}  // namespace

Connections::Connections(Services services) : services_(services) {}

Task<void> Connections::audit(WorkspaceId workspace, std::string action, std::string subject,
                              json detail) {
  co_await services_.pool.query(kAudit, pg::Params(workspace, action, subject, detail));
}

Task<Result<void>> Connections::install(WorkspaceId workspace, std::string connector) {
  std::shared_ptr<const connector::ConnectorCode> newest;
  std::vector<std::string> known;
  for (const auto& code : services_.registry.list()) {
    if (known.empty() || known.back() != code->manifest().id) known.push_back(code->manifest().id);
    if (code->manifest().id != connector) continue;
    if (!newest || older(newest->manifest().version, code->manifest().version)) newest = code;
  }
  if (!newest) {
    co_return fail(
        ErrorKind::not_found, "connector.unknown", "there is no connector '" + connector + "'",
        known.empty() ? "No connector was found; see connectors.directories in the configuration"
                      : fmt::format("There are: {}", fmt::join(known, ", ")));
  }
  const contract::Manifest& manifest = newest->manifest();
  auto lease = co_await services_.pool.acquire();
  const auto named = co_await lease->query(kWorkspaceName, pg::Params(workspace));
  if (named.empty())
    co_return fail(ErrorKind::not_found, "workspace.unknown", "there is no such workspace");
  const std::string workspace_name = named.get<std::string>(0, 0);
  auto transaction = co_await pg::Transaction::begin(*lease);
  co_await transaction.query(
      kAdmit, pg::Params(manifest.id, manifest.version, newest->sha256(), manifest.document));
  co_await transaction.query(kInstall, pg::Params(workspace, manifest.id, newest->sha256()));
  const model::Installed changed = co_await model::install_types(transaction, workspace, manifest);
  co_await transaction.commit();
  services_.catalogs.invalidate(workspace);
  const model::CatalogPtr catalog = co_await services_.catalogs.get(workspace);
  co_await feed::refresh_views(*lease, *catalog, workspace_name);
  co_await apply_to_what_is_there(*lease, *catalog, changed);
  json detail = json::object();
  detail["version"] = manifest.version;
  detail["sha256"] = newest->sha256();
  co_await audit(workspace, "connector.install", manifest.id, std::move(detail));
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

Task<Result<std::shared_ptr<const connector::ConnectorCode>>> Connections::code_of(
    WorkspaceId workspace, const std::string& connector) {
  const auto installed =
      co_await services_.pool.query(kInstalled, pg::Params(workspace, connector));
  if (installed.empty()) {
    co_return fail(ErrorKind::not_found, "installation.missing",
                   "connector '" + connector + "' is not installed in this workspace",
                   "sluice connector install " + connector);
  }
  const auto sha256 = installed.get<std::string>(0, 0);
  if (auto code = services_.registry.find(sha256)) co_return code;
  co_return services_.registry.load_stored(sha256);
}

Task<Result<LoadedConnection>> Connections::loaded(const pg::QueryResult& row) {
  if (row.empty()) {
    co_return fail(ErrorKind::not_found, "connection.unknown", "there is no such connection",
                   "sluice connection list");
  }
  LoadedConnection connection;
  connection.id = row.get<ConnectionId>(0, 0);
  connection.name = row.get<std::string>(0, 1);
  connection.connector = row.get<std::string>(0, 2);
  connection.state = row.get<std::string>(0, 3);
  connection.vendor_account = row.get<std::string>(0, 4);
  connection.mode = row.get<std::string>(0, 5);
  connection.config = json::parse(row.text(0, 6));
  connection.egress = json::parse(row.text(0, 7));
  connection.workspace = row.get<WorkspaceId>(0, 8);
  auto code = co_await code_of(connection.workspace, connection.connector);
  if (!code) co_return std::unexpected(code.error());
  connection.code = std::move(*code);
  co_return connection;
}

Task<Result<LoadedConnection>> Connections::load(WorkspaceId workspace, std::string name) {
  const auto row = co_await services_.pool.query(kLoadByName, pg::Params(workspace, name));
  co_return co_await loaded(row);
}

Task<Result<LoadedConnection>> Connections::load(WorkspaceId workspace, ConnectionId id) {
  const auto row = co_await services_.pool.query(kLoadById, pg::Params(workspace, id));
  co_return co_await loaded(row);
}

Task<Result<CheckOutcome>> Connections::run_check(const LoadedConnection& connection) {
  contract::SessionArgs args;
  args.operation = contract::Operation::check;
  args.config_json = connection.config.dump();
  auto session = connection.code->open(args);
  if (!session) co_return std::unexpected(session.error());
  SendScope send(services_.vault, services_.budgets.of(connection), connection);
  SessionRun run{.session = **session,
                 .client = services_.client,
                 .send = send.context(),
                 .sink = nullptr,
                 .clock = services_.clock,
                 .entropy = services_.entropy,
                 .checkpoint_format = 0,
                 .stopping = {}};
  const SessionEnd end = co_await run_session(std::move(run));
  co_return read_outcome(end);
}

Task<Result<CheckOutcome>> Connections::create(WorkspaceId workspace, NewConnection wanted) {
  auto code = co_await code_of(workspace, wanted.connector);
  if (!code) co_return std::unexpected(code.error());
  const contract::Manifest& manifest = (*code)->manifest();
  if (auto allowance = read_allowance(wanted.egress); !allowance)
    co_return std::unexpected(allowance.error());
  for (const contract::AuthSlot& slot : manifest.auth) {
    if (wanted.secrets.contains(slot.secret)) continue;
    co_return fail(ErrorKind::bad_input, "connection.missing_secret",
                   fmt::format("the secret '{}' ({}) is missing", slot.secret, slot.label),
                   slot.hint);
  }
  for (const auto& [stream, seconds] : wanted.intervals) {
    if (manifest.find_stream(stream) != nullptr && seconds >= 0) continue;
    co_return fail(ErrorKind::bad_input, "connection.bad_interval",
                   fmt::format("no stream '{}' with an interval of {} s", stream, seconds),
                   "See sluice connector show " + wanted.connector);
  }
  LoadedConnection connection;
  connection.workspace = workspace;
  connection.name = wanted.name;
  connection.connector = wanted.connector;
  connection.config = wanted.config;
  connection.egress = wanted.egress;
  connection.code = *code;
  co_await services_.pool.query(kDeleteHalfMade, pg::Params(workspace, wanted.name));
  std::optional<Error> refused;
  try {
    pg::Params params(workspace, wanted.connector, wanted.name, wanted.config, wanted.egress);
    const auto inserted = co_await services_.pool.query(kInsert, std::move(params));
    connection.id = inserted.get<ConnectionId>(0, 0);
  } catch (const pg::QueryError& error) {
    if (error.kind() == ErrorKind::conflict) {
      refused = Error(ErrorKind::conflict, "connection.name_taken",
                      "there is a connection '" + wanted.name + "' already", "Choose another name");
    } else if (error.kind() == ErrorKind::bad_input) {
      refused = Error(ErrorKind::bad_input, "connection.bad_name",
                      "'" + wanted.name + "' is no name for a connection",
                      "a-z, 0-9, - and _, beginning with a letter, at most 63 long");
    } else {
      throw;
    }
  }
  if (refused) co_return std::unexpected(*refused);
  for (auto& [name, value] : wanted.secrets) {
    co_await services_.vault.put(workspace, connection.id, name, std::move(value));
  }
  Result<CheckOutcome> outcome = co_await run_check(connection);
  if (!outcome) {
    co_await services_.pool.query(kDeleteSecrets, pg::Params(workspace, connection.id));
    co_await services_.pool.query(kDelete, pg::Params(workspace, connection.id));
    co_return outcome;
  }
  auto lease = co_await services_.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  pg::Params account(workspace, connection.id, outcome->account_id, outcome->account_name,
                     outcome->mode);
  co_await transaction.query(kAccount, std::move(account));
  for (const contract::Stream& stream : manifest.streams) {
    const auto interval = wanted.intervals.find(stream.name);
    const std::int64_t seconds =
        interval == wanted.intervals.end() ? stream.interval_seconds : interval->second;
    const char* mode = stream.mode == contract::StreamMode::changes    ? "changes"
                       : stream.mode == contract::StreamMode::snapshot ? "snapshot"
                                                                       : "poll";
    co_await transaction.query(kStream,
                               pg::Params(workspace, connection.id, stream.name, mode, seconds));
  }
  co_await transaction.commit();
  json detail = json::object();
  detail["connector"] = wanted.connector;
  detail["account"] = outcome->account_id;
  co_await audit(workspace, "connection.create", wanted.name, std::move(detail));
  if (changed_) changed_(workspace);
  co_return outcome;
}

Task<Result<CheckOutcome>> Connections::check(WorkspaceId workspace, std::string name) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  Result<CheckOutcome> outcome = co_await run_check(*connection);
  if (outcome && !connection->vendor_account.empty() &&
      outcome->account_id != connection->vendor_account) {
    outcome =
        fail(ErrorKind::conflict, "connection.other_account",
             fmt::format("the key belongs to account {}, but this connection holds the data of {}",
                         outcome->account_id, connection->vendor_account),
             "Use a key of the same account, or make another connection for this one");
  }
  if (!outcome) {
    co_await services_.pool.query(kFailed,
                                  pg::Params(workspace, connection->id, outcome.error().message));
    co_return outcome;
  }
  pg::Params account(workspace, connection->id, outcome->account_id, outcome->account_name,
                     outcome->mode);
  co_await services_.pool.query(kAccount, std::move(account));
  co_return outcome;
}

Task<Result<CheckOutcome>> Connections::set_secret(WorkspaceId workspace, std::string name,
                                                   std::string secret, vault::Secret value) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  const auto& slots = connection->manifest().auth;
  const bool declared = std::any_of(slots.begin(), slots.end(),
                                    [&](const auto& slot) { return slot.secret == secret; });
  if (!declared) {
    co_return fail(ErrorKind::not_found, "connection.unknown_secret",
                   fmt::format("connector '{}' has no secret '{}'", connection->connector, secret));
  }
  co_await services_.vault.put(workspace, connection->id, secret, std::move(value));
  co_await audit(workspace, "connection.set_secret", name + "/" + secret, json::object());
  Result<CheckOutcome> outcome = co_await check(workspace, name);
  if (outcome) {
    co_await services_.pool.query(kRetryFailed, pg::Params(workspace, connection->id));
    if (changed_) changed_(workspace);
  }
  co_return outcome;
}

Task<Result<std::vector<std::string>>> Connections::request_sync(WorkspaceId workspace,
                                                                 std::string name,
                                                                 std::vector<std::string> streams,
                                                                 bool full) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  pg::Array wanted(pg::Oid::text);
  for (const std::string& stream : streams) {
    if (connection->manifest().find_stream(stream) == nullptr) {
      co_return fail(ErrorKind::not_found, "stream.unknown",
                     "connection '" + name + "' has no stream '" + stream + "'",
                     "sluice status " + name);
    }
    wanted.add(std::string_view(stream));
  }
  pg::Params params(workspace, connection->id, std::move(wanted), full);
  const auto asked = co_await services_.pool.query(kSyncNow, std::move(params));
  std::vector<std::string> names;
  for (int row = 0; row < asked.rows(); ++row) names.push_back(asked.get<std::string>(row, 0));
  if (changed_) changed_(workspace);
  co_return names;
}

Task<Result<void>> Connections::set_interval(WorkspaceId workspace, std::string name,
                                             std::string stream, std::int64_t seconds) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  if (seconds < 0 || seconds > 31'536'000) {
    co_return fail(ErrorKind::bad_input, "stream.bad_interval",
                   "the interval must be 0 to 31536000 seconds", "0 means: only on request");
  }
  const auto set = co_await services_.pool.query(
      kInterval, pg::Params(workspace, connection->id, stream, seconds));
  if (set.empty()) {
    co_return fail(ErrorKind::not_found, "stream.unknown",
                   "connection '" + name + "' has no stream '" + stream + "'");
  }
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

}  // namespace sluice::sync
