#include "sync/connections.hpp"

#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "base/within.hpp"
#include "contract/config.hpp"
#include "sync/audit.hpp"
#include "sync/connection_state.hpp"
#include "sync/deaths.hpp"
#include "sync/half_made.hpp"
#include "sync/host_trouble.hpp"
#include "sync/not_installed.hpp"
#include "sync/run.hpp"
#include "sync/secret_purpose.hpp"
#include "sync/send_scope.hpp"
#include "sync/step_pool.hpp"
#include "sync/stream_state.hpp"
#include "sync/stream_words.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/asio/this_coro.hpp>

namespace sluice::sync {
namespace {

using contract::FailureClass;
using nlohmann::json;

constexpr std::size_t kAccountTextBytesMax = 500;  ///< of an account's id, name and mode

// Drawn first, so that what was made is found whatever became of the answers.
const pg::Statement kDrawId{"connections_draw_id", R"(
  select nextval(pg_get_serial_sequence('sluice.connection', 'connection_id')))"};

const pg::Statement kInsert{"connections_insert", R"(
  insert into sluice.connection (workspace_id, connection_id, connector, name, config, egress, state_reason)
  overriding system value values ($1, $2, $3, $4, $5, $6, $7))"};

const pg::Statement kIsMade{"connections_is_made", R"(
  select vendor_account is not null from sluice.connection
  where workspace_id = $1 and connection_id = $2)"};

// Nothing when somebody deletes it, half made as it is.
const pg::Statement kMade{"connections_made", R"(
  update sluice.connection set vendor_account = $3, account_name = $4, mode = $5, state = 'SYNCING',
         state_reason = ''
  where workspace_id = $1 and connection_id = $2 and state = 'CONNECTED' returning connection_id)"};

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

// What an admin turned off stays off, and what is well stays so.
const pg::Statement kAccount{"connections_account", R"(
  update sluice.connection set vendor_account = $3, account_name = $4,
         mode = case when $5 = '' then mode else $5 end,
         state = case when state in ('CONNECTED','FAILED') then 'SYNCING' else state end,
         state_reason = case when state in ('CONNECTED','FAILED') then '' else state_reason end
  where workspace_id = $1 and connection_id = $2)"};

// Until the end of the transaction nobody else makes a connection of this connector, so that two of
// one account see each other.
const pg::Statement kInstalledNow{"connections_installed_now", R"(
  select encode(sha256, 'hex'), state from sluice.installation
  where workspace_id = $1 and connector = $2 for no key update)"};

const pg::Statement kOfAccount{"connections_of_account", R"(
  select name, state from sluice.connection
  where workspace_id = $1 and connector = $2 and vendor_account = $3 and mode = $4 and connection_id <> $5
  order by connection_id limit 1)"};

const pg::Statement kStream{"connections_stream", R"(
  insert into sluice.stream (workspace_id, connection_id, stream, mode, interval_seconds, next_run_at)
  values ($1, $2, $3, $4, $5, now()) on conflict do nothing)"};

const pg::Statement kFailed{"connections_failed", R"(
  update sluice.connection set state = 'FAILED', state_reason = $3
  where workspace_id = $1 and connection_id = $2 and state not in ('DISCONNECTING','DISCONNECTED'))"};

const pg::Statement kUnpark{"connections_unpark", R"(
  with soon as (
    delete from sluice.refetch_pause where workspace_id = $1 and connection_id = $2 and error_class <> 'HELD')
  update sluice.stream s set next_run_at = now() from sluice.connection c
  where s.workspace_id = $1 and s.connection_id = $2 and s.enabled
    and (s.error_class = 'AUTH' or s.error_class = 'CONFIG' and s.reason like 'vault.%')
    and c.workspace_id = $1 and c.connection_id = $2 and c.state not in ('DISCONNECTING','DISCONNECTED'))"};

const pg::Statement kSyncNow{"connections_sync_now", R"(
  update sluice.stream set next_run_at = now(),
         reading = reading + case when $4 and mode = 'snapshot' then 1 else 0 end,
         checkpoint = case when $4 and mode = 'snapshot' then null else checkpoint end,
         checkpoint_format = case when $4 and mode = 'snapshot' then 0 else checkpoint_format end,
         snapshot_done = snapshot_done and not ($4 and mode = 'snapshot'),
         trust_vendor = case when $4 then $5 and mode = 'snapshot' else trust_vendor end
  where workspace_id = $1 and connection_id = $2 and enabled
    and (case when cardinality($3::text[]) > 0 then stream = any ($3)
              else $4 or mode <> 'snapshot' or not snapshot_done end)
  returning stream)"};

const pg::Statement kInterval{"connections_interval", R"(
  update sluice.stream s set interval_seconds = $4::bigint,
         next_run_at = case when $4 > 0 and s.enabled and c.state not in ('DISCONNECTING','DISCONNECTED')
                            then least(coalesce(next_run_at, 'infinity'), now() + $4 * interval '1 second')
                            when s.mode = 'snapshot' and not snapshot_done then next_run_at end
  from sluice.connection c
  where s.workspace_id = $1 and s.connection_id = $2 and s.stream = $3
    and c.workspace_id = $1 and c.connection_id = $2
  returning s.stream)"};

const pg::Statement kConfirmReconcile{"connections_confirm_reconcile", R"(
  update sluice.stream set reconcile = case when $4 then 'confirmed' else 'none' end, reason = '',
         reconcile_detail = case when $4 then reconcile_detail end
  where workspace_id = $1 and connection_id = $2 and stream = $3 and reconcile = 'blocked' returning stream)"};

constexpr std::string_view kLoadColumns = R"(
  select connection_id, name, connector, state, coalesce(vendor_account, ''), mode, config::text, egress::text,
         workspace_id, state_reason
  from sluice.connection where workspace_id = $1 and )";
const pg::Statement kLoadByName{"connections_by_name", std::string(kLoadColumns) + "name = $2"};
const pg::Statement kLoadById{"connections_by_id",
                              std::string(kLoadColumns) + "connection_id = $2"};

const pg::Statement kInstalled{"connections_installed", R"(
  select encode(i.sha256, 'hex'), i.state, v.version, h.code, h.reason
  from sluice.installation i join sluice.connector_version v using (connector, sha256)
  left join sluice.connector_hold h on h.sha256 = i.sha256
  where i.workspace_id = $1 and i.connector = $2)"};

/// Somebody waits for the answer, or a whole connection does; what hangs is tried again soon.
constexpr fetch::Patience kCheckPatience{
    .headers = std::chrono::seconds(15), .tries = 2, .rate = std::chrono::seconds(10)};
constexpr std::chrono::seconds kCheckMax{60};

/// What is known of a CHECK under way.
struct Checking {
  bool opened = false;
  std::optional<Error> refused;  ///< no session
  SessionEnd end;
};

/// With a session of its own, which `run` lacks; all of it in the time of a CHECK.
Task<void> check_into(std::shared_ptr<const connector::ConnectorCode> code,
                      const contract::SessionArgs& args, SessionRun run, Checking& checking) {
  auto session = co_await open_session(*run.steps, std::move(code), args, run.owner);
  if (!session) {
    checking.refused = session.error();
    co_return;
  }
  checking.opened = true;
  run.session = std::move(*session);
  checking.end = co_await run_session(std::move(run));
}

/// "again in 45 s, at 2026-11-23T05:16:54Z".
std::string again_in(const Clock& clock, std::chrono::milliseconds span) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(span);
  const auto at = std::chrono::ceil<std::chrono::seconds>(clock.now() + span);
  return fmt::format("again in {} s, at {}", seconds.count(), to_rfc3339(at));
}

std::string check_hint(const contract::ConnectorFailure& failure) {
  switch (failure.failure_class) {
    case contract::FailureClass::auth:
      return "Check the key and try again; nothing was stored";
    case contract::FailureClass::permission:
      return "Give the key the permission that is named, and try again";
    case contract::FailureClass::config:
      return "Correct the connection's configuration";
    case contract::FailureClass::rate_limited:
      return "The key may be good: the vendor wants the account left alone so long; ask again then";
    default:
      return "Try again; if it goes on, look at the vendor's status page and the host's log";
  }
}

ErrorKind kind_of(contract::FailureClass failure) {
  switch (failure) {
    case contract::FailureClass::auth:
    case contract::FailureClass::permission:
      return ErrorKind::denied;
    case contract::FailureClass::rate_limited:
    case contract::FailureClass::upstream_transient:
      return ErrorKind::retry_later;
    default:
      return ErrorKind::bad_input;
  }
}

std::unexpected<Error> breach(std::string what) {
  return fail(ErrorKind::internal, "connector.contract", "the connector's CHECK answered " + what,
              "This is a defect of the connector; nothing was changed");
}

/// A short text that PostgreSQL can keep.
bool is_plain(const json& value) {
  return value.is_string() && value.get_ref<const std::string&>().size() <= kAccountTextBytesMax &&
         value.get_ref<const std::string&>().find('\0') == std::string::npos;
}

Result<CheckOutcome> read_outcome(const SessionEnd& end, const Clock& clock) {
  if (!end.done()) {
    const contract::ConnectorFailure& failure = *end.failure;
    std::string message =
        fmt::format("{}: {}", contract::to_string(failure.failure_class), failure.message);
    if (failure.failure_class == contract::FailureClass::rate_limited && failure.retry_after_ms > 0)
      message += "; " + again_in(clock, std::chrono::milliseconds(failure.retry_after_ms));
    return fail(kind_of(failure.failure_class), "check.failed", std::move(message),
                check_hint(failure));
  }
  const json document = read_json(end.result_json.value_or("")).value_or(json(nullptr));
  const auto account = document.is_object() ? document.find("account") : document.end();
  if (account == document.end() || !account->is_object()) return breach("no {\"account\":…}");
  if (!account->contains("id") || !is_plain((*account)["id"]) || (*account)["id"].empty() ||
      (*account)["id"].get_ref<const std::string&>().empty()) {
    return breach(
        fmt::format("an account id that is no text of 1 to {} bytes", kAccountTextBytesMax));
  }
  CheckOutcome outcome;
  outcome.account_id = (*account)["id"].get<std::string>();
  // A vendor may have no name for it, or no modes.
  const auto optional_text = [](const json& object, const char* name,
                                std::string& text) -> Result<void> {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return {};
    if (!is_plain(*found)) {
      return breach(
          fmt::format("a {} that is no text of at most {} bytes", name, kAccountTextBytesMax));
    }
    text = found->get<std::string>();
    return {};
  };
  if (auto read = optional_text(*account, "name", outcome.account_name); !read)
    return std::unexpected(read.error());
  if (auto read = optional_text(document, "mode", outcome.mode); !read)
    return std::unexpected(read.error());
  if (const auto notes = document.find("notes"); notes != document.end() && !notes->is_null()) {
    if (!notes->is_array()) return breach("notes that are no list");
    outcome.notes = *notes;
  }
  return outcome;
}

/// Every name means something: what is misspelt is not passed over, and the key does not go to the
/// vendor itself when another address was meant.
Result<void> check_allowance(const contract::Manifest& manifest, const json& egress) {
  const auto allowance = read_allowance(egress);
  if (!allowance) return std::unexpected(allowance.error());
  for (const auto& [name, url] : allowance->base_urls) {
    const bool is_known =
        std::any_of(manifest.hosts.begin(), manifest.hosts.end(),
                    [&](const contract::Host& host) { return host.name == name; });
    if (is_known) continue;
    std::vector<std::string_view> names;
    for (const contract::Host& host : manifest.hosts) names.push_back(host.name);
    return fail(ErrorKind::bad_input, "egress.unknown_host",
                fmt::format("egress: base_urls.{}: connector '{}' has no host '{}'", name,
                            manifest.id, name),
                fmt::format("It has: {}", fmt::join(names, ", ")));
  }
  return {};
}

Result<void> check_secrets(const contract::Manifest& manifest, const SecretValues& given) {
  for (const contract::AuthSlot& slot : manifest.auth) {
    if (given.contains(slot.secret)) continue;
    return fail(ErrorKind::bad_input, "connection.missing_secret",
                fmt::format("the secret '{}' ({}) is missing", slot.secret, slot.label), slot.hint);
  }
  for (const auto& [name, value] : given) {
    if (auto declared = check_declared(manifest, name); !declared) return declared;
  }
  return {};
}

Error no_answer(const Clock& clock, std::chrono::milliseconds held_for) {
  std::string message = fmt::format("no answer within {} s", kCheckMax.count());
  if (held_for > std::chrono::milliseconds::zero())
    message += "; the vendor wants the account left alone: " + again_in(clock, held_for);
  return Error(
      ErrorKind::retry_later, "check.no_answer", std::move(message),
      "Ask again; what hangs at the vendor, or waits for its rate, stands in sluice errors "
      "and sluice status");
}

/// The row that secrets and the vendor's answer belong to. A refusal: there is none then.
Task<std::optional<Error>> put_half_made(pg::Pool& pool, const LoadedConnection& connection) {
  pg::Params params(connection.workspace, connection.id, connection.connector, connection.name,
                    connection.config, connection.egress, kBeingMade);
  try {
    co_await pool.query(kInsert, std::move(params));
  } catch (const pg::QueryError& error) {
    if (error.kind() == ErrorKind::conflict) {
      co_return Error(ErrorKind::conflict, "connection.name_taken",
                      "there is a connection '" + connection.name + "' already",
                      "Choose another name; one that stayed half made can be deleted");
    }
    if (error.kind() != ErrorKind::bad_input) throw;
    co_return Error(ErrorKind::bad_input, "connection.bad_name",
                    "'" + connection.name + "' is no name for a connection",
                    "a-z, 0-9, - and _, beginning with a letter, at most 63 long");
  }
  co_return std::nullopt;
}

/// What makes it a whole one, and its line of the audit. A refusal: somebody deletes it.
Task<std::optional<Error>> put_made(pg::Transaction& transaction,
                                    const LoadedConnection& connection, const NewConnection& wanted,
                                    const CheckOutcome& outcome, Actor actor) {
  const WorkspaceId workspace = connection.workspace;
  pg::Params account(workspace, connection.id, outcome.account_id, outcome.account_name,
                     outcome.mode);
  const auto made = co_await transaction.query(kMade, std::move(account));
  if (made.empty()) {
    co_return Error(ErrorKind::conflict, "connection.deleting",
                    "connection '" + wanted.name + "' was deleted while it was made",
                    "When it is gone, make it anew");
  }
  for (const contract::Stream& stream : connection.manifest().streams) {
    const auto interval = wanted.intervals.find(stream.name);
    const std::int64_t seconds =
        interval == wanted.intervals.end() ? stream.interval_seconds : interval->second;
    pg::Params params(workspace, connection.id, stream.name, mode_of(stream), seconds);
    co_await transaction.query(kStream, std::move(params));
  }
  json detail = json::object();
  detail["connector"] = wanted.connector;
  detail["account"] = outcome.account_id;
  if (!wanted.egress.empty()) detail["egress"] = wanted.egress;
  co_await audit(transaction, workspace, std::move(actor), "connection.create", wanted.name,
                 std::move(detail));
  co_return std::nullopt;
}

/// What only a person can mend; anything else may be gone at the next try.
bool needs_a_person(const Error& error) {
  return error.kind == ErrorKind::denied || error.kind == ErrorKind::conflict ||
         error.code == "config.invalid";
}

}  // namespace

StepOwner step_owner(const LoadedConnection& connection, const contract::SessionArgs& args,
                     std::string what) {
  StepOwner owner;
  owner.workspace = connection.workspace;
  owner.connection = connection.id;
  owner.what = std::move(what);
  owner.connector = connection.connector;
  owner.connection_name = connection.name;
  owner.stream = args.stream;
  owner.run = args.owner.run;
  return owner;
}

Connections::Connections(Services services) : services_(services), loader_(services) {}

Task<Result<std::shared_ptr<const connector::ConnectorCode>>> Connections::code_of(
    pg::Pool& pool, StepOwner owner) {
  const std::string connector = owner.connector;
  const auto installed = co_await pool.query(kInstalled, pg::Params(owner.workspace, connector));
  if (installed.empty()) {
    co_return std::unexpected(not_installed(*services_.registry.shelf().shelved(), connector));
  }
  const auto sha256 = installed.get<std::string>(0, 0);
  ConnectorFile file(connector, installed.get<std::string>(0, 2), sha256);
  if (!installed.is_null(0, 3)) {
    co_return std::unexpected(
        held_file(file, installed.get<std::string>(0, 3), installed.get<std::string>(0, 4)));
  }
  auto code = co_await loader_.obtain(std::move(file), std::move(owner));
  if (!code && code.error().code == "connector.not_on_this_host") {
    co_return fail(
        ErrorKind::not_found, "connector.not_on_this_host",
        fmt::format("{} {} is installed, but this host does not have its file ({}…)", connector,
                    installed.text(0, 2), sha256.substr(0, 12)),
        "Copy that version's file into a directory of connectors.directories on this host; other "
        "hosts that have it go on");
  }
  co_return code;
}

Task<Result<LoadedConnection>> Connections::loaded(pg::Pool& pool, const pg::QueryResult& row) {
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
  connection.config = stored_json(row.text(0, 6));
  connection.egress = stored_json(row.text(0, 7));
  connection.workspace = row.get<WorkspaceId>(0, 8);
  connection.state_reason = row.get<std::string>(0, 9);
  StepOwner owner;
  owner.workspace = connection.workspace;
  owner.connection = connection.id;
  owner.connector = connection.connector;
  owner.connection_name = connection.name;
  auto code = co_await code_of(pool, std::move(owner));
  if (!code) co_return std::unexpected(code.error());
  connection.code = std::move(*code);
  co_return connection;
}

Task<Result<LoadedConnection>> Connections::load(WorkspaceId workspace, std::string name) {
  pg::Pool pool = changing(workspace);
  const auto row = co_await pool.query(kLoadByName, pg::Params(workspace, name));
  co_return co_await loaded(pool, row);
}

Task<Result<LoadedConnection>> Connections::load(WorkspaceId workspace, ConnectionId id) {
  const auto row = co_await services_.pool.query(kLoadById, pg::Params(workspace, id));
  co_return co_await loaded(services_.pool, row);
}

Task<Result<CheckOutcome>> Connections::run_check(const LoadedConnection& connection,
                                                  std::set<std::string> staged_secrets,
                                                  std::function<bool()> stopping) {
  std::string name = connection.name;
  std::optional<Error> held =
      co_await held_check(services_.pool, connection.workspace, connection.id, std::move(name));
  if (held) co_return std::unexpected(std::move(*held));
  contract::SessionArgs args;
  args.operation = contract::Operation::check;
  args.owner.workspace = connection.workspace;
  args.owner.connection = connection.id;
  args.owner.connection_name = connection.name;
  args.config_json = write_json(connection.config);
  SendOptions options;
  options.priority = fetch::Priority::change;
  options.what = "checking the key:";
  options.each_path_apart = true;
  options.patience = kCheckPatience;
  options.staged_secrets = std::move(staged_secrets);
  SendScope send(services_.vault, services_.budgets, connection, std::move(options));
  const StepOwner owner = step_owner(connection, args, "checking the key");
  Checking checking;
  std::optional<Error>& refused = checking.refused;
  SessionEnd& end = checking.end;
  const std::size_t lost_before = services_.steps.lost_of(connection.id);
  bool in_time = true;
  try {
    SessionRun run{.session = nullptr,
                   .client = services_.client,
                   .send = send.context(),
                   .sink = nullptr,
                   .clock = services_.clock,
                   .entropy = services_.entropy,
                   .checkpoint_format = 0,
                   .stopping = std::move(stopping),
                   .steps = &services_.steps,
                   .owner = owner};
    Task<void> task = check_into(connection.code, args, std::move(run), checking);
    in_time = co_await within(kCheckMax, std::move(task));
    if (in_time && !refused) send.heed(end);
  } catch (const pg::QueryError&) {
    throw;
  } catch (const Failure& failure) {
    refused = failure.error();  // an address that is not allowed, a key that does not open
  }
  if (refused) co_return std::unexpected(std::move(*refused));
  // Its time was over while its connector computed.
  if (!in_time && services_.steps.lost_of(connection.id) > lost_before)
    co_return std::unexpected(services_.steps.newest_lost_of(connection.id));
  if (!in_time && !checking.opened) co_return std::unexpected(step_not_begun(owner, kCheckMax));
  if (!in_time) co_return std::unexpected(no_answer(services_.clock, send.account().held_for));
  if (const std::optional<Error> own = host_trouble(end)) co_return std::unexpected(*own);
  co_return read_outcome(end, services_.clock);
}

Result<CheckOutcome> Connections::require_same(const LoadedConnection& connection,
                                               Result<CheckOutcome> outcome) {
  if (!outcome) return outcome;
  if (!connection.vendor_account.empty() && outcome->account_id != connection.vendor_account) {
    return fail(
        ErrorKind::conflict, "connection.other_account",
        fmt::format("the key belongs to account {}, but this connection holds the data of {}",
                    outcome->account_id, connection.vendor_account),
        "Use a key of the same account, or make another connection for this one");
  }
  if (!connection.mode.empty() && !outcome->mode.empty() && outcome->mode != connection.mode) {
    return fail(ErrorKind::conflict, "connection.other_mode",
                fmt::format("the key is of mode '{}', but this connection holds data of mode '{}'",
                            outcome->mode, connection.mode),
                "Use a key of the same mode, or make another connection for this one");
  }
  return outcome;
}

Task<void> Connections::hold_given_up(const LoadedConnection& connection,
                                      const Result<CheckOutcome>& outcome) {
  if (outcome || outcome.error().code != kStepGivenUp) co_return;
  pg::Pool pool = changing(connection.workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  pg::Call held =
      stream_state::hold_all(connection.workspace, connection.id, outcome.error().message);
  co_await transaction.query(*held.statement, std::move(held.params));
  pg::Call state = connection_state::refresh(connection.workspace, connection.id);
  co_await transaction.query(*state.statement, std::move(state.params));
  json detail = json::object();
  detail["reason"] = outcome.error().message;
  co_await audit(transaction, connection.workspace, "sluiced", "connection.held", connection.name,
                 std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(connection.workspace);
}

Task<std::optional<Error>> Connections::confirm_account(const LoadedConnection& connection,
                                                        std::function<bool()> stopping) {
  std::set<std::string> current;  // no staged secret
  Result<CheckOutcome> answered =
      co_await run_check(connection, std::move(current), std::move(stopping));
  const Result<CheckOutcome> outcome = require_same(connection, std::move(answered));
  if (outcome) co_return std::nullopt;
  if (outcome.error().code == kStepGivenUp) co_return outcome.error();
  // A permission that is missing is the matter of the stream that needs it.
  const bool refused = outcome.error().kind == ErrorKind::denied &&
                       outcome.error().message.starts_with(to_string(FailureClass::auth));
  if (!refused && outcome.error().kind != ErrorKind::conflict) co_return std::nullopt;
  log::warning("connection.not_the_one_it_was", {{"connection", connection.name},
                                                 {"connection_id", connection.id.value},
                                                 {"code", outcome.error().code},
                                                 {"message", outcome.error().message}});
  co_return outcome.error();
}

Task<std::optional<Error>> Connections::refusal_of(pg::Transaction& transaction,
                                                   const LoadedConnection& made,
                                                   const CheckOutcome& outcome, AccountUse use) {
  if (use == AccountUse::also) co_return std::nullopt;
  pg::Params params(made.workspace, made.connector, outcome.account_id, outcome.mode, made.id);
  const auto other = co_await transaction.query(kOfAccount, std::move(params));
  if (other.empty()) co_return std::nullopt;
  co_return Error(
      ErrorKind::conflict, "connection.account_connected",
      fmt::format("account {} is connected already, as '{}' ({})", outcome.account_id,
                  other.text(0, 0), other.text(0, 1)),
      "Every row would be there twice. Use that connection, or give it a new key; or ask for a "
      "second connection by word: --second-connection, \"second_connection\": true");
}

Task<Result<CheckOutcome>> Connections::create(WorkspaceId workspace, NewConnection wanted,
                                               Actor actor) {
  pg::Pool pool = changing(workspace);
  StepOwner owner;
  owner.workspace = workspace;
  owner.connector = wanted.connector;
  owner.connection_name = wanted.name;
  auto code = co_await code_of(pool, owner);
  if (!code) co_return std::unexpected(code.error());
  const contract::Manifest& manifest = (*code)->manifest();
  if (auto fits = contract::check_config(manifest, wanted.config); !fits)
    co_return std::unexpected(fits.error());
  if (auto known = check_allowance(manifest, wanted.egress); !known)
    co_return std::unexpected(known.error());
  if (auto known = check_secrets(manifest, wanted.secrets); !known)
    co_return std::unexpected(known.error());
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
  std::string sha256 = (*code)->sha256();
  std::optional<Error> held =
      co_await held_creation(pool, workspace, wanted.connector, std::move(sha256));
  if (held) co_return std::unexpected(std::move(*held));
  co_await pool.query(kDeleteHalfMade, pg::Params(workspace, wanted.name));
  const auto drawn = co_await pool.query(kDrawId);
  connection.id = drawn.get<ConnectionId>(0, 0);
  Result<CheckOutcome> outcome =
      fail(ErrorKind::internal, "check.failed", "the check did not come to an end");
  std::optional<Error> refused;
  std::exception_ptr surprise;
  try {
    refused = co_await put_half_made(pool, connection);
    if (!refused) {
      for (auto& [name, value] : wanted.secrets) {
        vault::Purpose purpose = leads_to(connection, name);
        co_await services_.vault.put(workspace, connection.id, name, std::move(value),
                                     std::move(purpose));
      }
      outcome = co_await run_check(connection);
      if (!outcome) {
        co_await take_back(pool, workspace, connection.id);
        refused = outcome.error();
      }
    }
    if (!refused) {
      refused = co_await make_whole(pool, std::move(owner), connection, wanted, *outcome,
                                    std::move(actor));
    }
  } catch (...) {
    surprise = std::current_exception();
  }
  if (surprise) {
    // It is made whole, and only the answer was lost; or nothing of it stays.
    const auto made = co_await pool.query(kIsMade, pg::Params(workspace, connection.id));
    if (made.empty() || !made.get<bool>(0, 0)) {
      co_await take_back(pool, workspace, connection.id);
      rethrow_as_known(surprise);
    }
  }
  if (refused) co_return std::unexpected(std::move(*refused));
  if (changed_) changed_(workspace);
  co_return outcome;
}

Task<std::optional<Error>> Connections::make_whole(pg::Pool& pool, StepOwner owner,
                                                   LoadedConnection& connection,
                                                   const NewConnection& wanted,
                                                   const CheckOutcome& outcome, Actor actor) {
  const WorkspaceId workspace = connection.workspace;
  // Loaded before anything is locked.
  auto code = co_await code_of(pool, std::move(owner));
  if (!code) {
    co_await take_back(pool, workspace, connection.id);
    co_return code.error();
  }
  connection.code = *code;
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto installed =
      co_await transaction.query(kInstalledNow, pg::Params(workspace, connection.connector));
  std::optional<Error> refused =
      co_await refusal_of(transaction, connection, outcome, wanted.account_use);
  if (installed.text(0, 1) != "enabled") {
    refused = Error(ErrorKind::conflict, "connector.disabled",
                    "connector '" + connection.connector + "' is disabled in this workspace",
                    "sluice connector enable " + connection.connector);
  }
  if (refused) {
    co_await take_back(transaction, workspace, connection.id);
  } else {
    if (installed.text(0, 0) != connection.code->sha256()) {
      if (auto other = services_.registry.find(installed.text(0, 0))) connection.code = other;
    }
    refused = co_await put_made(transaction, connection, wanted, outcome, std::move(actor));
  }
  co_await transaction.commit();
  co_return refused;
}

Task<void> Connections::take_back(pg::Transaction& transaction, WorkspaceId workspace,
                                  ConnectionId connection) {
  co_await transaction.query(kDeleteSecrets, pg::Params(workspace, connection));
  co_await transaction.query(kDelete, pg::Params(workspace, connection));
}

Task<void> Connections::take_back(pg::Pool& pool, WorkspaceId workspace, ConnectionId connection) {
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  co_await take_back(transaction, workspace, connection);
  co_await transaction.commit();
}

Task<Result<CheckOutcome>> Connections::check(WorkspaceId workspace, std::string name,
                                              Actor actor) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  Result<CheckOutcome> answered = co_await run_check(*connection);
  co_await hold_given_up(*connection, answered);
  Result<CheckOutcome> outcome = require_same(*connection, std::move(answered));
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  json detail;
  detail["accepted"] = outcome.has_value();
  co_await audit(transaction, workspace, actor, "connection.check", name, std::move(detail));
  if (!outcome) {
    if (needs_a_person(outcome.error())) {
      co_await transaction.query(kFailed,
                                 pg::Params(workspace, connection->id, outcome.error().message));
    }
    if (outcome.error().kind == ErrorKind::conflict) {
      // Nothing is read with a key of another account, or of the other mode, until an admin gives
      // one that fits; the engine asks again before it reads (confirm_account).
      pg::Call park = stream_state::park(workspace, connection->id, outcome.error().describe());
      co_await transaction.query(*park.statement, std::move(park.params));
    }
    co_await transaction.commit();
    co_return outcome;
  }
  pg::Params account(workspace, connection->id, outcome->account_id, outcome->account_name,
                     outcome->mode);
  co_await transaction.query(kAccount, std::move(account));
  co_await transaction.query(kUnpark, pg::Params(workspace, connection->id));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return outcome;
}

Task<Result<std::vector<std::string>>> Connections::request_sync(WorkspaceId workspace,
                                                                 std::string name,
                                                                 std::vector<std::string> streams,
                                                                 ReadAgain again, Actor actor) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  if (connection->state == "DISCONNECTING" || connection->state == "DISCONNECTED") {
    co_return fail(ErrorKind::conflict, "connection.disabled",
                   fmt::format("connection '{}' is off: {}", name, connection->state_reason),
                   "sluice connection enable " + name);
  }
  pg::Array wanted(pg::Oid::text);
  for (const std::string& stream : streams) {
    if (connection->manifest().find_stream(stream) == nullptr)
      co_return unknown_stream(name, stream);
    wanted.add(std::string_view(stream));
  }
  pg::Params params(workspace, connection->id, std::move(wanted), again != ReadAgain::no,
                    again == ReadAgain::trusting_vendor);
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto asked = co_await transaction.query(kSyncNow, std::move(params));
  std::vector<std::string> names;
  for (int row = 0; row < asked.rows(); ++row) names.push_back(asked.get<std::string>(row, 0));
  for (const std::string& stream : streams) {
    if (std::find(names.begin(), names.end(), stream) != names.end()) continue;
    co_await transaction.rollback();
    co_return fail(ErrorKind::conflict, "stream.paused",
                   fmt::format("stream '{}' of connection '{}' is paused", stream, name),
                   fmt::format("sluice connection resume {} {}", name, stream));
  }
  json detail = json::object();
  detail["streams"] = names;
  detail["full"] = again != ReadAgain::no;
  if (again == ReadAgain::trusting_vendor) detail["trust_vendor"] = true;
  co_await audit(transaction, workspace, actor, "connection.sync", name, std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return names;
}

Task<Result<void>> Connections::set_interval(WorkspaceId workspace, std::string name,
                                             std::string stream, std::int64_t seconds,
                                             Actor actor) {
  auto connection = co_await load(workspace, name);
  if (!connection) co_return std::unexpected(connection.error());
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto set =
      co_await transaction.query(kInterval, pg::Params(workspace, connection->id, stream, seconds));
  if (set.empty()) co_return unknown_stream(name, stream);
  json detail = json::object();
  detail["interval_seconds"] = seconds;
  co_await audit(transaction, workspace, actor, "stream.interval", name + "/" + stream,
                 std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

Task<Result<void>> Connections::confirm_reconcile(WorkspaceId workspace, std::string connection,
                                                  std::string stream, bool confirm, Actor actor) {
  auto found = co_await load(workspace, connection);
  if (!found) co_return std::unexpected(found.error());
  pg::Pool pool = changing(workspace);
  auto lease = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*lease);
  const auto set = co_await transaction.query(kConfirmReconcile,
                                              pg::Params(workspace, found->id, stream, confirm));
  if (set.empty()) {
    co_return fail(ErrorKind::conflict, "reconcile.not_blocked",
                   fmt::format("nothing waits for a yes at {}/{}", connection, stream),
                   "sluice status " + connection);
  }
  json detail = json::object();
  detail["confirm"] = confirm;
  co_await audit(transaction, workspace, actor, "reconcile.confirm", connection + "/" + stream,
                 std::move(detail));
  co_await transaction.commit();
  if (changed_) changed_(workspace);
  co_return Result<void>();
}

}  // namespace sluice::sync
