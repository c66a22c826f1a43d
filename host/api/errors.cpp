// Everything that is not well in a workspace, in one list; and the answer to a blocked reconcile.
#include "api/causes.hpp"
#include "api/host_facts.hpp"
#include "api/status.hpp"
#include "api/words.hpp"
#include "base/numbers.hpp"
#include "base/printable.hpp"
#include "contract/reserved_names.hpp"
#include "feed/view_owners.hpp"
#include "feed/views.hpp"
#include "link/idle.hpp"
#include "model/currencies.hpp"
#include "model/own_entities.hpp"
#include "pg/roles.hpp"
#include "sync/deaths.hpp"
#include "work/queue.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <set>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::size_t kProblemsMax = 1000;  ///< in one answer; "truncated" says that there are more
constexpr std::int64_t kExaminedMax = 10'000;  ///< rows of a connection that are summed up
/// A stream that has not been read for so many of its intervals (and so long) is told of.
constexpr std::int64_t kLateIntervals = 10;
constexpr std::int64_t kLateSecondsMin = 60;
constexpr std::int64_t kSampleIds = 5;
constexpr std::int64_t kFirstReadSecondsMax = 86'400;

const pg::Statement kQuarantine{"api_errors_quarantine", R"(
  select c.name, q.type, q.code, sum(case when q.external_id = '' then q.times else 1 end)::bigint, (array_agg(q.reason order by q.last_seen_at desc))[1],
         (extract(epoch from max(q.last_seen_at)) * 1000000)::bigint,
         (count(*) >= $2) as at_least
  from sluice.connection c cross join lateral (
    select * from sluice.quarantine n
    where n.workspace_id = c.workspace_id and n.connection_id = c.connection_id limit $2) q
  where c.workspace_id = $1
  group by c.name, q.type, q.code order by c.name, 4 desc, q.type, q.code limit $3)"};

const pg::Statement kRefetch{"api_errors_refetch", R"(
  select c.name, c.connector || '.' || f.type, f.reason, count(*), max(f.attempts),
         (array_agg(f.external_id order by f.attempts desc))[1:$4],
         (extract(epoch from min(f.not_before)) * 1000000)::bigint
  from sluice.connection c cross join lateral (
    select * from sluice.refetch n
    where n.workspace_id = c.workspace_id and n.connection_id = c.connection_id and n.attempts > 0
    order by n.type, n.not_before limit $2) f
  where c.workspace_id = $1
  group by c.name, c.connector, f.type, f.reason order by c.name, count(*) desc limit $3)"};

// While something waits for it.
const pg::Statement kPauses{"api_errors_refetch_pauses", R"(
  select c.name, case when p.type = '' then '' else c.connector || '.' || p.type end, p.error_class, p.reason,
         p.failures, (extract(epoch from p.since) * 1000000)::bigint,
         case when p.error_class <> 'HELD' then (extract(epoch from p.until) * 1000000)::bigint end
  from sluice.refetch_pause p
  cross join lateral (select n.name, n.connector from sluice.connection n
    where n.workspace_id = p.workspace_id and n.connection_id = p.connection_id offset 0) c
  cross join lateral (select 1 from sluice.refetch f
    where f.workspace_id = p.workspace_id and f.connection_id = p.connection_id limit 1) waits
  where p.workspace_id = $1 order by p.connection_id, p.type limit $2)"};

const pg::Statement kConnectionName{"api_connection_name", R"(
  select c.name, h.sha256 is not null from sluice.connection c
  left join sluice.installation i on i.workspace_id = c.workspace_id and i.connector = c.connector
  left join sluice.connector_hold h on h.sha256 = i.sha256
  where c.workspace_id = $1 and c.connection_id = $2)"};

// And how many entities wait there for a person's decision.
const pg::Statement kIsStream{"api_is_stream", R"(
  select coalesce((select sum((t->>'missing')::bigint)
                   from jsonb_array_elements(reconcile_detail->'types') t), 0)::bigint
  from sluice.stream
  where workspace_id = $1 and connection_id = $2 and stream = $3)"};

const pg::Statement kInstalledManifests{"api_errors_manifests", R"(
  select i.connector, v.version, v.manifest::text, encode(i.sha256, 'hex'), h.code, h.reason
  from sluice.installation i join sluice.connector_version v using (connector, sha256)
  left join sluice.connector_hold h on h.sha256 = i.sha256
  where i.workspace_id = $1 order by i.connector)"};

/// A vendor's word for a currency, of which nothing but that it is text is known.
std::string shown_code(std::string_view currency) {
  constexpr std::size_t kShownMax = 20;
  if (currency.size() <= kShownMax) return printable(currency);
  std::size_t size = kShownMax;
  while (size > 0 && (static_cast<unsigned char>(currency[size]) & 0xC0U) == 0x80) --size;
  return printable(currency.substr(0, size)) + "…";
}

/// Nothing has failed, and nothing comes either: what it waits for has not answered, or others are
/// before it.
void add_late(Causes& problems, const json& connection, const json& stream) {
  const std::int64_t interval = stream["interval_seconds"];
  if (!stream["enabled"].get<bool>() || interval == 0 || stream["last_success_at"].is_null() ||
      stream["health"] == "off")
    return;
  const std::int64_t age = stream["last_success_age_seconds"];
  if (age < std::max(kLateSecondsMin, interval * kLateIntervals)) return;
  json one = problem_of(
      "stream", connection, stream["name"], "late",
      fmt::format("not read to its end for {} s, though every {} s is wanted; {}", age, interval,
                  stream["summary"].get<std::string>()),
      "what hangs at the vendor is an entry of its own; else it waits for its turn, see sluice "
      "status " +
          connection.get<std::string>());
  problems.add(std::move(one), "");
}

/// All goes well, and yet not as it looks: what only the figures tell.
void add_odd(Causes& problems, const json& connection, const json& stream) {
  const std::string name = connection.get<std::string>();
  const std::int64_t older = stream["last_run_older"];
  if (older > 0) {
    problems.add(problem_of(
        "stream", connection, stream["name"], "stream.older",
        fmt::format("the last run read {} records of a lower version than what is stored; they "
                    "were left aside",
                    with_commas(older)),
        fmt::format("a few may be answers that came late; if the vendor was put back to an earlier "
                    "state: sluice sync {} --stream {} --full --trust-vendor",
                    name, stream["name"].get<std::string>())));
  }
  if (stream["without_checkpoint"].get<bool>()) {
    const bool changes = stream["mode"] == "changes";
    problems.add(problem_of(
        "stream", connection, stream["name"], "stream.no_checkpoint",
        changes ? "it was read to its end and its connector put out no checkpoint: where changes "
                  "begin is not known, and the other streams wait for it"
                : "it is read to its end and its connector puts out no checkpoint: each run reads "
                  "the same again",
        "tell the connector's author: a run ends with a checkpoint"));
  }
  if (stream["first_read_seconds"].get<std::int64_t>() > kFirstReadSecondsMax) {
    problems.add(problem_of(
        "stream", connection, stream["name"], "stream.long_first_read",
        fmt::format(
            "the first read began {} ago, has put out {} records and has not ended",
            span_in_words(std::chrono::seconds(stream["first_read_seconds"].get<std::int64_t>())),
            with_commas(stream["enumerated_records"].get<std::int64_t>())),
        "is there so much at the vendor? If not, the list does not end: tell the connector's "
        "author"));
  }
}

void add_streams(Causes& problems, const json& connection) {
  static const std::set<std::string> kUnwell = {"failing", "needs_action", "blocked", "overdue"};
  for (const json& stream : connection["streams"]) {
    if (kUnwell.contains(stream["health"].get<std::string>())) continue;
    add_late(problems, connection["name"], stream);
    add_odd(problems, connection["name"], stream);
  }
  add_causes(problems, connection);
}

Task<void> add_connections(Call& call, Causes& problems) {
  StatusQuery query;
  query.limit = kConnectionsPageMax;
  for (bool more = true; more && !problems.full();) {
    const json page = co_await statuses(call, query);
    for (const json& connection : page) add_streams(problems, connection);
    more = static_cast<std::int64_t>(page.size()) == query.limit;
    if (more) query.after = page.back()["name"].get<std::string>();
  }
}

Task<void> add_quarantine(Call& call, Causes& problems) {
  pg::Params params(call.workspace, kExaminedMax, static_cast<std::int64_t>(kProblemsMax));
  const auto rows = co_await call.services.pool.query(kQuarantine, std::move(params));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto connection = rows.get<std::string>(row, 0);
    const auto code = rows.get<std::string>(row, 2);
    const auto count = rows.get<std::int64_t>(row, 3);
    const bool at_least = rows.get<bool>(row, 6);
    json one = problem_of(
        "quarantine", connection, rows.get<std::string>(row, 1), code,
        fmt::format("{}{} not stored as {} came; the last: {}", at_least ? "at least " : "",
                    count == 1 ? "1 record is" : with_commas(count) + " records are",
                    count == 1 ? "it" : "they", rows.text(row, 4)),
        fmt::format("look: sluice quarantine list --connection {0} --code {1}; mended? sluice "
                    "quarantine replay --connection {0} --code {1}",
                    connection, code));
    one["count"] = count;
    one["last_seen_at"] = time_or_null(rows, row, 5);
    problems.add(std::move(one));
  }
}

Task<void> add_refetch(Call& call, Causes& problems) {
  pg::Params params(call.workspace, kExaminedMax, static_cast<std::int64_t>(kProblemsMax),
                    kSampleIds);
  const auto rows = co_await call.services.pool.query(kRefetch, std::move(params));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto count = rows.get<std::int64_t>(row, 3);
    const auto attempts = rows.get<std::int64_t>(row, 4);
    json one = problem_of(
        "refetch", rows.get<std::string>(row, 0), rows.get<std::string>(row, 1), "refetch.failed",
        fmt::format("{} changed objects could not be read again (up to {} attempts), for example "
                    "{}: {}",
                    with_commas(count), with_commas(attempts), rows.text(row, 5),
                    rows.text(row, 2)),
        "they are tried again by themselves, with growing pauses; the reason says what is wrong");
    one["count"] = count;
    one["attempts"] = attempts;
    one["next_at"] = time_or_null(rows, row, 6);
    problems.add(std::move(one));
  }
}

/// Rules that are on, whose ends are there, and that can find nothing all the same.
void add_idle_rules(const model::Catalog& catalog, Causes& problems) {
  for (const model::StoredRule& rule : catalog.rules) {
    const auto why = link::why_idle(catalog, rule);
    if (!why || why->code != "rule.no_such_key") continue;
    problems.add(problem_of("rule", "", rule.name, why->code,
                            "the link rule finds nothing: " + why->message, why->hint));
  }
}

/// Own entities that are one by a unique attribute, from before they were.
void add_shared_keys(const std::vector<model::SharedKey>& shared, Causes& problems) {
  for (const model::SharedKey& one : shared) {
    problems.add(problem_of(
        "entity", "", one.type + "." + one.attribute, "entity.same_key",
        fmt::format("entities {} and {} are one by this unique attribute, and both were stored "
                    "before that was so; a new one with its value is refused",
                    one.other.value, one.id.value),
        fmt::format("delete one of the two, or give it another value: sluice entity get {} {}",
                    one.type, one.id.value)));
  }
  if (shared.size() >= static_cast<std::size_t>(model::kSharedKeysMax)) problems.truncate();
}

/// Amounts that are shown in minor units only.
Task<void> add_currencies(pg::Connection& connection, const model::Catalog& catalog,
                          Causes& problems) {
  const auto unknown = co_await model::unknown_currencies(connection, catalog);
  for (const model::UnknownCurrency& one : unknown) {
    std::vector<std::string> columns;
    for (const std::string& amount : one.amounts) columns.push_back(contract::major_name(amount));
    const std::string currency =
        one.currency.empty() ? "a currency" : "currency '" + shown_code(one.currency) + "'";
    json entry = problem_of(
        "entity", "", one.type, "amount.unknown_currency",
        fmt::format("{}{} of {} {} in {} that Sluice does not know: no {}",
                    one.rows < model::kUnknownCounted ? "" : "at least ",
                    one.rows == 1 ? "1 row" : with_commas(one.rows) + " rows", one.type,
                    one.rows == 1 ? "has an amount" : "have amounts", currency,
                    fmt::join(columns, ", ")),
        "the connector's author says in its manifest how many digits stand behind the point "
        "(currency_exponents); install a version that does");
    entry["count"] = one.rows;
    problems.add(std::move(entry));
  }
}

/// What the catalogue says and the database has not: SQL views, keys that are one, idle rules.
Task<void> add_catalogue(Call& call, Causes& problems) {
  auto connection = co_await call.services.pool.acquire();
  const model::CatalogPtr catalog = co_await model::load_catalog(*connection, call.workspace);
  add_idle_rules(*catalog, problems);
  co_await add_currencies(*connection, *catalog, problems);
  const auto shared = co_await model::shared_keys(*connection, *catalog);
  add_shared_keys(shared, problems);
  const auto stale = co_await feed::stale_views(*connection, *catalog);
  for (const feed::StaleView& one : stale) {
    // Durable work makes it in a moment, and says itself when that goes wrong.
    if (one.error.code == feed::kOwnerBusyCode) continue;
    problems.add(problem_of("view", "", one.name, one.error.code, one.error.message,
                            one.error.hint.empty() ? "sluice view refresh" : one.error.hint));
  }
}

/// What is wrong with a manifest by today's rules. A file that lies in a directory and is admitted
/// has nothing wrong; one that is loaded was read with its flaws.
std::vector<contract::ManifestFlaw> flaws_of(const connector::Registry& registry,
                                             const std::string& sha256, std::string_view manifest) {
  if (const auto loaded = registry.find(sha256)) return loaded->manifest().flaws;
  if (registry.shelf().shelved()->find(sha256) != nullptr) return {};
  auto parsed = contract::parse_manifest(manifest, contract::Admission::before);
  if (!parsed) return {};  // whoever runs it says so
  return std::move(parsed->flaws);
}

/// What runs no more, and what today's rules would refuse in a connector that an older host
/// admitted.
Task<void> add_connectors(Call& call, Causes& problems) {
  const auto rows =
      co_await call.services.pool.query(kInstalledManifests, pg::Params(call.workspace));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto connector = rows.get<std::string>(row, 0);
    if (!rows.is_null(row, 4)) {
      const sync::ConnectorFile file(connector, rows.get<std::string>(row, 1),
                                     rows.get<std::string>(row, 3));
      const Error held =
          sync::held_file(file, rows.get<std::string>(row, 4), rows.get<std::string>(row, 5));
      problems.add(problem_of("connector", "", connector, held.code, held.message, held.hint));
    }
    for (const contract::ManifestFlaw& flaw :
         flaws_of(call.services.registry, rows.get<std::string>(row, 3), rows.text(row, 2))) {
      problems.add(problem_of(
          "connector", "", connector, "connector.outdated",
          fmt::format("{} {} is installed, but would not be admitted any more: {}: {}", connector,
                      rows.text(row, 1), flaw.pointer, flaw.what),
          fmt::format("it goes on without that; install a version of {} that is built anew",
                      connector)));
    }
  }
}

/// What is not asked for at all, for a while: one entry instead of one for each id.
Task<void> add_pauses(Call& call, Causes& problems) {
  pg::Params params(call.workspace, static_cast<std::int64_t>(kProblemsMax));
  const auto rows = co_await call.services.pool.query(kPauses, std::move(params));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto type = rows.get<std::string>(row, 1);
    const auto pauses = rows.get<std::int64_t>(row, 4);
    const bool held = rows.text(row, 2) == "HELD";
    const auto name = rows.get<std::string>(row, 0);
    const std::string what = fmt::format(
        "changed objects{} are not read again{}: {} ({})", type.empty() ? "" : " of type " + type,
        held ? "" : " for now", rows.text(row, 3), rows.text(row, 2));
    const std::string action =
        held ? "install a version of the connector that mends it; or have it tried again: sluice "
               "connection enable " +
                   name
             : "one of them is tried by itself after the pause; when that goes well the rest "
               "follow";
    json one =
        problem_of("refetch", name, type, held ? "refetch.held" : "refetch.paused", what, action);
    one["count"] = pauses;
    one["since"] = time_or_null(rows, row, 5);
    one["next_at"] = time_or_null(rows, row, 6);
    const auto dot = type.find('.');
    problems.add(
        std::move(one),
        rows.get<std::string>(row, 2) + " " +
            cause_in(rows.text(row, 3), dot == std::string::npos ? type : type.substr(dot + 1)));
  }
}

/// What the host says of itself, also without a token: GET /health.
void add_host(Call& call, Causes& problems) {
  for (const HostReason& reason : call.services.host.reasons())
    problems.add(problem_of("host", "", "", reason.code, reason.what, reason.action));
}

/// Directories of connectors that are not looked into; where they lie is an operator's matter.
void add_directories(Call& call, Causes& problems) {
  const connector::ShelvedPtr shelved = call.services.registry.shelf().shelved();
  for (const Error& error : shelved->errors) {
    const bool may_see = call.principal.role >= Role::operator_;
    problems.add(problem_of(
        "host", "", "connectors.directories", error.code,
        may_see ? error.message : "a directory of connectors is not looked into on this host",
        may_see ? error.hint : "an operator sees which: sluice connector list"));
  }
}

/// Where whoever can send SQL as the host may do more than a host does.
Task<void> add_rights(Call& call, Causes& problems) {
  auto connection = co_await call.services.pool.acquire();
  const auto too_many = co_await pg::rights_too_many(*connection);
  if (too_many.empty()) co_return;
  problems.add(problem_of(
      "host", "", "database", "database.second_line_off",
      fmt::format("the host's database role may more than a host needs: {}",
                  fmt::join(too_many, "; ")),
      "name a login without rights in database.url and the owner's in database.owner_url, and "
      "start again; docs/operating/README.md has the statements"));
}

/// What this host itself cannot do: the database's disk is full, a connector's file is missing.
Task<void> add_troubles(Call& call, Causes& problems) {
  for (const sync::Trouble& trouble : call.services.engine.troubles()) {
    if (trouble.workspace != call.workspace) continue;
    std::string connection;
    if (trouble.connection.has_value()) {
      pg::Params which(call.workspace, trouble.connection);
      const auto named = co_await call.services.pool.query(kConnectionName, std::move(which));
      if (!named.empty()) connection = named.get<std::string>(0, 0);
      // That its connector is held is told of the connector, with what to do; no time mends it.
      if (!named.empty() && named.get<bool>(0, 1)) continue;
    }
    const bool hangs = trouble.failures == 0;
    json one = problem_of("work", connection, connection.empty() ? trouble.work : connection,
                          !trouble.code.empty() ? trouble.code
                          : hangs               ? "work.hangs"
                                                : "work.failed",
                          trouble.message,
                          trouble.action.empty() ? "it is tried again by itself, with growing "
                                                   "pauses; the host's log says more"
                                                 : trouble.action);
    one["count"] = std::max<std::int64_t>(1, trouble.failures);
    problems.add(std::move(one));
  }
}

/// What somebody started that fails again and again. Until it is done, what it is for is not.
Task<void> add_durable_work(Call& call, Causes& problems) {
  const auto open = co_await work::list_open(call.services.pool, call.workspace);
  for (const work::ShownWork& one : open) {
    if (one.attempts == 0) continue;
    const std::string hint = one.error.value("hint", std::string());
    json problem = problem_of(
        "work", "", one.subject.empty() ? one.kind : one.subject,
        one.error.value("code", std::string("work.failed")),
        fmt::format("{} (work {}) failed: {}", one.kind, one.id.value,
                    one.error.value("message", std::string())),
        (hint.empty() ? hint : hint + "; ") + "it is tried again by itself, with growing pauses");
    problem["count"] = one.attempts;
    problem["attempts"] = one.attempts;
    problems.add(std::move(problem));
  }
}

Task<HttpResponse> list(Call& call) {
  Causes problems(kProblemsMax);
  add_host(call, problems);
  co_await add_troubles(call, problems);
  co_await add_durable_work(call, problems);
  co_await add_connections(call, problems);
  co_await add_pauses(call, problems);
  co_await add_refetch(call, problems);
  co_await add_quarantine(call, problems);
  co_await add_catalogue(call, problems);
  co_await add_connectors(call, problems);
  co_await add_rights(call, problems);
  add_directories(call, problems);
  json document;
  document["truncated"] = problems.truncated();
  document["errors"] = problems.take();
  document["ok"] = document["errors"].empty();
  co_return HttpResponse::json(document);
}

Task<HttpResponse> decide(Call& call) {
  const json body = co_await call.body();
  const bool confirm = body["confirm"];
  const ConnectionId connection = co_await connection_named(call, call.part("name"));
  const auto stream = co_await call.services.pool.query(
      kIsStream, pg::Params(call.workspace, connection, call.part("stream")));
  if (stream.empty()) {
    throw Failure(Error(ErrorKind::not_found, "stream.unknown",
                        fmt::format("connection '{}' has no stream '{}'", call.part("name"),
                                    call.part("stream").substr(0, 100)),
                        "sluice status " + call.part("name")));
  }
  expect(co_await call.services.connections.confirm_reconcile(
      call.workspace, call.part("name"), call.part("stream"), confirm, call.actor()));
  json document;
  document["stream"] = call.part("stream");
  document["confirm"] = confirm;
  document["missing"] = stream.get<std::int64_t>(0, 0);
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 2> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/errors",
     .access = Access::reader,
     .operation = "listErrors",
     .summary = "Everything that is not well: host, durable work, streams, connections, refetch, "
                "quarantine, link rules, own entities, SQL views, connectors; each with what to do",
     .handler = list,
     .answer = "ErrorList"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/streams/{stream}/reconcile",
     .access = Access::admin,
     .operation = "decideReconcile",
     .summary = "Decides whether what is missing at the vendor is deleted here, too",
     .handler = decide,
     .body = "ReconcileDecision",
     .answer = "ReconcileDecided",
     .problems = "404 connection.unknown stream.unknown connector.* 403 connector.held 409 "
                 "reconcile.not_blocked connection.* connector.*"},
}};

}  // namespace

std::span<const Route> error_routes() { return kRoutes; }

}  // namespace sluice::api
