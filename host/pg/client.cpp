#include "pg/client.hpp"

#include <sys/socket.h>

#include "base/check.hpp"
#include "pg/operation.hpp"

namespace sluice::pg {
namespace {

// How much of a pipeline is queued before we let the loop send it.
constexpr std::size_t kQueuedBytesMax = 256 * 1024;

using failpoint::StatementFault;
// What stands for a statement that the server has no room for.
constexpr std::string_view kNoRoom =
    "do $$ begin raise exception 'no room, says a test' using errcode = '53100'; end $$";
constexpr std::string_view kBroken = "the connection broke, says a test";

bool is_error(const PGresult* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE ||
         status == PGRES_NONFATAL_ERROR;
}

bool is_copy(const PGresult* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

std::string_view sqlstate_of(const PGresult* result) {
  const char* text = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return text ? text : "";
}

std::size_t size_of(const Params& params) {
  std::size_t bytes = 0;
  for (const auto& value : params.values()) bytes += value.bytes.size();
  return bytes;
}

// A COMMIT of a failed transaction succeeds, with the tag ROLLBACK.
void require_committed(std::string_view sql, const QueryResult& result) {
  if (!is_commit(sql) || result.command_tag() != "ROLLBACK") return;
  Error error(ErrorKind::internal, "pg.rolled_back",
              "COMMIT rolled the transaction back, because one of its statements had failed",
              "do not commit after an error; nothing was changed");
  throw QueryError(std::move(error), {}, {});
}

[[noreturn]] void throw_copy_not_allowed(std::string_view sql) {
  Error error(ErrorKind::internal, "pg.copy_not_allowed",
              "COPY … STDIN or STDOUT came through a plain query [" + beginning_of(sql) + "]",
              "use Connection::copy_in");
  throw QueryError(std::move(error), {}, {});
}

}  // namespace

Client::Call::Call(Client& client, std::string_view text, Loss loss_if_broken)
    : sql(text),
      loss(loss_if_broken),
      deadline(client.deadline_from_now()),
      client_(client),
      client_lives_(client.lives_) {
  SLUICE_INVARIANT(!client.busy_);
  if (!client.usable_) {
    Error error(ErrorKind::reconnect, "pg.unusable",
                "this connection broke earlier, or a call on it missed its deadline",
                "take another one from the pool");
    throw QueryError(std::move(error), {}, {});
  }
  client.busy_ = true;
}

Client::Call::~Call() {
  if (client_lives_.expired()) return;  // the connection was destroyed in the middle of the call
  if (settled_ && client_.wire_.alive()) {
    client_.wire_.stop_waiting();
  } else {
    client_.abandon();
  }
  client_.busy_ = false;
}

Client::Client(Executor executor, ConnectOptions options)
    : options_(std::move(options)),
      wire_(std::move(executor)),
      query_timeout_(options_.query_timeout) {}

Deadline Client::deadline_from_now() const {
  return std::chrono::steady_clock::now() + query_timeout_;
}

bool Client::in_transaction() const {
  const auto status = wire_.transaction_status();
  return status == PQTRANS_INTRANS || status == PQTRANS_INERROR || status == PQTRANS_ACTIVE;
}

void Client::abandon() {
  usable_ = false;
  wire_.finish();
}

bool Client::still_open() {
  // Whatever waits unread on an idle connection is a notice, a setting, a notification, or its end.
  constexpr int kLooksMax = 16;
  for (int look = 0; look < kLooksMax && usable_; ++look) {
    char byte = 0;
    const auto peeked = ::recv(wire_.socket(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (peeked < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (peeked < 0 && errno == EINTR) continue;
    if (peeked <= 0 || !wire_.consume_input() || !wire_.alive()) abandon();
  }
  return usable_;
}

Loss Client::loss_of(std::string_view sql) const {
  if (is_commit(sql)) return Loss::in_doubt;
  return in_transaction() || is_plain_read(sql) ? Loss::nothing_done : Loss::in_doubt;
}

void Client::throw_lost(const Call& call) const {
  throw lost(wire_.error_message(), call.sql, call.loss);
}

// libpq refused to queue the statement, so the server never saw the end of it.
void Client::throw_unsent(const Call& call) const {
  throw lost(wire_.error_message(), call.sql, Loss::nothing_done);
}

Task<void> Client::ready(Call& call, Interest interest) {
  const Waited waited = co_await wire_.wait(interest, call.deadline);
  if (waited == Waited::deadline) throw missed_deadline(call.sql, call.loss);
  if (waited == Waited::cancelled) throw cancelled(call.sql, call.loss);
}

// Sends what is queued, and reads meanwhile: a server whose answers nobody reads stops reading too.
Task<void> Client::flush(Call& call) {
  int left = wire_.flush();
  while (left != 0) {
    if (left < 0) throw_lost(call);
    co_await ready(call, Interest::either);
    if (!wire_.consume_input())
      co_return;  // next_result() tells what the server said before it left
    left = wire_.flush();
  }
}

Task<ResultHandle> Client::next_result(Call& call) {
  while (wire_.alive() && wire_.is_busy()) {
    co_await ready(call, Interest::read);
    if (!wire_.consume_input()) break;
  }
  if (wire_.alive() && wire_.is_busy()) throw_lost(call);
  co_return wire_.get_result();
}

// Reads to the end of the command. Throws its first error, else returns its last result.
Task<ResultHandle> Client::last_result(Call& call) {
  ResultHandle kept;
  ResultHandle error;
  for (;;) {
    ResultHandle result = co_await next_result(call);
    if (!result) break;
    if (is_copy(result.get())) throw_copy_not_allowed(call.sql);
    if (!is_error(result.get())) {
      kept = std::move(result);
    } else if (!error) {
      error = std::move(result);
    }
    if (!wire_.alive()) break;
  }
  if (error && sqlstate_of(error.get()).empty()) throw_lost(call);
  if (error) {
    if (wire_.alive()) call.settle();
    throw refused(error.get(), call.sql, call.loss);
  }
  if (!kept) throw_lost(call);
  co_return kept;
}

Task<QueryResult> Client::query(std::string_view sql, Params params) {
  return query_text(std::string(sql), std::move(params));
}

Task<QueryResult> Client::query(const Statement& statement, Params params) {
  return query_prepared(statement, std::move(params));
}

StatementFault Client::fault_of(std::string_view sql) {
  if (!failpoint::watches_statements() || !Operation::has(this)) return StatementFault::none;
  const StatementFault fault = failpoint::next_statement(sql);
  if (fault != StatementFault::unsent) return fault;
  abandon();
  throw lost(kBroken, sql, Loss::nothing_done);
}

Task<void> Client::let_refuse() {
  const std::string sql(kNoRoom);
  co_await query_text(sql, Params());
}

Task<QueryResult> Client::query_text(std::string sql, Params params) {
  const StatementFault fault = fault_of(sql);
  if (fault == StatementFault::refused) co_await let_refuse();
  Call call(*this, sql, loss_of(sql));
  if (!wire_.send_query_params(sql, params)) throw_unsent(call);
  co_await flush(call);
  ResultHandle handle = co_await last_result(call);
  if (fault == StatementFault::answer_lost) throw lost(kBroken, sql, call.loss);
  call.settle();
  QueryResult result(handle.release());
  require_committed(sql, result);
  co_return result;
}

// Types are part of what is prepared: the same statement with a NULL of unknown type is another
// one.
Client::Prepared& Client::prepared_for(const std::string& name, const std::string& sql,
                                       const Params& params) {
  std::string key = name;
  for (const auto& value : params.values())
    key += ',' + std::to_string(static_cast<std::uint32_t>(value.type));
  Prepared& prepared = prepared_[key];
  if (prepared.name.empty() || prepared.sql != sql) {
    // A table grew a column and the statement with it: prepare the new text under a new name.
    prepared = Prepared();
    prepared.name = name + '#' + std::to_string(++prepared_count_);
    prepared.sql = sql;
  }
  return prepared;
}

void Client::forget_if_stale(const std::string& server_name, std::string_view sqlstate) {
  if (sqlstate != "0A000" && sqlstate != "26000") return;
  std::erase_if(prepared_, [&](const auto& entry) { return entry.second.name == server_name; });
}

Task<QueryResult> Client::query_prepared(const Statement& statement, Params params) {
  const StatementFault fault = fault_of(statement.sql);
  if (fault == StatementFault::refused) co_await let_refuse();
  Call call(*this, statement.sql, loss_of(statement.sql));
  Prepared& prepared = prepared_for(statement.name, statement.sql, params);
  if (!prepared.ready) {
    if (!wire_.send_prepare(prepared.name, statement.sql, params)) throw_unsent(call);
    co_await flush(call);
    co_await last_result(call);
    prepared.ready = true;
  }
  const std::string server_name = prepared.name;
  if (!wire_.send_query_prepared(server_name, params)) throw_unsent(call);
  co_await flush(call);
  ResultHandle handle;
  try {
    handle = co_await last_result(call);
  } catch (const QueryError& error) {
    forget_if_stale(server_name, error.sqlstate());
    throw;
  }
  if (fault == StatementFault::answer_lost) throw lost(kBroken, statement.sql, call.loss);
  call.settle();
  QueryResult result(handle.release());
  require_committed(statement.sql, result);
  co_return result;
}

// One command of a pipeline: the execution of a step, or the preparation before it.
struct Client::Sent {
  std::size_t step = 0;
  Prepared* prepared = nullptr;
  bool prepares = false;
};

Task<std::vector<QueryResult>> Client::run(Pipeline pipeline) {
  return run_steps(std::move(pipeline));
}

namespace {

/// The same, but that the server refuses this step.
Pipeline with_refusal(const Pipeline& pipeline, std::size_t refused) {
  Pipeline other;
  for (std::size_t i = 0; i < pipeline.size(); ++i) {
    const Pipeline::Step& step = pipeline.steps()[i];
    if (i == refused) {
      other.add(kNoRoom);
    } else if (step.name.empty()) {
      other.add(step.sql, step.params);
    } else {
      other.add(Statement{step.name, step.sql}, step.params);
    }
  }
  return other;
}

bool opens_transaction(const Pipeline& pipeline) {
  return std::ranges::any_of(pipeline.steps(), [](const Pipeline::Step& step) {
    return step.sql.starts_with("BEGIN") || step.sql.starts_with("begin") ||
           step.sql.starts_with("START");
  });
}

// The first step whose lost answer leaves us in doubt; size() when none does.
std::size_t first_in_doubt(const Pipeline& pipeline, bool in_transaction) {
  const bool explicit_transaction = in_transaction || opens_transaction(pipeline);
  const auto& steps = pipeline.steps();
  const auto found = std::ranges::find_if(steps, [&](const Pipeline::Step& step) {
    return is_commit(step.sql) || (!explicit_transaction && !is_plain_read(step.sql));
  });
  return static_cast<std::size_t>(found - steps.begin());
}

}  // namespace

Task<std::vector<QueryResult>> Client::run_steps(Pipeline pipeline) {
  std::vector<QueryResult> results;
  if (pipeline.size() == 0) co_return results;
  bool loses_answer = false;
  for (std::size_t i = 0; i < pipeline.size(); ++i) {
    const StatementFault fault = fault_of(pipeline.steps()[i].sql);
    loses_answer = loses_answer || fault == StatementFault::answer_lost;
    if (fault == StatementFault::refused) pipeline = with_refusal(pipeline, i);
  }
  const std::size_t in_doubt_from = first_in_doubt(pipeline, in_transaction());
  const Loss loss = in_doubt_from < pipeline.size() ? Loss::in_doubt : Loss::nothing_done;
  const std::size_t named = in_doubt_from < pipeline.size() ? in_doubt_from : 0;

  Call call(*this, pipeline.steps()[named].sql, loss);
  if (!wire_.enter_pipeline()) throw_unsent(call);
  std::vector<Sent> sent;
  co_await send_steps(call, pipeline, sent);
  co_await flush(call);
  results.reserve(pipeline.size());
  co_await collect_steps(call, pipeline, sent, results);
  if (loses_answer) {
    abandon();
    throw lost(kBroken, call.sql, call.loss);
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    require_committed(pipeline.steps()[i].sql, results[i]);
  }
  co_return results;
}

Task<void> Client::send_steps(Call& call, const Pipeline& pipeline, std::vector<Sent>& sent) {
  std::size_t queued = 0;
  for (std::size_t i = 0; i < pipeline.size(); ++i) {
    const Pipeline::Step& step = pipeline.steps()[i];
    Sent command;
    command.step = i;
    if (step.name.empty()) {
      if (!wire_.send_query_params(step.sql, step.params)) throw_lost(call);
    } else {
      command.prepared = &prepared_for(step.name, step.sql, step.params);
      const bool on_its_way = std::ranges::any_of(sent, [&](const Sent& other) {
        return other.prepares && other.prepared == command.prepared;
      });
      if (!command.prepared->ready && !on_its_way) {
        if (!wire_.send_prepare(command.prepared->name, step.sql, step.params)) throw_lost(call);
        command.prepares = true;
        sent.push_back(command);
        command.prepares = false;
      }
      if (!wire_.send_query_prepared(command.prepared->name, step.params)) throw_lost(call);
    }
    sent.push_back(command);
    queued += size_of(step.params) + step.sql.size();
    if (queued < kQueuedBytesMax) continue;
    co_await flush(call);
    queued = 0;
  }
  if (!wire_.pipeline_sync()) throw_lost(call);
}

Task<void> Client::collect_steps(Call& call, const Pipeline& pipeline, std::vector<Sent>& sent,
                                 std::vector<QueryResult>& results) {
  ResultHandle error;
  std::size_t failed_step = 0;
  for (Sent& command : sent) {
    ResultHandle result = co_await next_result(call);
    if (!result) throw_lost(call);
    if (is_copy(result.get())) throw_copy_not_allowed(pipeline.steps()[command.step].sql);
    if (is_error(result.get())) {
      if (sqlstate_of(result.get()).empty()) throw_lost(call);
      if (!error) {
        error = std::move(result);
        failed_step = command.step;
        if (command.prepared)
          forget_if_stale(std::string(command.prepared->name), sqlstate_of(error.get()));
      }
    } else if (PQresultStatus(result.get()) == PGRES_PIPELINE_ABORTED) {
      SLUICE_INVARIANT(error);
    } else if (command.prepares) {
      command.prepared->ready = true;
    } else {
      results.emplace_back(result.release());
    }
    if (!wire_.alive()) break;
    ResultHandle end = co_await next_result(call);
    SLUICE_INVARIANT(!end || !wire_.alive());
    if (!wire_.alive()) break;
  }
  if (wire_.alive()) {
    ResultHandle sync = co_await next_result(call);
    if (sync && PQresultStatus(sync.get()) == PGRES_PIPELINE_SYNC && wire_.exit_pipeline())
      call.settle();
  }
  if (error) {
    const std::string& sql = pipeline.steps()[failed_step].sql;
    const bool before_commit =
        call.loss == Loss::in_doubt && !is_commit(sql) && is_commit(call.sql);
    throw refused(error.get(), sql, before_commit ? Loss::nothing_done : call.loss);
  }
  if (!wire_.alive()) throw_lost(call);
}

Task<void> Client::script(std::string sql) {
  const StatementFault fault = fault_of(sql);
  if (fault == StatementFault::refused) co_await let_refuse();
  const Loss loss = in_transaction() ? Loss::nothing_done : loss_of(sql);
  Call call(*this, sql, loss);
  if (!wire_.send_query(sql)) throw_unsent(call);
  co_await flush(call);
  co_await last_result(call);
  if (fault == StatementFault::answer_lost) throw lost(kBroken, sql, call.loss);
  call.settle();
}

Task<bool> Client::wait_for_notification(std::chrono::milliseconds wait) {
  Call call(*this, "LISTEN", Loss::nothing_done);
  call.deadline = std::chrono::steady_clock::now() + wait;
  for (;;) {
    if (wire_.take_notification()) {
      call.settle();
      co_return true;
    }
    const Waited waited = co_await wire_.wait(Interest::read, call.deadline);
    if (waited != Waited::ready) {
      call.settle();  // nothing is under way: the connection stays good
      if (waited == Waited::cancelled) throw cancelled(call.sql, call.loss);
      co_return false;
    }
    if (!wire_.consume_input() || !wire_.alive()) throw_lost(call);
  }
}

}  // namespace sluice::pg
