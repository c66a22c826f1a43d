// Looking after a host: how streams are in words, runs, errors, quarantine, tokens, health, metrics
// and the log; by REST and by the command line, against a real host.
#include <signal.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

constexpr int kCustomers = 250;
constexpr auto kSoon = std::chrono::seconds(60);

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// The lines of a screen, without colours; each as wide as the terminal at most.
std::vector<std::string> screen_lines(const std::string& output) {
  std::vector<std::string> lines = {""};
  for (std::size_t at = 0; at < output.size(); ++at) {
    if (output[at] == '\x1b') {
      at = output.find_first_of("mHJKhl", at);
      if (at == std::string::npos) break;
    } else if (output[at] == '\n') {
      lines.emplace_back();
    } else if (output[at] != '\r' && (output[at] & 0xC0) != 0x80) {
      lines.back() += output[at];
    }
  }
  if (lines.back().empty()) lines.pop_back();
  return lines;
}

void expect_one_screen(const Said& said) {
  const auto lines = screen_lines(said.output);
  EXPECT_LE(lines.size(), 23U) << said.output;  // and the prompt
  for (const std::string& line : lines) EXPECT_LE(line.size(), 80U) << line;
}

/// A host whose account is read; made once for all tests here.
class Stage : public World {
 public:
  Stage() {
    start_fake(kCustomers);
    host_->start();
    connect();
    if (!settled()) throw std::runtime_error("the stage does not settle: " + host_->log());
    admin = token("admin");
    reader = token("reader");
  }
  void TestBody() override {}
  Host& host() { return *host_; }
  FakeStripe& fake() { return *fake_; }
  const std::filesystem::path& directory() { return directory_; }
  bool quiet() { return settled(); }

  std::string admin, reader;

 private:
  std::string token(const std::string& role) {
    json body;
    body["name"] = "the " + role;
    body["role"] = role;
    return host_->client().send("POST", "/tokens", body)["token"];
  }
};

class Operations : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { stage_ = new Stage(); }
  static void TearDownTestSuite() {
    delete stage_;
    stage_ = nullptr;
  }
  void TearDown() override { stage_->fake().control("DELETE", "faults"); }

  static Reply ask(const std::string& method, const std::string& path, const std::string& token,
                   std::optional<std::string> body = std::nullopt) {
    Ask question;
    question.method = method;
    question.path = path;
    question.token = token;
    question.body = std::move(body);
    return perform(stage_->host().url(), question);
  }
  static Reply get(const std::string& below) {
    return ask("GET", "/v1/workspaces/acme" + below, stage_->reader);
  }
  static Reply post(const std::string& below, const std::string& body = "{}") {
    return ask("POST", "/v1/workspaces/acme" + below, stage_->admin, body);
  }
  static Said cli(std::vector<std::string> arguments, const std::string& token = "") {
    return run_sluice(stage_->directory(), stage_->host().url(),
                      token.empty() ? stage_->host().token() : token, std::move(arguments));
  }
  static void fault(const std::string& text) {
    stage_->fake().control("POST", "faults", json::parse(text));
  }
  static json stream(const std::string& name) {
    const json connection = get("/connections/billing").document();
    for (const json& one : connection["streams"]) {
      if (one["name"] == name) return one;
    }
    ADD_FAILURE() << "no stream " << name << " in " << connection;
    return json::object();
  }
  static std::vector<json> errors_of(const std::string& kind) {
    std::vector<json> found;
    const json document = get("/errors").document();
    for (const json& error : document["errors"]) {
      if (error["kind"] == kind) found.push_back(error);
    }
    return found;
  }
  static std::string sql(const std::string& statement) { return stage_->host().sql(statement); }

  static Stage* stage_;
};

Stage* Operations::stage_ = nullptr;

TEST_F(Operations, a_stream_that_is_well_says_so_and_asks_for_nothing) {
  ASSERT_TRUE(stage_->quiet()) << stage_->host().log();
  const json customers = stream("customers");
  EXPECT_EQ(customers["health"], "ok") << customers;
  EXPECT_EQ(customers["action"], "");
  EXPECT_TRUE(has(customers["summary"].get<std::string>(), "everything is read")) << customers;
  EXPECT_TRUE(customers["run"].is_null());
  EXPECT_TRUE(customers["estimate"].is_null());
  EXPECT_GE(customers["last_success_age_seconds"], 0);
  EXPECT_GE(customers["records_total"], kCustomers);
  const Said said = cli({"status", "billing"}, stage_->reader);
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_TRUE(has(said.output, "customers")) << said.output;
  EXPECT_FALSE(has(said.output, "to do:")) << said.output;
  const Said fine = cli({"errors"}, stage_->reader);
  EXPECT_EQ(fine.code, 0) << fine.output;
  EXPECT_TRUE(has(fine.output, "all is well"));
  // What a connection's row sums up lags behind its streams: they decide.
  sql("update sluice.connection set state = 'DEGRADED'");
  EXPECT_TRUE(errors_of("connection").empty());
  // A run that ends in between sums it up anew.
  EXPECT_TRUE(eventually(kSoon, [] {
    sql("update sluice.connection set state = 'FAILED', state_reason = 'another account'");
    const auto failed = errors_of("connection");
    return failed.size() == 1 && failed[0]["what"] == "another account";
  }));
  EXPECT_TRUE(eventually(kSoon, [] { return errors_of("connection").empty(); }));
}

TEST_F(Operations, rows_are_shown_as_they_stand_beside_what_the_vendor_had) {
  ASSERT_TRUE(stage_->quiet()) << stage_->host().log();
  const auto customers_now = [] { return sql("select count(*) from acme.stripe_customer"); };
  const auto shown = [](const std::string& type) {
    const json connection = get("/connections/billing").document();
    for (const json& one : connection["types"]) {
      if (one["type"] == type) return one;
    }
    return json::object();
  };
  const json customers = shown("stripe.customer");
  EXPECT_EQ(customers["rows"].dump(), customers_now()) << customers;
  EXPECT_EQ(customers["vendor_rows"], stream("customers")["last_full_records"]) << customers;
  EXPECT_FALSE(customers["vendor_at"].is_null());
  EXPECT_TRUE(shown("stripe.invoice_line")["vendor_rows"].is_null())
      << "nothing lists all of them by themselves";
  const json connection = get("/connections/billing").document();
  EXPECT_EQ(connection["health"], "ok");
  EXPECT_EQ(connection["as_of"]["stream"], "events") << connection["as_of"];
  const Said types = cli({"entity", "types"}, stage_->reader);
  EXPECT_TRUE(has(types.output, "ROWS") && has(types.output, customers_now())) << types.output;

  // Read again, it is received twice, and there all the same once.
  ASSERT_EQ(cli({"sync", "billing", "--stream", "customers", "--full", "--wait"}).code, 0);
  EXPECT_EQ(shown("stripe.customer")["rows"].dump(), customers_now());
  EXPECT_EQ(get("/types/stripe.customer").document()["rows"].dump(), customers_now());
}

TEST_F(Operations, a_missing_permission_is_named_with_what_to_do_and_mends_by_itself_afterwards) {
  fault(R"([{"match":"/v1/products*","times":0,"kind":"403"}])");
  const Said failed = cli({"sync", "billing", "--stream", "products", "--full", "--wait"});
  EXPECT_EQ(failed.code, 75) << failed.output << failed.errors;
  EXPECT_TRUE(has(failed.output, "billing/products needs_action")) << failed.output;
  const json products = stream("products");
  EXPECT_EQ(products["health"], "needs_action") << products;
  EXPECT_EQ(products["error_class"], "PERMISSION");
  EXPECT_TRUE(has(products["action"].get<std::string>(), "sluice sync billing --stream products"))
      << products;
  EXPECT_TRUE(has(products["action"].get<std::string>(), "tried again in")) << products;
  EXPECT_EQ(stream("customers")["health"], "ok") << "the other streams go on";
  const auto errors = errors_of("stream");
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0]["subject"], "products");
  EXPECT_EQ(errors[0]["code"], "PERMISSION");
  const Said listed = cli({"errors"}, stage_->reader);
  EXPECT_EQ(listed.code, 75);
  EXPECT_TRUE(has(listed.output, "stream billing/products (PERMISSION)")) << listed.output;
  EXPECT_TRUE(has(listed.output, "to do: give the key that permission")) << listed.output;
  const Said runs = cli({"runs", "billing", "--stream", "products", "--failed"});
  EXPECT_TRUE(has(runs.output, "PERMISSION")) << runs.output;

  stage_->fake().control("DELETE", "faults");
  const Said mended = cli({"sync", "billing", "--stream", "products", "--wait", "--timeout", "60"});
  EXPECT_EQ(mended.code, 0) << mended.output << mended.errors;
  EXPECT_EQ(stream("products")["health"], "ok");
  EXPECT_TRUE(errors_of("stream").empty());
}

TEST_F(Operations, a_key_that_lacks_many_permissions_is_one_entry_with_their_names) {
  const std::string key = "rk_test_limited";
  json keys;
  keys["add"] = key + ":rak_account_read,rak_event_read,rak_customer_read";
  stage_->fake().control("POST", "keys", keys);
  const Said made = run_sluice(
      stage_->directory(), stage_->host().url(), stage_->host().token(),
      {"connection", "set-secret", "billing", "--secret", "api_key=@LIMITED"}, {{"LIMITED", key}});
  ASSERT_EQ(made.code, 0) << made.output << made.errors;
  cli({"sync", "billing", "--full"});
  json lacking;
  EXPECT_TRUE(eventually(kSoon, [&] {
    const auto errors = errors_of("stream");
    if (errors.size() == 1) lacking = errors[0];
    return errors.size() == 1 && errors[0]["permissions"].size() > 10;
  })) << get("/errors").document();
  ASSERT_FALSE(lacking.is_null());
  EXPECT_EQ(lacking["code"], "PERMISSION") << lacking;
  EXPECT_EQ(lacking["count"], lacking["subjects"].size()) << lacking;
  const auto what = lacking["what"].get<std::string>();
  EXPECT_TRUE(has(what, "the key lacks ")) << what;
  EXPECT_TRUE(has(what, "rak_invoice_read")) << what;
  EXPECT_TRUE(has(what, "streams: ") && has(what, "invoices")) << what;
  EXPECT_EQ(what.find('{'), std::string::npos) << what;
  EXPECT_TRUE(has(lacking["action"].get<std::string>(), "then: sluice sync billing;")) << lacking;
  EXPECT_EQ(get("/connections/billing").document()["problems"].size(), 1U);
  const Said listed = cli({"errors"}, stage_->reader);
  EXPECT_EQ(listed.code, 75);
  EXPECT_TRUE(has(listed.output, "stream billing/* (PERMISSION)")) << listed.output;

  // On a terminal all of it is one screen, coloured; elsewhere there are no colours.
  const Said screen = on_a_terminal(stage_->host().url(), stage_->host().token(), {"status"}, "");
  EXPECT_EQ(screen.code, 0) << screen.output;
  expect_one_screen(screen);
  EXPECT_TRUE(has(screen.output, "\x1b[1;31mneeds you")) << screen.output;
  EXPECT_TRUE(has(screen.output, "1 connection: 1 needs you")) << screen.output;
  const Said plain = cli({"status"}, stage_->reader);
  EXPECT_EQ(plain.output.find('\x1b'), std::string::npos) << plain.output;
  EXPECT_TRUE(has(plain.output, "rak_invoice_read")) << plain.output;
  // What could not be read is no success of a wait.
  const Said waited = cli({"status", "--wait", "60"});
  EXPECT_EQ(waited.code, 75) << waited.output << waited.errors;
  EXPECT_TRUE(has(waited.errors, "streams done")) << waited.errors;
  const Said watched = on_a_terminal(stage_->host().url(), stage_->host().token(),
                                     {"status", "billing", "--watch"}, "\x1b[6~q");
  EXPECT_EQ(watched.code, 0) << watched.output;
  const auto last = watched.output.rfind("\x1b[H");
  ASSERT_NE(last, std::string::npos) << watched.output;
  const auto picture = screen_lines(watched.output.substr(last));
  EXPECT_LE(picture.size(), 24U) << watched.output;
  EXPECT_TRUE(picture[0].starts_with("CONNECTION")) << picture[0];

  const Said back = run_sluice(
      stage_->directory(), stage_->host().url(), stage_->host().token(),
      {"connection", "set-secret", "billing", "--secret", "api_key=@WHOLE"}, {{"WHOLE", kKey}});
  ASSERT_EQ(back.code, 0) << back.output << back.errors;
  EXPECT_TRUE(eventually(kSoon, [&] { return errors_of("stream").empty(); }))
      << get("/errors").document();
}

TEST_F(Operations, a_full_read_shows_its_progress_and_an_estimate_from_the_last_one) {
  ASSERT_TRUE(stage_->quiet());
  // Three pages of customers, each of which takes a while.
  fault(R"([{"match":"/v1/customers*","times":0,"kind":"slow","delay_ms":2500}])");
  ASSERT_EQ(cli({"sync", "billing", "--stream", "customers", "--full"}).code, 0);
  json seen;
  EXPECT_TRUE(eventually(kSoon, [&] {
    const json now = stream("customers");
    const bool reading = !now["run"].is_null() && now["run"]["records"].get<std::int64_t>() > 0 &&
                         now["run"]["records"].get<std::int64_t>() < kCustomers;
    if (reading && !now["estimate"].is_null() && !now["estimate"]["seconds_left"].is_null())
      seen = now;
    return !seen.is_null();
  })) << stream("customers");
  ASSERT_FALSE(seen.is_null());
  EXPECT_EQ(seen["health"], "running");
  EXPECT_EQ(seen["estimate"]["basis"], "last_full_read");
  EXPECT_GE(seen["estimate"]["of_records"], kCustomers);
  EXPECT_GT(seen["run"]["records_per_second"], 0);
  EXPECT_TRUE(has(seen["summary"].get<std::string>(), "left, from the last full read")) << seen;
  const Said watched = cli({"status", "billing", "--watch", "--until-idle", "--wait", "100"});
  EXPECT_EQ(watched.code, 0) << watched.output << watched.errors;
  EXPECT_TRUE(has(watched.output, "billing/customers running")) << watched.output;
  EXPECT_TRUE(has(watched.output, "billing/customers ok")) << watched.output;
  EXPECT_EQ(watched.output.find('\x1b'), std::string::npos) << "no terminal, no pictures";
  EXPECT_EQ(stream("customers")["health"], "ok");
}

TEST_F(Operations, watching_ends_with_69_when_it_takes_too_long) {
  fault(R"([{"match":"/v1/customers*","times":0,"kind":"slow","delay_ms":1500}])");
  const Said late = cli(
      {"sync", "billing", "--stream", "customers", "--full", "--wait", "--timeout", "1", "--json"});
  EXPECT_EQ(late.code, 69) << late.output << late.errors;
  std::istringstream lines(late.output);
  int documents = 0;
  for (std::string line; std::getline(lines, line); ++documents)
    EXPECT_TRUE(json::parse(line, nullptr, false).contains("connections")) << line;
  EXPECT_GE(documents, 1);
  stage_->fake().control("DELETE", "faults");
  ASSERT_TRUE(stage_->quiet());
}

TEST_F(Operations, runs_come_in_pages_and_one_by_one) {
  ASSERT_TRUE(stage_->quiet());
  std::set<std::int64_t> seen;
  std::int64_t last = std::numeric_limits<std::int64_t>::max();
  std::string before;
  for (int page = 0; page < 1000; ++page) {
    const json answer =
        get("/connections/billing/runs?stream=customers&limit=1" + before).document();
    for (const json& run : answer["runs"]) {
      EXPECT_EQ(run["stream"], "customers");
      const std::int64_t id = std::stoll(run["run"].get<std::string>());
      EXPECT_LT(id, last);
      last = id;
      seen.insert(last);
    }
    if (answer["next"].is_null()) break;
    before = "&before=" + answer["next"].get<std::string>();
  }
  EXPECT_EQ(std::to_string(seen.size()),
            sql("select count(*) from sluice.sync_run where stream = 'customers'"));
  const json all = get("/runs?limit=1000").document();
  EXPECT_GE(all["runs"].size(), seen.size());
  const json one = get("/runs/" + std::to_string(last)).document();
  EXPECT_EQ(one["connection"], "billing");
  EXPECT_EQ(one["outcome"], "done");
  EXPECT_EQ(one["cause"], "read to its end");
  EXPECT_GE(one["duration_ms"], 0);
  EXPECT_EQ(one["records"], one["inserted"].get<std::int64_t>() +
                                one["updated"].get<std::int64_t>() +
                                one["unchanged"].get<std::int64_t>());
  const Said said = cli({"run", "show", std::to_string(last)}, stage_->reader);
  EXPECT_EQ(said.code, 0);
  EXPECT_TRUE(has(said.output, "read to its end")) << said.output;
  EXPECT_EQ(cli({"run", "show", "999999999"}).code, 65);
}

TEST_F(Operations, ids_of_another_workspace_answer_as_those_that_are_nowhere) {
  stage_->host().client().global("POST", "/v1/workspaces", json::parse(R"({"name":"others"})"));
  sql("insert into sluice.quarantine (workspace_id, connection_id, type, external_id, code, "
      "reason) "
      "select workspace_id, connection_id, 'stripe.customer', 'cus_foreign', 'x.y', 'r' from "
      "sluice.connection where name = 'billing'");
  const std::string row =
      sql("select quarantine_id from sluice.quarantine where external_id = 'cus_foreign'");
  const std::string run = sql("select min(run_id) from sluice.sync_run");
  const std::string token = sql("select min(token_id) from sluice.token");
  const std::pair<std::string, std::string> all[] = {{"GET", "/runs/" + run},
                                                     {"GET", "/quarantine/" + row},
                                                     {"POST", "/quarantine/" + row + "/replay"},
                                                     {"POST", "/quarantine/" + row + "/dismiss"},
                                                     {"DELETE", "/tokens/" + token}};
  for (const auto& [method, path] : all) {
    const auto body = method == "GET" ? std::nullopt : std::optional<std::string>("{}");
    const Reply foreign = ask(method, "/v1/workspaces/others" + path, stage_->host().token(), body);
    EXPECT_EQ(foreign.status, 404) << path << foreign.text;
    const std::string id = path.find(row) != std::string::npos   ? row
                           : path.find(run) != std::string::npos ? run
                                                                 : token;
    std::string absent_path = path;
    absent_path.replace(absent_path.find(id), id.size(), "987654321");
    std::string absent =
        ask(method, "/v1/workspaces/others" + absent_path, stage_->host().token(), body).text;
    absent.replace(absent.find("987654321"), 9, id);
    EXPECT_EQ(foreign.text, absent) << path;
  }
  EXPECT_EQ(sql("select count(*) from sluice.quarantine where external_id = 'cus_foreign'"), "1");
  EXPECT_EQ(post("/quarantine/" + row + "/dismiss").status, 200);
}

TEST_F(Operations, a_bad_record_is_quarantined_shown_to_admins_replayed_and_gone_when_it_is_good) {
  const json made = stage_->fake().control(
      "POST", "create",
      json::parse(R"({"type":"customer","set":{"balance":"much","phone":"+1 555 0100"}})"));
  const std::string id = made["id"];
  ASSERT_TRUE(eventually(kSoon, [&] {
    return sql("select count(*) from sluice.quarantine where external_id = '" + id + "'") == "1";
  })) << stage_->host().log();
  const json listed = get("/quarantine?connection=billing&type=stripe.customer").document();
  ASSERT_EQ(listed["quarantine"].size(), 1U) << listed;
  const json row = listed["quarantine"][0];
  EXPECT_EQ(row["external_id"], id);
  EXPECT_TRUE(has(row["reason"].get<std::string>(), "balance")) << row;
  EXPECT_TRUE(get("/quarantine?code=nothing").document()["quarantine"].empty());
  const std::string path = "/quarantine/" + row["id"].get<std::string>();
  const json for_reader = get(path).document();
  EXPECT_EQ(for_reader["record_withheld"], true);
  EXPECT_TRUE(for_reader["record"].is_null());
  EXPECT_EQ(for_reader.dump().find("555 0100"), std::string::npos) << for_reader;
  const json for_admin = ask("GET", "/v1/workspaces/acme" + path, stage_->admin).document();
  EXPECT_EQ(for_admin["record_withheld"], false);
  const auto problems = errors_of("quarantine");
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0]["count"], 1);
  EXPECT_TRUE(has(problems[0]["action"].get<std::string>(), "sluice quarantine replay"))
      << problems[0];
  EXPECT_EQ(cli({"errors"}).code, 75);
  // Nobody calls that well.
  EXPECT_EQ(get("/connections/billing").document()["health"], "partial");
  const Said status = cli({"status"});
  EXPECT_TRUE(has(status.output, "partial")) << status.output;
  EXPECT_TRUE(has(status.output, "1 record is put aside")) << status.output;
  EXPECT_TRUE(has(status.output, "sluice quarantine list --connection billing")) << status.output;
  EXPECT_EQ(cli({"status", "--wait", "60"}).code, 75);
  const Said synced = cli({"sync", "billing", "--stream", "customers", "--full", "--wait"});
  EXPECT_EQ(synced.code, 75) << synced.output;
  EXPECT_TRUE(has(synced.output, "billing/customers partial")) << synced.output;
  EXPECT_TRUE(has(synced.errors, "not everything went well")) << synced.errors;
  EXPECT_EQ(stream("customers")["health"], "partial");
  EXPECT_EQ(cli({"sync", "billing", "--stream", "products", "--full", "--wait"}).code, 0)
      << "of which nothing is put aside";

  // Not mended yet: it comes back.
  const std::string times =
      sql("select times from sluice.quarantine where external_id = '" + id + "'");
  const Said early = cli({"quarantine", "replay", row["id"].get<std::string>()});
  EXPECT_EQ(early.code, 0) << early.errors;
  ASSERT_TRUE(eventually(kSoon, [&] {
    return sql("select coalesce(max(times), 0) > " + times +
               " from sluice.quarantine where external_id = '" + id + "'") == "t";
  })) << stage_->host().log();
  // Mended without an event: only a replay finds out.
  stage_->fake().control(
      "POST", "mutate",
      json::parse(R"({"id":")" + id + R"(","set":{"balance":7},"event_type":null})"));
  const Said replayed = cli({"quarantine", "replay", "--connection", "billing", "--code",
                             row["code"].get<std::string>()});
  EXPECT_EQ(replayed.code, 0) << replayed.errors;
  EXPECT_TRUE(has(replayed.output, "1 will be read again")) << replayed.output;
  EXPECT_TRUE(eventually(kSoon, [&] {
    return sql("select balance from acme.stripe_customer where external_id = '" + id + "'") ==
               "7" &&
           sql("select count(*) from sluice.quarantine where external_id = '" + id + "'") == "0";
  })) << stage_->host().log();
  EXPECT_NE(
      sql("select count(*) from sluice.audit where action = 'quarantine.replay' and actor like "
          "'token %'"),
      "0");
}

TEST_F(Operations, quarantined_records_are_dismissed_one_by_one_or_by_code_and_the_audit_knows) {
  sql("insert into sluice.quarantine (workspace_id, connection_id, type, external_id, code, "
      "reason, "
      "record) select workspace_id, connection_id, 'stripe.customer', 'cus_' || n, case when n < 4 "
      "then 'a.b' else 'c.d' end, 'r', '{}' from sluice.connection, generate_series(1, 6) n where "
      "name = 'billing'");
  const json listed = get("/quarantine?limit=2").document();
  EXPECT_EQ(listed["quarantine"].size(), 2U);
  const json second =
      get("/quarantine?limit=200&after=" + listed["next"].get<std::string>()).document();
  EXPECT_EQ(second["quarantine"].size(), 4U) << second;
  EXPECT_TRUE(second["next"].is_null());
  EXPECT_EQ(cli({"quarantine", "dismiss", listed["quarantine"][0]["id"].get<std::string>()}).code,
            0);
  EXPECT_EQ(cli({"quarantine", "dismiss", listed["quarantine"][0]["id"].get<std::string>()}).code,
            65);
  const Said many = cli({"quarantine", "dismiss", "--connection", "billing", "--code", "a.b"});
  EXPECT_TRUE(has(many.output, "2 dismissed")) << many.output << many.errors;
  EXPECT_EQ(cli({"quarantine", "dismiss", "--connection", "billing"}).code, 64);
  EXPECT_EQ(sql("select count(*) from sluice.quarantine"), "3");
  EXPECT_EQ(
      cli({"quarantine", "dismiss", "--connection", "billing", "--type", "stripe.customer"}).code,
      0);
  EXPECT_EQ(sql("select count(*) from sluice.quarantine"), "0");
  EXPECT_EQ(sql("select count(*) from sluice.audit where action = 'quarantine.dismiss'"), "4");
}

TEST_F(Operations, objects_that_cannot_be_read_again_are_an_error_with_their_reason) {
  sql("insert into sluice.refetch (workspace_id, connection_id, type, external_id, attempts, "
      "not_before, reason) select workspace_id, connection_id, 'customer', 'cus_never', 5, now() + "
      "interval '1 hour', 'the vendor says 500' from sluice.connection where name = 'billing'");
  const auto errors = errors_of("refetch");
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0]["subject"], "stripe.customer");
  EXPECT_EQ(errors[0]["attempts"], 5);
  EXPECT_TRUE(has(errors[0]["what"].get<std::string>(), "the vendor says 500")) << errors[0];
  EXPECT_TRUE(has(errors[0]["what"].get<std::string>(), "cus_never")) << errors[0];
  const json connection = get("/connections/billing").document();
  EXPECT_EQ(connection["refetch"]["failing"], 1) << connection["refetch"];
  EXPECT_EQ(connection["refetch"]["reason"], "the vendor says 500");
  sql("delete from sluice.refetch where external_id = 'cus_never'");
}

TEST_F(Operations, what_goes_well_and_is_not_as_it_looks_is_named_too) {
  ASSERT_TRUE(stage_->quiet());
  EXPECT_EQ(errors_of("stream").size(), 0U);
  sql("update sluice.sync_run set older = 7 where run_id = (select last_run_id from sluice.stream "
      "where stream = 'products')");
  sql("update sluice.sync_run set records = 5 where run_id = (select last_run_id from "
      "sluice.stream "
      "where stream = 'accounts_poll')");
  const std::string kept =
      sql("select encode(checkpoint, 'hex') from sluice.stream where stream = 'accounts_poll'");
  sql("update sluice.stream set checkpoint = null where stream = 'accounts_poll'");
  sql("update sluice.stream set snapshot_done = false, last_full_records = 0, next_run_at = null, "
      "enumerated_records = 12345, enumeration_from = now() - interval '3 days' where stream = "
      "'coupons'");
  sql("insert into sluice.quarantine (workspace_id, connection_id, run_id, stream, type, "
      "external_id, code, reason, times) select workspace_id, connection_id, 1, 'coupons', "
      "'stripe.coupon', '', 'record.bad_external_id', 'the external id has 0 bytes', 4000 from "
      "sluice.connection where name = 'billing'");
  std::map<std::string, json> found;
  for (const json& error : errors_of("stream")) found[error["code"]] = error;
  EXPECT_TRUE(has(found["stream.older"]["what"].get<std::string>(), "7 records of a lower version"))
      << json(found);
  EXPECT_TRUE(has(found["stream.older"]["action"].get<std::string>(),
                  "sluice sync billing --stream products --full --trust-vendor"));
  EXPECT_EQ(found["stream.no_checkpoint"]["subject"], "accounts_poll") << json(found);
  EXPECT_TRUE(has(found["stream.long_first_read"]["what"].get<std::string>(), "12,345 records"))
      << json(found);
  EXPECT_EQ(found.size(), 3U) << json(found);
  const auto aside = errors_of("quarantine");
  ASSERT_EQ(aside.size(), 1U);
  EXPECT_EQ(aside[0]["count"], 4000) << aside[0];
  EXPECT_EQ(post("/connections/billing/sync", R"({"trust_vendor":true})").status, 400);
  // One full read may overwrite, and then no other.
  EXPECT_EQ(cli({"sync", "billing", "--stream", "products", "--full", "--trust-vendor"}).code, 0);
  EXPECT_EQ(sql("select detail->>'trust_vendor' from sluice.audit where action = "
                "'connection.sync' order by audit_id desc limit 1"),
            "true");
  sql("delete from sluice.quarantine");
  sql("update sluice.stream set checkpoint = decode('" + kept +
      "', 'hex') where stream = 'accounts_poll'");
  sql("update sluice.stream set next_run_at = now() where stream = 'coupons'");
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return errors_of("stream").empty(); }))
      << json(errors_of("stream"));
  EXPECT_EQ(sql("select bool_or(trust_vendor) from sluice.stream"), "f");
}

TEST_F(Operations, durable_work_that_fails_is_an_error_until_it_is_done) {
  EXPECT_EQ(errors_of("work").size(), 0U);
  sql("insert into sluice.work (workspace_id, kind, subject, task, attempts, error, not_before) "
      "select workspace_id, 'keys.make', 'stripe.customer.name', "
      R"('{"type":"stripe.customer","attribute":"name"}', 4, )"
      R"('{"code":"pg.lost","message":"the server went away","hint":"look at its log"}', )"
      "now() + interval '1 hour' from sluice.workspace where name = 'acme'");
  const auto errors = errors_of("work");
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0]["subject"], "stripe.customer.name") << errors[0];
  EXPECT_EQ(errors[0]["code"], "pg.lost") << errors[0];
  EXPECT_EQ(errors[0]["count"], 4) << errors[0];
  EXPECT_TRUE(has(errors[0]["what"].get<std::string>(), "the server went away")) << errors[0];
  EXPECT_TRUE(has(errors[0]["action"].get<std::string>(), "look at its log")) << errors[0];
  EXPECT_EQ(cli({"errors"}).code, 75);
  sql("update sluice.work set not_before = now() where subject = 'stripe.customer.name'");
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] { return errors_of("work").empty(); }));
}

TEST_F(Operations, a_blocked_reconcile_is_shown_with_its_command_and_rejected_by_it) {
  ASSERT_TRUE(stage_->quiet());
  sql("update sluice.stream set reconcile = 'blocked', reconcile_detail = "
      R"('{"reason":"200 of 250 customers would go","types":[]}' where stream = 'customers')");
  const json customers = stream("customers");
  EXPECT_EQ(customers["health"], "blocked") << customers;
  EXPECT_TRUE(has(customers["summary"].get<std::string>(), "200 of 250 customers would go"));
  const Said listed = cli({"errors"});
  EXPECT_EQ(listed.code, 75);
  EXPECT_TRUE(has(listed.output, "sluice reconcile confirm billing customers")) << listed.output;
  EXPECT_EQ(cli({"reconcile", "reject", "billing", "customers"}, stage_->reader).code, 77);
  EXPECT_EQ(sql("select reconcile from sluice.stream where stream = 'customers'"), "blocked");
  const Said rejected = cli({"reconcile", "reject", "billing", "customers"});
  EXPECT_EQ(rejected.code, 0) << rejected.errors;
  EXPECT_EQ(sql("select reconcile from sluice.stream where stream = 'customers'"), "none");
  const Said again = cli({"reconcile", "confirm", "billing", "customers"});
  EXPECT_EQ(again.code, 65);
  EXPECT_TRUE(has(again.errors, "reconcile.not_blocked")) << again.errors;
  const Said after = cli({"errors"});
  EXPECT_EQ(after.code, 0) << after.output;
  EXPECT_NE(sql("select count(*) from acme.stripe_customer"), "0");
}

TEST_F(Operations, a_revoked_token_is_useless_at_once) {
  const Said made = cli({"token", "create", "visitor", "--role", "reader"});
  ASSERT_EQ(made.code, 0) << made.errors;
  const std::string token = made.output.substr(0, made.output.find('\n'));
  EXPECT_EQ(ask("GET", "/v1/workspaces/acme/types", token).status, 200);
  const Reply listed = ask("GET", "/v1/workspaces/acme/tokens", stage_->admin);
  ASSERT_EQ(listed.status, 200) << listed.text;
  EXPECT_FALSE(has(listed.text, token.substr(token.size() - 20))) << listed.text;
  std::string id;
  std::string operators;
  int ours = 0;
  const json all = listed.document();
  for (const json& one : all["tokens"]) {
    if (one["name"] == "visitor") id = one["id"].get<std::string>();
    if (one["role"] == "operator") operators = one["id"].get<std::string>();
    ours += one["this_one"] == true ? 1 : 0;
  }
  EXPECT_EQ(ours, 1);
  EXPECT_EQ(ask("GET", "/v1/workspaces/acme/tokens", stage_->reader).status, 403);
  // An admin is not above an operator, and the last operator stays.
  EXPECT_EQ(ask("DELETE", "/v1/workspaces/acme/tokens/" + operators, stage_->admin, "{}").code(),
            "token.role");
  EXPECT_EQ(cli({"token", "revoke", operators}).code, 65);
  EXPECT_EQ(ask("GET", "/v1/workspaces", stage_->host().token()).status, 200);
  EXPECT_EQ(cli({"token", "revoke", id}).code, 0);
  const Reply after = ask("GET", "/v1/workspaces/acme/types", token);
  EXPECT_EQ(after.status, 401);
  EXPECT_EQ(after.code(), "token.unknown");
  const Said rows = cli({"token", "list"});
  EXPECT_TRUE(has(rows.output, "visitor")) << rows.output;
  // Who finds his token leaked ends it with itself.
  const Reply made_now = ask("POST", "/v1/workspaces/acme/tokens", stage_->admin,
                             R"({"name":"leaked","role":"admin"})");
  const std::string leaked = made_now.document().at("token").get<std::string>();
  const std::string itself = sql("select token_id from sluice.token where name = 'leaked'");
  EXPECT_EQ(ask("DELETE", "/v1/workspaces/acme/tokens/" + itself, leaked, "{}").status, 200);
  EXPECT_EQ(ask("GET", "/v1/workspaces/acme/types", leaked).status, 401);
  EXPECT_EQ(sql("select count(*) from sluice.audit where action = 'token.revoke' and subject = '" +
                itself + "'"),
            "1");
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return sql("select last_used_at is not null from sluice.token where token_id = " + id) == "t";
  }));
  // Who asked for what it may not, and who with what token: each is told.
  EXPECT_TRUE(eventually(std::chrono::seconds(20),
                         [&] {
                           return sql("select count(*) from sluice.audit where action = "
                                      "'request.refused' and subject = "
                                      "'GET /v1/workspaces/{workspace}/tokens' and actor like "
                                      "'token % ''the reader'' from "
                                      "127.0.0.1' and detail->>'code' = 'token.role'") != "0" &&
                                  sql("select detail->>'times' from sluice.audit where action = "
                                      "'token.wrong' and subject "
                                      "= '127.0.0.1' order by audit_id desc limit 1") != "";
                         }))
      << sql("select string_agg(actor || ' ' || action || ' ' || subject, E'\n') from "
             "sluice.audit");
  EXPECT_EQ(sql("select count(*) from sluice.audit where action in ('token.create','token.revoke') "
                "and (subject = 'visitor' or subject = '" +
                id + "')"),
            "2");
}

/// "name{labels}" -> value.
std::map<std::string, double> samples_of(const std::string& text) {
  std::map<std::string, double> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    const auto blank = line.rfind(' ');
    samples[line.substr(0, blank)] = std::stod(line.substr(blank + 1));
  }
  return samples;
}

TEST_F(Operations, metrics_count_what_was_done_and_how_far_behind_it_is) {
  EXPECT_EQ(ask("GET", "/metrics", "").code(), "token.missing");
  const Reply reply = ask("GET", "/metrics", stage_->host().token());
  ASSERT_EQ(reply.status, 200);
  EXPECT_TRUE(has(reply.content_type, "version=0.0.4"));
  const auto samples = samples_of(reply.text);
  const auto at_least = [&](const std::string& name, double least) {
    const auto found = samples.find(name);
    ASSERT_NE(found, samples.end()) << name << "\n" << reply.text;
    EXPECT_GE(found->second, least) << name;
  };
  at_least("sluice_runs_total{outcome=\"done\"}", 5);
  at_least("sluice_records_total", kCustomers);
  at_least("sluice_records_by_outcome_total{outcome=\"inserted\"}", kCustomers);
  at_least("sluice_pages_total", 5);
  at_least("sluice_vendor_requests_total", 5);
  at_least("sluice_vendor_attempts_total{class=\"2xx\"}", 5);
  at_least("sluice_vendor_attempts_total{class=\"5xx\"}", 0);
  at_least("sluice_vendor_rate_limited_total", 0);
  at_least("sluice_vendor_retries_total", 0);
  at_least("sluice_vendor_bytes_received_total", 10'000);
  at_least("sluice_vendor_budget_wait_seconds_total", 0);
  at_least("sluice_page_bytes_in_flight_peak", 1);
  at_least("sluice_page_bytes_in_flight_max", 1 << 20);
  at_least("sluice_steps_total", 5);
  at_least("sluice_steps_slow_total", 0);
  at_least("sluice_leases_lost_total", 0);
  at_least("sluice_database_up", 1);
  at_least("process_resident_memory_bytes", 1 << 20);
  at_least("process_cpu_seconds_total", 0.01);
  const std::string labels = "{workspace=\"acme\",connection=\"billing\"";
  at_least("sluice_stream_seconds_since_success" + labels + ",stream=\"customers\"}", 0);
  at_least("sluice_quarantined_records" + labels + "}", 0);
  at_least("sluice_refetch_backlog" + labels + "}", 0);
  at_least("sluice_link_queue_backlog{workspace=\"acme\"}", 0);
  at_least("sluice_series_left_out", 0);
  EXPECT_TRUE(has(reply.text, "sluice_build_info{version=\"")) << reply.text;
  EXPECT_FALSE(has(reply.text, kKey));
  // Each family is declared once, before its samples.
  std::set<std::string> declared;
  std::istringstream lines(reply.text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(declared.insert(name).second) << name;
    } else if (!line.starts_with('#')) {
      EXPECT_TRUE(declared.contains(line.substr(0, line.find_first_of("{ ")))) << line;
    }
  }
}

TEST_F(Operations, the_log_is_lines_of_json_with_names_and_ids_and_without_secrets) {
  std::istringstream lines(stage_->host().log());
  std::set<std::string> events;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with('{')) continue;  // a sanitizer's or the C library's own words
    const json object = json::parse(line, nullptr, false);
    ASSERT_TRUE(object.is_object()) << line;
    for (const char* key : {"at", "level", "event"}) EXPECT_TRUE(object.contains(key)) << line;
    events.insert(object["event"].get<std::string>());
    if (object["event"] == "sync.run.started") {
      EXPECT_EQ(object["connection"], "billing") << line;
    }
    if (object["event"] == "sync.run.done") {
      EXPECT_TRUE(object["connection_id"].is_number()) << line;
      EXPECT_TRUE(object["run"].is_number()) << line;
      EXPECT_TRUE(object["stream"].is_string()) << line;
    }
  }
  EXPECT_TRUE(events.contains("sync.run.done"));
  EXPECT_TRUE(events.contains("sync.run.started"));
  const std::string log = stage_->host().log();
  for (const std::string& secret : {std::string(kKey), stage_->host().token(), stage_->admin})
    EXPECT_EQ(log.find(secret.substr(secret.size() / 2)), std::string::npos) << secret;
}

class Health : public World {
 protected:
  Reply ask(const std::string& path) {
    Ask question;
    question.path = path;
    return perform(host_->url(), question);
  }
};

TEST_F(Health, a_host_without_its_database_is_alive_but_not_ready_and_says_why) {
  host_->start();
  EXPECT_EQ(ask("/healthz").status, 200);
  const Reply ready = ask("/readyz");
  EXPECT_EQ(ready.status, 200) << ready.text;
  EXPECT_EQ(ready.document()["reasons"].size(), 0U);
  std::istringstream pid_file(read_file((directory_ / "data/postgres/postmaster.pid").string()));
  int postmaster = 0;
  ASSERT_TRUE(pid_file >> postmaster);
  host_->sql("insert into sluice.schema_version (version, name, checksum) values (9999, 'x', 'x')");
  Reply other;
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    other = ask("/readyz");
    return other.status == 503;
  })) << other.text;
  EXPECT_TRUE(has(other.text, "9999")) << other.text;
  host_->sql("delete from sluice.schema_version where version = 9999");
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] { return ask("/readyz").status == 200; }));
  ::kill(postmaster, SIGQUIT);
  Reply away;
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    away = ask("/readyz");
    return away.status == 503;
  })) << away.text;
  EXPECT_TRUE(has(away.text, "database")) << away.text;
  EXPECT_EQ(away.document()["status"], "not ready");
  EXPECT_EQ(ask("/healthz").status, 200);
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return ask("/readyz").status == 200; }))
      << ask("/readyz").text;
}

}  // namespace
}  // namespace sluice::e2e
