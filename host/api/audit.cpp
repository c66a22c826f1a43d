// The audit: who did what in a workspace, from where, and what came of it.
#include "api/api.hpp"
#include "base/exact_json.hpp"
#include "base/moment.hpp"
#include "base/numbers.hpp"

#include <fmt/format.h>

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::int64_t kPage = 50;
constexpr std::int64_t kPageMax = 1000;
/// A page with a filter looks at so many lines and then says where it got to, so that no question
/// reads the whole audit.
constexpr std::int64_t kExaminedMax = 5000;
constexpr std::size_t kFilterMax = 200;  ///< bytes

// By the index of the audit by age: what is older than $2 is not read, nor what is behind the page.
const pg::Statement kPageOf{"api_audit", R"(
  with examined as materialized (
    select a.at, a.audit_id, a.actor, a.action, a.subject, a.detail from sluice.audit a
    where a.workspace_id = $1
      and a.at >= coalesce(timestamptz 'epoch' + $2::bigint * interval '1 microsecond', '-infinity')
      and (a.at, a.audit_id) < (coalesce(timestamptz 'epoch' + $3::bigint * interval '1 microsecond', 'infinity'),
                                coalesce($4::bigint, 9223372036854775807))
    order by a.at desc, a.audit_id desc limit $5)
  select r.audit_id, (extract(epoch from r.at) * 1000000)::bigint, r.actor, r.action, r.subject, r.detail::text,
         e.lines, (extract(epoch from o.at) * 1000000)::bigint, o.audit_id
  from (select count(*) as lines from examined) e
  left join lateral (select x.at, x.audit_id from examined x order by x.at, x.audit_id limit 1) o on true
  left join lateral (
    select * from examined x
    where ($6::text is null or position(lower($6) in lower(x.actor)) > 0)
      and ($7::text is null or x.action = $7 or starts_with(x.action, $7 || '.'))
    order by x.at desc, x.audit_id desc limit $8) r on true
  order by r.at desc, r.audit_id desc)"};

/// Where a page ended: "1764298000123456.17", time in µs and number of its last line.
struct Position {
  std::int64_t at = 0, id = 0;
};

std::optional<Position> position_of(const Call& call) {
  const auto text = call.http.parameter("cursor");
  if (!text) return std::nullopt;
  const auto dot = text->find('.');
  const auto at = whole_number(std::string_view(*text).substr(0, dot));
  const auto id = dot == std::string::npos ? std::nullopt
                                           : whole_number(std::string_view(*text).substr(dot + 1));
  if (!at || !id) {
    bad_request("request.bad_parameter", "cursor is not one of the audit's",
                "Give the \"next\" of the page before, as it is");
  }
  return Position{*at, *id};
}

std::optional<std::int64_t> since_of(const Call& call) {
  const auto text = call.http.parameter("since");
  if (!text) return std::nullopt;
  if (const auto moment = moment_of(*text, call.services.clock.now())) return moment->count();
  bad_request("request.bad_parameter",
              fmt::format("since={} is neither a time nor a span before now", text->substr(0, 60)),
              "Such as 2026-11-23T05:00:00Z, 2026-11-23, today, or 30m, 12h, 7d");
}

std::optional<std::string> filter_of(const Call& call, const char* name) {
  auto text = call.http.parameter(name);
  if (text && (text->empty() || text->size() > kFilterMax)) {
    bad_request("request.bad_parameter",
                fmt::format("{} must be text of 1 to {} bytes", name, kFilterMax));
  }
  return text;
}

/// "token 3 'dashboard' from 192.0.2.7" (Principal::text()): whoever it was, and from where.
void describe_actor(json& line, const std::string& actor, const std::string& subject) {
  constexpr std::string_view kFrom = "' from ";
  const auto from = actor.rfind(kFrom);
  line["who"] = from == std::string::npos ? actor : actor.substr(0, from + 1);
  line["from"] =
      from == std::string::npos ? json(nullptr) : json(actor.substr(from + kFrom.size()));
  line["token"] = nullptr;
  if (actor.starts_with("token ")) line["token"] = actor.substr(6, actor.find(' ', 6) - 6);
  if (line["action"] == "token.wrong") line["from"] = subject;
}

json line_of(const pg::QueryResult& rows, int row) {
  json line;
  line["id"] = std::to_string(rows.get<std::int64_t>(row, 0));
  line["at"] = time_or_null(rows, row, 1);
  line["action"] = rows.get<std::string>(row, 3);
  line["subject"] = rows.get<std::string>(row, 4);
  describe_actor(line, rows.get<std::string>(row, 2), rows.get<std::string>(row, 4));
  // A line stands in the transaction of what it tells of, so what has one was done; but for these.
  const bool refused = line["action"] == "request.refused" || line["action"] == "token.wrong";
  line["outcome"] = refused ? "refused" : "done";
  line["detail"] = ready_json(rows.text(row, 5));
  return line;
}

Task<HttpResponse> list(Call& call) {
  const std::int64_t limit = call.limit();
  const auto since = since_of(call);
  const auto after = position_of(call);
  const auto who = filter_of(call, "who");
  const auto action = filter_of(call, "action");
  const std::int64_t examine = who || action ? kExaminedMax : limit;
  const auto at = after ? std::optional(after->at) : std::nullopt;
  const auto id = after ? std::optional(after->id) : std::nullopt;
  pg::Params params(call.workspace, since, at, id, examine, who, action, limit);
  const auto rows = co_await call.services.pool.query(kPageOf, std::move(params));
  json document;
  document["audit"] = json::array();
  document["next"] = nullptr;
  std::int64_t shown = 0;
  for (int row = 0; row < rows.rows(); ++row) {
    if (rows.is_null(row, 0)) break;
    document["audit"].push_back(line_of(rows, row));
    ++shown;
  }
  if (shown == limit) {
    const int last = rows.rows() - 1;
    document["next"] =
        fmt::format("{}.{}", rows.get<std::int64_t>(last, 1), rows.get<std::int64_t>(last, 0));
  } else if (!rows.empty() && rows.get<std::int64_t>(0, 6) == examine) {
    document["next"] =
        fmt::format("{}.{}", rows.get<std::int64_t>(0, 7), rows.get<std::int64_t>(0, 8));
  }
  co_return HttpResponse::json(document);
}

constexpr std::array kQuery = {
    Parameter{.name = "who", .says = "only lines where this is part of who it was"},
    Parameter{.name = "action", .says = "only this action, or all of a kind: connection"},
    Parameter{.name = "since",
              .says = "not before this: 30m, 12h, 7d, 1w ago, today, yesterday (UTC), a date, or "
                      "RFC 3339"},
    limit_of(kPage, kPageMax),
    Parameter{.name = "cursor", .says = "where to go on: the next of the page before"}};

constexpr std::array<Route, 1> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/audit",
     .access = Access::admin,
     .operation = "listAudit",
     .summary = "Who did what, from where, and what came of it, newest first",
     .handler = list,
     .query = kQuery,
     .answer = "AuditPage"},
}};

}  // namespace

std::span<const Route> audit_routes() { return kRoutes; }

}  // namespace sluice::api
