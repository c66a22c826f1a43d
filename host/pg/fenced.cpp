#include "pg/fenced.hpp"

#include <fmt/format.h>

#include "base/check.hpp"
#include "base/failpoint.hpp"
#include "pg/pool.hpp"

namespace sluice::pg {
namespace {

const Statement kFenceBegin{"fence_begin", "begin"};
const Statement kFenceCommit{"fence_commit", "commit"};

// Division by zero, because it must be an error: what follows is on its way already.
const Statement kFenceGuard{"fence_guard",
                            "select 1 / coalesce((select 1 from sluice.lease_epoch "
                            "where workspace_id = $1 and name = $2 and epoch = $3 for share), 0)"};
constexpr std::string_view kGuardState = "22012";

Failure lost(const LeaseProof& proof) {
  return Failure(Error(ErrorKind::cancelled, std::string(kLeaseLost),
                       fmt::format("the lease '{}' has another epoch than {}: nothing was written",
                                   proof.name, proof.epoch.value),
                       "another host goes on from what was stored"));
}

/// The guard as text, for a COPY, whose BEGIN cannot have parameters.
std::string guard_text(const LeaseProof& proof) {
  std::string name;
  for (const char c : proof.name) name.append(c == '\'' ? 2 : 1, c);
  return fmt::format(
      "select 1 / coalesce((select 1 from sluice.lease_epoch where workspace_id = {} and name = "
      "'{}' and epoch = {} for share), 0)",
      proof.workspace.value, name, proof.epoch.value);
}

#ifndef SLUICE_NO_FAILPOINTS
bool armed() { return failpoint::armed.load(std::memory_order_relaxed); }
#else
constexpr bool armed() { return false; }
#endif

void pass(std::string_view when, std::string_view name) {
  if (armed()) failpoint::pass(fmt::format("fenced.{}.{}", when, name.empty() ? "rows" : name));
}

}  // namespace

bool is_lease_lost(const Error& error) { return error.code == kLeaseLost; }

Fenced::Fenced(Connection& connection, LeaseProof proof)
    : connection_(connection), proof_(std::move(proof)) {}

Pipeline Fenced::opening() const {
  Pipeline pipeline;
  pipeline.add(kFenceBegin, Params());
  Params guard(proof_.workspace, proof_.name, proof_.epoch);
  pipeline.add(kFenceGuard, std::move(guard));
  return pipeline;
}

Task<std::vector<QueryResult>> Fenced::run(Pipeline pipeline) {
  SLUICE_INVARIANT(!ended_);
  return send(std::move(pipeline));
}

Task<std::vector<QueryResult>> Fenced::send(Pipeline pipeline) {
  if (!begun_) {
    SLUICE_INVARIANT(pipeline.size() >= opening_steps() &&
                     pipeline.steps().front().name == kFenceBegin.name);
  }
  const bool opens = !std::exchange(begun_, true);
  bool is_lost = false;
  try {
    if (armed()) co_return co_await send_one_by_one(std::move(pipeline));
    co_return co_await connection_.run(std::move(pipeline));
  } catch (const QueryError& error) {
    is_lost = opens && error.sqlstate() == kGuardState;
    if (!is_lost) throw;
  }
  throw lost(proof_);
}

Task<std::vector<QueryResult>> Fenced::send_one_by_one(Pipeline pipeline) {
  std::vector<QueryResult> results;
  for (const Pipeline::Step& step : pipeline.steps()) {
    Statement statement;
    statement.name = step.name;
    statement.sql = step.sql;
    Params params = step.params;
    pass("before", step.name);
    if (step.name.empty()) {
      results.push_back(co_await connection_.query(statement.sql, std::move(params)));
    } else {
      results.push_back(co_await connection_.query(statement, std::move(params)));
    }
    pass("after", step.name);
  }
  co_return results;
}

Task<QueryResult> Fenced::query(Call call) {
  return query(*call.statement, std::move(call.params));
}

Task<QueryResult> Fenced::query(const Statement& statement, Params params) {
  SLUICE_INVARIANT(!ended_);
  Pipeline pipeline = begun_ ? Pipeline() : opening();
  pipeline.add(statement, std::move(params));
  std::vector<QueryResult> results = co_await send(std::move(pipeline));
  co_return std::move(results.back());
}

Task<QueryResult> Fenced::query(std::string sql, Params params) {
  SLUICE_INVARIANT(!ended_);
  Pipeline pipeline = begun_ ? Pipeline() : opening();
  pipeline.add(sql, std::move(params));
  std::vector<QueryResult> results = co_await send(std::move(pipeline));
  co_return std::move(results.back());
}

Task<std::unique_ptr<CopyIn>> Fenced::copy_in(std::string sql) {
  SLUICE_INVARIANT(!ended_);
  const bool opens = !begun_;
  if (opens && armed()) {
    co_await send(opening());
  } else if (opens) {
    sql = "begin; " + guard_text(proof_) + "; " + sql;
    begun_ = true;
  }
  pass("before", "fence_copy");
  bool is_lost = false;
  try {
    std::unique_ptr<CopyIn> copy = co_await connection_.copy_in(std::move(sql));
    pass("after", "fence_copy");
    co_return copy;
  } catch (const QueryError& error) {
    is_lost = opens && error.sqlstate() == kGuardState;
    if (!is_lost) throw;
  }
  throw lost(proof_);
}

Task<std::vector<QueryResult>> Fenced::commit(Pipeline last) {
  SLUICE_INVARIANT(!ended_);
  if (!begun_ && last.size() == 0) last = opening();
  last.add(kFenceCommit, Params());
  ended_ = true;  // also when it fails
  return send(std::move(last));
}

Task<void> Fenced::rollback() {
  ended_ = true;
  if (begun_) co_await connection_.query("rollback");
}

Task<std::vector<QueryResult>> write_fenced(Pool& pool, LeaseProof proof, std::vector<Call> calls) {
  Pool::Lease connection = co_await pool.acquire();
  Fenced fenced(*connection, std::move(proof));
  Pipeline pipeline = fenced.opening();
  for (Call& call : calls) pipeline.add(*call.statement, std::move(call.params));
  std::vector<QueryResult> results = co_await fenced.commit(std::move(pipeline));
  results.pop_back();
  results.erase(results.begin(), results.begin() + Fenced::opening_steps());
  co_return results;
}

Task<QueryResult> write_fenced(Pool& pool, LeaseProof proof, Call call) {
  std::vector<Call> calls;
  calls.push_back(std::move(call));
  std::vector<QueryResult> results =
      co_await write_fenced(pool, std::move(proof), std::move(calls));
  co_return std::move(results.back());
}

}  // namespace sluice::pg
