// Who asks by SQL: as another user of the machine, by the door of the private database and by TCP;
// what a login may, and that it is over at once when it is deleted.
#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "e2e/world.hpp"
#include "support/certificate.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Said {
  int code = 0;
  std::string text;  ///< of both outputs
};

struct CloseConnection {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Session = std::unique_ptr<PGconn, CloseConnection>;

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::uint16_t free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ::bind(socket, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(socket);
  return ntohs(address.sin_port);
}

class BySql : public World {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "another user of the machine is only root's to be";
  }
  void start_two_workspaces() {
    host_->start();
    host_->client().global("POST", "/v1/workspaces", {{"name", "globex"}});
    for (const char* workspace : {"acme", "globex"}) {
      const json attribute = {{"name", "email"}, {"type", "text"}};
      const json type = {{"name", "customer"}, {"attributes", json::array({attribute})}};
      client(workspace).send("POST", "/types", type);
      client(workspace).send("POST", "/entities/customer",
                             {{"email", std::string("a@") + workspace}});
    }
  }
  cli::Client client(const std::string& workspace) {
    cli::ClientOptions options;
    options.url = host_->url();
    options.token = host_->token();
    options.workspace = workspace;
    return cli::Client(options);
  }
  json made(const std::string& name, const std::string& workspace = "acme") {
    return client(workspace).send("POST", "/sql-users", {{"name", name}});
  }
  Said run(const std::vector<std::string>& command,
           const std::map<std::string, std::string>& environment = {}) {
    Launch launch;
    launch.program = command[0];
    launch.arguments.assign(command.begin() + 1, command.end());
    launch.environment = environment;
    launch.output = (directory_ / "said").string();
    launch.errors = (directory_ / "said.err").string();
    fs::remove(launch.output);
    fs::remove(launch.errors);
    Process process(launch);
    Said said;
    said.code = process.wait();
    said.text = read_file(launch.output) + read_file(launch.errors);
    return said;
  }
  /// psql as user 65534, who owns nothing here.
  Said psql(const std::string& where, const std::string& statement) {
    return run({"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                "/usr/bin/psql", "-X", "-w", "-At", where, "-c", statement},
               {{"HOME", "/nonexistent"}});
  }
  Said sluice(std::vector<std::string> arguments, std::map<std::string, std::string> environment) {
    environment["SLUICE_URL"] = host_->url();
    environment["SLUICE_TOKEN"] = host_->token();
    environment["SLUICE_WORKSPACE"] = "acme";
    arguments.insert(arguments.begin(), built_ + "/sluice");
    return run(arguments, environment);
  }
  static std::string value(PGconn* connection, const char* statement) {
    PGresult* result = PQexec(connection, statement);
    const std::string text = PQresultStatus(result) == PGRES_TUPLES_OK ? PQgetvalue(result, 0, 0)
                                                                       : PQerrorMessage(connection);
    PQclear(result);
    return text;
  }

  const std::string built_ = std::string(SLUICE_BIN_DIR);
};

TEST_F(BySql, a_login_reads_its_workspace_and_nothing_else_by_the_door_alone) {
  start_two_workspaces();
  const json ana = made("ana");
  const json bob = made("bob", "globex");
  const std::string url = ana.at("url"), theirs = bob.at("url");

  const Said mine = psql(url, "select email from customer");
  EXPECT_EQ(mine.code, 0) << url;
  EXPECT_EQ(mine.text, "a@acme\n");
  EXPECT_EQ(psql(theirs, "select email from customer").text, "a@globex\n");
  EXPECT_EQ(psql(url, "show statement_timeout").text, "5min\n");
  EXPECT_EQ(psql(url, "show idle_in_transaction_session_timeout").text, "5min\n");
  EXPECT_EQ(psql(url, "select rolconnlimit from pg_roles where rolname = current_user").text,
            "8\n");

  for (const char* refused :
       {"select * from globex.customer", "select * from sluice.token",
        "select * from sluice.secret", "delete from customer", "update customer set email = 'x'",
        "insert into customer (email) values ('x')", "create table acme.mine (a int)",
        "create schema mine", "select sluice.make_sql_user(1, 'eve', 'x')",
        "select sluice.close_sql_user(2, 'bob')", "set role sluice_app", "create role eve"}) {
    const Said said = psql(url, refused);
    EXPECT_NE(said.code, 0) << refused;
    EXPECT_TRUE(has(said.text, "denied") || has(said.text, "cannot")) << refused << said.text;
  }
  // Neither another password, nor another database, nor the host's own roles.
  const std::string password = ana.at("password");
  std::string wrong = url;
  wrong.replace(wrong.find(password), password.size(), "guessed");
  EXPECT_TRUE(has(psql(wrong, "select 1").text, "authentication failed"));
  const std::string door = "host=" + (directory_ / "data/sql").string();
  EXPECT_TRUE(has(
      psql(door + " dbname=postgres user=" + ana.at("login").get<std::string>(), "select 1").text,
      "rejects"));
  for (const char* role : {"sluice", "sluice_app"}) {
    const Said said = psql(door + " dbname=sluice user=" + role, "select 1");
    EXPECT_TRUE(has(said.text, "Peer authentication failed")) << role << said.text;
  }
  for (const char* role : {"sluice_owner", "sluice_roles", "sluice_sql_users"}) {
    const Said said = psql(door + " dbname=sluice user=" + role, "select 1");
    EXPECT_NE(said.code, 0) << role << said.text;
  }
  // The owner's socket is as closed as ever.
  const Said by_owners = psql("host=" + (directory_ / "data/run").string() +
                                  " dbname=sluice user=" + ana.at("login").get<std::string>(),
                              "select 1");
  EXPECT_TRUE(has(by_owners.text, "Permission denied")) << by_owners.text;
  struct stat info {};
  ASSERT_EQ(::stat((directory_ / "data/run/.s.PGSQL.5432").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  // One who is root, or the host's user, is not let in without a password either.
  EXPECT_NE(
      run({"/usr/bin/psql", "-X", "-w", "-At",
           door + " dbname=sluice user=" + ana.at("login").get<std::string>(), "-c", "select 1"})
          .code,
      0);
}

TEST_F(BySql, nobody_writes_through_a_view_also_one_that_an_older_version_made) {
  start_two_workspaces();
  const auto updatable = [this] {
    return host_->sql(
        "select string_agg(c.relname, ' ') from pg_class c where c.relnamespace = "
        "'acme'::regnamespace and c.relkind = 'v' and pg_relation_is_updatable(c.oid, true) <> 0");
  };
  EXPECT_EQ(updatable(), "");
  host_->sql("create view public.on_top as select email from acme.customer");
  host_->sql("grant select on acme.customer to pg_monitor");
  // As a version before made it.
  host_->sql(
      "do $$ begin execute 'create or replace view acme.customer as ' || "
      "regexp_replace(pg_get_viewdef('acme.customer'::regclass), '\\((?:sluice\\.)?own_entity "
      "e\\s+CROSS JOIN \\( SELECT\\) of_one_row\\)', 'sluice.own_entity e'); end $$");
  host_->sql("update sluice.sql_view set hash = 'older' where name = 'customer'");
  ASSERT_EQ(updatable(), "customer");
  client("acme").send("POST", "/views/refresh", json::object());
  EXPECT_EQ(updatable(), "");
  EXPECT_EQ(host_->sql("select email from public.on_top"), "a@acme");
  EXPECT_EQ(host_->sql("select has_table_privilege('pg_monitor', 'acme.customer', 'select')"), "t");
  // Not even the superuser.
  for (const char* statement : {"delete from acme.customer", "update acme.customer set email = 'x'",
                                "delete from public.on_top"}) {
    const Said said =
        run({"/usr/bin/psql", "-X", "-w", "-At",
             "host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice", "-c",
             statement});
    EXPECT_NE(said.code, 0) << statement;
    EXPECT_TRUE(has(said.text, "cannot")) << said.text;
  }
  EXPECT_EQ(host_->sql("select email from acme.customer"), "a@acme");
}

TEST_F(BySql, every_view_and_column_says_what_it_is_and_peoples_own_words_stay) {
  start_fake(1);
  host_->start();
  connect();
  const json attribute = {
      {"name", "tier"}, {"type", "text"}, {"description", "which of the 3 tiers; it's agreed"}};
  client("acme").send("POST", "/types",
                      {{"name", "plan"}, {"attributes", json::array({attribute})}});
  const auto silent = [this] {
    return host_->sql(
        "select string_agg(c.relname || '.' || coalesce(a.attname, ''), ' ') from pg_class c left "
        "join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 where c.relnamespace = "
        "'acme'::regnamespace and c.relkind = 'v' and (obj_description(c.oid, 'pg_class') is null "
        "or col_description(c.oid, a.attnum) is null)");
  };
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->sql(
               "select to_regclass('acme.plan') is not null and "
               "to_regclass('acme.stripe_invoice') is not null") == "t";
  }));
  EXPECT_EQ(silent(), "");
  const auto said = [this](const char* column) {
    return host_->sql(
        "select col_description(attrelid, attnum) from pg_attribute where attrelid = "
        "'acme.plan'::regclass and attname = '" +
        std::string(column) + "'");
  };
  EXPECT_EQ(said("tier"), "which of the 3 tiers; it's agreed");
  EXPECT_TRUE(has(host_->sql("select obj_description('acme.stripe_invoice'::regclass)"),
                  "(stripe.invoice), as the connector stripe reads it"));
  host_->sql("comment on column acme.plan.tier is 'ask Ana'");
  host_->sql("comment on column acme.plan.id is null");
  // Ours follows what is declared; theirs does not.
  host_->sql("update sluice.attribute set description = 'another' where name = 'tier'");
  client("acme").send("POST", "/views/refresh", json::object());
  EXPECT_EQ(said("tier"), "ask Ana");
  EXPECT_TRUE(has(said("id"), "Sluice id"));
  host_->sql("comment on column acme.plan.tier is null");
  client("acme").send("POST", "/views/refresh", json::object());
  EXPECT_EQ(said("tier"), "another");
  host_->sql("update sluice.attribute set description = 'a third' where name = 'tier'");
  client("acme").send("POST", "/views/refresh", json::object());
  EXPECT_EQ(said("tier"), "a third");
}

TEST_F(BySql, a_deleted_login_is_out_at_once_and_goes_from_the_database) {
  start_two_workspaces();
  const json ana = made("ana");
  const std::string login = ana.at("login");
  const Session session(PQconnectdb(ana.at("url").get<std::string>().c_str()));
  ASSERT_EQ(PQstatus(session.get()), CONNECTION_OK) << PQerrorMessage(session.get());
  EXPECT_EQ(value(session.get(), "select email from customer"), "a@acme");
  EXPECT_EQ(client("acme").get("/sql-users").at("sql_users").at(0).at("connections"), 1);
  // Another workspace's admin does not find it.
  EXPECT_THROW(client("globex").send("DELETE", "/sql-users/ana", json::object()), Failure);

  const json gone = client("acme").send("DELETE", "/sql-users/ana", json::object());
  EXPECT_EQ(gone.at("notes"), json::array());
  EXPECT_TRUE(has(value(session.get(), "select email from customer"), "terminat"));
  EXPECT_NE(psql(ana.at("url"), "select 1").code, 0);
  EXPECT_EQ(host_->sql("select count(*) from pg_roles where rolname = '" + login + "'"), "0");
  EXPECT_EQ(client("acme").get("/sql-users").at("sql_users"), json::array());
  EXPECT_THROW(client("acme").send("DELETE", "/sql-users/ana", json::object()), Failure);
  EXPECT_THROW(made("Ana"), Failure);

  const json again = made("ana");
  EXPECT_THROW(made("ana"), Failure);
  EXPECT_NE(again.at("password"), ana.at("password"));
  EXPECT_EQ(psql(again.at("url"), "select email from customer").text, "a@acme\n");
  EXPECT_NE(psql(ana.at("url"), "select 1").code, 0);

  // What somebody gave it besides keeps the role, and nothing else of it.
  host_->sql("grant usage on schema public to " + login);
  const json kept = client("acme").send("DELETE", "/sql-users/ana", json::object());
  EXPECT_EQ(kept.at("notes").size(), 1U);
  EXPECT_NE(psql(again.at("url"), "select 1").code, 0);
  EXPECT_TRUE(client("acme").get("/sql-users").at("sql_users").at(0).at("closed").get<bool>());
  EXPECT_EQ(
      host_->sql("select count(*) from pg_auth_members where member = '" + login + "'::regrole"),
      "0");
}

TEST_F(BySql, people_take_no_connection_that_a_host_needs) {
  start_two_workspaces();
  // What is there for hosts, and beside it what people's logins are given, all together.
  EXPECT_EQ(host_->sql("show max_connections"), "300");
  EXPECT_EQ(host_->sql("show sluice.sql_connections"), "200");
  host_->sql("alter system set sluice.sql_connections = 20");
  host_->sql("select pg_reload_conf()");
  ASSERT_TRUE(eventually(std::chrono::seconds(10),
                         [&] { return host_->sql("show sluice.sql_connections") == "20"; }));
  const auto refused = [this](const char* name) -> std::string {
    const Said said = sluice({"sql-user", "create", name}, {});
    return said.code == 0 ? "" : said.text;
  };
  // One who was made by hand counts, and without a limit of its own for all of it.
  host_->sql("create role byhand login; grant sluice_sql_users to byhand");
  EXPECT_TRUE(has(refused("ana"), "people may have 20 connections to this database")) << "made";
  EXPECT_TRUE(has(refused("ana"), "1 made by hand have no limit of their own"));
  EXPECT_TRUE(has(refused("ana"), "sluice sql-user list"));
  host_->sql("alter role byhand connection limit 4");
  const json ana = made("ana");
  made("bob");
  EXPECT_TRUE(has(refused("eve"), "their logins have 20, ")) << refused("eve");
  EXPECT_EQ(host_->sql("select count(*) from pg_roles where rolname like 'sluice\\_sql\\_d%'"),
            "2");
  // And no login has more than it was given.
  std::vector<Session> sessions;
  for (int n = 0; n < 8; ++n) {
    sessions.emplace_back(PQconnectdb(ana.at("url").get<std::string>().c_str()));
    EXPECT_EQ(PQstatus(sessions.back().get()), CONNECTION_OK)
        << PQerrorMessage(sessions.back().get());
  }
  EXPECT_TRUE(has(psql(ana.at("url"), "select 1").text, "too many connections for role"));
  EXPECT_EQ(client("acme").send("DELETE", "/sql-users/bob", json::object()).at("deleted"), "bob");
  EXPECT_EQ(refused("eve"), "");
  // Of what there is each workspace has its share: none keeps the others out.
  host_->sql("drop role byhand");
  host_->sql("alter system set sluice.sql_connections = 40");
  host_->sql("select pg_reload_conf()");
  ASSERT_TRUE(eventually(std::chrono::seconds(10),
                         [&] { return host_->sql("show sluice.sql_connections") == "40"; }));
  EXPECT_EQ(host_->sql("select count(*) from sluice.workspace"), "2");
  EXPECT_TRUE(has(refused("max"), "this workspace's 20 of them")) << refused("max");
  EXPECT_EQ(made("zoe", "globex").at("name"), "zoe");
}

TEST_F(BySql, a_login_fills_no_disk_with_what_is_not_the_workspaces) {
  host_->start();
  const std::string url = made("ana").at("url");
  for (const char* statement : {"select lo_create(0)", "select lo_from_bytea(0, 'x')",
                                "create temporary table t (a int)"}) {
    EXPECT_TRUE(has(psql(url, statement).text, "permission denied")) << statement;
  }
}

TEST_F(BySql, the_socket_for_people_can_be_shut) {
  for (const auto& [who, mode] : {std::pair("nobody", 0600), std::pair("group", 0660)}) {
    host_->settings.push_back(std::string("sql.socket=") + who);
    host_->start();
    struct stat facts {};
    const std::string port = host_->sql("show port");
    const auto socket = directory_ / "data/sql" / (".s.PGSQL." + port);
    ASSERT_EQ(::stat(socket.c_str(), &facts), 0) << socket;
    EXPECT_EQ(facts.st_mode & 0777, static_cast<mode_t>(mode)) << who;
    EXPECT_EQ(host_->stop(), 0);
  }
}

TEST_F(BySql, a_password_is_in_no_log_no_audit_and_no_statement) {
  host_->start();
  host_->sql("alter system set log_statement = 'all'");
  host_->sql("alter system set log_min_duration_statement = 0");
  host_->sql("select pg_reload_conf()");
  ASSERT_TRUE(eventually(std::chrono::seconds(10), [&] {
    host_->sql("select 'a mark'");
    return has(read_file((directory_ / "data/postgres.log").string()), "a mark");
  }));
  const json ana = made("ana");
  const std::string password = ana.at("password");
  EXPECT_GE(password.size(), 32U);
  const std::string verifier = host_->sql("select rolpassword from pg_authid where rolname = '" +
                                          ana.at("login").get<std::string>() + "'");
  EXPECT_TRUE(verifier.starts_with("SCRAM-SHA-256$"));
  const std::string server = read_file((directory_ / "data/postgres.log").string());
  EXPECT_TRUE(has(server, "make_sql_user"));
  for (const std::string& secret : {password, verifier}) {
    EXPECT_FALSE(has(server, secret));
    EXPECT_FALSE(has(host_->log(), secret));
    EXPECT_EQ(
        host_->sql("select count(*) from sluice.audit a where a::text like '%" + secret + "%'"),
        "0");
    EXPECT_EQ(host_->sql("select count(*) from pg_stat_activity a where pid <> pg_backend_pid() "
                         "and a::text like '%" +
                         secret + "%'"),
              "0");
  }
  EXPECT_EQ(host_->sql("select string_agg(action || ' ' || subject, ',') from sluice.audit where "
                       "action like 'sql_user.%'"),
            "sql_user.create ana");
  EXPECT_FALSE(has(client("acme").get("/sql-users").dump(), password));
  EXPECT_FALSE(has(client("acme").get("/sql").dump(), password));
}

TEST_F(BySql, by_tcp_there_is_tls_or_nothing) {
  host_->start();
  host_->stop();
  const ::sluice::testing::Certificate tls(::sluice::testing::Certificate::Age::valid,
                                           "IP:127.0.0.1");
  const std::string key = (directory_ / "sql.key").string();
  fs::copy_file(tls.key_path, key);
  struct stat info {};
  ASSERT_EQ(::stat((directory_ / "data/postgres").c_str(), &info), 0);
  ASSERT_EQ(::chown(key.c_str(), info.st_uid, info.st_gid), 0);
  const std::string port = std::to_string(free_port());
  host_->settings = {"sql.listen=127.0.0.1", "sql.port=" + port, "sql.tls_certificate=" + tls.path,
                     "sql.tls_key=" + key};
  host_->start();
  const json ana = made("ana");
  const std::string url = ana.at("tcp_url");
  EXPECT_TRUE(has(url, "@127.0.0.1:" + port + "/sluice?sslmode=require")) << url;
  EXPECT_EQ(psql(url, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").text, "t\n");
  EXPECT_EQ(psql(ana.at("url"), "select 1").text, "1\n") << ana.at("url");
  const std::string start = url.substr(0, url.find('?'));
  EXPECT_EQ(psql(start + "?sslmode=verify-full&sslrootcert=" + tls.path, "select 1").text, "1\n");
  const Said clear = psql(start + "?sslmode=disable", "select 1");
  EXPECT_NE(clear.code, 0);
  EXPECT_TRUE(has(clear.text, "no encryption")) << clear.text;
  for (const char* role : {"sluice", "sluice_app"}) {
    const Said said = psql(
        "host=127.0.0.1 port=" + port + " dbname=sluice sslmode=require user=" + role, "select 1");
    EXPECT_NE(said.code, 0) << role << said.text;
  }
}

TEST_F(BySql, psql_is_started_with_the_right_login_and_says_what_to_do_without_one) {
  start_two_workspaces();
  const Said none = sluice({"psql"}, {});
  EXPECT_NE(none.code, 0);
  EXPECT_TRUE(has(none.text, "sluice sql-user create NAME")) << none.text;
  const Said created = sluice({"sql-user", "create", "ana"}, {});
  EXPECT_EQ(created.code, 0) << created.text;
  EXPECT_TRUE(created.text.starts_with("postgresql://sluice_sql_d")) << created.text;
  const std::string from = created.text.substr(created.text.find(':', 13) + 1);
  const std::string password = from.substr(0, from.find('@'));
  const std::map<std::string, std::string> with = {{"PGPASSWORD", password}};
  const Said asked = sluice({"psql", "--", "-X", "-At", "-c", "select email from customer"}, with);
  EXPECT_EQ(asked.code, 0);
  EXPECT_EQ(asked.text, "a@acme\n");
  made("bob");
  const Said which = sluice({"psql", "--", "-c", "select 1"}, with);
  EXPECT_NE(which.code, 0);
  EXPECT_TRUE(has(which.text, "ana, bob")) << which.text;
  EXPECT_EQ(sluice({"psql", "--user", "ana", "--", "-XAtc", "select 1"}, with).text, "1\n");
  const Said listed = sluice({"sql-user", "list"}, {});
  EXPECT_TRUE(has(listed.text, "ana") && has(listed.text, "bob")) << listed.text;
  EXPECT_EQ(sluice({"sql-user", "delete", "bob", "--yes"}, {}).code, 0);
  EXPECT_NE(sluice({"sql-user", "delete", "bob", "--yes"}, {}).code, 0);
}

}  // namespace
}  // namespace sluice::e2e
