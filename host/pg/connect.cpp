#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>

#include "base/log.hpp"
#include "pg/client.hpp"
#include "pg/server_endpoints.hpp"

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

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (;;) {
    const std::size_t comma = text.find(',', from);
    parts.push_back(text.substr(from, comma - from));
    if (comma == std::string::npos) return parts;
    from = comma + 1;
  }
}

std::uint16_t port_of(const std::string& text) {
  std::uint16_t port = 5432;
  std::from_chars(text.data(), text.data() + text.size(), port);
  return port;
}

/// Of what libpq was given: each host and each address, with the port that stands in its place.
std::vector<ServerName> names_in(const std::string& hosts, const std::string& addresses,
                                 const std::string& ports) {
  const std::vector<std::string> port_list = split_list(ports);
  std::vector<ServerName> names;
  for (const std::string* list : {&addresses, &hosts}) {
    const std::vector<std::string> parts = split_list(*list);
    for (std::size_t at = 0; at < parts.size(); ++at) {
      const std::string& host = parts[at];
      if (host.empty() || host.front() == '/' || host.front() == '@') continue;
      ServerName name{host, port_of(port_list.size() == 1   ? port_list[0]
                                    : at < port_list.size() ? port_list[at]
                                                            : std::string())};
      const auto same = [&](const ServerName& other) {
        return other.host == name.host && other.port == name.port;
      };
      if (std::none_of(names.begin(), names.end(), same)) names.push_back(std::move(name));
    }
  }
  return names;
}

// A server says where it listens, and where it took this connection: behind a pooler or a forwarded
// port that is another place than the one we dialled. By a Unix socket it is on this machine.
constexpr std::string_view kWhereIsIt =
    "SELECT host(inet_server_addr()), coalesce(inet_server_port(), 0), "
    "current_setting('listen_addresses'), current_setting('port')::int";

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
    "SET idle_in_transaction_session_timeout TO '60s'; SET extra_float_digits TO 1; SET "
    "quote_all_identifiers TO off; "
    "SET default_transaction_isolation TO 'read committed'; "
    "SET default_transaction_read_only TO off; SET default_transaction_deferrable TO off; "
    "SET enable_seqscan TO off; SET search_path TO ";

/// `text` as addresses: itself, or what its name stands for.
Task<std::vector<asio::ip::address>> addresses_of(std::string text, Deadline deadline) {
  std::vector<asio::ip::address> all;
  boost::system::error_code not_an_address;
  const auto literal = asio::ip::make_address(text, not_an_address);
  if (!not_an_address) {
    all.push_back(literal);
    co_return all;
  }
  const auto executor = co_await asio::this_coro::executor;
  const auto lookup = co_await look_up(executor, std::move(text), deadline);
  if (!lookup->done || lookup->count == 0) co_return all;
  for (const std::string& found : split_list(lookup->addresses)) {
    const auto address = asio::ip::make_address(found, not_an_address);
    if (!not_an_address) all.push_back(address);
  }
  co_return all;
}

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
  co_await script(kSession + options_.search_path);
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

Task<std::vector<ServerName>> server_names(Connection& connection) {
  const auto& client = static_cast<const Client&>(connection);
  std::vector<ServerName> names =
      names_in(client.option("host"), client.option("hostaddr"), client.option("port"));
  const auto said = co_await connection.query(kWhereIsIt);
  const auto own = said.get<std::optional<std::string>>(0, 0);
  if (own) {
    names.push_back({*own, static_cast<std::uint16_t>(said.get<std::int32_t>(0, 1))});
  } else {
    const auto port = static_cast<std::uint16_t>(said.get<std::int32_t>(0, 3));
    for (std::string listens : split_list(said.get<std::string>(0, 2))) {
      std::erase(listens, ' ');
      if (listens == "*") listens = "0.0.0.0";
      if (!listens.empty()) names.push_back({std::move(listens), port});
    }
  }
  co_return names;
}

Task<std::vector<asio::ip::tcp::endpoint>> server_endpoints(std::vector<ServerName> names) {
  const Deadline deadline = std::chrono::steady_clock::now() + kAddressLookupMax;
  std::vector<asio::ip::tcp::endpoint> endpoints;
  for (const ServerName& name : names) {
    const auto addresses = co_await addresses_of(name.host, deadline);
    for (const asio::ip::address& address : addresses) endpoints.emplace_back(address, name.port);
  }
  co_return endpoints;
}

}  // namespace sluice::pg
