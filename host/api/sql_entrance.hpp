// Where people ask by SQL, and what they are told to go there with.
#pragma once

#include <string>

namespace sluice::api {

struct SqlEntrance {
  std::string host;  ///< a name, an address, or the directory of a Unix socket
  std::string port;  ///< "5432"
  std::string database;
  std::string tls_mode;  ///< libpq's sslmode, of the host's own connection; empty: libpq's choice
  std::string
      tcp_host;  ///< of a private database that also listens there, with TLS alone; or empty
};

/// Of the connection string that a host works by: the first of its servers, as libpq reads it.
/// Never its password.
[[nodiscard]] SqlEntrance entrance_of(const std::string& conninfo);

/// "postgresql://…" for psql and what else takes one; by TCP where `by_tcp`.
[[nodiscard]] std::string sql_url(const SqlEntrance& entrance, const std::string& login,
                                  const std::string& password, bool by_tcp);

/// The name by which others reach an address that a server listens at: of one that stands for all
/// addresses, this machine's own name.
[[nodiscard]] std::string reachable_name(const std::string& address);

}  // namespace sluice::api
