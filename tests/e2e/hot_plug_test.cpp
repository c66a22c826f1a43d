// A connector appears, changes its version and disappears on a running host, with no restart.
#include <signal.h>

#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "e2e/hot_plug_world.hpp"
#include "e2e/rest.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;

/// Of what comes to an end.
constexpr const char* kOpenWork =
    "select count(*) from sluice.work where state <> 'done' and not task ? 'every_seconds'";
using nlohmann::json;

TEST_F(HotPlug, a_file_dropped_into_the_directory_is_offered_installed_and_read_from) {
  start_fake(40);
  start_host();
  EXPECT_EQ(refusal("POST", "/connectors/harbour/install", json::object()).code,
            "connector.unknown");
  drop(version("harbour_100"), "harbour.so");
  // A directory that others may write is not looked into, and whoever looks for its files hears it.
  fs::permissions(plugins_, fs::perms(0777));
  EXPECT_TRUE(eventually(std::chrono::seconds(10), [&] {
    return refusal("POST", "/connectors/harbour/install", json::object()).hint.find("chmod go-w") !=
           std::string::npos;
  })) << host_->log();
  EXPECT_NE(host_->client().get("/errors").dump().find("chmod go-w"), std::string::npos);
  EXPECT_NE(host_->client().get("/connectors")["errors"].dump().find("chmod go-w"),
            std::string::npos);
  fs::permissions(plugins_, fs::perms(0755));
  ASSERT_TRUE(becomes("harbour.so", "admitted")) << host_->log();
  EXPECT_EQ(listed("harbour", "1.0.0")["newest"], true);
  EXPECT_EQ(listed("harbour", "1.0.0")["installed"], false);
  EXPECT_EQ(read_file("/proc/" + std::to_string(pid_) + "/maps").find("harbour"), std::string::npos)
      << "looking at a file runs nothing of it";
  EXPECT_EQ(install("harbour", json::object())["version"], "1.0.0");
  EXPECT_EQ(listed("harbour", "1.0.0")["installed"], true);
  connect_harbour("pier", json::object());
  ASSERT_TRUE(is_read("pier", "customers")) << host_->log();
  EXPECT_EQ(host_->rows("acme.harbour_customer").size(), fake_->truth("customer").size());

  // Its file goes; what was installed lives on in the host's store, also over a restart.
  fs::remove(plugins_ / "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "gone"));
  EXPECT_EQ(listed("harbour", "1.0.0")["offered"], false);
  EXPECT_EQ(listed("harbour", "1.0.0")["on_this_host"], true);
  EXPECT_EQ(refusal("POST", "/connectors/harbour/install", json::object()).code,
            "connector.version_unknown");
  EXPECT_EQ(install("harbour", {{"version", "1.0.0"}})["replaced"], nullptr);
  expect_no_restart();
  EXPECT_EQ(host_->stop(), 0);
  start_host();
  fake_->control("POST", "create", json::parse(R"({"type":"customer","set":{"name":"Late"}})"));
  send("POST", "/connections/pier/sync", {{"full", true}});
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from acme.harbour_customer where name = 'Late'") == 1;
  })) << host_->log();

  // A host without the file says so in words, and harms nobody.
  EXPECT_EQ(host_->stop(), 0);
  fs::remove_all(directory_ / "data/connectors");
  start_host();
  const json lacking = listed("harbour", "1.0.0");
  EXPECT_EQ(lacking["on_this_host"], false);
  EXPECT_EQ(lacking["problem"]["code"], "connector.not_on_this_host");
  EXPECT_EQ(refusal("POST", "/connections/pier/check", json::object()).code,
            "connector.not_on_this_host");
  drop(version("harbour_100"), "anew.so");
  ASSERT_TRUE(becomes("anew.so", "admitted"));
  send("POST", "/connections/pier/check", json::object());
}

/// A connector is native code in the host of everybody.
TEST_F(HotPlug, a_workspace_installs_what_an_operator_let_in_and_nothing_of_it_ran_before) {
  start_fake(3);
  start_host();
  const std::string admin = send("POST", "/tokens", {{"name", "a"}, {"role", "admin"}})["token"];
  const auto ask = [&](const std::string& method, const std::string& path, const json& body = {}) {
    Ask what;
    what.method = method;
    what.path = path;
    what.token = admin;
    if (!body.is_null()) what.body = body.dump();
    return perform(host_->url(), what);
  };
  drop(version("harbour_100"), "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "admitted"));
  const std::string install_path = "/v1/workspaces/acme/connectors/harbour/install";
  const std::string sha256 = listed("harbour", "1.0.0")["sha256"];
  EXPECT_EQ(listed("harbour", "1.0.0")["approved"], false);
  const auto runs = [&] {
    return read_file("/proc/" + std::to_string(pid_) + "/maps")
               .find("harbour-1.0.0-" + sha256.substr(0, 12)) != std::string::npos;
  };
  const Reply refused = ask("POST", install_path, json::object());
  EXPECT_EQ(refused.code(), "connector.not_approved") << refused.text;
  EXPECT_NE(refused.text.find("sluice connector approve harbour"), std::string::npos);
  EXPECT_EQ(ask("POST", "/v1/connectors/harbour/approve", json::object()).code(), "token.role");
  EXPECT_EQ(ask("GET", "/v1/connectors").code(), "token.role") << "the host's own places";
  EXPECT_EQ(ask("GET", "/v1/workspaces/acme/connectors").text.find(plugins_.string()),
            std::string::npos);
  EXPECT_FALSE(runs());
  host_->client().global("POST", "/v1/connectors/harbour/approve", {{"version", "1.0.0"}});
  EXPECT_FALSE(runs()) << "an approval is a word";
  EXPECT_EQ(listed("harbour", "1.0.0")["approved"], true);
  EXPECT_EQ(ask("POST", install_path, json::object()).status, 201);
  EXPECT_TRUE(runs());
  // Another content of the same version is another connector's code.
  drop(version("harbour_110"), "newer.so");
  ASSERT_TRUE(becomes("newer.so", "admitted"));
  EXPECT_EQ(ask("POST", install_path, json::object()).code(), "connector.not_approved");
  install("harbour", {{"version", "1.1.0"}});  // an operator's, in one go
  EXPECT_EQ(ask("POST", install_path, {{"version", "1.1.0"}}).status, 201);
  EXPECT_EQ(host_->sql("select string_agg(action || ' ' || (detail->>'version'), ', ' order by "
                       "audit_id) from sluice.audit where action like 'connector.%'"),
            "connector.approve 1.0.0, connector.install 1.0.0, connector.install 1.1.0, "
            "connector.install 1.1.0");
}

TEST_F(HotPlug, an_account_is_connected_once_unless_somebody_asks_for_it_by_word) {
  start_fake(5);
  start_host();
  drop(version("harbour_100"), "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "admitted"));
  install("harbour", json::object());
  connect_harbour("pier", json::object());
  json body = harbour("quay");
  const Error twice = refusal("POST", "/connections", body);
  EXPECT_EQ(twice.code, "connection.account_connected");
  EXPECT_NE(twice.message.find("'pier'"), std::string::npos) << twice.message;
  EXPECT_EQ(host_->sql("select string_agg(name, ' ') from sluice.connection"), "pier");
  EXPECT_EQ(host_->count("select count(distinct connection_id) from sluice.secret"), 1);
  body["egress"]["base_urls"]["apii"] = fake_->url();
  EXPECT_EQ(refusal("POST", "/connections", body).code, "egress.unknown_host");
  body["egress"]["base_urls"].erase("apii");
  body["second_connection"] = true;
  send("POST", "/connections", body);
  EXPECT_EQ(host_->sql("select detail->'egress'->'base_urls'->>'api' from sluice.audit where "
                       "action = 'connection.create' order by audit_id desc limit 1"),
            fake_->url());
}

TEST_F(HotPlug, a_version_that_is_held_while_the_vendor_answers_gets_no_connection) {
  start_fake(1);
  drop(version("harbour_100"), "harbour.so");
  start_host();
  ASSERT_TRUE(becomes("harbour.so", "admitted")) << host_->log();
  install("harbour", json::object());
  fake_->control(
      "POST", "faults",
      json::parse(R"([{"match":"/v1/account","times":0,"kind":"slow","delay_ms":2000}])"));
  std::string code;
  std::thread person([&] { code = refusal("POST", "/connections", harbour("pier")).code; });
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->count("select count(*) from sluice.connection where name = 'pier'") == 1;
  }));
  host_->sql(
      "insert into sluice.connector_hold (sha256, connector, version, code, reason) "
      "select sha256, connector, version, 'connector.held', 'it is held' from "
      "sluice.connector_version");
  person.join();
  EXPECT_EQ(code, "connector.held");
  EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.secret"), 0);
}

TEST_F(HotPlug, a_file_that_will_not_do_is_refused_with_its_own_reason_and_the_host_unharmed) {
  start_fake(5);
  start_host();
  const std::pair<const char*, const char*> zoo[] = {
      {"abi_major_2", "connector.abi_major"},
      {"no_note", "connector.no_note"},
      {"two_notes", "connector.two_notes"},
      {"entry_is_function", "connector.entry_is_function"},
      {"entry_from_dependency", "connector.entry_foreign"},
      {"manifest_invalid", "connector.manifest_invalid"},
      {"needs_library", "connector.needs_library"},
  };
  for (const auto& [name, code] : zoo) drop(animal(name), std::string(name) + ".so");
  for (const auto& [name, code] : zoo) {
    ASSERT_TRUE(becomes(std::string(name) + ".so", "refused")) << name;
    const json refused = file(std::string(name) + ".so");
    EXPECT_EQ(refused["reason"]["code"], code);
    EXPECT_FALSE(refused["reason"]["hint"].get<std::string>().empty()) << name;
  }
  // What only the mapping shows is said at the first install, and remembered.
  drop(animal("manifest_differs"), "lies.so");
  ASSERT_TRUE(becomes("lies.so", "admitted"));
  const auto id = file("lies.so")["id"].get<std::string>();
  EXPECT_EQ(refusal("POST", "/connectors/" + id + "/install", json::object()).code,
            "connector.manifest_differs");
  EXPECT_EQ(file("lies.so")["state"], "refused");
  EXPECT_EQ(host_->count("select count(*) from sluice.installation"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.entity_type"), 0);

  // A copy on its way: looked at again until it is whole.
  const std::string whole = read_file(version("harbour_100").string());
  std::ofstream copy(plugins_ / "slow.so", std::ios::binary);
  copy.write(whole.data(), static_cast<std::streamsize>(whole.size() / 2));
  copy.flush();
  ASSERT_TRUE(becomes("slow.so", "incomplete"));
  copy.write(whole.data() + whole.size() / 2,
             static_cast<std::streamsize>(whole.size() - whole.size() / 2));
  copy.close();
  ASSERT_TRUE(becomes("slow.so", "admitted")) << file("slow.so");
  // One that was cut long ago is no copy under way.
  std::ofstream(plugins_ / "cut.part", std::ios::binary).write(whole.data(), 4096);
  fs::last_write_time(plugins_ / "cut.part",
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  fs::rename(plugins_ / "cut.part", plugins_ / "cut.so");
  ASSERT_TRUE(becomes("cut.so", "refused"));
  EXPECT_EQ(file("cut.so")["reason"]["code"], "connector.elf_malformed");

  // A type that cannot be made: nothing of the connector is installed, and it can be afterwards.
  send("POST", "/types",
       json::parse(R"({"name":"harbour_customer","attributes":[{"name":"a","type":"text"}]})"));
  EXPECT_EQ(refusal("POST", "/connectors/harbour/install", json::object()).code, "type.name_taken");
  EXPECT_EQ(host_->count("select count(*) from sluice.installation"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.entity_type where connector = 'harbour'"), 0);
  EXPECT_EQ(host_->count("select count(*) from pg_tables where schemaname = 'vendor'"), 0);
  expect_no_restart();
}

TEST_F(HotPlug, a_newer_version_serves_new_sessions_while_the_running_one_ends_with_its_own) {
  start_fake(60);
  start_host();
  send(
      "POST", "/types",
      json::parse(
          R"({"name":"customer","attributes":[{"name":"email","type":"text","format":"email"}]})"));
  const json someone = fake_->control(
      "POST", "create", json::parse(R"({"type":"customer","set":{"email":"ann@example.org"}})"));
  send("POST", "/entities/customer", {{"email", "ann@example.org"}});
  drop(version("harbour_100"), "harbour-1.0.0.so");
  ASSERT_TRUE(becomes("harbour-1.0.0.so", "admitted"));
  install("harbour", json::object());
  slow_customers(150);
  connect_harbour("pier", {{"page_size", 5}});
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from acme.harbour_customer") > 5;
  }));
  drop(version("harbour_110"), "harbour-1.1.0.so");
  ASSERT_TRUE(becomes("harbour-1.1.0.so", "admitted"));
  const json installed = install("harbour", json::object());
  EXPECT_EQ(installed["version"], "1.1.0");
  EXPECT_EQ(installed["replaced"], "1.0.0");
  EXPECT_EQ(installed["new_streams"], json::parse(R"(["products"])"));
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where stream = 'customers' and "
                         "finished_at is null"),
            1)
      << "the test must meet a running session";
  ASSERT_TRUE(is_read("pier", "products")) << host_->log();
  ASSERT_TRUE(is_read("pier", "customers")) << host_->log();
  const auto read_by = [&](const std::string& type, const std::string& version) {
    return host_->count("select count(*) from acme.harbour_" + type + " where read_by = '" +
                        version + "'");
  };
  const auto customers = static_cast<std::int64_t>(fake_->truth("customer").size());
  EXPECT_EQ(read_by("customer", "1.0.0"), customers) << "the running session went on as it was";
  EXPECT_EQ(read_by("product", "1.1.0"), static_cast<std::int64_t>(fake_->truth("product").size()));
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where stream = 'customers'"), 1);
  // The e-mail is a link key now, also of those that were there before.
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from acme.link where state = 'linked'") >= 1;
  })) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] { return host_->count(kOpenWork) == 0; }));
  fake_->control("DELETE", "faults");
  send("POST", "/connections/pier/sync", {{"full", true}});
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return read_by("customer", "1.1.0") == customers;
  })) << host_->log();

  // Back again: said first what it lacks, then as asked; nothing that stays is begun again.
  const std::string kCheckpoint =
      "select encode(checkpoint, 'hex') from sluice.stream where stream = 'customers'";
  const std::string before = host_->sql(kCheckpoint);
  const Error lacks = refusal("POST", "/connectors/harbour/install", {{"version", "1.0.0"}});
  EXPECT_EQ(lacks.code, "connector.version_lacks");
  EXPECT_NE(lacks.message.find("stream products"), std::string::npos) << lacks.message;
  // Held, it is off with the others that go, and not let go on with those that stay: it would fail
  // for ever, and keep every snapshot behind it.
  host_->sql(
      "update sluice.stream set enabled = false, next_run_at = null, state = 'failed', error_class "
      "= 'HELD', reason = 'twice' where stream = 'products'");
  const json back = install("harbour", {{"version", "1.0.0"}, {"accept_loss", true}});
  EXPECT_EQ(back["gone_streams"], json::parse(R"(["products"])"));
  EXPECT_EQ(host_->sql("select concat_ws('|', enabled, error_class is null) from sluice.stream "
                       "where stream = 'products'"),
            "f|t");
  EXPECT_EQ(host_->sql(kCheckpoint), before);
  EXPECT_EQ(refusal("PATCH", "/connections/pier/streams/products", {{"enabled", true}}).code,
            "stream.not_in_version");
  EXPECT_EQ(install("harbour", json::object())["new_streams"], json::parse(R"(["products"])"));
  EXPECT_EQ(host_->sql("select enabled from sluice.stream where stream = 'products'"), "t");
  EXPECT_EQ(host_->sql(kCheckpoint), before);
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where action = 'connector.install' and "
                         "actor like 'token %'"),
            4);
  expect_no_restart();
}

/// Views, filters and dashboards ask by them; a version that takes them away is no older for that.
TEST_F(HotPlug, a_newer_version_that_changes_amounts_or_references_is_installed_by_word_only) {
  start_fake(2);
  start_host();
  drop(version("harbour_money"), "money.so");
  ASSERT_TRUE(becomes("money.so", "admitted"));
  install("harbour", json::object());
  drop(version("harbour_otherwise"), "otherwise.so");
  ASSERT_TRUE(becomes("otherwise.so", "admitted"));
  const std::string kAmounts =
      "select string_agg(attname, ' ' order by attname) from pg_attribute where attrelid = "
      "'acme.harbour_customer'::regclass and (attname like '%_major' or attname like '%_ref')";
  EXPECT_EQ(host_->sql(kAmounts), "balance_major owed_major paid_major parent_ref");
  const Error changes = refusal("POST", "/connectors/harbour/install", json::object());
  EXPECT_EQ(changes.code, "connector.version_lacks");
  for (const char* said :
       {"harbour 1.4.0 lacks or changes 4 of what the installed 1.3.0 has",
        "customer.balance_major (no amount in minor units any more)",
        "customer.owed_major (its currency is in other_currency, and was in currency)",
        "relationship customer.parent", "amounts in isk (another number of digits"})
    EXPECT_NE(changes.message.find(said), std::string::npos) << said << "\n" << changes.message;
  EXPECT_EQ(changes.message.find("usd"), std::string::npos) << "of those nothing changes";
  EXPECT_NE(changes.hint.find("--accept-loss"), std::string::npos) << changes.hint;
  EXPECT_EQ(host_->sql(kAmounts), "balance_major owed_major paid_major parent_ref");
  const json accepted = install("harbour", {{"accept_loss", true}});
  EXPECT_EQ(accepted["version"], "1.4.0");
  EXPECT_NE(accepted["notes"].dump().find("accepted: customer.balance_major"), std::string::npos)
      << accepted;
  EXPECT_EQ(host_->sql(kAmounts), "owed_major paid_major");
  EXPECT_EQ(host_->sql("select detail->>'accept_loss' from sluice.audit where "
                       "action = 'connector.install' order by audit_id desc limit 1"),
            "true");
  // What only gains is no change: back, and nothing of it is asked about.
  const json back = install("harbour", {{"version", "1.3.0"}, {"accept_loss", true}});
  EXPECT_EQ(back["version"], "1.3.0");
}

/// Somebody's report reads a table for as long as it likes; a new column would wait for its end,
/// and every page of every workspace behind that.
TEST_F(HotPlug, an_upgrade_waits_for_no_report_and_keeps_no_page_waiting) {
  start_fake(5);
  start_host();
  drop(version("harbour_110"), "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "admitted"));
  install("harbour", json::object());
  connect_harbour("pier", json::object());
  ASSERT_TRUE(is_read("pier", "customers")) << host_->log();
  drop(version("harbour_build"), "build.so");
  ASSERT_TRUE(becomes("build.so", "admitted"));
  std::atomic<bool> is_over = false;
  std::thread report([&] {
    host_->sql("begin; select count(*) from vendor.harbour_customer; select pg_sleep(25); commit");
    is_over = true;
  });
  const char* const reads =
      "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like "
      "'%harbour_customer%'";
  EXPECT_TRUE(eventually(std::chrono::seconds(10), [&] { return host_->count(reads) == 1; }));
  std::thread upgrade([&] {
    const auto began = std::chrono::steady_clock::now();
    EXPECT_EQ(refusal("POST", "/connectors/harbour/install", {{"version", "1.1.0+b2"}}).code,
              "type.table_busy");
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(12));
  });
  fake_->control("POST", "create", json::parse(R"({"type":"customer","set":{"name":"Late"}})"));
  send("POST", "/connections/pier/sync", {{"full", true}});
  EXPECT_TRUE(eventually(std::chrono::seconds(15), [&] {
    return host_->count("select count(*) from acme.harbour_customer where name = 'Late'") == 1;
  })) << host_->log();
  upgrade.join();
  EXPECT_FALSE(is_over) << "the test must ask while the report reads";
  report.join();
  EXPECT_EQ(install("harbour", {{"version", "1.1.0+b2"}})["version"], "1.1.0+b2");
  expect_no_restart();
}

TEST_F(HotPlug, two_contents_of_one_version_are_both_shown_and_neither_is_guessed) {
  start_host();
  drop(version("harbour_110"), "a.so");
  drop(version("harbour_twin"), "b.so");
  drop(version("harbour_100"), "c.so");
  ASSERT_TRUE(becomes("a.so", "admitted"));
  ASSERT_TRUE(becomes("b.so", "admitted"));
  ASSERT_TRUE(
      eventually(std::chrono::seconds(10), [&] { return !file("a.so")["conflict"].is_null(); }));
  EXPECT_NE(file("a.so")["conflict"].get<std::string>().find("b.so"), std::string::npos);
  EXPECT_NE(file("b.so")["conflict"].get<std::string>().find("a.so"), std::string::npos);
  const Error which = refusal("POST", "/connectors/harbour/install", json::object());
  EXPECT_EQ(which.code, "connector.version_ambiguous");
  EXPECT_NE(which.message.find("a.so"), std::string::npos) << which.message;
  EXPECT_NE(which.message.find("b.so"), std::string::npos) << which.message;
  const auto sha256 = file("b.so")["sha256"].get<std::string>();
  EXPECT_EQ(install("harbour", {{"sha256", sha256.substr(0, 12)}})["sha256"], sha256);
  EXPECT_EQ(refusal("POST", "/connectors/harbour/install", {{"version", "9.9.9"}}).code,
            "connector.version_unknown");
  EXPECT_EQ(refusal("POST", "/connectors/harbour/install", {{"sha256", "short"}}).code,
            "connector.bad_sha256");
  expect_no_restart();
}

TEST_F(HotPlug, a_build_that_is_neither_older_nor_newer_is_not_guessed_either) {
  start_fake(3);
  start_host();
  drop(version("harbour_110"), "a.so");
  drop(version("harbour_build"), "b.so");
  ASSERT_TRUE(becomes("a.so", "admitted"));
  ASSERT_TRUE(becomes("b.so", "admitted"));
  const Error which = refusal("POST", "/connectors/harbour/install", json::object());
  EXPECT_EQ(which.code, "connector.version_ambiguous");
  EXPECT_NE(which.message.find("is the same version"), std::string::npos) << which.message;
  const json all = host_->client().get("/connectors");
  for (const json& one : all["connectors"])
    EXPECT_EQ(one["conflict"], one["id"] == "harbour") << one;
  EXPECT_EQ(install("harbour", {{"version", "1.1.0"}})["notes"], json::array());
  connect_harbour("pier", {{"page_size", 5}});
  ASSERT_TRUE(is_read("pier", "customers")) << host_->log();
  // It has an attribute more, of which the rows that are there know nothing.
  const json newer = install("harbour", {{"version", "1.1.0+b2"}});
  EXPECT_EQ(newer["replaced"], "1.1.0");
  ASSERT_EQ(newer["notes"].size(), 1U) << newer;
  EXPECT_NE(newer["notes"][0].get<std::string>().find("customer.nickname"), std::string::npos);
  EXPECT_NE(newer["notes"][0].get<std::string>().find("sluice sync pier --full"),
            std::string::npos);
  const json back = install("harbour", {{"version", "1.1.0"}});
  ASSERT_EQ(back["notes"].size(), 1U) << back;
  EXPECT_NE(back["notes"][0].get<std::string>().find("no longer read: customer.nickname"),
            std::string::npos);
}

/// As an older host left it: what it admitted is no longer admitted, and works.
TEST_F(HotPlug, what_todays_rules_would_refuse_of_an_installed_connector_is_listed) {
  start_host();
  drop(version("harbour_110"), "a.so");
  ASSERT_TRUE(becomes("a.so", "admitted"));
  send("POST", "/types", json::parse(R"({"name":"customer","attributes":[
      {"name":"email","type":"text","format":"email"}]})"));
  install("harbour", json::object());
  EXPECT_EQ(host_->client().get("/errors")["ok"], true);
  // Another content, of which this host has no file.
  host_->sql(
      "insert into sluice.connector_version (connector, version, sha256, manifest)"
      " select connector, version, decode(repeat('ab', 32), 'hex'), jsonb_set(manifest,"
      " '{config_schema,properties,answer,pattern}', '\"^(?!x)\"') from sluice.connector_version");
  host_->sql("update sluice.installation set sha256 = decode(repeat('ab', 32), 'hex')");
  const json errors = host_->client().get("/errors");
  ASSERT_EQ(errors["errors"].size(), 1U) << errors;
  const json& one = errors["errors"][0];
  EXPECT_EQ(one["kind"], "connector");
  EXPECT_EQ(one["subject"], "harbour");
  EXPECT_EQ(one["code"], "connector.outdated");
  EXPECT_NE(one["what"].get<std::string>().find("/config_schema/properties/answer/pattern"),
            std::string::npos)
      << one;
}

/// All goes well, and nothing is read: the other streams wait for where the changes begin.
TEST_F(HotPlug, a_stream_of_changes_that_ends_without_a_checkpoint_is_told) {
  start_fake(5);
  start_host();
  drop(version("harbour_adrift"), "a.so");
  ASSERT_TRUE(becomes("a.so", "admitted")) << host_->log();
  install("harbour", json::object());
  connect_harbour("pier", json::object());
  json told;
  ASSERT_TRUE(eventually(std::chrono::seconds(30),
                         [&] {
                           const json answer = host_->client().get("/errors");
                           for (const json& one : answer["errors"])
                             if (one["code"] == "stream.no_checkpoint") told = one;
                           return told.is_object();
                         }))
      << host_->client().get("/errors") << host_->client().get("/connections/pier");
  EXPECT_EQ(told["subject"], "news") << told;
  EXPECT_EQ(told["connection"], "pier") << told;
  EXPECT_NE(told["what"].get<std::string>().find("the other streams wait for it"),
            std::string::npos)
      << told;
  EXPECT_NE(told["action"].get<std::string>().find("tell the connector's author"),
            std::string::npos)
      << told;
  EXPECT_EQ(host_->count("select count(*) from acme.harbour_customer"), 0) << "as it says";
}

TEST_F(HotPlug, a_version_that_cannot_read_the_checkpoint_begins_that_stream_again) {
  start_fake(40);
  start_host();
  drop(version("harbour_100"), "harbour-1.0.0.so");
  ASSERT_TRUE(becomes("harbour-1.0.0.so", "admitted"));
  install("harbour", json::object());
  fake_->control(
      "POST", "faults",
      json::parse(R"([{"match":"/v1/customers","nth":4,"times":1,"kind":"status","status":400}])"));
  connect_harbour("pier", {{"page_size", 10}});
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->sql("select state from sluice.stream") == "failed";
  })) << host_->log();
  EXPECT_EQ(host_->sql("select checkpoint_format from sluice.stream"), "1");
  drop(version("harbour_120"), "harbour-1.2.0.so");
  ASSERT_TRUE(becomes("harbour-1.2.0.so", "admitted"));
  install("harbour", json::object());
  send("POST", "/connections/pier/sync", {{"streams", {"customers"}}});
  ASSERT_TRUE(is_read("pier", "customers")) << host_->log();
  EXPECT_EQ(host_->sql("select checkpoint_format from sluice.stream"), "2");
  EXPECT_EQ(host_->count("select count(*) from acme.harbour_customer where read_by = '1.2.0'"),
            static_cast<std::int64_t>(fake_->truth("customer").size()));
  expect_no_restart();
}

TEST_F(HotPlug, disabling_drains_and_soft_deletes_and_enabling_brings_the_same_ids_back) {
  start_fake(60);
  start_host();
  drop(version("harbour_100"), "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "admitted"));
  install("harbour", json::object());
  connect_harbour("whole", json::object());
  connect_harbour("alone", json::object());
  ASSERT_TRUE(is_read("whole", "customers") && is_read("alone", "customers")) << host_->log();
  const auto ids = [&](const std::string& connection) {
    return host_->sql(
        "select string_agg(external_id || '=' || v.id, ',' order by external_id) from "
        "vendor.harbour_customer v join sluice.connection c using (workspace_id, connection_id) "
        "where deleted_at is null and c.name = '" +
        connection + "'");
  };
  const std::string before = ids("whole");
  ASSERT_FALSE(before.empty());
  send("POST", "/connections/alone/disable");
  ASSERT_TRUE(state_becomes("alone", "DISCONNECTED")) << host_->log();
  EXPECT_EQ(ids("alone"), "");
  EXPECT_EQ(ids("whole"), before) << "the other connection is not touched";
  EXPECT_EQ(refusal("POST", "/connections/alone/sync", json::object()).code, "connection.disabled");

  // In the middle of a read.
  slow_customers(200);
  connect_harbour("busy", {{"page_size", 5}});
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] { return !ids("busy").empty(); }));
  const json disabled = send("POST", "/connectors/harbour/disable");
  EXPECT_EQ(disabled["disconnecting"], json::parse(R"(["busy","whole"])"));
  const std::string refused = refusal("POST", "/connections/whole/enable", json::object()).code;
  EXPECT_TRUE(refused == "connector.disabled" || refused == "connection.disconnecting") << refused;
  ASSERT_TRUE(state_becomes("busy", "DISCONNECTED")) << host_->log();
  ASSERT_TRUE(state_becomes("whole", "DISCONNECTED")) << host_->log();
  EXPECT_EQ(host_->count("select count(*) from acme.harbour_customer"), 0);
  EXPECT_EQ(host_->count("select count(*) from vendor.harbour_customer where deleted_at is null"),
            0);
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run where finished_at is null"), 0);
  EXPECT_EQ(refusal("POST", "/connections/whole/enable", json::object()).code,
            "connector.disabled");
  fake_->control("DELETE", "faults");

  const json enabled = send("POST", "/connectors/harbour/enable");
  EXPECT_EQ(enabled["connecting"], json::parse(R"(["busy","whole"])"))
      << "what was turned off by itself stays off";
  ASSERT_TRUE(is_read("whole", "customers") && is_read("busy", "customers")) << host_->log();
  EXPECT_EQ(ids("whole"), before);
  EXPECT_EQ(state("alone"), "DISCONNECTED");
  send("POST", "/connections/alone/enable");
  ASSERT_TRUE(is_read("alone", "customers"));
  EXPECT_EQ(host_->count("select count(distinct action) from sluice.audit where action in "
                         "('connector.disable','connector.enable','connection.disable',"
                         "'connection.enable') and actor like 'token %'"),
            4);
  expect_no_restart();
}

TEST_F(HotPlug, disabling_removes_also_what_only_an_earlier_version_knew) {
  start_fake(10);
  start_host();
  drop(version("harbour_100"), "harbour-1.0.0.so");
  drop(version("harbour_110"), "harbour-1.1.0.so");
  ASSERT_TRUE(becomes("harbour-1.0.0.so", "admitted") && becomes("harbour-1.1.0.so", "admitted"));
  install("harbour", {{"version", "1.1.0"}});
  connect_harbour("pier", json::object());
  ASSERT_TRUE(is_read("pier", "customers") && is_read("pier", "products")) << host_->log();
  const std::string kProducts =
      "select count(*) from vendor.harbour_product where deleted_at is null";
  ASSERT_GT(host_->count(kProducts), 0);
  install("harbour", {{"version", "1.0.0"}, {"accept_loss", true}});
  EXPECT_GT(host_->count(kProducts), 0) << "a version that lacks them keeps them";
  send("POST", "/connections/pier/disable");
  ASSERT_TRUE(state_becomes("pier", "DISCONNECTED")) << host_->log();
  EXPECT_EQ(host_->count(kProducts), 0);
  EXPECT_EQ(host_->count("select count(*) from vendor.harbour_customer where deleted_at is null"),
            0);
}

TEST_F(HotPlug, a_failed_connection_told_to_stop_stops_and_can_be_deleted) {
  start_fake(30);
  start_host();
  drop(version("harbour_100"), "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "admitted"));
  install("harbour", json::object());
  connect_harbour("pier", json::object());
  ASSERT_TRUE(is_read("pier", "customers"));
  json keys;
  keys["remove"] = kKey;
  fake_->control("POST", "keys", keys);
  send("POST", "/connections/pier/sync", {{"full", true}});
  ASSERT_TRUE(state_becomes("pier", "FAILED")) << host_->log();
  EXPECT_EQ(refusal("DELETE", "/connections/pier", json::object()).code,
            "connection.not_disconnected");
  send("POST", "/connections/pier/disable");
  ASSERT_TRUE(state_becomes("pier", "DISCONNECTED")) << host_->log();
  EXPECT_EQ(host_->count("select count(*) from acme.harbour_customer"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.stream where next_run_at is not null"), 0);
  const json deleted = send("DELETE", "/connections/pier");
  EXPECT_GT(std::stoll(deleted["work"].get<std::string>()), 0);
  const std::string gone =
      "select (select count(*) from sluice.connection) + (select count(*) from "
      "sluice.sync_run) + (select count(*) from sluice.secret) + (select "
      "count(*) from sluice.quarantine)";
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return host_->count(gone) == 0; }))
      << host_->log();
  // The feed keeps its rows, and nothing that they said of anybody.
  EXPECT_EQ(host_->count("select count(*) from sluice.change where external_id <> '' or changed is "
                         "not null"),
            0);
  EXPECT_GT(host_->count("select count(*) from sluice.change where op = 'erased'"), 0);
  EXPECT_EQ(host_->count("select count(distinct entity_id) from sluice.change where op = 'delete'"),
            static_cast<std::int64_t>(fake_->truth("customer").size()));
  for (const char* table : {"sluice.connection", "sluice.stream", "sluice.sync_run",
                            "sluice.secret", "sluice.link_key", "vendor.harbour_customer"})
    EXPECT_EQ(host_->count(std::string("select count(*) from ") + table), 0) << table;
  expect_no_restart();
}

TEST_F(HotPlug, an_install_that_is_done_is_never_answered_as_if_it_were_not) {
  start_fake(10);
  host_->start("views.now=throw");
  drop(version("harbour_100"), "harbour-1.0.0.so");
  ASSERT_TRUE(becomes("harbour-1.0.0.so", "admitted"));
  const json answer = send("POST", "/connectors/harbour/install");
  EXPECT_EQ(answer["version"], "1.0.0") << answer;
  ASSERT_EQ(answer["notes"].size(), 1U) << answer;
  EXPECT_NE(answer["notes"][0].get<std::string>().find("views"), std::string::npos) << answer;
  EXPECT_TRUE(eventually(
      std::chrono::seconds(20),
      [&] {
        return host_->count("select count(*) from pg_views where viewname = 'harbour_customer'") ==
               1;
      }))
      << "durable work makes them; " << host_->log();
}

TEST_F(HotPlug, a_host_that_dies_behind_an_install_finishes_it_at_the_next_start) {
  start_fake(10);
  start_host();
  send(
      "POST", "/types",
      json::parse(
          R"({"name":"customer","attributes":[{"name":"email","type":"text","format":"email"}]})"));
  fake_->control("POST", "create",
                 json::parse(R"({"type":"customer","set":{"email":"ann@example.org"}})"));
  send("POST", "/entities/customer", {{"email", "ann@example.org"}});
  drop(version("harbour_100"), "harbour-1.0.0.so");
  ASSERT_TRUE(becomes("harbour-1.0.0.so", "admitted"));
  install("harbour", json::object());
  connect_harbour("pier", json::object());
  ASSERT_TRUE(is_read("pier", "customers"));
  EXPECT_EQ(host_->stop(), 0);
  host_->start("install.committed=kill");
  drop(version("harbour_110"), "harbour-1.1.0.so");
  ASSERT_TRUE(becomes("harbour-1.1.0.so", "admitted"));
  EXPECT_THROW(install("harbour", json::object()), Failure);
  EXPECT_EQ(host_->process().wait(), 128 + SIGKILL);
  start_host();
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count(kOpenWork) == 0 &&
           host_->count("select count(*) from acme.link where state = 'linked'") >= 1;
  })) << host_->log();
  ASSERT_TRUE(is_read("pier", "products"));
  EXPECT_GT(host_->count("select count(*) from acme.harbour_product"), 0) << "its view was made";
}

TEST_F(HotPlug, watching_a_full_sync_shows_its_progress_and_how_much_the_vendor_says_is_left) {
  start_fake(80);
  start_host();
  drop(version("harbour_100"), "harbour.so");
  ASSERT_TRUE(becomes("harbour.so", "admitted"));
  install("harbour", json::object());
  const auto customers = static_cast<std::int64_t>(fake_->truth("customer").size());
  slow_customers(400);
  connect_harbour("pier", {{"page_size", 8}, {"counts", customers}});
  // The first full read: nothing but the vendor's own count can tell what is left.
  const Said watched = run_sluice(directory_, host_->url(), host_->token(),
                                  {"status", "pier", "--watch", "--until-idle", "--wait", "60"});
  EXPECT_EQ(watched.code, 0) << watched.errors;
  const auto says = [&](const std::string& part) {
    EXPECT_NE(watched.output.find(part), std::string::npos) << part << "\n" << watched.output;
  };
  says("pier/customers running");
  says("/s, about ");
  says(" left, from the vendor's total");
  says("pier/customers ok, " + std::to_string(customers) + " records in all");
  // It moved: more than one number of records was seen under way.
  std::set<std::string> seen;
  for (std::size_t at = watched.output.find("running, "); at != std::string::npos;
       at = watched.output.find("running, ", at + 1))
    seen.insert(watched.output.substr(at, watched.output.find(" records", at) - at));
  EXPECT_GE(seen.size(), 2U) << watched.output;
}

}  // namespace
}  // namespace sluice::e2e
