#include "pg/connection.hpp"

namespace sluice::pg {

Pipeline& Pipeline::add(const Statement& statement, Params params) {
  Step step;
  step.name = statement.name;
  step.sql = statement.sql;
  step.params = std::move(params);
  steps_.push_back(std::move(step));
  return *this;
}

Pipeline& Pipeline::add(std::string_view sql, Params params) {
  Step step;
  step.sql = sql;
  step.params = std::move(params);
  steps_.push_back(std::move(step));
  return *this;
}

Pipeline& Pipeline::append(Pipeline other) {
  std::move(other.steps_.begin(), other.steps_.end(), std::back_inserter(steps_));
  return *this;
}

namespace {

[[noreturn]] void throw_nested() {
  Error error(ErrorKind::internal, "pg.nested_transaction",
              "a transaction was begun on a connection that is inside one already",
              "end the first one, or take a second connection");
  throw QueryError(std::move(error), {}, {});
}

[[noreturn]] void throw_ended() {
  Error error(ErrorKind::internal, "pg.transaction_ended",
              "a statement came after the transaction's commit or rollback");
  throw QueryError(std::move(error), {}, {});
}

}  // namespace

Task<Transaction> Transaction::begin(Connection& connection, std::string_view mode) {
  std::string sql = "BEGIN";
  if (!mode.empty()) (sql += ' ') += mode;
  return begin_with(connection, std::move(sql));
}

Task<Transaction> Transaction::begin_with(Connection& connection, std::string sql) {
  if (connection.in_transaction()) throw_nested();
  co_await connection.query(sql);
  co_return Transaction(connection);
}

Transaction::Transaction(Transaction&& other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)) {}

// Nothing to do: the connection knows that it is inside a transaction, and the pool ends it.
Transaction::~Transaction() = default;

Task<QueryResult> Transaction::query(std::string_view sql, Params params) {
  if (!connection_) throw_ended();
  return connection_->query(sql, std::move(params));
}

Task<QueryResult> Transaction::query(const Statement& statement, Params params) {
  if (!connection_) throw_ended();
  return connection_->query(statement, std::move(params));
}

Task<void> Transaction::commit() {
  if (!connection_) throw_ended();
  Connection& connection = *std::exchange(connection_, nullptr);
  co_await connection.query("COMMIT");
}

Task<void> Transaction::rollback() {
  if (!connection_) throw_ended();
  Connection& connection = *std::exchange(connection_, nullptr);
  co_await connection.query("ROLLBACK");
}

}  // namespace sluice::pg
