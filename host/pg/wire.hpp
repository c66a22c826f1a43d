// The one file pair that talks to libpq's connection functions: one method per C function, and the
// wait for the socket between them. Internal to pg/.
#pragma once

#include <libpq-fe.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "base/async.hpp"
#include "pg/params.hpp"

namespace sluice::pg {

struct FreeResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using ResultHandle = std::unique_ptr<PGresult, FreeResult>;

using Deadline = std::chrono::steady_clock::time_point;

enum class Interest { read, write, either };
enum class Waited { ready, deadline, cancelled };

/// A PGconn in non-blocking mode and its socket on the loop. Owned by one Connection; knows nothing
/// of errors: callers ask alive() and error_message(). Destroying it closes the socket at once.
class Wire {
 public:
  explicit Wire(Executor executor);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  /// Waits until the socket is ready, without reading or writing.
  Task<Waited> wait(Interest interest, Deadline deadline);
  /// Forgets waits that are still registered, so that an idle connection keeps no loop alive.
  void stop_waiting();

  void connect_start(const char* const* keywords,
                     const char* const* values);  ///< PQconnectStartParams
  PostgresPollingStatusType connect_poll();  ///< PQconnectPoll; watches the socket it leaves behind
  void finish();                             ///< release the descriptor, then PQfinish

  [[nodiscard]] bool alive() const { return connection_ && PQstatus(connection_) == CONNECTION_OK; }
  [[nodiscard]] bool failed() const { return PQstatus(connection_) == CONNECTION_BAD; }
  [[nodiscard]] PGTransactionStatusType transaction_status() const {
    return PQtransactionStatus(connection_);
  }
  [[nodiscard]] std::string error_message() const;  ///< PQerrorMessage
  [[nodiscard]] int server_version() const { return PQserverVersion(connection_); }
  [[nodiscard]] int socket() const { return PQsocket(connection_); }
  /// PQconninfo: what libpq went by, "" where nothing was said. Not for passwords.
  [[nodiscard]] std::string option(std::string_view keyword) const;
  /// SCRAM-SHA-256. Throws std::bad_alloc: nothing else can fail of what is made here.
  [[nodiscard]] std::string password_verifier(const std::string& role,
                                              const std::string& password) const;

  bool set_nonblocking() { return PQsetnonblocking(connection_, 1) == 0; }
  void set_verbosity(PGVerbosity verbosity) { PQsetErrorVerbosity(connection_, verbosity); }

  bool send_query(const std::string& sql) { return PQsendQuery(connection_, sql.c_str()) == 1; }
  bool send_query_params(const std::string& sql, const Params& params);  ///< PQsendQueryParams
  bool send_prepare(const std::string& name, const std::string& sql,
                    const Params& params);                                  ///< PQsendPrepare
  bool send_query_prepared(const std::string& name, const Params& params);  ///< PQsendQueryPrepared
  bool enter_pipeline() { return PQenterPipelineMode(connection_) == 1; }
  bool exit_pipeline() { return PQexitPipelineMode(connection_) == 1; }
  bool pipeline_sync() { return PQpipelineSync(connection_) == 1; }
  int flush() { return PQflush(connection_); }  ///< 0 all sent, 1 more to send, -1 broken
  bool consume_input() { return PQconsumeInput(connection_) == 1; }
  bool is_busy() { return PQisBusy(connection_) == 1; }
  ResultHandle get_result() { return ResultHandle(PQgetResult(connection_)); }
  int put_copy_data(std::string_view data);  ///< 1 queued, 0 would block, -1 broken
  int put_copy_end() { return PQputCopyEnd(connection_, nullptr); }
  bool take_notification();  ///< PQnotifies

 private:
  struct Signal;
  void watch_socket();
  void arm(Interest interest);

  asio::posix::stream_descriptor socket_;
  std::shared_ptr<Signal> signal_;
  PGconn* connection_ = nullptr;
};

}  // namespace sluice::pg
