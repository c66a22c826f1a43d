// What the role that a host works as, and who was given a workspace's views, may not: each by name.
#include "pg/roles.hpp"

#include <Poco/AutoPtr.h>
#include <Poco/Channel.h>
#include <Poco/Logger.h>
#include <Poco/Message.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>

#include "feed/upkeep.hpp"
#include "feed/view_owners.hpp"
#include "feed/views.hpp"
#include "pg/error.hpp"
#include "pg/feed/world.hpp"
#include "pg/migrate.hpp"
#include "pg/sql_sessions.hpp"

namespace sluice::feed {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr const char* kDenied = "42501";
constexpr const char* kRaised = "P0001";

/// The SQLSTATE that a statement ends with; "" when it is done.
template <class Test>
std::string state_of(Test& test, pg::Connection& connection, const std::string& sql) {
  std::string state;
  try {
    test.run(connection.script(sql));
  } catch (const pg::QueryError& error) {
    state = error.sqlstate();
  }
  if (connection.in_transaction()) test.run(connection.query("rollback"));
  return state;
}

/// What the log says meanwhile.
class HeardLog {
 public:
  HeardLog() { Poco::Logger::get("sluice").setChannel(channel_); }
  ~HeardLog() { Poco::Logger::get("sluice").setChannel(nullptr); }
  HeardLog(const HeardLog&) = delete;
  HeardLog& operator=(const HeardLog&) = delete;
  [[nodiscard]] const std::string& text() const { return channel_->text; }

 private:
  struct Channel final : Poco::Channel {
    void log(const Poco::Message& message) override { text += message.getText() + "\n"; }
    std::string text;
  };
  Poco::AutoPtr<Channel> channel_{new Channel};
};

class RolesTest : public sluice::testing::FeedWorld {
 public:
  using FeedWorld::run;

 protected:
  void SetUp() override {
    // Roles are the server's, and other tests have workspaces, too.
    static int count = 0;
    PgTest::SetUp();
    first_ = 1'000'000 + 1'000 * std::int64_t{::getpid()} + 10 * ++count;
    sql_alone(
        fmt::format("alter table sluice.workspace alter workspace_id restart with {}", first_));
    run(build());
    customer("cus_1", "a@x");
    own("a@x");
    refresh(workspace_, "acme");
    reader_ = text(fmt::format("select sluice.reader_of({})", workspace_.value));
  }
  void TearDown() override {
    person_.reset();
    app_.reset();
    if (!login_.empty()) sql("drop owned by " + login_ + "; drop role " + login_);
    for (int n = 0; n < 3; ++n) {
      const std::string drop = text(
          fmt::format("select coalesce(string_agg(format('drop owned by %1$I cascade; drop role "
                      "%1$I', rolname), ';'), 'select 1') from pg_roles where rolname ~ "
                      "'^sluice_(view|reader)(_d\\d+)?_w{}(_|$)'",
                      first_ + n));
      sql_alone(drop);
    }
    FeedWorld::TearDown();
  }
  void sql_alone(const std::string& statements) { run(script(statements)); }
  Task<std::vector<StaleView>> refresh_task(
      WorkspaceId workspace, std::string name,
      std::chrono::milliseconds readers_patience = pg::kReadersPatience) {
    auto lease = co_await pool().acquire();
    const auto catalog = co_await model::load_catalog(*lease, workspace);
    co_return co_await refresh_views(*lease, *catalog, std::move(name), readers_patience);
  }
  void refresh(WorkspaceId workspace, const std::string& name) {
    for (const StaleView& stale : run(refresh_task(workspace, name)))
      ADD_FAILURE() << stale.name << " " << stale.error.describe();
  }
  /// Types with one text attribute, called `prefix`1 and so on.
  Task<void> make_types(std::string prefix, int count) {
    auto lease = co_await pool().acquire();
    for (int n = 1; n <= count; ++n) {
      const auto request = nlohmann::json::parse(fmt::format(
          R"({{"name":"{}{}","attributes":[{{"name":"word","type":"text"}}]}})", prefix, n));
      auto type = model::own_type_from_json(request);
      auto transaction = co_await pg::Transaction::begin(*lease);
      const auto made = co_await model::create_own_type(transaction, workspace_, std::move(*type));
      if (!made) ADD_FAILURE() << made.error().describe();
      co_await transaction.commit();
    }
  }
  /// As when nothing of them is left.
  void drop_types(const std::string& prefix) {
    sql("delete from sluice.attribute a using sluice.entity_type t where t.type_id = a.type_id "
        "and t.name ~ '^" +
        prefix + "[0-9]+$'; update sluice.entity_type set state = 'dropped' where name ~ '^" +
        prefix + "[0-9]+$'; update sluice.catalog_version set version = version + 1");
  }
  /// What owners of views have in this database: "<roles> <policies of own rows> <grants there>
  /// <grants on the workspace's schema>".
  std::string owned() {
    return text(
        "with ours as (select r.oid, r.rolname from pg_roles r where r.rolname::text ^@ "
        "('sluice_view' || left(sluice.role_space(), -2))) select concat_ws(' ', (select count(*) "
        "from ours), (select count(*) from pg_policy where polrelid = "
        "'sluice.own_entity'::regclass), (select count(*) from pg_class c cross join "
        "aclexplode(c.relacl) a join ours on ours.oid = a.grantee where c.oid = "
        "'sluice.own_entity'::regclass), (select count(distinct a.grantee) from pg_namespace n "
        "cross join aclexplode(n.nspacl) a join ours on ours.oid = a.grantee where n.nspname = "
        "'acme'))");
  }
  std::string view_role(WorkspaceId workspace) {
    return text(fmt::format("select 'sluice_view' || sluice.role_space() || {}", workspace.value));
  }
  pg::Connection& app() {
    if (!app_) app_ = connect_as_app();
    return *app_;
  }
  /// Somebody who was granted the workspace's reader.
  pg::Connection& person() {
    if (!person_) {
      login_ = "person_" + database_name();
      // As a login that a host made: its role is the function's owner's.
      sql(fmt::format("create role {0} login; grant {1} to {0}; grant {0} to {2}", login_, reader_,
                      text("select proowner::regrole from pg_proc where proname = "
                           "'end_sql_sessions'")));
      person_ = reader_connection();
    }
    return *person_;
  }
  /// One more of that person's.
  std::unique_ptr<pg::Connection> reader_connection() {
    pg::ConnectOptions options;
    options.conninfo = conninfo() + " user=" + login_;
    return run(pg::Connection::connect(executor(), std::move(options)));
  }
  /// Sessions of this database that wait for a lock; the server is other tests', too.
  int waiting() {
    return std::stoi(text(
        "select count(distinct l.pid) from pg_locks l join pg_stat_activity a using (pid) where "
        "not l.granted and a.datname = current_database()"));
  }
  /// The server ended the session.
  bool is_over(pg::Connection& connection) {
    try {
      run(connection.query("select 1"));
    } catch (const Failure&) {
      return true;
    }
    return false;
  }

  std::int64_t first_ = 0;  ///< workspace's id
  std::string reader_, login_;
  std::unique_ptr<pg::Connection> app_, person_;
};

TEST_F(RolesTest, the_hosts_role_is_refused_what_no_host_does) {
  const std::string owner = view_role(workspace_);
  const std::string statements[] = {
      // The server's machine.
      "copy (select 1) to program 'true'", "copy (select 1) to '/tmp/sluice_roles_test'",
      "select pg_read_file('/etc/passwd')", "select pg_ls_dir('/')",
      "select lo_import('/etc/passwd')", "alter system set fsync = off",
      "create function public.f() returns void language c as 'libc', 'abort'",
      "create function acme.f(text) returns int language internal as 'textoctetlen'",
      // Other roles.
      "create role another_one", "alter role sluice_app superuser",
      "alter role sluice_app createrole", "alter role postgres password 'x'", "set role postgres",
      "set session authorization postgres", "set role sluice_owner", "set role sluice_roles",
      "grant sluice_owner to sluice_app", "grant pg_execute_server_program to sluice_app",
      "drop role " + reader_, "grant " + reader_ + " to sluice_app", "set role " + reader_,
      // The core.
      "create table sluice.mine (a int)", "alter table sluice.secret add column a int",
      "drop table sluice.audit", "truncate sluice.audit", "drop schema sluice cascade",
      "alter table sluice.secret disable trigger all",
      "alter table sluice.workspace disable trigger begin_feed",
      "drop trigger begin_feed on sluice.workspace",
      "create trigger mine after insert on sluice.secret execute function sluice.begin_feed()",
      "create policy mine on sluice.secret using (true)",
      "drop policy " + owner + " on sluice.connection",
      "alter policy " + owner + " on sluice.connection using (true)",
      "alter table sluice.connection disable row level security",
      "create index on sluice.secret (workspace_id)", "drop function sluice.begin_feed() cascade",
      "alter function sluice.make_reader_role(bigint) security invoker",
      "create or replace function sluice.fresh_generation() returns bigint language sql as "
      "'select 1::bigint'",
      "insert into sluice.schema_version (version, name, checksum) values (9999, 'x', 'x')",
      "select * from sluice.change_later", "select setval('sluice.entity_id', 1)",
      "set session_replication_role = replica"};
  for (const std::string& sql : statements) EXPECT_EQ(state_of(*this, app(), sql), kDenied) << sql;
  EXPECT_THAT(run(pg::rights_too_many(app())), IsEmpty());
}

TEST_F(RolesTest, who_reads_a_workspace_reads_its_views_and_nothing_else) {
  const auto other = run(
      pool().query("insert into sluice.workspace (name) values ('other') returning workspace_id"));
  refresh(other.get<WorkspaceId>(0, 0), "other");
  for (const char* view : {"acme_customer", "acme_invoice", "customer", "link", "change"})
    EXPECT_EQ(state_of(*this, person(), fmt::format("select * from acme.{}", view)), "") << view;
  EXPECT_EQ(run(person().query("select * from acme.acme_customer")).rows(), 1);
  const std::string owner = view_role(workspace_);
  const std::string statements[] = {"select * from other.change",
                                    "select * from other.link",
                                    "select * from sluice.secret",
                                    "select * from sluice.connection",
                                    "select * from vendor.acme_customer",
                                    "select * from sluice.own_entity",
                                    "create table acme.mine ()",
                                    "create view acme.mine as select 1",
                                    "drop view acme.customer",
                                    "set role " + owner,
                                    "set role sluice_app",
                                    "copy (select 1) to program 'true'",
                                    "select pg_read_file('/etc/passwd')",
                                    "select lo_import('/etc/passwd')",
                                    "alter table sluice.secret disable trigger all",
                                    "select sluice.make_reader_role(1)",
                                    "select sluice.make_view_role(1, 0)",
                                    "select sluice.open_to_view('connection', 1, 0)",
                                    "select sluice.index_own_text('own_entity_at_x', 'x')",
                                    "select sluice.ensure_change_partitions(2)"};
  for (const std::string& sql : statements)
    EXPECT_EQ(state_of(*this, person(), sql), kDenied) << sql;
  // Nobody's to write through, before it is asked whose.
  EXPECT_EQ(state_of(*this, person(), "delete from acme.customer"), "55000");
}

TEST_F(RolesTest, a_view_that_comes_later_is_its_readers_too_and_what_people_granted_stays) {
  person();
  sql("grant select on acme.customer to " + login_ +
      "; alter table vendor.acme_customer add "
      "segment text; insert into sluice.attribute (workspace_id, type_id, name, type, position) "
      "select workspace_id, type_id, 'segment', 'text', 90 from sluice.entity_type where name = "
      "'acme.customer'");
  refresh(workspace_, "acme");
  EXPECT_EQ(state_of(*this, person(), "select segment from acme.acme_customer"), "");
  sql("revoke " + reader_ + " from " + login_ + "; grant usage on schema acme to " + login_);
  EXPECT_EQ(state_of(*this, person(), "select segment from acme.acme_customer"), kDenied);
  EXPECT_EQ(state_of(*this, person(), "select email from acme.customer"), "");
}

// All grants of a table are one row of PostgreSQL's catalogue.
TEST_F(RolesTest, what_the_views_of_own_types_need_goes_with_them_and_no_grant_is_each_ones) {
  const std::string before = owned();
  EXPECT_EQ(before, "3 1 1 1") << "of all, of the workspace, of the type customer";
  for (int round = 0; round < 2; ++round) {
    run(make_types("thing", 25));
    refresh(workspace_, "acme");
    EXPECT_EQ(owned(), "28 26 1 1");
    EXPECT_EQ(text("select pg_get_userbyid(relowner) ~ '_t[0-9]+$' from pg_class where oid = "
                   "'acme.thing25'::regclass"),
              "t");
    drop_types("thing");
    refresh(workspace_, "acme");
    EXPECT_EQ(owned(), "18 16 1 1") << "some at once, durable work goes on";
    ClosedOwners closed;
    for (int calls = 0; closed.more; ++calls) {
      ASSERT_LT(calls, 3);
      closed = run(close_owners(app(), workspace_, closed.last));
      EXPECT_FALSE(closed.busy);
    }
    EXPECT_EQ(owned(), before);
  }
  // Made again under its name, it has its number.
  EXPECT_EQ(state_of(*this, person(), "select * from acme.customer"), "");
}

TEST_F(RolesTest, the_owner_of_a_view_that_something_stands_on_stays_until_the_view_can_go) {
  run(make_types("thing", 1));
  refresh(workspace_, "acme");
  sql("create view public.on_top as select word from acme.thing1");
  drop_types("thing");
  const auto stale = run(refresh_task(workspace_, "acme"));
  ASSERT_EQ(stale.size(), 1U);
  EXPECT_EQ(stale[0].error.code, "views.depended_on");
  EXPECT_EQ(owned(), "4 2 1 1");
  sql("drop view public.on_top");
  refresh(workspace_, "acme");
  EXPECT_EQ(owned(), "3 1 1 1");
}

TEST_F(RolesTest, owners_of_types_that_are_there_are_not_closed_and_those_in_use_later) {
  run(make_types("thing", 1));
  refresh(workspace_, "acme");
  const std::string ids = text(
      "select array_agg(type_id)::text from sluice.entity_type where name in ('customer', "
      "'thing1')");
  const std::string ask = "select sluice.drop_view_roles({0}, sluice.close_to_view({0}, '{1}'))";
  const std::string close = fmt::format(fmt::runtime(ask), workspace_.value, ids);
  EXPECT_EQ(run(app().query(close)).get<int>(0, 0), 0);
  EXPECT_EQ(owned(), "4 2 1 1");
  drop_types("thing");
  const auto holder = connect();
  run(holder->script("begin; lock table sluice.own_entity in access share mode"));
  refresh(workspace_, "acme");
  const ClosedOwners closed = run(close_owners(app(), workspace_));
  EXPECT_TRUE(closed.busy);
  EXPECT_EQ(owned(), "4 2 1 1");
  run(holder->query("rollback"));
  refresh(workspace_, "acme");
  EXPECT_EQ(owned(), "3 1 1 1");
}

TEST_F(RolesTest, a_view_that_gets_no_owner_of_its_own_is_told) {
  const auto told = [&] {
    const auto catalog = [&]() -> Task<std::vector<StaleView>> {
      auto lease = co_await pool().acquire();
      const auto now = co_await model::load_catalog(*lease, workspace_);
      co_return co_await stale_views(*lease, *now);
    };
    std::string all;
    for (const StaleView& one : run(catalog()))
      all += one.name + " " + one.error.code + ": " + one.error.message + "\n";
    return all;
  };
  EXPECT_EQ(told(), "");
  run(make_types("thing", 1));
  sql("alter function sluice.open_to_view(text, bigint, bigint) rename to open_later");
  const auto stale = run(refresh_task(workspace_, "acme"));
  ASSERT_EQ(stale.size(), 1U);
  EXPECT_EQ(stale[0].name, "thing1");
  EXPECT_THAT(told(), StartsWith("thing1 views.no_owner: the SQL view thing1 has no owner of its "
                                 "own, so that its joins find no index: "));
  EXPECT_THAT(told(), HasSubstr("function sluice.open_to_view"));
  EXPECT_EQ(text("select reloptions::text from pg_class where oid = 'acme.thing1'::regclass"),
            "{security_barrier=true}");
  sql("alter function sluice.open_later(text, bigint, bigint) rename to open_to_view");
  refresh(workspace_, "acme");
  EXPECT_EQ(told(), "");
  EXPECT_EQ(text("select reloptions::text from pg_class where oid = 'acme.thing1'::regclass"),
            "{security_barrier=false}");
}

// Roles are the server's: what was granted for another database must not open this one.
TEST_F(RolesTest, a_reader_of_another_database_gets_nothing_here) {
  const auto made = run(pool().query(
      "insert into sluice.workspace (name) values ('third'), ('fourth') returning workspace_id"));
  const auto third = made.get<WorkspaceId>(0, 0), fourth = made.get<WorkspaceId>(1, 0);
  const auto of_before = [&](WorkspaceId workspace, const std::string& database) {
    std::string role = "sluice_reader_w" + std::to_string(workspace.value);
    sql(
        fmt::format("create role {0}; comment on role {0} is 'sluice reader of workspace {1} in "
                    "database {2}'",
                    role, workspace.value, database));
    return role;
  };
  const std::string theirs = of_before(third, "postgres");
  const std::string ours = of_before(fourth, database_name());
  refresh(third, "third");
  refresh(fourth, "fourth");
  const auto opened = [&](const std::string& role, const std::string& workspace) {
    return text(
        fmt::format("select has_schema_privilege('{0}', '{1}', 'usage'), "
                    "has_table_privilege('{0}', '{1}.change', 'select')",
                    role, workspace));
  };
  EXPECT_EQ(opened(theirs, "third"), "f|f");
  const std::string reader = text("select sluice.reader_of('third')");
  EXPECT_EQ(reader, text(fmt::format("select 'sluice_reader_d' || oid || '_w{}' from pg_database "
                                     "where datname = current_database()",
                                     third.value)));
  EXPECT_EQ(opened(reader, "third"), "t|t");
  EXPECT_EQ(text("select sluice.reader_of('fourth')"), ours) << "people have been granted it";
  EXPECT_EQ(opened(ours, "fourth"), "t|t");
}

// Each name that a host looks for without a schema, where its own or everybody's would be found:
// a better match than PostgreSQL's own, which would be called with the rights of whoever asks.
TEST_F(RolesTest, what_somebody_puts_in_the_way_of_a_function_is_not_called) {
  const char* const traps[] = {"has_schema_privilege(text, text, text) returns boolean",
                               "obj_description(oid, text) returns text",
                               "format(text, text) returns text",
                               "format(text, name) returns text",
                               "concat_ws(text, text, text) returns text",
                               "substring(text, text) returns text"};
  std::string all;
  for (const char* schema : {"postgres", "sluice_app", "public"}) {
    all += fmt::format("create schema if not exists {0}; grant usage on schema {0} to public;",
                       schema);
    for (const char* trap : traps) {
      all += fmt::format(
          "create function {}.{} language plpgsql as $f$ begin raise 'run as %', "
          "current_user using errcode = 'ZZ001'; end $f$;",
          schema, trap);
    }
  }
  sql(all);
  const auto superuser = connect();
  EXPECT_EQ(state_of(*this, *superuser,
                     "set search_path to public; select has_schema_privilege('postgres'::text, "
                     "'sluice'::text, 'usage'::text)"),
            "ZZ001")
      << "the trap is none";
  const auto owner = connect();
  EXPECT_THAT(run(pg::settle_roles(*owner, pg::kAppRole, pg::AppLogin::make)), IsEmpty());
  EXPECT_THAT(run(pg::rights_too_many(app())), IsEmpty());
  refresh(workspace_, "acme");
  EXPECT_EQ(std::string(run(app().query("show search_path")).text(0, 0)), "pg_catalog, pg_temp");
}

// Roles are in no dump: a number that is given once more after an older one was put back is of
// another workspace, and who read the one before reads nothing of it.
TEST_F(RolesTest, who_read_a_workspace_that_is_gone_does_not_read_the_next_one_of_its_number) {
  person();
  const std::string w = std::to_string(workspace_.value);
  const std::string ana = text("select sluice.sql_user_role(" + w + ", 'ana')");
  const std::string verifier =
      "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2Fs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  run(app().query(fmt::format("select sluice.make_sql_user({}, 'ana', '{}')", w, verifier)));
  const auto members = [&] {
    return text("select count(*) from pg_auth_members where roleid = '" + reader_ + "'::regrole");
  };
  const auto may_log_in = [&] {
    return text("select rolcanlogin from pg_roles where rolname = '" + ana + "'");
  };
  // The same workspace, however often it is looked at, and however its backup was put back.
  refresh(workspace_, "acme");
  EXPECT_EQ(members(), "2");
  EXPECT_EQ(may_log_in(), "t");
  EXPECT_EQ(state_of(*this, person(), "select email from acme.customer"), "");

  sql("update sluice.workspace set created_at = created_at + interval '1 s' where workspace_id = " +
      w);
  refresh(workspace_, "acme");
  EXPECT_EQ(members(), "0");
  EXPECT_EQ(may_log_in(), "f");
  EXPECT_EQ(state_of(*this, person(), "select email from acme.customer"), kDenied);
  // Its people are let in anew.
  run(app().query(fmt::format("select sluice.make_sql_user({}, 'ana', '{}')", w, verifier)));
  EXPECT_EQ(may_log_in(), "t");
  refresh(workspace_, "acme");
  EXPECT_EQ(members(), "1");
  EXPECT_EQ(text("select sluice.reader_of(" + w + ")"), reader_);
  sql("drop owned by " + ana + "; drop role " + ana);
}

// A login lifts its own limits, and leaves a transaction open: its tables are everybody's.
TEST_F(RolesTest, who_reads_and_stays_is_out_of_the_way_of_new_views_after_a_while) {
  const auto bystander = connect();
  for (pg::Connection* one : {&person(), bystander.get()}) {
    run(
        one->script("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0;"
                    "begin; select * from acme.customer"));
  }
  run(bystander->query("rollback"));
  run(bystander->script("begin; select 1"));
  run(make_types("thing", 1));
  const auto stale = run(refresh_task(workspace_, "acme"));
  ASSERT_EQ(stale.size(), 1U);
  EXPECT_EQ(stale[0].error.code, kOwnerBusyCode);
  EXPECT_EQ(state_of(*this, person(), "select 1"), "") << "not yet";
  run(person().script("begin; select * from acme.customer"));
  const HeardLog heard;
  run(refresh_task(workspace_, "acme", std::chrono::milliseconds(0)));
  const std::string& told = heard.text();
  EXPECT_THAT(told, HasSubstr("sql.session_ended"));
  EXPECT_THAT(told, HasSubstr(login_));
  EXPECT_TRUE(is_over(person()));
  refresh(workspace_, "acme");
  EXPECT_EQ(run(bystander->query("select 1")).rows(), 1);
}

TEST_F(RolesTest, the_watch_ends_who_stays_too_long_and_who_is_waited_for_and_no_one_else) {
  using std::chrono::hours;
  using std::chrono::milliseconds;
  pg::SqlSessionWatch long_only(pg::ReadersLimits(milliseconds(300), hours(1)));
  pg::SqlSessionWatch in_the_way_only(pg::ReadersLimits(hours(1), milliseconds(0)));
  const std::string leave_open = "begin; select * from acme.customer";
  run(person().script(leave_open));
  run(in_the_way_only.look(app()));
  EXPECT_FALSE(is_over(person())) << "nobody waits";
  // A host of ours, a superuser's backup and a reader without a transaction stay, however long.
  const auto backup = connect();
  run(backup->script(leave_open));
  const auto idle = reader_connection();
  run(pool().query("select pg_sleep(0.35)"));
  run(long_only.look(app()));
  EXPECT_TRUE(is_over(person()));
  EXPECT_FALSE(is_over(*idle));
  EXPECT_FALSE(is_over(*backup));
  run(backup->query("rollback"));

  const auto reader = reader_connection();
  run(reader->script(leave_open));
  run(long_only.look(app()));
  EXPECT_FALSE(is_over(*reader)) << "young";
  const auto upgrade = connect();
  bool done = false;
  asio::co_spawn(executor(), upgrade->script("alter table sluice.own_entity add column added int"),
                 [&done](std::exception_ptr error) { done = error == nullptr; });
  while (waiting() < 1) continue;
  EXPECT_FALSE(done);
  run(in_the_way_only.look(app()));
  EXPECT_TRUE(is_over(*reader));
  for (int tries = 0; !done && tries < 100; ++tries) run(pool().query("select pg_sleep(0.02)"));
  EXPECT_TRUE(done);
}

TEST_F(RolesTest, who_waits_for_a_lock_of_his_own_is_in_the_way_all_the_same) {
  person();
  const auto holder = reader_connection();
  run(holder->script("select pg_advisory_lock(7)"));
  const auto reader = reader_connection();
  run(reader->script("begin; select * from acme.customer"));
  bool ended = false;
  asio::co_spawn(executor(), reader->script("select pg_advisory_lock(7)"),
                 [&ended](std::exception_ptr error) { ended = error != nullptr; });
  const auto upgrade = connect();
  bool done = false;
  asio::co_spawn(executor(), upgrade->script("alter table sluice.own_entity add column added int"),
                 [&done](std::exception_ptr error) { done = error == nullptr; });
  while (waiting() < 2) continue;
  pg::SqlSessionWatch in_the_way_only(
      pg::ReadersLimits(std::chrono::hours(1), std::chrono::milliseconds(0)));
  run(in_the_way_only.look(app()));
  for (int tries = 0; !(done && ended) && tries < 100; ++tries)
    run(pool().query("select pg_sleep(0.02)"));
  EXPECT_TRUE(ended);
  EXPECT_TRUE(done);
}

// Whoever changes its own role, and stays, holds what its deletion changes.
TEST_F(RolesTest, a_login_that_changes_itself_and_stays_is_deleted_all_the_same) {
  const std::string of = fmt::format("{}, 'dan'", workspace_.value);
  const std::string verifier =
      "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2Fs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  run(app().query("select sluice.make_sql_user(" + of + ", '" + verifier + "')"));
  login_ = text("select sluice.sql_user_role(" + of + ")");
  const auto one = reader_connection();
  run(one->script("begin; alter role current_user password 'y1'"));
  const auto two = reader_connection();
  bool ended = false;
  asio::co_spawn(executor(), two->script("begin; alter role current_user password 'y2'"),
                 [&ended](std::exception_ptr error) { ended = error != nullptr; });
  while (waiting() < 1) continue;
  run(app().query("select sluice.close_sql_user(" + of + ")"));
  for (int tries = 0; !ended && tries < 100; ++tries) run(pool().query("select pg_sleep(0.02)"));
  EXPECT_TRUE(ended);
  EXPECT_TRUE(is_over(*one));
  EXPECT_EQ(text("select rolcanlogin from pg_roles where rolname = '" + login_ + "'"), "f");
}

// On somebody's own server the logins may be those of others.
TEST_F(RolesTest, where_a_session_may_not_be_ended_that_is_told_once_and_nothing_fails) {
  run(person().script("begin; select * from acme.customer"));
  const auto waiter = connect();
  bool done = false;
  asio::co_spawn(executor(),
                 waiter->script("begin; lock table sluice.own_entity in access exclusive mode"),
                 [&done](std::exception_ptr error) { done = error == nullptr; });
  while (waiting() < 1) continue;
  const std::string weak = "weak_" + database_name();
  sql("create role " + weak + "; grant usage, create on schema sluice to " + weak +
      "; grant execute on all functions in schema sluice to " + weak +
      "; alter function sluice.end_sql_sessions(bigint, bigint, regclass[]) owner to " + weak);
  pg::SqlSessionWatch watch(
      pg::ReadersLimits(std::chrono::milliseconds(0), std::chrono::milliseconds(0)));
  const HeardLog heard;
  run(watch.look(app()));
  run(watch.look(app()));
  const std::string& told = heard.text();
  const std::size_t first = told.find("sql.session_stays");
  EXPECT_NE(first, std::string::npos) << told;
  EXPECT_EQ(told.find("sql.session_stays", first + 1), std::string::npos) << told;
  EXPECT_THAT(told, HasSubstr(login_));
  EXPECT_FALSE(is_over(person()));
  run(person().query("rollback"));
  for (int tries = 0; !done && tries < 100; ++tries) run(pool().query("select pg_sleep(0.02)"));
  run(waiter->query("rollback"));
  sql("drop owned by " + weak + "; drop role " + weak);
}

TEST_F(RolesTest, a_role_of_somebody_that_is_called_like_an_owner_of_views_stops_no_view) {
  const std::string theirs = view_role(workspace_) + "_t4x";
  sql("create role " + theirs);
  refresh(workspace_, "acme");
  EXPECT_FALSE(run(close_owners(app(), workspace_)).more);
  sql("drop role " + theirs);
}

// Whoever may make a schema may write our mark on it.
TEST_F(RolesTest, a_mark_on_somebodys_own_schema_is_no_word_of_ours) {
  person();
  sql(
      fmt::format("create schema theirs authorization {0}; create schema twice authorization {0};"
                  "comment on schema theirs is 'sluice workspace 99999999999999999999';"
                  "comment on schema twice is 'sluice workspace {1}'",
                  login_, workspace_.value));
  const auto owner = connect();
  EXPECT_THAT(run(pg::settle_roles(*owner, pg::kAppRole, pg::AppLogin::make)), IsEmpty());
  EXPECT_EQ(text("select string_agg(pg_get_userbyid(nspowner)::text, ' ') from pg_namespace where "
                 "nspname in ('theirs', 'twice')"),
            login_ + " " + login_);
  const auto made = run(
      pool().query("insert into sluice.workspace (name) values ('third') returning workspace_id"));
  sql(
      fmt::format("create schema third authorization {}; comment on schema third is 'sluice "
                  "workspace {}'",
                  login_, made.get<WorkspaceId>(0, 0).value));
  try {
    run(refresh_task(made.get<WorkspaceId>(0, 0), "third"));
    FAIL() << "views were made in somebody's schema";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "workspace.schema_taken");
  }
}

TEST_F(RolesTest, a_table_of_ones_own_deceives_no_function_of_the_owner) {
  // Under the name of a table of the server, which the function reads as its owner.
  const std::string trap =
      "create function pg_temp.heard() returns oid language plpgsql as $f$ begin raise exception "
      "'run as %', current_user using errcode = 'ZZ001'; end $f$; create temp view pg_inherits as "
      "select pg_temp.heard() as inhrelid, pg_temp.heard() as inhparent offset 0; grant all on "
      "pg_temp.pg_inherits to public";
  EXPECT_EQ(state_of(*this, app(), trap), "");
  const std::string forget = "select sluice.forget_change_partition('sluice.secret')";
  EXPECT_EQ(state_of(*this, app(), forget), kRaised);
  sql("alter function sluice.forget_change_partition(regclass) set search_path = ''");
  EXPECT_EQ(state_of(*this, app(), forget), "ZZ001") << "the trap is none";
  EXPECT_EQ(text("select to_regclass('sluice.secret') is not null"), "t");
  const std::string w = std::to_string(workspace_.value);
  for (const std::string& sql : {"select sluice.open_to_view('secret', " + w + ", 0)",
                                 "select sluice.open_to_view('own_entity', " + w + ", 0)",
                                 "select sluice.open_to_view(null, " + w + ", 0)",
                                 std::string("select sluice.make_view_role(999, 0)"),
                                 std::string("select sluice.make_reader_role(999)"),
                                 std::string("select sluice.index_own_text('secret_pkey', 'x')")})
    EXPECT_EQ(state_of(*this, app(), sql), kRaised) << sql;
}

// Each would take its table for itself, at every refresh.
TEST_F(RolesTest, policies_that_stand_are_left_as_they_are) {
  const std::string policies =
      "select count(*), string_agg(p.oid::text, ' ' order by p.oid) from pg_policy p";
  const std::string before = text(policies);
  EXPECT_THAT(before, ::testing::Not(::testing::StartsWith("0|")));
  refresh(workspace_, "acme");
  EXPECT_EQ(text(policies), before);
}

TEST_F(RolesTest, a_role_whose_rows_are_hidden_is_refused_instead_of_believed) {
  person();
  try {
    run(pg::require_all_rows(person()));
    FAIL() << "was believed";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "database.row_security");
    EXPECT_THAT(failure.error().describe(), HasSubstr("alter role \"" + login_ + "\" bypassrls"));
  }
  run(pg::require_all_rows(app()));
}

class RoleUpgrade : public sluice::testing::PgTest {
 public:
  RoleUpgrade() : PgTest(Database::empty) {}
  using PgTest::run;

 protected:
  void TearDown() override {
    others_.clear();
    for (const std::string& role : roles_) {
      run(connect()->script(fmt::format(
          "reassign owned by {0} to postgres; drop owned by {0}; drop role {0}", role)));
    }
    PgTest::TearDown();
  }
  /// A login of this test's own.
  std::string role(const std::string& word) {
    std::string name = word + "_" + database_name();
    run(connect()->script("create role " + name + " login"));
    roles_.push_back(name);
    return name;
  }
  pg::Connection& as(const std::string& role) {
    pg::ConnectOptions options;
    options.conninfo = conninfo() + " user=" + role;
    others_.push_back(run(pg::Connection::connect(executor(), std::move(options))));
    return *others_.back();
  }
  std::string text(const std::string& query) {
    const auto rows = run(pool().query(query));
    return rows.empty() || rows.is_null(0, 0) ? "" : std::string(rows.text(0, 0));
  }
  /// Whose the things in schemas sluice and vendor are.
  std::string owners() {
    return text(
        "select string_agg(distinct n.nspname || ' ' || pg_get_userbyid(c.relowner), ', ' order by "
        "n.nspname || ' ' || pg_get_userbyid(c.relowner)) from pg_class c join pg_namespace n on "
        "n.oid = c.relnamespace where n.nspname in ('sluice', 'vendor', 'acme')");
  }
  /// As a host of before left it: everything is the one role's.
  void older(pg::Connection& connection) {
    run(pg::migrate(connection, pg::migrations().first(28)));
    run(connection.script(
        "insert into sluice.workspace (name) values ('acme'); create table vendor.acme_thing (a "
        "int); create schema acme; comment on schema acme is 'sluice workspace 1'; create view "
        "acme.thing as select 1 as one; insert into sluice.sql_view (workspace_id, name, hash) "
        "values (1, 'thing', 'x'); create view acme.theirs as select 2 as two; create view "
        "acme.older as select 3 as three; comment on view acme.older is 'sluice "
        "0123456789abcdef'"));
  }

  std::vector<std::unique_ptr<pg::Connection>> others_;
  std::vector<std::string> roles_;
};

// The owners of views had one name in all databases of the server.
TEST_F(RoleUpgrade, what_an_owner_of_views_of_before_could_read_it_reads_no_more) {
  const auto owner = connect();
  run(pg::migrate(*owner, pg::migrations().first(29)));
  const std::string number = std::to_string(1'000'000'000 + ::getpid());
  const std::string before = "sluice_view_w" + number;
  run(owner->script("create role " + before));
  roles_.push_back(before);
  run(owner->script(fmt::format(
      "insert into sluice.workspace (workspace_id, name) overriding system value values ({1}, "
      "'acme');"
      "insert into sluice.connector_version (connector, version, sha256, manifest) values ('c', "
      "'1', decode(repeat('00', 32), 'hex'), '{{}}');"
      "insert into sluice.installation (workspace_id, connector, sha256) values ({1}, 'c', "
      "decode(repeat('00', 32), 'hex'));"
      "insert into sluice.connection (workspace_id, connector, name) values ({1}, 'c', 'a');"
      "create schema acme; grant create, usage on schema acme to {0};"
      "create view acme.all_of_it as select * from sluice.connection;"
      "alter view acme.all_of_it owner to {0};"
      "alter table sluice.connection enable row level security;"
      "create policy {0} on sluice.connection for select to {0} using (workspace_id = {1});"
      "grant select on sluice.connection to {0}; grant usage on schema sluice to {0}",
      before, number)));
  const std::string look = "set role " + before + "; select name from ";
  EXPECT_EQ(state_of(*this, *owner, look + "acme.all_of_it; reset role"), "");
  run(owner->script("reset role"));
  run(pg::migrate(*owner, pg::migrations()));
  for (const char* what : {"acme.all_of_it", "sluice.connection"}) {
    EXPECT_EQ(state_of(*this, *owner, look + what), kDenied) << what;
    run(owner->script("reset role"));
  }
  EXPECT_EQ(text("select count(*) from pg_policy"), "0");
  EXPECT_EQ(text("select reloptions::text from pg_class where oid = 'acme.all_of_it'::regclass"),
            "{security_barrier=true}");
}

// Each owner of views had grants of its own, until a table could have no more of them.
TEST_F(RoleUpgrade, what_owners_of_views_had_been_granted_is_all_owners_now) {
  const auto owner = connect();
  older(*owner);
  run(pg::migrate(*owner, pg::migrations().first(42)));
  EXPECT_THAT(run(pg::settle_roles(*owner, pg::kAppRole, pg::AppLogin::make)), IsEmpty());
  run(owner->script(
      "do $$ begin for i in 1..40 loop perform sluice.make_view_role(1, i); perform "
      "sluice.open_to_view('own_entity', 1, i); end loop; perform sluice.make_view_role(1, 0); "
      "perform sluice.open_to_view('link', 1, 0); end $$"));
  const std::string space = text("select 'sluice_view' || sluice.role_space()");
  run(
      owner->script(fmt::format("grant create on schema acme to {0}1; grant create on schema acme "
                                "to {0}1_t2",
                                space)));
  run(pg::migrate(*owner, pg::migrations()));
  const std::string grantees =
      "select string_agg(distinct pg_get_userbyid(a.grantee)::text, ' ') from pg_class c cross "
      "join aclexplode(c.relacl) a where pg_get_userbyid(a.grantee) like 'sluice_view%' and c.oid "
      "= 'sluice.";
  const std::string everybody = text("select sluice.view_owners()");
  EXPECT_EQ(text(grantees + "own_entity'::regclass"), everybody);
  EXPECT_EQ(text(grantees + "link'::regclass"), everybody);
  EXPECT_EQ(text(fmt::format("select has_table_privilege('{0}1_t40', 'sluice.own_entity', "
                             "'select') and has_schema_privilege('{0}1_t9', 'acme', 'create')",
                             space)),
            "t");
  run(owner->script(fmt::format(
      "do $$ declare one text; begin for one in select rolname from pg_roles where rolname::text "
      "^@ '{}' loop execute format('drop owned by %1$I cascade; drop role %1$I', one); end loop; "
      "end $$",
      everybody)));
}

// What the owner of before planted would be run as the superuser by the next migration, or be given
// to the role that makes roles.
TEST_F(RoleUpgrade, code_that_is_not_ours_is_not_handed_over) {
  const std::string plain = role("owner");
  run(pool().query("alter database " + database_name() + " owner to " + plain));
  pg::Connection& before = as(plain);
  older(before);
  const auto superuser = connect();
  run(pg::require_own_code(*superuser, pg::migrations()));
  const std::pair<const char*, const char*> planted[] = {
      {"create function sluice.make_view_role(text) returns void security definer language plpgsql "
       "as $$ begin execute $1; end $$",
       "function sluice.make_view_role(text)"},
      {"create or replace function sluice.begin_feed() returns trigger language plpgsql as $$ "
       "begin "
       "return null; end $$",
       "function sluice.begin_feed()"},
      {"create function public.t() returns trigger language plpgsql as $$ begin return new; end "
       "$$; "
       "create trigger t before insert on sluice.schema_version for each row execute function "
       "public.t()",
       "trigger t on sluice.schema_version"},
      {"create rule r as on insert to sluice.schema_version do also notify x",
       "rule r on sluice.schema_version"},
      {"create function public.d() returns text language sql as $$ select 'x' $$; alter table "
       "sluice.workspace alter name set default public.d()",
       "sluice.workspace calls d()"},
  };
  for (const auto& [sql, named] : planted) {
    run(before.query("begin"));
    run(before.script(sql));
    run(before.query("commit"));
    try {
      run(pg::require_own_code(*superuser, pg::migrations()));
      ADD_FAILURE() << named << " was taken for ours";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.error().code, "database.foreign_code");
      EXPECT_THAT(failure.error().message, HasSubstr(named));
    }
  }
}

TEST_F(RoleUpgrade, what_one_role_owned_is_handed_over_by_a_superuser) {
  const auto owner = connect();
  older(*owner);
  EXPECT_EQ(owners(), "acme postgres, sluice postgres, vendor postgres");
  run(pg::migrate(*owner, pg::migrations()));
  EXPECT_THAT(run(pg::settle_roles(*owner, pg::kAppRole, pg::AppLogin::make)), IsEmpty());
  EXPECT_EQ(owners(), "acme postgres, acme sluice_app, sluice sluice_owner, vendor sluice_app");
  EXPECT_EQ(text("select pg_get_userbyid(relowner) from pg_class where oid = "
                 "'acme.theirs'::regclass"),
            "postgres")
      << "somebody's own";
  EXPECT_EQ(text("select string_agg(relname, ' ' order by relname) from pg_class where relowner = "
                 "'sluice_app'::regrole and relnamespace = 'acme'::regnamespace"),
            "older thing")
      << "one of before 0007 says in its comment that it is ours";
  pg::Connection& app = as(pg::kAppRole);
  EXPECT_THAT(run(pg::rights_too_many(app)), IsEmpty());
  EXPECT_EQ(state_of(*this, app, "insert into sluice.workspace (name) values ('b')"), "");
  EXPECT_EQ(state_of(*this, app, "alter table vendor.acme_thing add b int"), "");
  EXPECT_EQ(state_of(*this, app, "create index concurrently on vendor.acme_thing (a)"), "");
  EXPECT_EQ(state_of(*this, app, "create or replace view acme.thing as select 1 as one, 2 as two"),
            "");
  run(ensure_partitions(app, 6));
  EXPECT_EQ(owners(), "acme postgres, acme sluice_app, sluice sluice_owner, vendor sluice_app")
      << "a month that the host asked for is the owner's";
}

TEST_F(RoleUpgrade, where_nothing_is_missing_nothing_is_written_or_waited_for) {
  const auto owner = connect();
  run(pg::migrate(*owner, pg::migrations()));
  run(pg::settle_roles(*owner, pg::kAppRole, pg::AppLogin::make));
  const auto holder = connect();
  run(holder->query("begin"));
  run(holder->query("select * from sluice.workspace, sluice.secret"));
  const std::string rows = "select sum(xmin::text::bigint) from pg_class";
  const std::string before = text(rows);
  EXPECT_THAT(run(pg::settle_roles(*owner, pg::kAppRole, pg::AppLogin::make)), IsEmpty());
  EXPECT_EQ(text(rows), before);
}

TEST_F(RoleUpgrade, an_owner_without_the_right_is_told_the_statements_and_changes_nothing) {
  const std::string plain = role("plain_owner");
  const std::string app = role("plain_app");
  run(pool().query("alter database " + database_name() + " owner to " + plain));
  pg::Connection& owner = as(plain);
  older(owner);
  run(pg::migrate(owner, pg::migrations()));
  const auto missing = run(pg::settle_roles(owner, app, pg::AppLogin::is_there));
  EXPECT_THAT(missing, Contains(fmt::format("grant {} to {}", app, plain)));
  EXPECT_EQ(owners(), fmt::format("acme {0}, sluice {0}, vendor {0}", plain)) << "as before";
  EXPECT_THAT(run(pg::rights_too_many(as(plain))),
              ElementsAre("it owns the tables of schema sluice"));
  EXPECT_EQ(text(fmt::format("select has_table_privilege('{}', 'sluice.secret', 'select')", app)),
            "f");

  // Somebody who may runs them.
  for (const std::string& sql : missing)
    if (sql.starts_with("grant " + app)) run(pool().query(sql));
  EXPECT_THAT(run(pg::settle_roles(owner, app, pg::AppLogin::is_there)), IsEmpty());
  EXPECT_EQ(owners(), fmt::format("acme {1}, acme {0}, sluice {0}, vendor {1}", plain, app))
      << "acme.theirs is nobody's of us";
  EXPECT_THAT(run(pg::rights_too_many(as(app))), IsEmpty());
  // What a role may become is as good as what it is.
  const std::string boss = role("boss"), between = role("between");
  run(pool().query(fmt::format("alter role {} superuser", boss)));
  run(pool().query(fmt::format("grant {} to {}", boss, between)));
  run(pool().query(fmt::format("grant {} to {}", between, app)));
  EXPECT_THAT(run(pg::rights_too_many(as(app))),
              Contains(fmt::format("it may become {}, a role that is a superuser", boss)));
  run(pool().query(fmt::format("revoke {} from {}", between, app)));
  EXPECT_THAT(run(pg::rights_too_many(as(app))), IsEmpty());
  EXPECT_EQ(state_of(*this, as(app), "drop table sluice.audit"), kDenied);
  EXPECT_EQ(state_of(*this, as(app), "insert into sluice.workspace (name) values ('b')"), "");
  run(pg::require_all_rows(as(app)));
  run(pg::require_current(as(app), pg::migrations()));
  // A host with another login would take everything from those that work.
  const std::string second = role("second_app");
  run(pool().query(fmt::format("grant {} to {}", second, plain)));
  try {
    run(pg::settle_roles(owner, second, pg::AppLogin::is_there));
    FAIL() << "it was handed over";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "database.other_login") << failure.error().describe();
  }
  EXPECT_FALSE(run(pg::may_migrate(as(app))));
  EXPECT_TRUE(run(pg::may_migrate(owner)));
}

TEST_F(RoleUpgrade, a_host_that_may_not_migrate_says_who_may) {
  const auto owner = connect();
  older(*owner);
  const std::string app = role("plain_app");
  run(pool().query("grant usage on schema sluice to " + app));
  run(pool().query("grant select on sluice.schema_version to " + app));
  try {
    run(pg::require_current(as(app), pg::migrations()));
    FAIL() << "went on with an older schema";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "schema.too_old");
    EXPECT_THAT(failure.error().describe(), HasSubstr("database.owner_url"));
  }
}

TEST_F(RoleUpgrade, many_hosts_may_begin_at_once) {
  const auto first = connect();
  run(pg::migrate(*first, pg::migrations()));
  const std::string app = role("crowd_app");
  std::vector<std::unique_ptr<pg::Connection>> connections;
  for (int i = 0; i < 6; ++i) connections.push_back(connect());
  int ended = 0;
  for (const auto& connection : connections) {
    asio::co_spawn(io(), pg::settle_roles(*connection, app, pg::AppLogin::is_there),
                   [&](std::exception_ptr error, const std::vector<std::string>& missing) {
                     EXPECT_FALSE(error);
                     EXPECT_THAT(missing, IsEmpty());
                     ++ended;
                   });
  }
  ASSERT_TRUE(run_until_true([&] { return ended == 6; }));
  EXPECT_EQ(owners(), "sluice sluice_owner");
  EXPECT_THAT(run(pg::rights_too_many(*first)), ElementsAre("it is a superuser"));
}

}  // namespace
}  // namespace sluice::feed
