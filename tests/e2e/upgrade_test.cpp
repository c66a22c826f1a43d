// Data that an older version wrote, opened by this one. tests/fixtures/data-<commit>/make.sh made
// each.
#include <filesystem>
#include <set>

#include "e2e/world.hpp"
#include "pg/cluster.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// A fresh server into which the fixture's dump is restored, and a host of this version on it. The
/// server is younger than the dump: its transaction ids are its own.
/// Links of the fixture between keys that are not one any more, and the changes that say so.
constexpr int kOnlyLookedAlike = 1;

class Upgrade : public World {
 protected:
  void SetUp() override {
    fixture_ = fs::path(SLUICE_SOURCE_DIR) / "tests/fixtures/data-101fb78";
    facts_ = json::parse(read_file(fixture_ / "facts.json"));
    start_database();
    if (!HasFatalFailure()) restore();
    if (HasFatalFailure()) return;
    fs::create_directories(directory_ / "data");
    fs::permissions(directory_ / "data", static_cast<fs::perms>(0711));
    fs::copy_file(fixture_ / "root.key", directory_ / "data/root.key");
    fs::permissions(directory_ / "data/root.key", static_cast<fs::perms>(0600));
  }
  void TearDown() override { host_.reset(); }  // before its database

  void start_database() {
    const fs::path place = directory_ / "own";
    fs::create_directories(place);
    fs::permissions(place, static_cast<fs::perms>(0711));
    pg::ClusterOptions options;
    options.directory = place / "postgres";
    options.socket_directory = place / "run";
    auto started = pg::Cluster::start(options);
    ASSERT_TRUE(started.has_value()) << started.error().describe();
    cluster_.emplace(std::move(*started));
    host_->first_of_its_database = false;
    host_->database = cluster_->conninfo();
  }

  /// As docs/operating says: roles belong to the server, not to the dump.
  void restore() {
    host_->sql("create role fixture_bi; create role fixture_columns; create role fixture_nobody");
    Launch launch;
    launch.program = "/bin/sh";
    launch.arguments = {"-c",
                        "set -e; psql=$(ls -d /usr/lib/postgresql/*/bin/psql | sort -V | tail -n "
                        "1); gunzip -c \"$1\" | \"$psql\" -X -q -v ON_ERROR_STOP=1 \"$2\"",
                        "restore", (fixture_ / "dump.sql.gz").string(), host_->database};
    launch.output = directory_ / "restore.out";
    launch.errors = directory_ / "restore.err";
    Process restoring(launch);
    ASSERT_EQ(restoring.wait(), 0) << read_file(launch.errors);
  }

  /// A start leaves the SQL views of an older version to durable work.
  void wait_for_views() {
    ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
      return host_->sql(
                 "select count(*) from sluice.work where kind = 'views.renew' and state = "
                 "'waiting'") == "0";
    })) << host_->log();
  }

  void start_vendor() {
    const json& vendor = facts_.at("vendor");
    fake_ = std::make_unique<FakeStripe>(
        directory_, vendor.at("customers").get<int>(),
        std::vector<std::string>{"--seed", std::to_string(vendor.at("seed").get<int>()), "--key",
                                 vendor.at("key").get<std::string>()});
    // The vendor of the fixture listened at another port.
    host_->sql("update sluice.connection set egress = jsonb_set(egress, '{base_urls,api}', '\"" +
               fake_->url() + "\"')");
  }

  /// What a role that logs in as one of the fixture's people reads; "denied" when it may not.
  std::string as(const std::string& role, const std::string& query) {
    return host_->sql(
        "create or replace function pg_temp.ask(query text) returns text language "
        "plpgsql as $f$ declare answer text; begin execute query into answer; return "
        "answer; exception when insufficient_privilege then return 'denied'; end $f$; set role " +
        role + "; select pg_temp.ask($q$" + query + "$q$)");
  }

  std::string fact(const char* view) { return std::to_string(facts_["counts"][view].get<int>()); }

  cli::Client admin() { return host_->client(facts_["admin_token"].get<std::string>()); }
  cli::Client reader() { return host_->client(facts_["reader_token"].get<std::string>()); }

  void tokens_open_and_rows_and_links_are_all_there();
  void a_cursor_goes_on_where_it_was_and_misses_nothing();
  void the_sealed_secret_opens_with_the_root_key_that_came_along();
  void secrets_of_the_older_format_were_sealed_anew_and_are_not_opened_any_more();
  void people_read_what_they_were_granted_and_their_own_view_stands();
  void each_view_is_one_of_ours_and_has_its_owner();
  void references_are_readable_by_sluice_id();
  void a_question_across_both_worlds_mixes_neither_accounts_nor_currencies();

  fs::path fixture_;
  json facts_;
  std::optional<pg::Cluster> cluster_;
};

void Upgrade::tokens_open_and_rows_and_links_are_all_there() {
  EXPECT_EQ(reader().get("/types").at("types").size(), admin().get("/types").at("types").size());
  EXPECT_THROW(reader().send("POST", "/tokens", json::object()), Failure);
  for (const auto& [view, count] : facts_["counts"].items())
    EXPECT_EQ(host_->sql("select count(*) from " + view), std::to_string(count.get<int>())) << view;
  // One of them was made because a full-width letter looks like another; it is one no longer.
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->sql("select count(*) from acme.link where state = 'linked'") ==
           std::to_string(facts_["linked"].get<int>() - kOnlyLookedAlike);
  })) << host_->sql("select count(*) from acme.link where state = 'linked'");
}

void Upgrade::a_cursor_goes_on_where_it_was_and_misses_nothing() {
  json page =
      reader().get("/changes", {{"cursor", facts_["cursor"].get<std::string>()}, {"limit", "500"}});
  std::multiset<std::string> served;
  for (const json& change : page["changes"]) {
    served.insert(change["type"].get<std::string>() + " " + change["op"].get<std::string>() + " " +
                  change["entity_id"].get<std::string>());
  }
  for (const json& change : facts_["changes_after"]) {
    const std::string wanted = change["type"].get<std::string>() + " " +
                               change["op"].get<std::string>() + " " +
                               std::to_string(change["entity_id"].get<std::int64_t>());
    EXPECT_TRUE(served.contains(wanted)) << wanted << " is not in " << page;
  }
  json whole = reader().get("/changes", {{"limit", "1000"}});
  const std::size_t first = whole["changes"].size();
  whole =
      reader().get("/changes", {{"cursor", whole["cursor"].get<std::string>()}, {"limit", "1000"}});
  EXPECT_EQ(first + whole["changes"].size(), facts_["changes_before"].get<std::size_t>() +
                                                 facts_["changes_after"].size() + kOnlyLookedAlike);
}

void Upgrade::the_sealed_secret_opens_with_the_root_key_that_came_along() {
  // This version brings its own build of the connector.
  admin().send("POST", "/connectors/stripe/install", json::object());
  const json checked = admin().send("POST", "/connections/billing/check", json::object());
  EXPECT_FALSE(checked["account"]["id"].get<std::string>().empty()) << checked;
  EXPECT_EQ(host_->log().find(facts_["secret"].get<std::string>()), std::string::npos);
}

void Upgrade::secrets_of_the_older_format_were_sealed_anew_and_are_not_opened_any_more() {
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->sql("select string_agg(distinct oldest_alg::text, ' ') from sluice.data_key") ==
           "2";
  })) << host_->log();
  EXPECT_EQ(host_->sql("select string_agg(distinct alg::text, ' ') from sluice.secret where state "
                       "<> 'revoked'"),
            "2");
  EXPECT_EQ(host_->sql("select bound_to from sluice.secret where name = 'api_key' and state = "
                       "'current'"),
            "connector stripe\nto " + fake_->url() + "\nas bearer\nover loopback\n");
  EXPECT_NE(host_->log().find("vault.opened"), std::string::npos);
  EXPECT_NE(host_->log().find("vault.sealed_anew"), std::string::npos);
  host_->sql("create table public.newer as table sluice.secret");
  host_->sql(
      "update sluice.secret s set alg = o.alg, salt = o.salt, nonce = o.nonce, commitment = "
      "o.commitment, ciphertext = o.ciphertext, bound_to = '' from public.older o where "
      "o.connection_id = s.connection_id and o.name = s.name and o.version = s.version");
  EXPECT_THROW(admin().send("POST", "/connections/billing/check", json::object()), Failure);
  host_->sql(
      "update sluice.secret s set alg = o.alg, salt = o.salt, nonce = o.nonce, commitment = "
      "o.commitment, ciphertext = o.ciphertext, bound_to = o.bound_to from public.newer o "
      "where o.connection_id = s.connection_id and o.name = s.name and o.version = s.version");
}

void Upgrade::people_read_what_they_were_granted_and_their_own_view_stands() {
  EXPECT_EQ(as("fixture_bi", "select count(*) from acme.stripe_customer"),
            fact("acme.stripe_customer"));
  EXPECT_EQ(as("fixture_bi", "select count(*) from acme.customer"), fact("acme.customer"));
  EXPECT_EQ(as("fixture_bi", "select count(*) from bi.paying"), fact("bi.paying"));
  EXPECT_EQ(as("fixture_columns", "select count(email) from acme.customer"), fact("acme.customer"));
  EXPECT_EQ(as("fixture_bi", "select count(*) from acme.stripe_invoice"), "denied");
  EXPECT_EQ(as("fixture_columns", "select count(plan) from acme.customer"), "denied");
  EXPECT_EQ(as("fixture_nobody", "select count(*) from acme.customer"), "denied");
  EXPECT_EQ(as("fixture_bi", "select count(*) from vendor.stripe_customer"), "denied");
  EXPECT_EQ(
      host_->sql("select col_description('acme.customer'::regclass, attnum) from pg_attribute "
                 "where attrelid = 'acme.customer'::regclass and attname = 'email'"),
      "as the shop knows it");
}

/// Also `change`, which a migration made anew: taken for somebody's own, it kept the owner of the
/// tables, and whoever might read it heard of other workspaces.
void Upgrade::each_view_is_one_of_ours_and_has_its_owner() {
  EXPECT_EQ(host_->sql("select count(*) from sluice.sql_view where failure is not null"), "0");
  EXPECT_EQ(host_->sql("select string_agg(v.name, ' ') from sluice.sql_view v join "
                       "sluice.workspace w using (workspace_id) join pg_class c on c.oid = "
                       "to_regclass(quote_ident(w.name) || '.' || quote_ident(v.name)) where "
                       "pg_get_userbyid(c.relowner) !~ '^sluice_view_d[0-9]+_w'"),
            "");
  EXPECT_EQ(host_->sql("select count(*) from sluice.sql_view where name = 'change'"),
            host_->sql("select count(*) from sluice.workspace"));
}

void Upgrade::references_are_readable_by_sluice_id() {
  EXPECT_EQ(host_->sql("select count(c.id) > 0 and bool_and(i.customer_ref is not distinct from "
                       "c.id) from acme.stripe_invoice i left join acme.stripe_customer c on "
                       "c.connection_id = i.connection_id and c.external_id = i.customer"),
            "t");
  EXPECT_EQ(host_->sql("select count(source_charge_ref) > 0 and count(source_charge_ref) = "
                       "count(c.id) from acme.stripe_balance_transaction b left join "
                       "acme.stripe_charge c on c.connection_id = b.connection_id and "
                       "c.external_id = b.source"),
            "t");
  EXPECT_EQ(as("fixture_bi", "select count(connection_id) from acme.stripe_customer"),
            fact("acme.stripe_customer"));
}

void Upgrade::a_question_across_both_worlds_mixes_neither_accounts_nor_currencies() {
  const std::string question =
      "select c.plan, i.currency, count(distinct c.id) as customers, count(i.id) as open_invoices, "
      "sum(i.amount_remaining_major) as open_amount from acme.customer c "
      "join acme.stripe_customer s on s.customer_id = c.id "
      "join acme.stripe_invoice i on i.connection_id = s.connection_id "
      "and i.customer = s.external_id where i.status = 'open' group by c.plan, i.currency";
  const std::string answer =
      "select string_agg(d::text, ' ' order by d::text) from (" + question + ") d";
  const std::string before = host_->sql(answer);
  EXPECT_NE(before.find("usd"), std::string::npos) << before;
  EXPECT_NE(before.find("eur"), std::string::npos) << before;
  EXPECT_EQ(host_->sql("select (sum(d.open_amount) * 100)::bigint from (" + question +
                       ") d where d.currency = 'usd'"),
            host_->sql("select sum(i.amount_remaining) from acme.stripe_invoice i join "
                       "acme.stripe_customer s on s.id = i.customer_ref where s.customer_id is not "
                       "null and i.status = 'open' and i.currency = 'usd'"));
  // A second connection to the same account has the same ids.
  host_->sql(
      "insert into sluice.connection (workspace_id, connector, name, config, egress, state, "
      "vendor_account, mode) select workspace_id, connector, 'again', config, egress, state, "
      "vendor_account, mode from sluice.connection where name = 'billing'");
  for (const std::string table : {"vendor.stripe_customer", "vendor.stripe_invoice"}) {
    host_->sql("create temporary table copy as table " + table +
               "; update copy set id = nextval('sluice.entity_id'), connection_id = (select "
               "connection_id from sluice.connection where name = 'again'); insert into " +
               table + " select * from copy; drop table copy");
  }
  EXPECT_EQ(host_->sql("select count(*) from acme.stripe_invoice where connection_name = 'again'"),
            fact("acme.stripe_invoice"));
  EXPECT_EQ(host_->sql(answer), before);
}

TEST_F(Upgrade, what_101fb78_wrote_opens_with_all_that_was_in_it) {
  start_vendor();
  host_->sql("create table public.older as table sluice.secret");
  host_->start();
  wait_for_views();
  tokens_open_and_rows_and_links_are_all_there();
  a_cursor_goes_on_where_it_was_and_misses_nothing();
  people_read_what_they_were_granted_and_their_own_view_stands();
  secrets_of_the_older_format_were_sealed_anew_and_are_not_opened_any_more();
  the_sealed_secret_opens_with_the_root_key_that_came_along();
  people_read_what_they_were_granted_and_their_own_view_stands();  // after an install, too
  each_view_is_one_of_ours_and_has_its_owner();
  references_are_readable_by_sluice_id();
  a_question_across_both_worlds_mixes_neither_accounts_nor_currencies();
}

}  // namespace
}  // namespace sluice::e2e
