#include "feed/feed.hpp"

#include <fmt/format.h>

#include <charconv>

#include "base/bytes.hpp"

namespace sluice::feed {
namespace {

// No transaction before this one can still commit a change here: the oldest running one, except
// those that another database of the server is known to run (a snapshot lists them all). A
// transaction whose backend we may not see, or that has ended since, counts as one of ours. A
// standby's snapshots list none, and have only their xmin.
constexpr std::string_view kHorizon =
    "(select case when pg_is_in_recovery() then pg_snapshot_xmin(pg_current_snapshot()) else"
    " coalesce((select x from pg_snapshot_xip(pg_current_snapshot()) x where not exists"
    " (select 1 from pg_stat_activity a where a.backend_xid = x::xid"
    "  and a.datid <> (select d.oid from pg_database d where d.datname = current_database()))"
    " order by x limit 1), pg_snapshot_xmax(pg_current_snapshot())) end)";

const pg::Statement kRead{
    "feed_read",
    "select h.txid::text, h.change_id, h.at, h.type_id, coalesce(t.name, ''), h.entity_id,"
    " h.connection_id, h.run_id, h.op, h.external_id, h.changed"
    " from sluice.change h"
    " left join sluice.entity_type t on t.workspace_id = $1 and t.type_id = h.type_id"
    " where h.workspace_id = $1 and (h.txid, h.change_id) > ($2::text::xid8, $3::bigint)"
    " and h.txid < " +
        std::string(kHorizon) +
        " and ($4::bigint is null or h.type_id = $4)"
        " order by h.txid, h.change_id limit $5::int"};

// Of one entity, by its own index: the feed's order would walk through everybody's changes to find
// its few.
const pg::Statement kReadEntity{
    "feed_read_entity",
    "select h.txid::text, h.change_id, h.at, h.type_id, coalesce(t.name, ''), h.entity_id,"
    " h.connection_id, h.run_id, h.op, h.external_id, h.changed"
    " from (select * from sluice.change c where c.workspace_id = $1 and c.entity_id = $5 offset 0) "
    "h"
    " left join sluice.entity_type t on t.workspace_id = $1 and t.type_id = h.type_id"
    " where (h.txid, h.change_id) > ($2::text::xid8, $3::bigint)"
    " and h.txid < " +
        std::string(kHorizon) +
        " and ($4::bigint is null or h.type_id = $4)"
        " order by h.txid, h.change_id limit $6::int"};

/// A position in the feed; "1:<workspace>:<txid>:<change>" in base64url.
struct Position {
  std::string txid = "0";
  std::int64_t change_id = 0;
};

std::string cursor_of(WorkspaceId workspace, const Change& change) {
  const std::string text =
      fmt::format("1:{}:{}:{}", workspace.value, change.txid, change.change_id);
  return to_base64url(as_bytes(text));
}

template <class Number>
bool read_number(std::string_view& text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return true;
  if (text.front() != ':') return false;
  text.remove_prefix(1);
  return !text.empty();
}

Result<Position> position_of(WorkspaceId workspace, const std::string& cursor) {
  Position position;
  if (cursor.empty()) return position;
  const auto bytes = from_base64url(cursor);
  std::string_view text;
  if (bytes) text = as_text(*bytes);
  int version = 0;
  std::int64_t of_workspace = 0;
  std::uint64_t txid = 0;
  const bool good = bytes && read_number(text, version) && version == 1 &&
                    read_number(text, of_workspace) && of_workspace == workspace.value &&
                    read_number(text, txid) && read_number(text, position.change_id) &&
                    text.empty() && position.change_id >= 0;
  if (!good) {
    return fail(ErrorKind::bad_input, "feed.bad_cursor",
                "this is no cursor of this workspace's change feed",
                "send a cursor exactly as a page gave it, or none to begin at the beginning");
  }
  position.txid = std::to_string(txid);
  return position;
}

Change read_change(const pg::QueryResult& rows, int row) {
  Change change;
  change.txid = rows.get<std::string>(row, 0);
  change.change_id = rows.get<std::int64_t>(row, 1);
  change.at = rows.get<Micros>(row, 2);
  change.type = rows.get<EntityTypeId>(row, 3);
  change.type_name = rows.get<std::string>(row, 4);
  change.entity = rows.get<EntityId>(row, 5);
  change.connection = rows.get<ConnectionId>(row, 6);
  change.run = rows.get<RunId>(row, 7);
  change.op = rows.get<std::string>(row, 8);
  change.external_id = rows.get<std::string>(row, 9);
  if (!rows.is_null(row, 10)) change.changed = nlohmann::json::parse(rows.text(row, 10));
  return change;
}

template <class IdType>
std::optional<std::int64_t> number_of(const std::optional<IdType>& id) {
  return id ? std::optional(id->value) : std::nullopt;
}

}  // namespace

nlohmann::json to_json(const Change& change) {
  nlohmann::json out = nlohmann::json::object();
  out["txid"] = change.txid;
  out["change_id"] = change.change_id;
  out["at"] = to_rfc3339(change.at);
  out["type"] = change.type_name;
  out["entity_id"] = change.entity.value;
  out["op"] = change.op;
  out["changed"] = change.changed;
  if (!change.external_id.empty()) out["external_id"] = change.external_id;
  if (change.connection.has_value()) out["connection_id"] = change.connection.value;
  if (change.run.has_value()) out["run_id"] = change.run.value;
  return out;
}

Task<Result<FeedPage>> read_changes(pg::Pool& pool, WorkspaceId workspace, FeedQuery query) {
  if (query.limit < 1 || query.limit > kFeedPageMax) {
    co_return fail(ErrorKind::bad_input, "feed.bad_limit", fmt::format("limit is {}", query.limit),
                   fmt::format("use 1 to {}", kFeedPageMax));
  }
  const auto position = position_of(workspace, query.cursor);
  if (!position) co_return std::unexpected(position.error());
  pg::Params params(workspace, position->txid, position->change_id, number_of(query.type));
  if (query.entity) params.add(query.entity->value);
  params.add(static_cast<std::int32_t>(query.limit + 1));
  const pg::Statement& read = query.entity ? kReadEntity : kRead;
  const auto rows = co_await pool.query(read, std::move(params));
  FeedPage page;
  page.cursor = query.cursor;
  page.has_more = rows.rows() > query.limit;
  for (int row = 0; row < std::min(rows.rows(), query.limit); ++row) {
    page.changes.push_back(read_change(rows, row));
  }
  if (!page.changes.empty()) page.cursor = cursor_of(workspace, page.changes.back());
  co_return page;
}

}  // namespace sluice::feed
