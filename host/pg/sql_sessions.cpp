#include "pg/sql_sessions.hpp"

#include <utility>

#include "base/log.hpp"

namespace sluice::pg {
namespace {

constexpr const char* kIsThere =
    "select to_regprocedure('sluice.end_sql_sessions(bigint,bigint,regclass[])') is not null";
constexpr const char* kEnd =
    "select login, backend, coalesce(open_ms, -1), in_the_way, ended"
    " from sluice.end_sql_sessions($1, $2, array(select to_regclass(t) from unnest($3::text[]) t))";

constexpr const char* kWhatToDo =
    "as a superuser: select pg_terminate_backend(backend); to have it done by the host from now "
    "on, grant that login to the owner of sluice.end_sql_sessions";

Task<QueryResult> end_beyond(Connection& connection, ReadersLimits limits,
                             std::vector<std::string> in_use) {
  Array relations(Oid::text);
  for (const std::string& one : in_use) relations.add(std::string_view(one));
  Params params(static_cast<std::int64_t>(limits.kept.count()),
                static_cast<std::int64_t>(limits.patience.count()), std::move(relations));
  QueryResult found = co_await connection.query(kEnd, std::move(params));
  co_return found;
}

void tell_ended(const QueryResult& found, int row) {
  log::warning("sql.session_ended", {{"login", found.get<std::string>(row, 0)},
                                     {"backend", std::int64_t{found.get<int>(row, 1)}},
                                     {"transaction_ms", found.get<std::int64_t>(row, 2)},
                                     {"in_the_way", found.get<bool>(row, 3)}});
}

void tell_stays(const QueryResult& found, int row) {
  log::warning("sql.session_stays", {{"login", found.get<std::string>(row, 0)},
                                     {"backend", std::int64_t{found.get<int>(row, 1)}},
                                     {"in_the_way", found.get<bool>(row, 3)},
                                     {"do", kWhatToDo}});
}

}  // namespace

Task<int> end_sql_sessions(Connection& connection, ReadersLimits limits,
                           std::vector<std::string> in_use) {
  const QueryResult there = co_await connection.query(kIsThere);
  if (!there.get<bool>(0, 0)) co_return 0;
  const QueryResult found = co_await end_beyond(connection, limits, std::move(in_use));
  int ended = 0;
  for (int row = 0; row < found.rows(); ++row) {
    if (found.get<bool>(row, 4)) {
      ++ended;
      tell_ended(found, row);
    } else {
      tell_stays(found, row);
    }
  }
  co_return ended;
}

Task<void> SqlSessionWatch::look(Connection& connection) {
  std::vector<std::string> nothing;
  const QueryResult found = co_await end_beyond(connection, limits_, std::move(nothing));
  std::set<int> stay;
  for (int row = 0; row < found.rows(); ++row) {
    const int backend = found.get<int>(row, 1);
    if (found.get<bool>(row, 4)) {
      tell_ended(found, row);
      continue;
    }
    stay.insert(backend);
    if (!told_.contains(backend)) tell_stays(found, row);
  }
  told_ = std::move(stay);
}

}  // namespace sluice::pg
