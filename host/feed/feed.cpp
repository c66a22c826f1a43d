#include "feed/feed.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/bytes.hpp"
#include "base/exact_json.hpp"
#include "feed/page_bytes.hpp"

namespace sluice::feed {
namespace {

// In one statement, and so of one moment: the head, the last position, the row at which the cursor
// stands, the changes behind it, and the row at which the look ends.
//   $2, $3  position and time of the cursor; 0 and 1970 for none, and then nothing is compared
//   $4      how many positions are looked at
//   $5      how many changes are wanted
//   $6      the filter by type
//   $7      how many bytes fill the page: of a change those before it are counted, so the first is
//           always given. "changed" is printed once, and of those changes only whose turn may come
//   $8      the filter by connection; $9 by op; $10 by cause
//   $11     the filter by entity
// By time only months are left out: a position behind the cursor's was never written before it.
constexpr std::string_view kMoment =
    "select h.kept_from, h.generation, l.position, k.at, s.position, s.at,"
    " c.position, c.at, c.type_id, coalesce(t.name, ''), c.entity_id, c.connection_id, c.run_id,"
    " c.op, c.external_id, c.changed, c.vendor_at, c.more"
    " from sluice.feed_head h"
    " left join lateral (select x.position from sluice.change x where x.workspace_id = $1"
    "  and x.position >= $2 and x.at >= $3 order by x.position desc limit 1) l on true"
    " left join lateral (select x.at from sluice.change x where x.workspace_id = $1"
    "  and x.position = $2 and x.at = $3 offset 0) k on true"
    " left join lateral (select x.position, x.at from sluice.change x where x.workspace_id = $1"
    "  and x.position = least(l.position, greatest($2, h.kept_from - 1) + $4) and x.at >= $3"
    "  offset 0) s on true";

constexpr std::string_view kPage =
    " left join lateral (select b.position, b.at, b.type_id, b.entity_id, b.connection_id, "
    "b.run_id,"
    " b.op, b.external_id, b.changed, b.vendor_at, b.more"
    " from (select t.*, coalesce(sum(250 + octet_length(t.external_id)"
    "   + coalesce(octet_length(t.changed), 0)) over (order by t.position"
    "   rows between unbounded preceding and 1 preceding), 0) as before"
    "  from (select s.position, s.at, s.type_id, s.entity_id, s.connection_id, s.run_id, s.op,"
    "    s.external_id, s.changed::text as changed, s.vendor_at, s.more"
    "   from (select r.*, lead(r.position) over w is not null as more, row_number() over w as nth,"
    "     coalesce(sum(pg_column_size(r.changed))"
    "      over (w rows between unbounded preceding and 1 preceding), 0) as stored"
    "    from (";

constexpr std::string_view kPageEnd =
    ") r window w as (order by r.position)) s"
    "   where s.stored <= $7::bigint and s.nth <= $5::int order by s.position offset 0) t) b"
    " where b.before <= $7::bigint) c on true"
    " left join lateral (select o.name from sluice.entity_type o where o.workspace_id = $1"
    "  and o.type_id = c.type_id offset 0) t on true"
    " where h.workspace_id = $1";

/// The filters of a FeedFilter, in $6 and $8 to $10.
constexpr std::string_view kWanted =
    " and ($6::bigint is null or x.type_id = $6) and ($8::bigint is null or x.connection_id = $8)"
    " and ($9::text[] is null or x.op = any ($9)) and ($10::text is null or"
    " (case when x.op in ('link', 'unlink') then 'link' when x.connection_id = 0 then 'own'"
    " when x.run_id <> 0 then 'sync' else 'connection' end) = $10)";

const pg::Statement kRead{
    "feed_read", std::string(kMoment) + std::string(kPage) +
                     "select * from sluice.change x where x.workspace_id = $1"
                     " and x.position > $2 and x.position <= greatest($2, h.kept_from - 1) + $4"
                     " and x.at >= $3" +
                     std::string(kWanted) + " order by x.position limit $5::int + 1" +
                     std::string(kPageEnd)};

// Of one entity, by its own index: the feed's order would walk through everybody's changes to find
// its few.
const pg::Statement kReadEntity{"feed_read_entity",
                                std::string(kMoment) + std::string(kPage) +
                                    "select * from sluice.change x where x.workspace_id = $1"
                                    " and x.entity_id = $11 and x.position > $2 and x.at >= $3" +
                                    std::string(kWanted) +
                                    " order by x.entity_id, x.position limit $5::int + 1" +
                                    std::string(kPageEnd)};

const pg::Statement kEnds{
    "feed_ends",
    "select h.kept_from, h.generation, coalesce((select x.position from sluice.change x where"
    " x.workspace_id = $1 order by x.position desc limit 1), h.kept_from - 1)"
    " from sluice.feed_head h where h.workspace_id = $1"};

const pg::Statement kTimeAt{"feed_time_at",
                            "select x.at from sluice.change x where x.workspace_id = $1 and "
                            "x.position = $2 limit 1"};

// $5 how many, in $2 from which position on ($4: up to which); what else there is is not used.
const pg::Statement kNewest{
    "feed_newest",
    "select min(n.position) from (select x.position from sluice.change x where x.workspace_id = $1"
    " and x.position > $2 and $3::timestamptz is null and $4::bigint is null and $7::bigint is "
    "null" +
        std::string(kWanted) + " order by x.position desc limit $5::int) n"};

const pg::Statement kSummary{
    "feed_summary",
    "with looked as materialized (select x.type_id, x.op, (case when x.op in ('link', 'unlink') "
    "then 'link' when x.connection_id = 0 then 'own' when x.run_id <> 0 then 'sync' else "
    "'connection' end) as cause from sluice.change x where x.workspace_id = $1 and x.position > $2 "
    "and "
    "x.position <= $4::bigint and $3::timestamptz is null and $7::bigint is null" +
        std::string(kWanted) +
        " order by x.position limit $5::int) select coalesce(t.name, ''), l.op, l.cause, count(*) "
        "from looked l left join sluice.entity_type t on t.workspace_id = $1 and t.type_id = "
        "l.type_id group by 1, 2, 3 order by 1, 2, 3"};

const pg::Statement kLast{
    "feed_last",
    "select x.position from sluice.change x where x.workspace_id = $1 order by x.position desc "
    "limit 1"};

// From which position on the histories after this one differ from it.
const pg::Statement kBranch{
    "feed_branch",
    "select (select min(n.began_after) from sluice.feed_generation n where n.workspace_id = $1"
    " and n.ordinal > g.ordinal) from sluice.feed_generation g"
    " where g.workspace_id = $1 and g.generation = $2"};

const pg::Statement kLegacy{"feed_legacy",
                            "select safe_position from sluice.feed_legacy where workspace_id = $1"
                            " and txid >= $2::text::xid8 order by txid limit 1"};

constexpr std::int64_t kAllPositions = std::int64_t{1} << 62;

/// A position in the feed; "2:<workspace>:<generation>:<position>:<time>" in base64url.
struct Cursor {
  std::int64_t generation = 0;  ///< 0: of none, to begin with
  std::int64_t position = 0;
  std::int64_t at = 0;  ///< µs since 1970; 0: not known
  std::string txid;     ///< of the old kind only, "1:<workspace>:<txid>:<change>"
};

std::string text_of(WorkspaceId workspace, const Cursor& cursor) {
  const std::string text =
      fmt::format("2:{}:{}:{}:{}", workspace.value, cursor.generation, cursor.position, cursor.at);
  return to_base64url(as_bytes(text));
}

template <class Number>
bool read_number(std::string_view& text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || out < Number{0}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return true;
  if (text.front() != ':') return false;
  text.remove_prefix(1);
  return !text.empty();
}

bool read_cursor(WorkspaceId workspace, std::string_view text, Cursor& cursor) {
  int version = 0;
  std::int64_t of_workspace = 0;
  if (!read_number(text, version) || !read_number(text, of_workspace)) return false;
  if (of_workspace != workspace.value) return false;
  if (version == 1) {
    std::uint64_t txid = 0;
    std::int64_t change = 0;
    if (!read_number(text, txid) || text.empty()) return false;
    if (!read_number(text, change) || !text.empty()) return false;
    cursor.txid = std::to_string(txid);
    return true;
  }
  return version == 2 && read_number(text, cursor.generation) && !text.empty() &&
         read_number(text, cursor.position) && !text.empty() && read_number(text, cursor.at) &&
         text.empty() && cursor.generation > 0 && cursor.position < (std::int64_t{1} << 53);
}

Result<Cursor> cursor_of(WorkspaceId workspace, const std::string& text) {
  Cursor cursor;
  if (text.empty()) return cursor;
  const auto bytes = from_base64url(text);
  if (bytes && read_cursor(workspace, as_text(*bytes), cursor)) return cursor;
  return fail(ErrorKind::bad_input, "feed.bad_cursor",
              "this is no cursor of this workspace's change feed",
              "send a cursor exactly as a page gave it, or none to begin at the beginning");
}

constexpr int kFirstColumn = 6;  ///< of the change itself, in what kMoment selects
constexpr int kMoreColumn = 17;

Change read_change(const pg::QueryResult& rows, int row) {
  Change change;
  int column = kFirstColumn;
  change.position = rows.get<std::int64_t>(row, column++);
  change.at = rows.get<Micros>(row, column++);
  change.type = rows.get<EntityTypeId>(row, column++);
  change.type_name = rows.get<std::string>(row, column++);
  change.entity = rows.get<EntityId>(row, column++);
  change.connection = rows.get<ConnectionId>(row, column++);
  change.run = rows.get<RunId>(row, column++);
  change.op = rows.get<std::string>(row, column++);
  change.external_id = rows.get<std::string>(row, column++);
  if (!rows.is_null(row, column)) change.changed = rows.text(row, column);
  change.vendor_at = rows.get<std::optional<Micros>>(row, ++column);
  return change;
}

/// The head as one statement saw it, and the rows at which the cursor and the look end.
struct Moment {
  std::int64_t kept_from = 1;
  std::int64_t generation = 0;
  std::optional<std::int64_t> last;  ///< none: nothing stands at the cursor or behind it
  std::optional<Micros> same_row_at;
  std::optional<std::int64_t> stop;
  Micros stop_at{};

  explicit Moment(const pg::QueryResult& rows)
      : kept_from(rows.get<std::int64_t>(0, 0)),
        generation(rows.get<std::int64_t>(0, 1)),
        last(rows.get<std::optional<std::int64_t>>(0, 2)),
        same_row_at(rows.get<std::optional<Micros>>(0, 3)),
        stop(rows.get<std::optional<std::int64_t>>(0, 4)),
        stop_at(rows.get<std::optional<Micros>>(0, 5).value_or(Micros{})) {}
};

template <class IdType>
std::optional<std::int64_t> number_of(const std::optional<IdType>& id) {
  return id ? std::optional(id->value) : std::nullopt;
}

/// $8 to $10.
void add_filter(pg::Params& params, const FeedFilter& filter) {
  params.add(number_of(filter.connection));
  if (filter.ops.empty()) {
    params.add(nullptr);
  } else {
    pg::Array ops(pg::Oid::text);
    for (const std::string& op : filter.ops) ops.add(std::string_view(op));
    params.add(std::move(ops));
  }
  std::optional<std::string> cause;
  if (!filter.cause.empty()) cause = filter.cause;
  params.add(cause);
}

/// One call of read_changes.
class Reading {
 public:
  Reading(pg::Pool& pool, WorkspaceId workspace, const FeedQuery& query)
      : pool_(pool), workspace_(workspace), query_(query) {}

  Task<Result<FeedPage>> run(Cursor cursor) {
    cursor_ = std::move(cursor);
    if (!cursor_.txid.empty()) co_await translate();
    for (int step = 1;; ++step) {
      const std::optional<Error> refused = co_await look();
      if (refused) co_return std::unexpected(*refused);
      if (!page_.changes.empty() || !page_.has_more || step == kScanSteps) break;
    }
    page_.cursor = text_of(workspace_, cursor_);
    co_return std::move(page_);
  }

 private:
  /// From the old kind. All that it had seen stands before this position, and perhaps some more.
  Task<void> translate() {
    pg::Params params(workspace_, cursor_.txid);
    const auto rows = co_await pool_.query(kLegacy, std::move(params));
    cursor_ = Cursor();
    if (!rows.empty()) cursor_.position = rows.get<std::int64_t>(0, 0);
    translated_ = true;
  }

  /// One statement: takes what it found into the page, and the cursor behind all it looked at.
  Task<std::optional<Error>> look() {
    const bool bounded = query_.any() && !query_.entity;
    const Micros at(cursor_.at);
    pg::Params params(workspace_, cursor_.position, at, bounded ? kScanPositions : kAllPositions,
                      static_cast<std::int32_t>(query_.limit), number_of(query_.type),
                      static_cast<std::int64_t>(kPageBytes));
    add_filter(params, query_);
    if (query_.entity) params.add(query_.entity->value);
    const pg::Statement& read = query_.entity ? kReadEntity : kRead;
    const auto rows = co_await pool_.query(read, std::move(params));
    if (rows.empty()) {
      co_return Error(ErrorKind::not_found, "workspace.not_found",
                      fmt::format("there is no workspace {}", workspace_.value));
    }
    const Moment moment(rows);
    const std::optional<Error> refused = co_await compare(moment);
    if (refused) co_return refused;
    page_.kept_from = moment.kept_from;
    take(moment, rows);
    co_return std::nullopt;
  }

  /// What is wrong with the cursor, at this moment.
  Task<std::optional<Error>> compare(const Moment& moment) {
    const bool given = cursor_.generation != 0;
    if (given && cursor_.generation != moment.generation) {
      const std::optional<Error> lost = co_await compare_generation(moment);
      if (lost) co_return lost;
    }
    if (!given && !translated_) co_return std::nullopt;
    if (cursor_.position < moment.kept_from - 1) co_return expired(moment);
    if (cursor_.position == moment.kept_from - 1) co_return std::nullopt;  // its row may be gone
    const bool within = moment.last && cursor_.position <= *moment.last;
    if (within && (cursor_.at == 0 || moment.same_row_at)) co_return std::nullopt;
    pg::Params params(workspace_);
    const auto rows = co_await pool_.query(kLast, std::move(params));
    const std::int64_t last = rows.empty() ? moment.kept_from - 1 : rows.get<std::int64_t>(0, 0);
    if (cursor_.position > last) co_return ahead(last);
    co_return lost(moment, "another change stands at its position now", std::nullopt);
  }

  Task<std::optional<Error>> compare_generation(const Moment& moment) {
    pg::Params params(workspace_, cursor_.generation);
    const auto rows = co_await pool_.query(kBranch, std::move(params));
    if (rows.empty()) co_return lost(moment, "its history is not known here", std::nullopt);
    const auto branch = rows.get<std::optional<std::int64_t>>(0, 0);
    if (!branch || cursor_.position <= *branch) co_return std::nullopt;
    co_return lost(moment, fmt::format("its history went on after {} in another way", *branch),
                   branch);
  }

  Error expired(const Moment& moment) const {
    return Error(
        ErrorKind::conflict, "feed.expired",
        fmt::format("changes {} to {} of this feed are behind this cursor, and are kept no longer",
                    cursor_.position + 1, moment.kept_from - 1),
        fmt::format("read all entities anew, then go on with the cursor {}, which begins with the "
                    "oldest change that is kept",
                    go_on(moment, moment.kept_from - 1)));
  }

  Error ahead(std::int64_t last) const {
    return Error(ErrorKind::conflict, "feed.cursor_ahead",
                 fmt::format("the feed ends at {}, and this cursor stands at {}: the database may "
                             "have been put back to an earlier state",
                             last, cursor_.position),
                 "undo what was read after that, or read all entities anew and begin without a "
                 "cursor; on a standby that lags, ask again later");
  }

  Error lost(const Moment& moment, std::string_view why, std::optional<std::int64_t> common) const {
    const std::int64_t from = std::max(common.value_or(0), moment.kept_from - 1);
    return Error(
        ErrorKind::conflict, "feed.history_lost",
        fmt::format("what this cursor has seen up to {} is not what is stored now: {}. The "
                    "database was put back to an earlier state and went on from there",
                    cursor_.position, why),
        fmt::format("undo what was read after {}, or read all entities anew; then go on with the "
                    "cursor {}",
                    from, go_on(moment, from)));
  }

  [[nodiscard]] std::string go_on(const Moment& moment, std::int64_t position) const {
    Cursor cursor;
    cursor.generation = moment.generation;
    cursor.position = position;
    return text_of(workspace_, cursor);
  }

  void take(const Moment& moment, const pg::QueryResult& rows) {
    const int found = rows.is_null(0, kFirstColumn) ? 0 : rows.rows();
    bool full = found > 0;  // of changes or of bytes: another one stands behind all of them
    for (int row = 0; row < found; ++row) {
      page_.changes.push_back(read_change(rows, row));
      full = full && rows.get<bool>(row, kMoreColumn);
    }
    // A plan may join them in another order than it read them in.
    std::ranges::sort(page_.changes, {}, &Change::position);
    cursor_.generation = moment.generation;
    if (full) {
      page_.has_more = true;
      cursor_.position = page_.changes.back().position;
      cursor_.at = page_.changes.back().at.count();
      return;
    }
    page_.has_more = false;
    if (moment.stop && *moment.stop > cursor_.position) {
      page_.has_more = *moment.stop < *moment.last;
      cursor_.position = *moment.stop;
      cursor_.at = moment.stop_at.count();
    } else if (cursor_.position < moment.kept_from - 1) {
      cursor_.position = moment.kept_from - 1;
      cursor_.at = 0;
    }
  }

  pg::Pool& pool_;
  WorkspaceId workspace_;
  const FeedQuery& query_;
  Cursor cursor_;
  bool translated_ = false;
  FeedPage page_;
};

}  // namespace

std::string_view cause_of(const Change& change) {
  if (change.op == "link" || change.op == "unlink") return "link";
  if (!change.connection.has_value()) return "own";  // also with a run: an import's
  return change.run.has_value() ? "sync" : "connection";
}

namespace {

/// Where a workspace's feed begins and ends.
struct Ends {
  std::int64_t kept_from = 1;
  std::int64_t generation = 0;
  std::int64_t last = 0;
  [[nodiscard]] std::string cursor(WorkspaceId workspace, std::int64_t position) const {
    Cursor cursor;
    cursor.generation = generation;
    cursor.position = std::max(position, kept_from - 1);
    return text_of(workspace, cursor);
  }
};

Task<Result<Ends>> ends_of(pg::Pool& pool, WorkspaceId workspace) {
  const auto rows = co_await pool.query(kEnds, pg::Params(workspace));
  if (rows.empty()) {
    co_return fail(ErrorKind::not_found, "workspace.not_found",
                   fmt::format("there is no workspace {}", workspace.value), "");
  }
  Ends ends;
  ends.kept_from = rows.get<std::int64_t>(0, 0);
  ends.generation = rows.get<std::int64_t>(0, 1);
  ends.last = rows.get<std::int64_t>(0, 2);
  co_return ends;
}

/// The last position before the first change of `since` or later. What retention takes meanwhile is
/// older.
Task<std::int64_t> position_before(pg::Pool& pool, WorkspaceId workspace, const Ends& ends,
                                   Micros since) {
  std::int64_t low = ends.kept_from;
  std::int64_t high = ends.last + 1;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    const auto rows = co_await pool.query(kTimeAt, pg::Params(workspace, middle));
    const bool before = rows.empty() || rows.get<Micros>(0, 0) < since;
    (before ? low : high) = before ? middle + 1 : middle;
  }
  co_return low - 1;
}

pg::Params looking(WorkspaceId workspace, std::int64_t after, const FeedFilter& filter,
                   std::int64_t count, std::optional<std::int64_t> end = {}) {
  const std::optional<std::int64_t> none;
  const std::optional<Micros> no_time;
  pg::Params params(workspace, after, no_time, end, static_cast<std::int32_t>(count),
                    number_of(filter.type), none);
  add_filter(params, filter);
  return params;
}

}  // namespace

Task<Result<std::string>> cursor_now(pg::Pool& pool, WorkspaceId workspace) {
  const auto ends = co_await ends_of(pool, workspace);
  if (!ends) co_return std::unexpected(ends.error());
  co_return ends->cursor(workspace, ends->last);
}

Task<Result<std::string>> cursor_since(pg::Pool& pool, WorkspaceId workspace, Micros since) {
  const auto ends = co_await ends_of(pool, workspace);
  if (!ends) co_return std::unexpected(ends.error());
  const std::int64_t position = co_await position_before(pool, workspace, *ends, since);
  co_return ends->cursor(workspace, position);
}

Task<Result<std::string>> cursor_newest(pg::Pool& pool, WorkspaceId workspace, FeedFilter filter,
                                        int count) {
  const auto ends = co_await ends_of(pool, workspace);
  if (!ends) co_return std::unexpected(ends.error());
  if (!filter.any()) co_return ends->cursor(workspace, ends->last - count);
  const std::int64_t after =
      std::max(ends->kept_from - 1, ends->last - kScanPositions * kScanSteps);
  pg::Params params = looking(workspace, after, filter, count);
  const auto rows = co_await pool.query(kNewest, std::move(params));
  const auto first = rows.get<std::optional<std::int64_t>>(0, 0);
  co_return ends->cursor(workspace, first ? *first - 1 : ends->last);
}

Task<Result<FeedSummary>> summarise(pg::Pool& pool, WorkspaceId workspace, Micros since,
                                    FeedFilter filter) {
  const auto ends = co_await ends_of(pool, workspace);
  if (!ends) co_return std::unexpected(ends.error());
  const std::int64_t after = co_await position_before(pool, workspace, *ends, since);
  pg::Params params = looking(workspace, after, filter, kSummaryMax, after + kSummaryMax);
  const auto rows = co_await pool.query(kSummary, std::move(params));
  FeedSummary summary;
  for (int row = 0; row < rows.rows(); ++row) {
    FeedCount& one = summary.counts.emplace_back();
    one.type = rows.get<std::string>(row, 0);
    one.op = rows.get<std::string>(row, 1);
    one.cause = rows.get<std::string>(row, 2);
    one.count = rows.get<std::int64_t>(row, 3);
    summary.looked += one.count;
  }
  summary.truncated = ends->last > after + kSummaryMax;
  co_return summary;
}

nlohmann::json to_json(const Change& change) {
  nlohmann::json out = nlohmann::json::object();
  out["position"] = id_text(change.position);
  out["txid"] = nullptr;
  out["change_id"] = id_text(change.position);
  out["at"] = to_rfc3339(change.at);
  out["vendor_at"] =
      change.vendor_at ? nlohmann::json(to_rfc3339(*change.vendor_at)) : nlohmann::json(nullptr);
  out["type"] = change.type_name;
  out["entity_id"] = id_text(change.entity);
  out["op"] = change.op;
  const std::string_view cause = cause_of(change);
  out["kind"] = cause == "link" ? "link" : "entity";
  out["cause"] = cause;
  out["changed"] = change.changed.empty() ? nlohmann::json(nullptr) : ready_json(change.changed);
  if (!change.external_id.empty()) out["external_id"] = change.external_id;
  if (change.connection.has_value()) out["connection_id"] = id_text(change.connection);
  if (change.run.has_value()) out["run_id"] = id_text(change.run);
  return out;
}

Task<Result<FeedPage>> read_changes(pg::Pool& pool, WorkspaceId workspace, FeedQuery query) {
  if (query.limit < 1 || query.limit > kFeedPageMax) {
    co_return fail(ErrorKind::bad_input, "feed.bad_limit", fmt::format("limit is {}", query.limit),
                   fmt::format("use 1 to {}", kFeedPageMax));
  }
  auto cursor = cursor_of(workspace, query.cursor);
  if (!cursor) co_return std::unexpected(cursor.error());
  Reading reading(pool, workspace, query);
  co_return co_await reading.run(std::move(*cursor));
}

}  // namespace sluice::feed
