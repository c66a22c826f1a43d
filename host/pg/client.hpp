// The one implementation of Connection. Internal to pg/.
#pragma once

#include <optional>
#include <unordered_map>

#include "base/statement_fault.hpp"
#include "pg/connection.hpp"
#include "pg/diagnosis.hpp"
#include "pg/wire.hpp"

namespace sluice::pg {

/// A Wire, what is prepared on it, and the rules of when it may be used again. A call that does not
/// come to its protocol end (deadline, cancellation, lost socket, destroyed coroutine) closes the
/// socket. The server then stops the statement by itself within kServerLooksEvery, because we ask
/// it to look at its client's socket while it works; unlike PQcancel this needs no thread and no
/// second connection, and it works through a proxy.
class Client final : public Connection {
 public:
  static constexpr std::chrono::milliseconds kServerLooksEvery{500};

  Client(Executor executor, ConnectOptions options);

  Task<void> open();  ///< connect.cpp

  Task<QueryResult> query(std::string_view sql, Params params) override;
  Task<QueryResult> query(const Statement& statement, Params params) override;
  Task<std::vector<QueryResult>> run(Pipeline pipeline) override;
  Task<void> script(std::string sql) override;
  Task<std::unique_ptr<CopyIn>> copy_in(std::string sql) override;
  Task<bool> wait_for_notification(std::chrono::milliseconds wait) override;
  std::string password_verifier(const std::string& role, const std::string& password) override {
    return wire_.password_verifier(role, password);
  }
  bool still_open() override;
  [[nodiscard]] bool in_transaction() const override;
  [[nodiscard]] bool usable() const override { return usable_; }
  void set_query_timeout(std::chrono::milliseconds timeout) override { query_timeout_ = timeout; }
  [[nodiscard]] std::chrono::milliseconds query_timeout() const override { return query_timeout_; }
  [[nodiscard]] int server_version() const override { return server_version_; }
  /// What libpq went by for this connection; "" where nothing was said.
  [[nodiscard]] std::string option(std::string_view keyword) const { return wire_.option(keyword); }

 private:
  friend class BinaryCopy;

  /// One use of the connection, from send to the last result. Unless settled when it ends, the
  /// connection is given up. Two at a time break an invariant.
  class Call {
   public:
    Call(Client& client, std::string_view sql, Loss loss);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    void settle() { settled_ = true; }

    std::string_view sql;  ///< the caller's coroutine owns the text
    Loss loss;
    Deadline deadline;

   private:
    Client& client_;
    std::weak_ptr<const bool> client_lives_;
    bool settled_ = false;
  };

  struct Sent;

  Task<QueryResult> query_text(std::string sql, Params params);
  Task<QueryResult> query_prepared(const Statement& statement, Params params);
  Task<std::vector<QueryResult>> run_steps(Pipeline pipeline);
  Task<void> configure_session();
  /// What a test lets become of this one; what is lost before it is sent is thrown here.
  failpoint::StatementFault fault_of(std::string_view sql);
  /// The server refuses a statement instead of the one that was to come.
  Task<void> let_refuse();

  Task<void> send_steps(Call& call, const Pipeline& pipeline, std::vector<Sent>& sent);
  Task<void> collect_steps(Call& call, const Pipeline& pipeline, std::vector<Sent>& sent,
                           std::vector<QueryResult>& results);
  Task<void> ready(Call& call, Interest interest);
  Task<void> flush(Call& call);
  Task<ResultHandle> next_result(Call& call);
  Task<ResultHandle> last_result(Call& call);
  [[noreturn]] void throw_lost(const Call& call) const;
  [[noreturn]] void throw_unsent(const Call& call) const;
  [[nodiscard]] Loss loss_of(std::string_view sql) const;
  [[nodiscard]] Deadline deadline_from_now() const;
  void abandon();

  struct Prepared {
    std::string name;  ///< at the server
    std::string sql;
    bool ready = false;
  };
  Prepared& prepared_for(const std::string& name, const std::string& sql, const Params& params);
  void forget_if_stale(const std::string& server_name, std::string_view sqlstate);

  ConnectOptions options_;
  Wire wire_;
  std::chrono::milliseconds query_timeout_;
  std::unordered_map<std::string, Prepared> prepared_;  ///< by name and parameter types
  std::uint64_t prepared_count_ = 0;
  int server_version_ = 0;
  bool usable_ = false;
  bool busy_ = false;
  std::shared_ptr<const bool> lives_ = std::make_shared<const bool>(true);
  bool in_transaction_before_copy_ = false;
};

}  // namespace sluice::pg
