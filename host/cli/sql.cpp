// Logins for SQL, and psql with the right one.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.hpp"
#include "cli/confirm.hpp"
#include "cli/context.hpp"

namespace sluice::cli {
namespace {

/// Of the workspace's logins the one that is asked for, or the only one.
std::string login_of(const json& sql, const std::string& wanted) {
  const json& users = sql.at("users");
  if (users.empty()) {
    throw Failure(Error(ErrorKind::not_found, "sql_user.none",
                        "the workspace has no login for SQL yet",
                        "With an admin's token: sluice sql-user create NAME"));
  }
  std::string names;
  for (const json& user : users) {
    if (wanted.empty() ? users.size() == 1
                       : user.at("name") == wanted || user.at("login") == wanted) {
      return user.at("login");
    }
    names += (names.empty() ? "" : ", ") + user.at("name").get<std::string>();
  }
  throw Failure(Error(
      ErrorKind::bad_input, "sql_user.which",
      wanted.empty() ? "the workspace has several logins for SQL: " + names
                     : fmt::format("there is no login '{}' for SQL; there are: {}", wanted, names),
      "Say which: sluice psql --user NAME"));
}

void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

/// Never returns: psql takes our place. It asks for the password itself, or finds it where libpq
/// looks (PGPASSWORD, PGPASSFILE, ~/.pgpass), so that it is on no command line.
[[noreturn]] void become_psql(const json& sql, const std::string& login,
                              const std::vector<std::string>& more) {
  std::string host = sql.at("host");
  const std::string port = sql.at("port");
  const bool by_socket = host.starts_with('/');
  const std::string socket = fmt::format("{}/.s.PGSQL.{}", host, port);
  if (by_socket && ::access(socket.c_str(), R_OK | W_OK) != 0) {
    const std::string why = std::strerror(errno);
    if (sql.at("tcp_host").is_null()) {
      throw Failure(
          Error(ErrorKind::not_found, "sql.no_way",
                fmt::format("the way in is the socket {}, and it cannot be used from here: {}",
                            socket, why),
                "Ask on the machine where sluiced runs; or have its operator set sql.listen: "
                "docs/operating/sql.md"));
    }
    host = sql.at("tcp_host");
    if (std::getenv("PGSSLMODE") == nullptr) set("PGSSLMODE", "require");
  }
  set("PGHOST", host);
  set("PGPORT", port);
  set("PGDATABASE", sql.at("database"));
  set("PGUSER", login);
  if (std::getenv("PGAPPNAME") == nullptr) set("PGAPPNAME", "sluice psql");
  std::string program = "psql";
  std::vector<char*> arguments = {program.data()};
  std::vector<std::string> kept = more;
  for (std::string& one : kept) arguments.push_back(one.data());
  arguments.push_back(nullptr);
  ::execvp(program.c_str(), arguments.data());
  throw Failure(Error(ErrorKind::not_found, "sql.no_psql",
                      fmt::format("psql cannot be started: {}", std::strerror(errno)),
                      "Install it (Debian: postgresql-client); or give another program the URL "
                      "that sluice sql-user create printed"));
}

/// Its sessions go with it; another of that name has another password.
Consequence of_deleting(const Context& context, const std::string& name) {
  Consequence consequence;
  consequence.name = name;
  consequence.for_good = true;
  consequence.facts["sql_user"] = name;
  if (!is_asked(context)) return consequence;
  std::optional<std::int64_t> found;
  const json answer = context.client().get("/sql-users");
  for (const json& user : answer.value("sql_users", json::array()))
    if (user.value("name", "") == name) found = user.value("connections", std::int64_t{0});
  if (!found) {
    throw Failure(Error(ErrorKind::not_found, "sql_user.unknown",
                        fmt::format("there is no login '{}'", name), "sluice sql-user list"));
  }
  const std::int64_t sessions = *found;
  consequence.facts["connections"] = sessions;
  consequence.words =
      fmt::format("The login {} is ended for good{}", name,
                  sessions == 0   ? ""
                  : sessions == 1 ? ", and its open session with it"
                                  : fmt::format(", and its {} open sessions with it", sessions));
  return consequence;
}

}  // namespace

void add_sql(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  auto* users =
      app.add_subcommand("sql-user", "Logins with which people ask by SQL")->require_subcommand(1);
  auto* create = users->add_subcommand("create", "Make a login; its URL is shown once");
  create->add_option("name", *name, "a-z, 0-9 and _")->required();
  create->callback([&context, name] {
    json body;
    body["name"] = *name;
    const json answer = context.client().send("POST", "/sql-users", body);
    std::string text = cell(answer.at("url"));
    if (!answer.at("tcp_url").is_null()) text += "\n" + cell(answer.at("tcp_url"));
    context.say(answer, text);
  });
  auto after = std::make_shared<std::string>();
  auto* list = users->add_subcommand("list", "All logins");
  list->add_option("--after", *after, "only those after this name");
  list->callback([&context, after] {
    Query query;
    if (!after->empty()) query.emplace_back("after", *after);
    const json answer = context.client().get("/sql-users", query);
    context.show(answer, answer.at("sql_users"),
                 {{"NAME", "/name"},
                  {"LOGIN", "/login"},
                  {"CREATED", "/created_at"},
                  {"CONNECTED", "/connections", true},
                  {"CLOSED", "/closed"}});
    context.more(answer, "--after");
  });
  auto* remove = users->add_subcommand("delete", "End a login and its sessions, at once");
  remove->add_option("name", *name)->required();
  add_confirmation(*remove, context);
  remove->callback([&context, name] {
    if (!is_meant(context, of_deleting(context, *name))) return;
    const json answer =
        context.client().send("DELETE", "/sql-users/" + Client::escape(*name), json::object());
    std::string text = "deleted " + *name;
    for (const json& note : answer.at("notes")) text += "\nnote: " + cell(note);
    context.say(answer, text);
  });

  auto user = std::make_shared<std::string>(environment("SLUICE_SQL_USER", ""));
  auto more = std::make_shared<std::vector<std::string>>();
  auto* psql = app.add_subcommand(
      "psql", "psql with a login of the workspace: sluice psql -- -c 'select …'");
  psql->add_option("--user", *user, "which login; SLUICE_SQL_USER");
  psql->add_option("arguments", *more, "for psql, behind --");
  psql->callback([&context, user, more] {
    const json sql = context.client().get("/sql");
    become_psql(sql, login_of(sql, *user), *more);
  });
}

}  // namespace sluice::cli
