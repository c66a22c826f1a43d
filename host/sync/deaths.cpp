#include "sync/deaths.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "base/log.hpp"
#include "sync/audit.hpp"
#include "sync/connection_state.hpp"
#include "sync/stream_state.hpp"

namespace sluice::sync {
namespace {

using connector::RecordedCall;
using connector::RecordedDeath;
using nlohmann::json;

// The file may be of a data directory that had another database: names must fit, too.
const pg::Statement kWhose{"deaths_whose", R"(
  select vendor_account is null from sluice.connection
  where workspace_id = $1 and connection_id = $2 and name = $3 and connector = $4 for no key update)"};

const pg::Statement kCount{"deaths_count", R"(
  insert into sluice.connector_death (workspace_id, connection_id, operation, subject, death, connector, version,
                                      sha256, function, how, half_made, run_id, at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
  on conflict do nothing returning death)"};

const pg::Statement kSoFar{"deaths_so_far", R"(
  select count(*), string_agg(how || ' in ' || function || '()', ', ' order by at, death), max(connector || ' ' || version)
  from sluice.connector_death
  where workspace_id = $1 and connection_id = $2 and operation = $3 and subject = $4)"};

// What happened to it, where nobody has said so yet.
const pg::Statement kRun{"deaths_run", R"(
  update sluice.sync_run set finished_at = coalesce(finished_at, now()), outcome = coalesce(outcome, 'lost'),
         error = case when outcome is distinct from 'done' then coalesce(error, $3) end
  where workspace_id = $1 and run_id = $2 and connection_id = $4 and stream = $5)"};

const pg::Statement kCountForFile{"deaths_count_for_file", R"(
  insert into sluice.connector_file_death (sha256, death, what, how, is_load, at)
  values (decode($1, 'hex'), $2, $3, $4, $5, $6) on conflict do nothing returning death)"};

const pg::Statement kOfFile{"deaths_of_file", R"(
  select count(*), count(*) filter (where is_load), string_agg(how || ' while ' || what, ', ' order by at, death)
  from sluice.connector_file_death where sha256 = decode($1, 'hex'))"};

const pg::Statement kHoldFile{"deaths_hold_file", R"(
  insert into sluice.connector_hold (sha256, connector, version, code, reason)
  values (decode($1, 'hex'), $2, $3, $4, $5) on conflict do nothing returning true)"};

const pg::Statement kLiftHold{"deaths_lift_hold", R"(
  delete from sluice.connector_hold where sha256 = decode($1, 'hex') returning true)"};

const pg::Statement kForgetFile{"deaths_forget_file", R"(
  delete from sluice.connector_file_death where sha256 = decode($1, 'hex'))"};

const pg::Statement kForgetContent{"deaths_forget_content", R"(
  delete from sluice.connector_death where sha256 = $1)"};

const pg::Statement kOfNew{"deaths_of_new", R"(
  select count(*), string_agg(how || ' in ' || function || '()', ', ' order by at, death), max(connector || ' ' || version)
  from sluice.connector_death
  where workspace_id = $1 and operation = 'check' and connector = $2 and sha256 = $3 and half_made)"};

const pg::Statement kForgetStream{"deaths_forget_stream", R"(
  delete from sluice.connector_death
  where workspace_id = $1 and connection_id = $2
    and (operation = 'read' and subject = $3 or operation = 'check'))"};

const pg::Statement kForgetConnections{"deaths_forget_connections", R"(
  delete from sluice.connector_death where workspace_id = $1 and connection_id = any ($2))"};

const pg::Statement kOfConnector{"deaths_of_connector", R"(
  select connection_id from sluice.connection where workspace_id = $1 and connector = $2)"};

const pg::Statement kForgetOthers{"deaths_forget_others", R"(
  delete from sluice.connector_death where workspace_id = $1 and connector = $2 and sha256 <> $3)"};

constexpr std::string_view kLoad = "load";
constexpr std::string_view kFileHeld = "connector.held";
constexpr std::size_t kSha256Digits = 64;
/// Of a host that lived on, but could load nothing else any more.
constexpr std::string_view kNoReturn = "no return";

/// "its connector (acme 1.2.0) ended the host 2 times while reading the stream orders: SIGSEGV in
/// step(), exit(3) in step()"
std::string sentence(std::int64_t times, std::string_view connector, std::string_view what,
                     std::string_view hows) {
  return fmt::format("its connector ({}) ended the host {} while {}: {}", connector,
                     times == 1 ? std::string("once") : fmt::format("{} times", times), what, hows);
}

std::string doing(std::string_view operation, const std::string& subject) {
  if (operation.empty()) return "being loaded";
  if (operation == "check") return "checking the key";
  if (operation == "fetch") return fmt::format("reading objects of type {} again", subject);
  return fmt::format("reading the stream {}", subject);
}

/// The key of what is counted together.
struct Counted {
  WorkspaceId workspace;
  ConnectionId connection;
  std::string operation, subject;
};

Counted counted(const RecordedCall& call) {
  Counted key;
  key.workspace = call.workspace;
  key.connection = call.connection;
  key.operation = call.operation.empty() ? std::string(kLoad) : call.operation;
  key.subject = call.operation.empty() ? call.sha256 : call.subject;
  return key;
}

Task<bool> insert(pg::Transaction& transaction, const RecordedDeath& death, bool half_made) {
  const RecordedCall& call = death.call;
  const Counted key = counted(call);
  pg::Params params(key.workspace, key.connection, key.operation, key.subject);
  params.add(std::string_view(death.id))
      .add(std::string_view(call.connector))
      .add(std::string_view(call.version))
      .add(std::string_view(call.sha256))
      .add(std::string_view(call.function))
      .add(std::string_view(death.how))
      .add(half_made)
      .add(call.run)
      .add(death.at);
  const auto row = co_await transaction.query(kCount, std::move(params));
  co_return !row.empty();
}

struct SoFar {
  std::int64_t times = 0;
  std::string sentence;
};

Task<SoFar> so_far(pg::Transaction& transaction, const RecordedCall& call) {
  const Counted key = counted(call);
  pg::Params params(key.workspace, key.connection, key.operation, key.subject);
  const auto row = co_await transaction.query(kSoFar, std::move(params));
  SoFar all;
  all.times = row.get<std::int64_t>(0, 0);
  all.sentence =
      sentence(all.times, row.text(0, 2), doing(call.operation, call.subject), row.text(0, 1));
  co_return all;
}

/// What comes of it: said, or held.
pg::Call consequence(const RecordedCall& call, const SoFar& all) {
  StreamKey key;
  key.workspace = call.workspace;
  key.connection = call.connection;
  key.stream = call.subject;
  const bool holds = all.times >= kDeathsMax;
  if (call.operation == "read") {
    return holds ? stream_state::hold(key, call.run, all.sentence)
                 : stream_state::died(key, call.run, all.sentence);
  }
  if (!holds) return pg::Call();
  return call.operation == "fetch"
             ? stream_state::hold_refetch(key.workspace, key.connection, call.subject, all.sentence)
             : stream_state::hold_all(key.workspace, key.connection, all.sentence);
}

void say(const RecordedDeath& death, std::int64_t times) {
  const RecordedCall& call = death.call;
  log::error("connector.ended_host", {{"connector", call.connector},
                                      {"version", call.version},
                                      {"workspace", call.workspace.value},
                                      {"connection", call.connection_name},
                                      {"connection_id", call.connection.value},
                                      {"operation", counted(call).operation},
                                      {call.operation == "fetch" ? "type" : "stream", call.subject},
                                      {"run", call.run.value},
                                      {"function", call.function},
                                      {"how", death.how},
                                      {"at", to_rfc3339(death.at)},
                                      {"times", times},
                                      {"held", times >= kDeathsMax ? "yes" : "no"}});
}

Task<void> count_load(pg::Pool& pool, const RecordedDeath& death) {
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const bool is_new = co_await insert(transaction, death, false);
  const SoFar all = co_await so_far(transaction, death.call);
  co_await transaction.commit();
  if (is_new) say(death, all.times);
}

Task<void> count(pg::Pool& pool, const RecordedDeath& death) {
  const RecordedCall& call = death.call;
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  pg::Params whose(call.workspace, call.connection, call.connection_name, call.connector);
  const auto found = co_await transaction.query(kWhose, std::move(whose));
  const bool is_new = !found.empty() && co_await insert(transaction, death, found.get<bool>(0, 0));
  if (!is_new) {
    co_await transaction.rollback();
    if (found.empty()) say(death, 0);
    co_return;
  }
  const SoFar all = co_await so_far(transaction, call);
  json error = json::object();
  error["class"] = "INTERNAL";
  error["vendor_code"] = "connector.ended_host";
  error["message"] = all.sentence;
  const std::string stream = call.operation == "read" ? call.subject : std::string();
  pg::Params run(call.workspace, call.run, error, call.connection, stream);
  co_await transaction.query(kRun, std::move(run));
  pg::Call then = consequence(call, all);
  if (then.statement != nullptr)
    co_await transaction.query(*then.statement, std::move(then.params));
  pg::Call state = connection_state::refresh(call.workspace, call.connection);
  co_await transaction.query(*state.statement, std::move(state.params));
  json detail = json::object();
  detail["operation"] = call.operation;
  detail["subject"] = call.subject;
  detail["connector"] = call.connector;
  detail["version"] = call.version;
  detail["run"] = call.run.value;
  detail["how"] = death.how;
  detail["times"] = all.times;
  detail["held"] = all.times >= kDeathsMax;
  std::string subject = call.connection_name;
  if (!call.subject.empty()) subject += "/" + call.subject;
  co_await audit(transaction, call.workspace, "sluiced", "connector.ended_host", std::move(subject),
                 std::move(detail));
  co_await transaction.commit();
  say(death, all.times);
}

/// Whoever it worked for: the same file is everybody's.
Task<void> count_for_file(pg::Pool& pool, const RecordedDeath& death) {
  const RecordedCall& call = death.call;
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const std::string what = doing(call.operation, call.subject);
  const std::string how = fmt::format("{} in {}()", death.how, call.function);
  pg::Params params(call.sha256, death.id, what, how, call.operation.empty(), death.at);
  const auto counted = co_await transaction.query(kCountForFile, std::move(params));
  const auto all = co_await transaction.query(kOfFile, pg::Params(call.sha256));
  const auto times = all.get<std::int64_t>(0, 0);
  const bool holds = times >= kFileDeathsMax || all.get<std::int64_t>(0, 1) >= kDeathsMax;
  if (!counted.empty() && holds) {
    const std::string reason = fmt::format(
        "{} {} ended hosts {} times ({}); it runs for nobody until an operator approves it again",
        call.connector, call.version, times, all.text(0, 2));
    log::error("connector.file_held", {{"connector", call.connector},
                                       {"version", call.version},
                                       {"sha256", call.sha256},
                                       {"times", times},
                                       {"reason", reason}});
    ConnectorFile file(call.connector, call.version, call.sha256);
    std::string code(kFileHeld), why(reason);
    co_await hold_file(transaction, std::move(file), std::move(code), std::move(why));
    if (call.workspace.has_value()) {
      json detail = json::object();
      detail["version"] = call.version;
      detail["sha256"] = call.sha256;
      detail["reason"] = reason;
      std::string subject = call.connector;
      co_await audit(transaction, call.workspace, "sluiced", "connector.held", std::move(subject),
                     std::move(detail));
    }
  }
  co_await transaction.commit();
}

Error held(std::string message, std::string hint) {
  return Error(ErrorKind::conflict, "connection.held", std::move(message), std::move(hint));
}

}  // namespace

Task<void> count_hung_load(pg::Pool& pool, ConnectorFile file, std::string death, Micros at) {
  RecordedDeath hung;
  hung.id = std::move(death);
  hung.how = kNoReturn;
  hung.at = at;
  hung.call.connector = std::move(file.connector);
  hung.call.version = std::move(file.version);
  hung.call.sha256 = std::move(file.sha256);
  hung.call.function = kLoad;
  co_await count_load(pool, hung);
  co_await count_for_file(pool, hung);
}

Task<void> count_deaths(pg::Pool& pool, connector::FlightRecorder& recorder) {
  for (const RecordedCall& call : recorder.left_behind().unfinished) {
    log::warning("connector.call_unfinished", {{"connector", call.connector},
                                               {"version", call.version},
                                               {"workspace", call.workspace.value},
                                               {"connection", call.connection_name},
                                               {"connection_id", call.connection.value},
                                               {"operation", counted(call).operation},
                                               {"subject", call.subject},
                                               {"run", call.run.value},
                                               {"function", call.function}});
  }
  for (const RecordedDeath& death : recorder.left_behind().deaths) {
    if (death.call.operation.empty()) {
      co_await count_load(pool, death);
    } else {
      co_await count(pool, death);
    }
    // What a crash left is not trusted to be a hash.
    const std::string& sha256 = death.call.sha256;
    if (sha256.size() == kSha256Digits && from_hex(sha256)) co_await count_for_file(pool, death);
  }
  recorder.forget_left_behind();
}

Task<std::optional<Error>> held_check(pg::Pool& pool, WorkspaceId workspace,
                                      ConnectionId connection, std::string name) {
  pg::Params params(workspace, connection, "check", "");
  const auto row = co_await pool.query(kSoFar, std::move(params));
  const auto times = row.get<std::int64_t>(0, 0);
  if (times < kDeathsMax) co_return std::nullopt;
  co_return held(sentence(times, row.text(0, 2), doing("check", ""), row.text(0, 1)),
                 fmt::format("Install a version that mends it, or try it again: sluice connection "
                             "enable {}",
                             name));
}

Task<std::optional<Error>> held_creation(pg::Pool& pool, WorkspaceId workspace,
                                         std::string connector, std::string sha256) {
  const auto row = co_await pool.query(kOfNew, pg::Params(workspace, connector, sha256));
  const auto times = row.get<std::int64_t>(0, 0);
  if (times < kDeathsMax) co_return std::nullopt;
  co_return held(
      sentence(times, row.text(0, 2), "checking the key of a new connection", row.text(0, 1)),
      fmt::format("Install a version that mends it; an operator has this one tried again: sluice "
                  "connector approve {} --sha256 {}",
                  connector, sha256.substr(0, 12)));
}

Task<void> forget_deaths(pg::Transaction& transaction, WorkspaceId workspace,
                         ConnectionId connection, std::string stream) {
  co_await transaction.query(kForgetStream, pg::Params(workspace, connection, stream));
}

Task<void> forget_deaths(pg::Transaction& transaction, WorkspaceId workspace,
                         pg::Array connections) {
  co_await transaction.query(kForgetConnections, pg::Params(workspace, connections));
  pg::Call release = stream_state::release(workspace, std::move(connections));
  co_await transaction.query(*release.statement, std::move(release.params));
}

Task<void> forget_deaths_of_others(pg::Transaction& transaction, WorkspaceId workspace,
                                   std::string connector, std::string sha256) {
  const auto rows = co_await transaction.query(kOfConnector, pg::Params(workspace, connector));
  pg::Array connections(pg::Oid::int8);
  for (int row = 0; row < rows.rows(); ++row) connections.add(rows.get<ConnectionId>(row, 0).value);
  co_await transaction.query(kForgetOthers, pg::Params(workspace, connector, sha256));
  pg::Call release = stream_state::release(workspace, std::move(connections));
  co_await transaction.query(*release.statement, std::move(release.params));
}

Task<bool> lift_hold(pg::Transaction& transaction, std::string sha256) {
  const auto lifted = co_await transaction.query(kLiftHold, pg::Params(sha256));
  co_await transaction.query(kForgetFile, pg::Params(sha256));
  co_await transaction.query(kForgetContent, pg::Params(sha256));
  co_return !lifted.empty();
}

Task<void> hold_file(pg::Transaction& transaction, ConnectorFile file, std::string code,
                     std::string reason) {
  pg::Params params(file.sha256, file.connector, file.version, code, reason);
  co_await transaction.query(kHoldFile, std::move(params));
}

Error held_file(const ConnectorFile& file, std::string code, std::string reason) {
  return Error(ErrorKind::denied, std::move(code), std::move(reason),
               fmt::format("Install another version; or an operator lets this one run again: "
                           "sluice connector approve {} --sha256 {}",
                           file.connector, file.sha256.substr(0, 12)));
}

}  // namespace sluice::sync
