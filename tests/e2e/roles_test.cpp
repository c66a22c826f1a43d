// As whom a host works in its database: in its own, in yours with the owner's login and without it,
// and where the owner may not give the rights.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "e2e/world.hpp"
#include "pg/cluster.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWho =
    "select string_agg(distinct usename, ' ' order by usename) from pg_stat_activity where "
    "application_name = 'sluiced'";
constexpr const char* kOwners =
    "select string_agg(distinct nspname || ' ' || pg_get_userbyid(relowner), ', ') from pg_class c "
    "join pg_namespace n on n.oid = c.relnamespace where nspname in ('sluice', 'vendor', 'acme') "
    "and relkind in ('r', 'p')";

class Roles : public World {
 protected:
  void TearDown() override {
    other_.reset();
    host_.reset();  // before its database
  }

  pg::ClusterOptions options_in(const fs::path& place) {
    pg::ClusterOptions options;
    options.directory = place / "postgres";
    options.socket_directory = place / "run";
    return options;
  }
  /// A server of the test's own.
  void start_database() {
    const fs::path place = directory_ / "own";
    fs::create_directories(place);
    fs::permissions(place, static_cast<fs::perms>(0711));
    auto started = pg::Cluster::start(options_in(place));
    ASSERT_TRUE(started.has_value()) << started.error().describe();
    cluster_.emplace(std::move(*started));
    host_->database = cluster_->conninfo();
  }
  std::string by(const std::string& role) const { return cluster_->conninfo() + " user=" + role; }
  /// What `errors` says of the database; "" where it says nothing.
  std::string said() {
    const auto answer = host_->client().get("/errors");
    for (const auto& one : answer.at("errors"))
      if (one.at("code") == "database.second_line_off") return one.at("what");
    return "";
  }
  /// Starts the host, and lets it read three customers.
  void read_three() {
    start_fake(3);
    host_->start();
    connect();
    ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
      return host_->sql("select count(*) from acme.stripe_customer") == "3";
    })) << host_->log();
  }
  bool logged(const std::string& text) { return host_->log().find(text) != std::string::npos; }

  std::optional<pg::Cluster> cluster_;
  std::unique_ptr<Host> other_;
};

TEST_F(Roles, in_its_own_database_a_host_is_no_superuser_and_owns_no_table_of_the_core) {
  ASSERT_NO_FATAL_FAILURE(read_three());
  EXPECT_EQ(host_->sql(kWho), "sluice_app");
  EXPECT_EQ(
      host_->sql("select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname "
                 "= 'sluice_app'"),
      "f");
  EXPECT_EQ(host_->sql(kOwners), "sluice sluice_owner, vendor sluice_app");
  EXPECT_EQ(host_->sql("select pg_get_userbyid(relowner) from pg_class where oid = "
                       "'acme.stripe_customer'::regclass"),
            host_->sql("select 'sluice_view' || sluice.role_space() || 1"));
  EXPECT_EQ(host_->sql("select auth_method from pg_hba_file_rules where 'sluice' = any (user_name) "
                       "and type = 'local' order by line_number limit 1"),
            "peer");
  EXPECT_EQ(host_->sql("select string_agg(distinct pg_username, ' ') from (select (regexp_matches("
                       "pg_read_file('pg_ident.conf'), 'sluice_superuser \"[^\"]+\" \"([^\"]+)\"', "
                       "'g'))[1]) m (pg_username)"),
            "sluice sluice_app");
  EXPECT_EQ(said(), "");
  EXPECT_FALSE(logged("second_line_off"));
}

TEST_F(Roles, a_private_database_of_before_is_handed_over_at_the_first_start) {
  ASSERT_NO_FATAL_FAILURE(read_three());
  host_->stop();
  const fs::path data = directory_ / "data";
  {
    auto before = pg::Cluster::start(options_in(data));
    ASSERT_TRUE(before.has_value()) << before.error().describe();
    // All is the superuser's, and the rules are initdb's.
    host_->sql(
        "reassign owned by sluice_owner, sluice_app, sluice_roles to sluice; drop owned by "
        "sluice_owner, sluice_app, sluice_roles; drop role sluice_owner; drop role sluice_app; "
        "drop "
        "role sluice_roles");
    EXPECT_EQ(host_->sql(kOwners), "sluice sluice, vendor sluice");
  }
  std::ofstream(data / "postgres/pg_hba.conf")
      << "local all all trust\nlocal replication all trust\n";
  host_->start();
  EXPECT_EQ(host_->sql(kWho), "sluice_app");
  EXPECT_EQ(host_->sql(kOwners), "sluice sluice_owner, vendor sluice_app");
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->sql(
               "select count(*) from sluice.work where kind = 'views.renew' and state = "
               "'waiting'") == "0";
  })) << host_->log();
  EXPECT_EQ(host_->sql("select count(*) from acme.stripe_customer"), "3");
  const std::string reader = host_->sql("select sluice.reader_of('acme')");
  EXPECT_EQ(host_->sql("set role " + reader + "; select count(*) from acme.stripe_customer"), "3");
  EXPECT_TRUE(host_->client().get("/errors").at("ok").get<bool>())
      << host_->client().get("/errors").dump();
}

TEST_F(Roles, who_is_the_owner_too_goes_on_and_is_told_so) {
  start_database();
  host_->as_app = false;
  host_->start();
  EXPECT_EQ(host_->sql(kWho), "sluice");
  EXPECT_NE(said().find("it is a superuser"), std::string::npos) << said();
  EXPECT_TRUE(logged("database.second_line_off")) << host_->log();
}

TEST_F(Roles, with_the_owners_login_a_host_has_less_and_another_needs_only_that) {
  start_fake(3);
  start_database();
  host_->start();
  connect();
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->sql("select count(*) from acme.stripe_customer") == "3";
  })) << host_->log();
  EXPECT_EQ(host_->sql(kWho), "sluice_app");
  EXPECT_EQ(said(), "");
  other_ = std::make_unique<Host>(directory_ / "other");
  fs::create_directories(other_->directory() / "data");
  fs::permissions(other_->directory(), static_cast<fs::perms>(0711));
  fs::copy_file(directory_ / "data/root.key", other_->directory() / "data/root.key");
  other_->first_of_its_database = false;
  other_->as_app = false;
  other_->database = by("sluice_app");
  other_->start();
  EXPECT_EQ(host_->sql(kWho), "sluice_app");
  EXPECT_TRUE(other_->client(host_->token()).get("/errors").at("ok").get<bool>())
      << other_->client(host_->token()).get("/errors").dump();
}

TEST_F(Roles, where_the_owner_may_not_give_the_rights_they_are_named_and_all_goes_on) {
  start_fake(3);
  start_database();
  host_->sql("create role plain_owner login; create role plain_app login");
  host_->sql("alter database sluice owner to plain_owner");
  host_->as_app = false;
  host_->database = by("plain_app");
  host_->settings = {"database.owner_url=" + by("plain_owner")};
  host_->start();
  EXPECT_TRUE(logged("database.roles_missing")) << host_->log();
  EXPECT_TRUE(logged("grant plain_app to plain_owner")) << host_->log();
  host_->database = cluster_->conninfo();
  EXPECT_EQ(host_->sql(kWho), "plain_owner");
  EXPECT_NE(said().find("it owns the tables"), std::string::npos) << said();
  connect();
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->sql("select count(*) from acme.stripe_customer") == "3";
  })) << host_->log();
  host_->stop();

  host_->sql("grant plain_app to plain_owner");
  host_->database = by("plain_app");
  host_->start();
  host_->database = cluster_->conninfo();
  EXPECT_EQ(host_->sql(kWho), "plain_app");
  EXPECT_EQ(said(), "");
  EXPECT_EQ(host_->sql(kOwners), "sluice plain_owner, vendor plain_app");
  EXPECT_EQ(host_->sql("select count(*) from acme.stripe_customer"), "3");
}

}  // namespace
}  // namespace sluice::e2e
