#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.hpp"
#include "pg/client.hpp"

namespace sluice::pg {
namespace {

// What a connection string says, as far as we need it. Never the password.
struct Target {
  std::string host;
  std::string hostaddr;
  std::string port;
  std::string database;
  std::string user;

  [[nodiscard]] std::string describe() const {
    return fmt::format("host '{}' port '{}' database '{}' user '{}'",
                       host.empty() ? hostaddr : host, port, database, user);
  }
};

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

Target parse(const std::string& conninfo) {
  char* why = nullptr;
  const std::unique_ptr<PQconninfoOption, FreeOptions> options(
      PQconninfoParse(conninfo.c_str(), &why));
  PQfreemem(why);  // it may quote a piece of a password
  if (!options) {
    Error error(ErrorKind::bad_input, "pg.bad_conninfo",
                "the connection string of PostgreSQL does not parse",
                "write postgresql://user@host:5432/database or host=… dbname=… user=…");
    throw QueryError(std::move(error), {}, {});
  }
  Target target;
  for (const PQconninfoOption* option = options.get(); option->keyword; ++option) {
    if (!option->val) continue;
    const std::string_view keyword = option->keyword;
    if (keyword == "host") target.host = option->val;
    if (keyword == "hostaddr") target.hostaddr = option->val;
    if (keyword == "port") target.port = option->val;
    if (keyword == "dbname") target.database = option->val;
    if (keyword == "user") target.user = option->val;
  }
  return target;
}

// libpq would look a name up itself, blocking the loop. It does still for lists of hosts.
bool needs_lookup(const Target& target) {
  if (target.host.empty() || !target.hostaddr.empty()) return false;
  if (target.host.front() == '/' || target.host.front() == '@') return false;
  if (target.host.find(',') != std::string::npos) return false;
  boost::system::error_code not_an_address;
  asio::ip::make_address(target.host, not_an_address);
  return static_cast<bool>(not_an_address);
}

// The resolver cannot be interrupted: it finishes into shared state, and we leave at the deadline.
struct Lookup {
  explicit Lookup(const Executor& executor) : resolver(executor), timer(executor) {}
  asio::ip::tcp::resolver resolver;
  asio::steady_timer timer;
  std::string addresses;
  std::size_t count = 0;
  std::string error;
  bool done = false;
};

Task<std::shared_ptr<Lookup>> look_up(Executor executor, std::string host, Deadline deadline) {
  auto lookup = std::make_shared<Lookup>(executor);
  auto found = [lookup](boost::system::error_code error,
                        asio::ip::tcp::resolver::results_type results) {
    for (const auto& entry : results) {
      if (lookup->count++ > 0) lookup->addresses += ',';
      lookup->addresses += entry.endpoint().address().to_string();
    }
    if (error) lookup->error = error.message();
    lookup->done = true;
    lookup->timer.cancel();
  };
  lookup->resolver.async_resolve(host, "", std::move(found));
  lookup->timer.expires_at(deadline);
  if (!lookup->done) co_await lookup->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return lookup;
}

std::string repeated(const std::string& value, std::size_t times) {
  std::string out = value;
  for (std::size_t i = 1; i < times; ++i) out += ',' + value;
  return out;
}

// Without sequential scans a plan that was made while a table was empty still uses its index when
// it is not.
constexpr const char* kSession =
    "SET timezone TO 'UTC'; SET datestyle TO 'ISO, MDY'; SET intervalstyle TO 'postgres'; "
    "SET bytea_output TO 'hex'; SET standard_conforming_strings TO on; SET jit TO off; "
    "SET enable_seqscan TO off";

}  // namespace

Task<std::unique_ptr<Connection>> Connection::connect(Executor executor, ConnectOptions options) {
  auto client = std::make_unique<Client>(std::move(executor), std::move(options));
  co_await client->open();
  co_return client;
}

Task<void> Client::open() {
  const Target target = parse(options_.conninfo);
  const Deadline deadline = std::chrono::steady_clock::now() + options_.connect_timeout;
  std::string hostaddr;
  std::size_t addresses = 0;
  if (needs_lookup(target)) {
    const auto executor = co_await asio::this_coro::executor;
    const auto lookup = co_await look_up(executor, target.host, deadline);
    if (!lookup->done)
      throw connect_failed("looking up its address took too long", target.describe());
    if (lookup->count == 0) throw connect_failed(lookup->error, target.describe());
    hostaddr = lookup->addresses;
    addresses = lookup->count;
  }

  const std::string hosts = repeated(target.host, addresses);
  const std::string ports = repeated(target.port.empty() ? "5432" : target.port, addresses);
  std::vector<const char*> keywords = {"dbname", "application_name", "client_encoding"};
  std::vector<const char*> values = {options_.conninfo.c_str(), options_.application_name.c_str(),
                                     "UTF8"};
  if (addresses > 0) {
    keywords.insert(keywords.end(), {"host", "hostaddr", "port"});
    values.insert(values.end(), {hosts.c_str(), hostaddr.c_str(), ports.c_str()});
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);

  wire_.connect_start(keywords.data(), values.data());
  wire_.set_verbosity(PQERRORS_VERBOSE);  // so that messages contain the SQLSTATE
  auto status = wire_.failed() ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
    const Interest interest = status == PGRES_POLLING_READING ? Interest::read : Interest::write;
    const Waited waited = co_await wire_.wait(interest, deadline);
    if (waited == Waited::cancelled) throw cancelled({}, Loss::nothing_done);
    if (waited == Waited::deadline) {
      throw connect_failed("no answer within the connect timeout", target.describe());
    }
    status = wire_.connect_poll();
  }
  if (status != PGRES_POLLING_OK || !wire_.set_nonblocking()) {
    throw connect_failed(wire_.error_message(), target.describe());
  }
  wire_.stop_waiting();
  wire_.set_verbosity(PQERRORS_DEFAULT);
  server_version_ = wire_.server_version();
  usable_ = true;
  co_await configure_session();
}

Task<void> Client::configure_session() {
  co_await script(kSession);
  if (server_version_ < 140000) co_return;
  try {
    co_await script(
        fmt::format("SET client_connection_check_interval TO {}", kServerLooksEvery.count()));
  } catch (const QueryError& error) {
    // Some platforms cannot do it: there a statement that we gave up runs on until it writes to us.
    if (!usable_) throw;
    log::debug("pg.no_client_check", {{"sqlstate", error.sqlstate()}});
  }
}

}  // namespace sluice::pg
