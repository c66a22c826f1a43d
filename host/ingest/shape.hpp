// The statements that look up and write one vendor table, for a given presence of attributes, and
// their parameters. Each reads and writes by the full primary key only: see write_path in
// tests/pg/ingest.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "base/ids.hpp"
#include "ingest/validate.hpp"
#include "pg/connection.hpp"
#include "pg/copy_rows.hpp"

namespace sluice::ingest {

enum class Action {
  look,    ///< which rows are absent, and which differ (with their values as JSON)?
  insert,  ///< absent rows; what is there already is left alone and not returned
  update,  ///< rows that a look found; one that changed since is left alone and not returned
  bury,    ///< marks rows that a look found as deleted; the same
};

/// Whose word counts where a record's version is lower than the row's: the row's, or the record's
/// (after a vendor was put back to an earlier state, and a person said so).
enum class Trust { version, vendor };

/// What a look found out about a row that is there.
struct Found {
  std::int64_t id = 0;
  std::int64_t sync_version = 0;
  bool gone = false;  ///< deleted_at is set
  std::string image;  ///< the values of the looked-at presence, as jsonb text
};

/// An observed order is one bit that is always set, 25 bits of the lease's epoch, and so many bits
/// of the time: ms of a clock that starts with the machine, four years of it. Epochs that are
/// 33,554,432 apart look alike: a year of taking the lease each second. Rows that were written
/// before had 42 bits of time, and not that bit.
inline constexpr int kObservedTimeBits = 37;

/// What sluice's observed_version columns hold, and what the statements compare: when the request
/// was sent whose answer a page is, within the epoch under which it was sent. 0 (and observed_ms
/// 0): no order.
[[nodiscard]] std::int64_t observed_order(Epoch epoch, std::int64_t observed_ms);

/// SQL condition on row `t`: an answer of the order in parameter `parameter` is not older than the
/// row's. An answer of another epoch than the row's is newer, whatever the clocks say: the commit
/// guard lets only the newest epoch write.
[[nodiscard]] std::string not_observed_before(int parameter);

/// SQL of one action on one type. `presence` counts for look, insert and update, `trust` for look
/// and update. A look answers with what is absent, what differs, and what is older than the row.
[[nodiscard]] std::string action_sql(Action action, const TypePlan& plan, const Presence& presence,
                                     Trust trust = Trust::version);

/// Prepared statements by their text; a bound keeps connectors with ever new presences from filling
/// the server's memory. Beyond it statements run unprepared.
class Shapes {
 public:
  static constexpr std::size_t kPreparedMax = 256;
  /// Adds the action to the pipeline.
  void add(pg::Pipeline& pipeline, const std::string& sql, pg::Params params);

 private:
  std::unordered_map<std::string, pg::Statement> prepared_;
};

/// One row of an action's arrays. `found` is for update and bury.
struct Target {
  const Row* row = nullptr;
  const Found* found = nullptr;
};

/// Whether the connection has any row of the type; $1 workspace, $2 connection. One row, one
/// boolean.
[[nodiscard]] std::string any_row_sql(const TypePlan& plan);

/// Living rows that refer to one parent ($4, as text) and are none of those listed ($5), or that
/// refer to one of several ($4): at most kMissingRowsPerLook of external_id, id, sync_version, by
/// the index of the reference. $1 workspace, $2 connection; $3: what was observed after that is
/// left out. Without an order, which would make the primary key's index look good.
[[nodiscard]] std::string unlisted_children_sql(const TypePlan& plan,
                                                const model::StoredAttribute& reference);
[[nodiscard]] std::string children_sql(const TypePlan& plan,
                                       const model::StoredAttribute& reference);
inline constexpr int kMissingRowsPerLook = 10'000;

/// Rows that were stored one after the other are found one after the other: by the range of ids in
/// which a few of a page's rows (the anchors) lie, without a descent for each of them. Nothing when
/// the anchors lie further apart than near_params says. Rows that are marked as deleted are left
/// out.
[[nodiscard]] std::string near_sql(const TypePlan& plan);
/// `targets` in the order of their external ids.
[[nodiscard]] pg::Params near_params(WorkspaceId workspace, ConnectionId connection,
                                     std::span<const Target> targets);
/// Whether a row of near_sql's answer is what the record says, so that Action::look would not name
/// it. When in doubt false.
[[nodiscard]] bool near_is_same(const pg::QueryResult& result, int row, const Row& record);

/// COPY of absent rows straight into the table, with the same columns as Action::insert and the
/// entity's id.
[[nodiscard]] std::string copy_sql(const TypePlan& plan, const Presence& presence);

/// The rows of that COPY, ready but for what only the page's turn brings.
class CopyPage {
 public:
  /// Nothing when a value has no binary form that we can write (a decimal with an exponent): such
  /// rows go by Action::insert. `rows`: of the batch, all of the plan's type.
  [[nodiscard]] static std::optional<CopyPage> make(WorkspaceId workspace, ConnectionId connection,
                                                    const Batch& batch, const TypePlan& plan,
                                                    std::vector<std::uint32_t> rows);
  /// The entities' ids, beside rows(), and the observed order.
  void complete(std::span<const std::int64_t> ids, std::int64_t observed);

  [[nodiscard]] const std::vector<std::uint32_t>& rows() const { return rows_; }
  [[nodiscard]] const Presence& presence() const { return presence_; }
  [[nodiscard]] const pg::CopyRows& wire() const { return wire_; }

 private:
  CopyPage(std::vector<std::uint32_t> rows, Presence presence, std::size_t columns)
      : rows_(std::move(rows)), presence_(std::move(presence)), wire_(columns) {}
  struct Later {
    std::size_t id = 0, observed = 0;
  };
  std::vector<std::uint32_t> rows_;
  Presence presence_;
  pg::CopyRows wire_;
  std::vector<Later> later_;  ///< beside rows_
};

[[nodiscard]] pg::Params action_params(Action action, WorkspaceId workspace,
                                       ConnectionId connection, const Batch& batch,
                                       const TypePlan& plan, const Presence& presence,
                                       std::int64_t observed, std::span<const Target> targets);

}  // namespace sluice::ingest
