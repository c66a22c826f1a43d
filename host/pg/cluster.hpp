// The embedded default: a private PostgreSQL in the data directory, the real thing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "pg/service_user.hpp"

namespace sluice::pg {

struct ClusterOptions {
  std::filesystem::path directory;  ///< <data>/postgres; made when absent
  std::filesystem::path
      socket_directory;  ///< short enough for a Unix socket (107 bytes); made 0700
  std::filesystem::path
      binaries;  ///< where initdb and postgres are; empty: the newest under /usr/lib/postgresql
  /// A second one, for people's logins; empty: none.
  std::filesystem::path people_directory;
  /// Of the socket there: who may reach it at all. Whoever does, with a login or without one, can
  /// hold so many connections that nobody else gets one.
  mode_t people_socket_mode = 0666;
  int host_connections = 100;  ///< what there is for hosts, however many people are connected
  std::uint16_t port = 5432;   ///< of TCP, and in the sockets' names
  std::string tcp_address;     ///< where people's logins may come by TCP with TLS; empty: nowhere
  std::filesystem::path tls_certificate, tls_key;  ///< PEM, for TCP
  std::string user = kSharedServiceUser;           ///< system user to run as when started as root
  std::string superuser = "sluice";                ///< database role
  std::string database = "sluice";
  std::vector<std::string> settings =
      {};  ///< more lines for the configuration, "name = value"; they win over ours
};

/// A postmaster of our own: data checksums, C.UTF-8, fsync on. Its superuser and kAppRole come in
/// by a Unix socket in a directory of 0700, and by who they are in the system (peer). With a
/// people_directory, members of kPeopleRole come in by a socket there, and by TCP where it is asked
/// for, with a password (scram-sha-256), into `database` alone; nobody else does. PostgreSQL's
/// rules do not tell its sockets apart: it is by the role that they say who comes in how. Started
/// by start(), stopped (fast shutdown) by stop() or the destructor. If a postmaster is still
/// running in the directory from a host that was killed, it is adopted; a stale pid file is not a
/// problem, nor one that names a dead process whom its parent has not noticed. Blocking: called
/// before the loop runs, and after.
///
/// Our settings are <directory>/sluice.conf, written at every start; an operator's own go into
/// <directory>/local.conf, which is read after it. The server writes <directory>.log, and
/// <directory>.lock keeps a second host out. Data that initdb had not finished is made anew.
class Cluster {
 public:
  /// Errors (kind internal or bad_input) say what failed and name the log file to read:
  /// "cluster.no_binaries", "cluster.initdb_failed", "cluster.start_failed",
  /// "cluster.socket_path_too_long", "cluster.version_mismatch" (a data directory of another major
  /// version), "cluster.in_use" (kind conflict: another host has it), "cluster.no_user",
  /// "cluster.not_traversable" (a parent directory keeps the unprivileged user out),
  /// "cluster.bad_directory".
  static Result<Cluster> start(ClusterOptions options);
  /// Of a cluster that is given to another user next: ends the postmaster of the one before, which
  /// would lose its files. Nothing where it is `next_owner`'s already, or is not there. Blocks as
  /// stop() does. Errors: "cluster.in_use", "cluster.bad_directory".
  static Result<void> end_before_hand_over(const std::filesystem::path& directory,
                                           uid_t next_owner);
  /// Of one that another process runs.
  [[nodiscard]] static std::string conninfo_of(const ClusterOptions& options);
  Cluster(Cluster&&) noexcept;
  Cluster& operator=(Cluster&&) = delete;
  ~Cluster();

  /// For libpq: host, dbname, user. As the superuser, whom the socket lets in by who we are in the
  /// system: for migrations, and for roles.
  [[nodiscard]] const std::string& conninfo() const;
  /// As kAppRole, who is there once settle_roles() has made it.
  [[nodiscard]] const std::string& app_conninfo() const;
  [[nodiscard]] int postmaster_pid() const;
  /// False once the postmaster has ended: killed, or out of memory. Looks, and does not wait.
  [[nodiscard]] bool alive();
  /// Starts it again where it ended; what was committed is there. Blocks up to a minute, since the
  /// old one's children must go first: call it off the loop, one at a time. Errors: those of
  /// start().
  Result<void> revive();
  /// Has it read its configuration and certificates again.
  void reload();
  /// Waits up to 30 s for a fast shutdown, then immediate. Twice is harmless.
  void stop();
  /// Lets go and leaves the postmaster running, for whoever starts next.
  void leave_running();

 private:
  struct State;
  explicit Cluster(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice::pg
