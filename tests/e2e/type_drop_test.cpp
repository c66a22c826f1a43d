// An own type is dropped: by a person at a terminal, under an import, and by hosts that are killed.
#include <fmt/format.h>

#include <set>
#include <stdexcept>

#include "e2e/lock_holder.hpp"
#include "e2e/raw_client.hpp"
#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class TypeDropE2e : public World {
 protected:
  void SetUp() override {
    host_->start();
    make_customer();
  }

  Reply ask(const std::string& method, const std::string& path, const json& body = nullptr) {
    Ask what;
    what.method = method;
    what.path = "/v1/workspaces/acme" + path;
    what.token = host_->token();
    if (!body.is_null()) what.body = body.dump();
    return perform(host_->url(), what);
  }
  Reply import(const std::string& text) {
    Ask what;
    what.method = "POST";
    what.path = "/v1/workspaces/acme/types/customer/import";
    what.token = host_->token();
    what.body = text;
    what.content_type = "text/csv";
    return perform(host_->url(), what);
  }
  Said cli(std::vector<std::string> arguments) {
    return run_sluice(directory_, host_->url(), host_->token(), std::move(arguments));
  }
  void make_customer() {
    ASSERT_EQ(
        cli({"entity", "create-type", "customer", "email:text:unique:format=email", "name"}).code,
        0);
  }
  static std::string rows(int count) {
    std::string text = "email,name\n";
    for (int n = 0; n < count; ++n) text += fmt::format("u{}@example.org,Person {}\n", n, n);
    return text;
  }
  std::int64_t entities() { return host_->count("select count(*) from sluice.own_entity"); }
  std::string state() {
    return host_->sql("select state from sluice.entity_type where name = 'customer'");
  }
  /// It dies in the sixth batch of a deletion.
  void start_to_be_killed() {
    try {
      host_->start("fenced.after.type_drop_entities=kill@6");
    } catch (const std::runtime_error&) {  // before it listened
    }
  }
  bool is_killed() {
    return eventually(std::chrono::seconds(60), [&] { return !host_->process().running(); });
  }
  bool is_over() {
    return eventually(std::chrono::seconds(60), [&] { return state() == "dropped"; });
  }
};

TEST_F(TypeDropE2e, hosts_that_are_killed_over_it_tell_each_deletion_once) {
  constexpr int kRows = 20'000;
  ASSERT_EQ(import(rows(kRows)).status, 200);
  host_->kill_hard();
  start_to_be_killed();
  const std::string id = host_->sql("select type_id from sluice.entity_type");
  const json before = ask("GET", "/changes?from=now").document();
  const Reply dropped = ask("DELETE", "/types/customer");
  ASSERT_EQ(dropped.status, 202) << dropped.text;
  EXPECT_EQ(dropped.document()["name"], "customer");
  EXPECT_TRUE(dropped.document()["work"].is_string()) << dropped.text;
  std::int64_t there = kRows;
  for (int kill = 0; kill < 3; ++kill) {
    ASSERT_TRUE(is_killed()) << "the failpoint was not passed: " << host_->log();
    const std::int64_t left = entities();
    EXPECT_GT(left, 0) << "in its middle";
    EXPECT_LT(left, there) << "it went on where the one before died";
    there = left;
    EXPECT_EQ(host_->count("select count(*) from sluice.change where op = 'delete'"), kRows - there)
        << "what is told is what is done";
    if (kill < 2) start_to_be_killed();
  }
  {
    LockHolder last(host_->conninfo(),
                    "select 1 from sluice.own_entity order by id desc limit 1 for update");
    host_->start();
    EXPECT_EQ(ask("GET", "/types/customer").code(), "type.not_found");
    EXPECT_EQ(ask("GET", "/entities/customer").code(), "type.not_found");
    const Reply again =
        ask("POST", "/types",
            json::parse(R"({"name":"customer","attributes":[{"name":"n","type":"text"}]})"));
    EXPECT_EQ(again.code(), "type.being_dropped") << again.text;
    EXPECT_GT(entities(), 0) << "it is held";
  }
  ASSERT_TRUE(is_over()) << host_->log();
  EXPECT_EQ(entities(), 0);
  EXPECT_EQ(
      host_->sql("select (select count(*) from sluice.own_unique) + (select count(*) from "
                 "sluice.link_key) + (select count(*) from sluice.attribute where type_id = " +
                 id + ")"),
      "0");
  EXPECT_EQ(
      host_->sql("select coalesce(sum(live), 0) from (select live from sluice.row_count union "
                 "all select live from sluice.row_delta) c"),
      "0");

  // Whoever follows the feed hears of each once, and of whose it was.
  std::string cursor = before["cursor"];
  std::set<std::string> told;
  for (bool more = true; more;) {
    const Reply answer = ask("GET", "/changes?limit=1000&type=customer&op=delete&cursor=" + cursor);
    ASSERT_EQ(answer.status, 200) << answer.text;
    const json page = answer.document();
    for (const json& change : page["changes"]) {
      EXPECT_EQ(change["type"], "customer");
      EXPECT_TRUE(told.insert(change["entity_id"].get<std::string>()).second) << change;
    }
    cursor = page["cursor"];
    more = page["has_more"];
  }
  EXPECT_EQ(told.size(), kRows);

  make_customer();
  EXPECT_EQ(host_->sql("select type_id from sluice.entity_type where state = 'active'"), id);
  EXPECT_TRUE(ask("GET", "/entities/customer").document()["entities"].empty());
  EXPECT_EQ(import(rows(3)).document()["inserted"], 3) << "none of its values is taken";
}

TEST_F(TypeDropE2e, a_person_sees_what_goes_before_it_goes) {
  ASSERT_EQ(import(rows(1'234)).status, 200);
  ASSERT_EQ(cli({"entity", "create-type", "lead", "mail:text:key=email"}).code, 0);
  ASSERT_EQ(cli({"link", "add-rule", "people", "--from", "lead.mail", "--to", "customer.email",
                 "--by", "email"})
                .code,
            0);
  ASSERT_EQ(cli({"entity", "create", "lead", "mail=u7@example.org"}).code, 0);
  ASSERT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->count("select count(*) from sluice.link where state = 'linked'") == 1;
  }));
  const Said dry = cli({"entity", "drop-type", "customer", "--dry-run"});
  EXPECT_EQ(dry.code, 0) << dry.errors;
  EXPECT_EQ(dry.output,
            "customer is dropped for good, with 1,234 entities, their keys and its SQL view:\n"
            "  link rule people goes, with 1 link\n"
            "The change feed tells each deletion and keeps the name. Made again under it, the type "
            "is empty\nNothing was done\n");
  const Said refused = cli({"entity", "drop-type", "customer"});
  EXPECT_EQ(refused.code, 65);
  EXPECT_NE(refused.errors.find("cli.not_confirmed"), std::string::npos) << refused.errors;
  EXPECT_EQ(entities(), 1'235);
  const Said done = cli({"entity", "drop-type", "customer", "--yes"});
  EXPECT_EQ(done.code, 0) << done.errors;
  EXPECT_EQ(done.output, "customer is dropped\n");
  EXPECT_EQ(state(), "dropped") << "it says so when it is over";
  EXPECT_EQ(entities(), 1);
  EXPECT_EQ(host_->sql("select count(*) from sluice.link_rule"), "0");
  EXPECT_EQ(host_->sql("select to_regclass('acme.customer') is null"), "t");
  EXPECT_EQ(host_->sql("select detail->'rules' from sluice.audit where action = 'type.drop'"),
            R"(["people"])");
  const Said unknown = cli({"entity", "drop-type", "customer", "--yes"});
  EXPECT_NE(unknown.errors.find("type.not_found"), std::string::npos) << unknown.errors;
}

TEST_F(TypeDropE2e, an_import_into_it_ends_and_says_so) {
  const std::string all = rows(40'000);
  const std::string half = all.substr(0, all.size() / 2);
  RawClient raw(host_->url());
  raw.send(fmt::format(
      "POST /v1/workspaces/acme/types/customer/import HTTP/1.1\r\nHost: x\r\n"
      "Authorization: Bearer {}\r\nContent-Type: text/csv\r\nContent-Length: {}\r\n\r\n",
      host_->token(), all.size()));
  raw.send(half);
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] { return entities() > 0; }));
  const Reply dropped = ask("DELETE", "/types/customer");
  ASSERT_EQ(dropped.status, 202) << dropped.text;
  raw.send(std::string_view(all).substr(half.size()));
  const std::string answer = raw.next_answer();
  EXPECT_NE(answer.find(" 409 "), std::string::npos) << answer;
  EXPECT_NE(answer.find("import.type_dropped"), std::string::npos) << answer;
  EXPECT_NE(answer.find("the type customer was dropped"), std::string::npos) << answer;
  EXPECT_NE(answer.find("rows are stored ("), std::string::npos) << answer;
  EXPECT_EQ(import(rows(1)).code(), "type.not_found");
  ASSERT_TRUE(is_over()) << host_->log();
  EXPECT_EQ(entities(), 0) << "what it stored is gone, too";
  EXPECT_EQ(host_->sql("select string_agg(distinct outcome, ',') from sluice.sync_run"), "failed");
}

}  // namespace
}  // namespace sluice::e2e
