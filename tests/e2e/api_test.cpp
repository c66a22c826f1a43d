// REST and the command line, against one host with a connected account: who may do what, what is
// refused, what is given.
#include <fstream>
#include <set>
#include <sstream>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

constexpr int kCustomers = 40;
constexpr int kOwn = 16;

/// Read, linked and quiet; made once for all tests here.
class Stage : public World {
 public:
  Stage() { build(); }
  void TestBody() override {}
  Host& host() { return *host_; }
  FakeStripe& fake() { return *fake_; }
  const std::filesystem::path& directory() { return directory_; }
  bool quiet() { return settled(); }

  std::string operator_token, admin, reader, other_admin, other_reader;

 private:
  void build() {
    start_fake(kCustomers);
    host_->start();
    operator_token = host_->token();
    connect();
    import_own(kOwn);
    cli::Client client = host_->client();
    client.global("POST", "/v1/workspaces", json::parse(R"({"name":"other"})"));
    admin = token("acme", "admin");
    reader = token("acme", "reader");
    other_admin = token("other", "admin");
    other_reader = token("other", "reader");
    if (!settled()) throw std::runtime_error("the stage does not settle: " + host_->log());
  }
  std::string token(const std::string& workspace, const std::string& role) {
    return new_token(host_->url(), host_->token(), workspace, role);
  }
};

class ApiTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { stage_ = new Stage(); }
  static void TearDownTestSuite() {
    delete stage_;
    stage_ = nullptr;
  }

  static Reply ask(const std::string& method, const std::string& path, const std::string& token,
                   std::optional<std::string> body = std::nullopt,
                   const std::string& content_type = "application/json") {
    Ask question;
    question.method = method;
    question.path = path;
    question.token = token;
    question.body = std::move(body);
    question.content_type = content_type;
    return perform(stage_->host().url(), question);
  }
  static Reply get(const std::string& below_workspace) {
    return ask("GET", "/v1/workspaces/acme" + below_workspace, stage_->reader);
  }

  struct Operation {
    std::string method, pattern;
    bool open = false;
    [[nodiscard]] bool in_workspace() const {
      return pattern.find("{workspace}") != std::string::npos;
    }
    /// With every {name} filled with something that is there in acme.
    [[nodiscard]] std::string path(const std::string& workspace) const {
      const std::map<std::string, std::string> there = {{"workspace", workspace},
                                                        {"name", "billing"},
                                                        {"connector", "stripe"},
                                                        {"secret", "api_key"},
                                                        {"stream", "customers"},
                                                        {"type", "customer"},
                                                        {"attribute", "email"},
                                                        {"id", "1"},
                                                        {"rule", "stripe.customer.email"},
                                                        {"run", "1"}};
      std::string path = pattern;
      for (const auto& [name, value] : there) {
        const auto at = path.find("{" + name + "}");
        if (at != std::string::npos) path.replace(at, name.size() + 2, value);
      }
      EXPECT_EQ(path.find('{'), std::string::npos)
          << path << ": this test needs a value for a new name";
      return path;
    }
  };
  static std::vector<Operation> operations() {
    std::vector<Operation> all;
    const json document = ask("GET", "/openapi.json", "").document();
    for (const auto& [path, methods] : document["paths"].items()) {
      for (const auto& [method, operation] : methods.items()) {
        Operation one;
        one.method = method;
        std::transform(one.method.begin(), one.method.end(), one.method.begin(), ::toupper);
        one.pattern = path;
        one.open = operation["security"].empty();
        all.push_back(one);
      }
    }
    EXPECT_GE(all.size(), 30U);
    return all;
  }
  static std::optional<std::string> body_for(const std::string& method) {
    return method == "GET" ? std::nullopt : std::optional<std::string>("{}");
  }

  static Said cli(std::vector<std::string> arguments, const std::string& token = "",
                  const std::string& url = "") {
    return run_sluice(stage_->directory(), url.empty() ? stage_->host().url() : url,
                      token.empty() ? stage_->operator_token : token, std::move(arguments));
  }
  static std::string write_file(const std::string& name, const std::string& text) {
    const std::string path = stage_->directory() / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  static Stage* stage_;
};

Stage* ApiTest::stage_ = nullptr;

TEST_F(ApiTest, another_workspaces_token_sees_the_same_as_where_there_is_none) {
  for (const Operation& one : operations()) {
    if (!one.in_workspace()) continue;
    for (const std::string& token : {stage_->other_admin, stage_->other_reader}) {
      const Reply foreign = ask(one.method, one.path("acme"), token, body_for(one.method));
      const Reply absent = ask(one.method, one.path("acmf"), token, body_for(one.method));
      EXPECT_EQ(foreign.status, 404) << one.method << " " << one.pattern << ": " << foreign.text;
      std::string text = absent.text;
      for (auto at = text.find("acmf"); at != std::string::npos; at = text.find("acmf"))
        text.replace(at, 4, "acme");
      EXPECT_EQ(foreign.status, absent.status) << one.pattern;
      EXPECT_EQ(foreign.text, text) << one.pattern;
    }
  }
}

TEST_F(ApiTest, without_a_token_only_the_open_routes_answer) {
  int open = 0;
  for (const Operation& one : operations()) {
    const Reply reply = ask(one.method, one.path("acme"), "", body_for(one.method));
    open += one.open ? 1 : 0;
    EXPECT_EQ(reply.status, one.open ? 200 : 401)
        << one.method << " " << one.pattern << ": " << reply.text;
    if (!one.open) {
      EXPECT_EQ(ask(one.method, one.path("acme"), "slc_1_1_wrong", body_for(one.method)).code(),
                "token.unknown")
          << one.pattern;
    }
  }
  EXPECT_EQ(open, 4);  // healthz, readyz, health (less without a token), openapi.json
  for (const char* wrong : {"x", "slc_", "slc_1", "slc_1_", "slc_1_1_",
                            "slc_99999999999999999999_1_x", "slc_-1_1_x", "slc_1_1_\xff"}) {
    EXPECT_EQ(get("/types").status, 200);
    EXPECT_EQ(ask("GET", "/v1/workspaces/acme/types", wrong).status, 401) << wrong;
  }
}

TEST_F(ApiTest, a_reader_changes_nothing_and_an_admin_is_no_operator) {
  for (const Operation& one : operations()) {
    if (one.open) continue;
    if (one.method != "GET") {
      const Reply reply = ask(one.method, one.path("acme"), stage_->reader, body_for(one.method));
      EXPECT_EQ(reply.status, 403) << one.method << " " << one.pattern << ": " << reply.text;
      EXPECT_EQ(reply.code(), "token.role") << one.pattern;
    }
    if (one.in_workspace() || one.pattern == "/v1/me") continue;  // whose token it is, is for all
    EXPECT_EQ(ask(one.method, one.path("acme"), stage_->reader, body_for(one.method)).status, 403)
        << one.pattern;
    EXPECT_EQ(ask(one.method, one.path("acme"), stage_->admin, body_for(one.method)).status, 403)
        << one.pattern;
  }
}

TEST_F(ApiTest, every_route_refuses_a_parameter_that_it_does_not_know) {
  for (const Operation& one : operations()) {
    const Reply reply = ask(one.method, one.path("acme") + "?limitt=1", stage_->operator_token,
                            body_for(one.method));
    const bool filters = one.pattern.ends_with("/entities/{type}") && one.method == "GET";
    EXPECT_EQ(reply.code(), filters ? "filter.unknown_attribute" : "request.unknown_parameter")
        << one.method << " " << one.pattern << ": " << reply.text;
  }
}

struct Bad {
  const char* method;
  std::string path;  ///< below the workspace
  std::optional<std::string> body;
  int status;
  const char* code;
  const char* content_type = "application/json";
};

TEST_F(ApiTest, bad_input_is_a_problem_with_a_code) {
  const std::string kMuch(2'000'000, 'x');
  const std::string kDeep = R"({"email":)" + std::string(500, '[') + std::string(500, ']') + "}";
  const json two = get("/entities/customer?limit=2").document()["entities"];
  const auto filled = [&two](std::string text) {
    if (const auto at = text.find("@ID@"); at != std::string::npos)
      text.replace(at, 4, two[0]["id"].get<std::string>());
    if (const auto at = text.find("@EMAIL@"); at != std::string::npos)
      text.replace(at, 7, two[1]["attributes"]["email"].get<std::string>());
    return text;
  };
  const Bad all[] = {
      {"GET", "/nothing", {}, 404, "request.no_such_path"},
      {"GET", "/types/", {}, 404, "request.no_such_path"},
      {"GET", "/types%2Fcustomer", {}, 404, "request.no_such_path"},
      {"GET", "//types", {}, 404, "request.no_such_path"},
      {"PUT", "/types", "{}", 405, "request.method_not_allowed"},
      {"OPTIONS", "/types", {}, 405, "request.method_not_allowed"},
      {"GET", "/types/%00", {}, 400, "request.not_text"},
      {"GET", "/types/%ff", {}, 400, "request.not_text"},
      {"GET", "/types/%f", {}, 400, "request.malformed"},
      {"GET", "/types/unknown", {}, 404, "type.not_found"},
      {"GET", "/types/" + std::string(3000, 'a'), {}, 404, "type.not_found"},
      {"GET", "/connections/no%2Fbody", {}, 404, "connection.unknown"},
      {"GET", "/connections/nobody/runs", {}, 404, "connection.unknown"},
      {"GET", "/connectors/nobody", {}, 404, "connector.unknown"},
      {"POST", "/connectors/nobody/install", "{}", 404, "connector.unknown"},
      {"POST", "/connectors/stripe/install", R"({"force":true})", 400, "request.unknown_field"},
      {"GET",
       "/connections/billing/runs?before=99999999999999999999",
       {},
       400,
       "request.bad_parameter"},
      {"GET", "/connections/billing/runs?before=x", {}, 400, "request.bad_parameter"},
      {"GET", "/connections/billing/runs?failed=maybe", {}, 400, "request.bad_parameter"},
      {"GET", "/connections?limit=501", {}, 400, "request.bad_parameter"},
      {"GET", "/runs?limit=1001", {}, 400, "request.bad_parameter"},
      {"GET", "/runs/x", {}, 404, "run.unknown"},
      {"GET", "/runs/9223372036854775807", {}, 404, "run.unknown"},
      {"GET", "/errors?limit=1", {}, 400, "request.unknown_parameter"},
      {"GET", "/quarantine?after=+1", {}, 400, "request.bad_parameter"},
      {"GET", "/quarantine?limit=0", {}, 400, "request.bad_parameter"},
      {"GET", "/quarantine?limit=1001", {}, 400, "request.bad_parameter"},
      {"GET", "/quarantine?limit=1&limit=2", {}, 400, "request.repeated_parameter"},
      {"GET", "/quarantine?connection=nobody", {}, 404, "connection.unknown"},
      {"GET", "/quarantine/1e3", {}, 404, "quarantine.unknown"},
      {"GET", "/quarantine/9223372036854775807", {}, 404, "quarantine.unknown"},
      {"POST", "/quarantine/99999999999999999999/replay", "{}", 404, "quarantine.unknown"},
      {"POST", "/quarantine/9223372036854775807/replay", "{}", 404, "quarantine.unknown"},
      {"POST", "/quarantine/9223372036854775807/dismiss", "{}", 404, "quarantine.unknown"},
      {"POST", "/quarantine/replay", R"({"connection":"billing"})", 400, "request.missing_field"},
      {"POST", "/quarantine/replay", R"({"code":"x"})", 400, "request.missing_field"},
      {"POST", "/quarantine/dismiss", R"({"connection":"billing","code":7})", 400,
       "request.bad_field"},
      {"POST", "/quarantine/dismiss", R"({"connection":"nobody","code":"x"})", 404,
       "connection.unknown"},
      {"POST", "/connections/billing/streams/nothing/reconcile", R"({"confirm":true})", 404,
       "stream.unknown"},
      {"POST", "/connections/billing/streams/customers/reconcile", R"({"confirm":1})", 400,
       "request.bad_field"},
      {"POST", "/connections/billing/streams/customers/reconcile", R"({"confirm":true})", 409,
       "reconcile.not_blocked"},
      {"DELETE", "/tokens/x", "{}", 404, "token.not_found"},
      {"DELETE", "/tokens/9223372036854775807", "{}", 404, "token.not_found"},
      {"GET", "/entities/unknown", {}, 404, "type.not_found"},
      {"GET", "/entities/stripe.customer?cursor=x", {}, 400, "entity.bad_cursor"},
      {"GET", "/entities/stripe.customer?cursor=MTox", {}, 400, "entity.bad_cursor"},
      {"GET", "/entities/stripe.customer?limit=201", {}, 400, "request.bad_parameter"},
      {"GET", "/entities/stripe.customer?limit=-1", {}, 400, "request.bad_parameter"},
      {"GET", "/entities/stripe.customer?deleted=yes", {}, 400, "request.bad_parameter"},
      {"GET", "/entities/stripe.customer?nothing=1", {}, 400, "filter.unknown_attribute"},
      {"GET", "/entities/stripe.customer?email[matches]=1", {}, 400, "filter.bad_operator"},
      {"GET", "/entities/stripe.customer?email[=1", {}, 400, "filter.bad_operator"},
      {"GET", "/entities/stripe.customer?email=%00", {}, 400, "request.not_text"},
      {"GET", "/entities/stripe.customer?email=%c3%28", {}, 400, "request.not_text"},
      {"GET", "/entities/stripe.customer?id=99999999999999999999", {}, 400, "filter.bad_value"},
      {"GET", "/entities/stripe.invoice?total=abc", {}, 400, "filter.bad_value"},
      {"GET", "/entities/stripe.invoice?total=1%27%20or%201=1", {}, 400, "filter.bad_value"},
      {"GET", "/entities/stripe.invoice?created[gte]=yesterday", {}, 400, "filter.bad_value"},
      {"GET", "/entities/stripe.invoice?link.nothing=1", {}, 400, "filter.unknown_attribute"},
      {"GET", "/entities/stripe.invoice?expand=nothing", {}, 400, "expand.unknown_path"},
      {"GET", "/entities/stripe.customer/99999999999999999999", {}, 404, "entity.not_found"},
      {"GET", "/entities/stripe.customer/9223372036854775807", {}, 404, "entity.not_found"},
      {"GET", "/entities/stripe.customer/-1", {}, 404, "entity.not_found"},
      {"GET", "/entities/stripe.customer/cus_none?by=name", {}, 400, "request.bad_parameter"},
      {"GET", "/entities/customer/abc", {}, 404, "entity.not_found"},
      {"PATCH", "/entities/customer/abc", "{}", 400, "entity.bad_id"},
      {"DELETE", "/entities/customer/99999999999999999999", {}, 400, "entity.bad_id"},
      {"DELETE", "/entities/customer/9223372036854775807", {}, 404, "entity.not_found"},
      {"PATCH", "/entities/customer/9223372036854775807", R"({"name":"x"})", 404,
       "entity.not_found"},
      {"PATCH", "/entities/customer/@ID@", R"({"email":"@EMAIL@"})", 409, "entity.duplicate_key"},
      {"POST", "/entities/stripe.customer", "{}", 403, "type.read_only"},
      {"POST", "/entities/customer", "[]", 400, "request.not_json"},
      {"POST", "/entities/customer", "{", 400, "request.not_json"},
      {"POST", "/entities/customer", "{\"email\":\"\xff\"}", 400, "request.not_json"},
      {"POST", "/entities/customer", kDeep, 400, "request.not_json"},
      {"POST", "/entities/customer", kMuch, 413, "request.too_large"},
      {"POST", "/entities/customer", R"({"email":"a\u0000@example.org"})", 400, "request.not_text"},
      {"POST", "/entities/customer", R"({"email":7})", 400, "entity.rejected"},
      {"POST", "/entities/customer", R"({"colour":"red"})", 400, "entity.rejected"},
      {"POST", "/entities/customer", "email=x", 415, "request.unsupported_media_type",
       "application/x-www-form-urlencoded"},
      {"POST", "/types", R"({"name":"a b","attributes":[{"name":"x","type":"text"}]})", 400,
       "type.bad_name"},
      {"POST", "/types", R"({"name":"customer","attributes":[{"name":"x","type":"text"}]})", 409,
       "type.name_taken"},
      {"POST", "/tokens", R"({"name":"x","role":"king"})", 400, "request.bad_field"},
      {"POST", "/tokens", R"({"name":"x","role":7})", 400, "request.bad_field"},
      {"POST", "/tokens", R"({"name":"","role":"reader"})", 400, "request.bad_field"},
      {"POST", "/tokens", R"({"name":"x","role":"operator"})", 400, "token.bad_role"},
      {"POST", "/tokens", R"({"name":"two\nlines","role":"reader"})", 400, "token.bad_name"},
      {"POST", "/tokens", R"({"name":")" + std::string(101, 'n') + R"(","role":"reader"})", 400,
       "token.bad_name"},
      {"PATCH", "/connections/billing/streams/events",
       R"({"interval_seconds":18446744073709551615})", 400, "request.bad_field"},
      {"PATCH", "/connections/billing/streams/events", R"({"interval_seconds":31536001})", 400,
       "request.bad_field"},
      {"PATCH", "/connections/billing/streams/events", R"({"interval_seconds":-1})", 400,
       "request.bad_field"},
      {"POST", "/link-rules",
       R"({"name":"x","source":"stripe.customer.email","target":"customer.email","kind":"smell"})",
       400, "request.bad_field"},
      {"PATCH", "/connections/billing/streams/events", R"({"interval_seconds":"1"})", 400,
       "request.bad_field"},
      {"PATCH", "/connections/billing/streams/nothing", R"({"interval_seconds":1})", 404,
       "stream.unknown"},
      {"POST", "/connections/billing/sync", R"({"streams":[7]})", 400, "request.bad_field"},
      {"POST", "/connections/billing/sync", R"({"streams":["nothing"]})", 404, "stream.unknown"},
      {"PUT", "/connections/billing/secrets/api_key", R"({"value":""})", 400, "request.bad_field"},
      {"PUT", "/connections/billing/secrets/nothing", R"({"value":"sk_very_secret"})", 404,
       "connection.unknown_secret"},
      {"POST", "/connections", R"({"connector":"stripe"})", 400, "request.missing_field"},
      {"POST", "/connections", R"({"connector":"stripe","name":"n","secrets":{}})", 422,
       "connection.missing_secret"},
      {"POST", "/connections", R"({"connector":"stripe","name":"n","secrets":{"api_key":7}})", 400,
       "request.bad_field"},
      {"POST", "/connections",
       R"({"connector":"stripe","name":"n","secrets":{"api_key":"sk","webhook_secrte":"sk_very_secret"}})",
       404, "connection.unknown_secret"},
      {"POST", "/connections",
       R"({"connector":"stripe","name":"n","egress":{"base_urls":{"api":"http://127.0.0.1:1"}}})",
       403, "egress.operator"},
      {"POST", "/connections",
       R"({"connector":"stripe","name":"n","egress":{"allow_private":true}})", 403,
       "egress.operator"},
      {"POST", "/connections", R"({"connector":"stripe","name":"n","second_connection":"yes"})",
       400, "request.bad_field"},
      {"POST", "/connections", R"({"connector":"stripe","name":"n","intervals":{"events":1e400}})",
       400, "request.bad_field"},
      {"POST", "/connections", R"({"connector":"stripe","name":"n","secret":"sk_very_secret"})",
       400, "request.unknown_field"},
      {"GET", "/links?state=maybe", {}, 400, "request.bad_parameter"},
      {"GET", "/links?rule=nothing", {}, 400, "rule.unknown"},
      {"GET", "/links?type=nothing", {}, 400, "type.not_found"},
      {"GET", "/entities/stripe.customer/none/links", {}, 404, "entity.not_found"},
      {"GET", "/entities/nothing/1/links", {}, 404, "type.not_found"},
      {"POST", "/entities/stripe.customer/1/links/nothing", R"({"decision":"rejected"})", 404,
       "rule.unknown"},
      {"POST", "/entities/stripe.customer/1/links/stripe.customer.email", R"({"decision":"x"})",
       400, "request.bad_field"},
      {"POST", "/entities/stripe.customer/1/links/stripe.customer.email",
       R"({"decision":"confirmed"})", 400, "request.missing_field"},
      {"DELETE", "/entities/stripe.customer/1/links/nothing", {}, 404, "rule.unknown"},
      {"GET",
       "/entities/stripe.customer?link.stripe.customer.email[state]=maybe",
       {},
       400,
       "filter.bad_value"},
      {"GET", "/entities/stripe.customer?email[state]=pending", {}, 400, "filter.bad_operator"},
      {"GET", "/links?cursor=1.x", {}, 400, "link.bad_cursor"},
      {"GET", "/links?cursor=99999999999999999999.1", {}, 400, "link.bad_cursor"},
      {"PATCH", "/link-rules/nothing", R"({"enabled":true})", 404, "rule.unknown"},
      {"POST", "/link-rules",
       R"({"name":"r","source":"x","target":"customer.email","kind":"email"})", 400,
       "rule.bad_end"},
      {"GET", "/changes?cursor=x", {}, 400, "feed.bad_cursor"},
      {"GET", "/changes?since=soon", {}, 400, "request.bad_parameter"},
      {"GET", "/changes?since=1d&from=now", {}, 400, "request.bad_parameter"},
      {"GET", "/changes?op=grow", {}, 400, "request.bad_parameter"},
      {"GET", "/changes?cause=weather", {}, 400, "request.bad_parameter"},
      {"GET", "/changes?connection=nothing", {}, 404, "connection.unknown"},
      {"GET", "/changes/summary?since=0d", {}, 400, "request.bad_parameter"},
      {"DELETE", "/link-rules/nothing", {}, 404, "rule.unknown"},
      {"DELETE", "/link-rules/stripe.customer.email", {}, 409, "rule.of_connector"},
      {"GET", "/changes?cursor=MTo5OTox", {}, 400, "feed.bad_cursor"},
      {"GET", "/changes?limit=1001", {}, 400, "request.bad_parameter"},
      {"GET", "/changes?type=nothing", {}, 400, "type.not_found"},
      {"POST", "/types/customer/import?format=xml", "a", 400, "request.bad_parameter"},
      {"POST", "/types/customer/import", "email\na@example.org\n", 415,
       "request.unsupported_media_type"},
      {"POST", "/types/customer/import", "", 400, "import.empty", "text/csv"},
      {"POST", "/types/customer/import", "colour\nred\n", 400, "import.unknown_column", "text/csv"},
      {"POST", "/types/nothing/import", "email\n", 404, "type.not_found", "text/csv"},
  };
  for (const Bad& one : all) {
    const auto body = one.body ? std::optional<std::string>(filled(*one.body)) : std::nullopt;
    const Reply reply = ask(one.method, "/v1/workspaces/acme" + filled(one.path), stage_->admin,
                            body, one.content_type);
    EXPECT_EQ(reply.status, one.status)
        << one.method << " " << one.path.substr(0, 100) << ": " << reply.text;
    EXPECT_EQ(reply.code(), one.code)
        << one.method << " " << one.path.substr(0, 100) << ": " << reply.text;
    EXPECT_EQ(reply.content_type, "application/problem+json") << one.path.substr(0, 100);
    EXPECT_EQ(reply.document().value("status", 0), one.status);
    EXPECT_FALSE(reply.document().value("detail", "").empty()) << one.path;
    EXPECT_EQ(reply.text.find("sk_very_secret"), std::string::npos) << reply.text;
    EXPECT_EQ(reply.text.find("SQLSTATE"), std::string::npos) << reply.text;
  }
  EXPECT_EQ(stage_->host().log().find("api.defect"), std::string::npos) << stage_->host().log();
}

TEST_F(ApiTest, a_workspace_gets_no_name_that_the_database_needs) {
  for (const char* name :
       {"public", "sluice", "vendor", "pg_x", "information_schema", "Upper", "a-b", "1a"}) {
    const Reply reply =
        ask("POST", "/v1/workspaces", stage_->operator_token, json{{"name", name}}.dump());
    EXPECT_EQ(reply.status, 400) << name << reply.text;
    EXPECT_EQ(stage_->host().sql(
                  std::string("select count(*) from sluice.workspace where name = '") + name + "'"),
              "0")
        << name;
  }
  stage_->host().sql("create schema theirs");
  EXPECT_EQ(ask("POST", "/v1/workspaces", stage_->operator_token, R"({"name":"theirs"})").code(),
            "workspace.schema_taken");
  EXPECT_EQ(stage_->host().sql("select count(*) from sluice.workspace where name = 'theirs'"), "0");
  EXPECT_EQ(ask("POST", "/v1/workspaces", stage_->operator_token, R"({"name":"other"})").code(),
            "workspace.name_taken");
}

TEST_F(ApiTest, no_secret_is_given_back_or_logged) {
  const std::string wrong = "sk_test_never_seen_0001";
  const json body = {
      {"connector", "stripe"},
      {"name", "second"},
      {"secrets", {{"api_key", wrong}}},
      {"egress", {{"base_urls", {{"api", stage_->fake().url()}}}, {"allow_loopback", true}}}};
  const std::string path = "/v1/workspaces/acme/connections";
  EXPECT_EQ(ask("POST", path, stage_->admin, body.dump()).code(), "egress.operator");
  const Reply reply = ask("POST", path, stage_->operator_token, body.dump());
  EXPECT_EQ(reply.code(), "check.failed") << reply.text;
  EXPECT_EQ(reply.text.find(wrong), std::string::npos) << reply.text;
  for (const Operation& one : operations()) {
    if (one.method != "GET") continue;
    const Reply shown = ask("GET", one.path("acme"), stage_->operator_token);
    EXPECT_EQ(shown.text.find(kKey), std::string::npos) << one.pattern;
  }
  const std::string log = stage_->host().log();
  for (const std::string& secret : {wrong, std::string(kKey), stage_->admin.substr(10)}) {
    EXPECT_EQ(log.find(secret), std::string::npos) << secret;
  }
}

TEST_F(ApiTest, invoices_come_with_their_customer_and_lines) {
  const Reply reply = get("/entities/stripe.invoice?limit=10&expand=customer,invoice_line");
  ASSERT_EQ(reply.status, 200) << reply.text;
  const json page = reply.document();
  ASSERT_EQ(page["entities"].size(), 10U);
  std::size_t lines = 0;
  for (const json& invoice : page["entities"]) {
    const json& expanded = invoice["expanded"];
    ASSERT_FALSE(expanded["customer"].is_null()) << invoice;
    EXPECT_EQ(expanded["customer"]["external_id"], invoice["attributes"]["customer"]);
    for (const json& line : expanded["invoice_line"]["items"]) {
      ++lines;
      EXPECT_EQ(line["attributes"]["invoice"], invoice["external_id"]) << line;
    }
    EXPECT_EQ(std::to_string(expanded["invoice_line"]["items"].size()),
              stage_->host().sql("select count(*) from acme.stripe_invoice_line where invoice = '" +
                                 invoice["external_id"].get<std::string>() + "'"));
    const Reply one = get("/entities/stripe.invoice/" + invoice["external_id"].get<std::string>() +
                          "?expand=customer,invoice_line");
    EXPECT_EQ(one.document()["expanded"], expanded);
    EXPECT_EQ(get("/entities/stripe.invoice/" + invoice["id"].get<std::string>())
                  .document()["external_id"],
              invoice["external_id"]);
  }
  EXPECT_GT(lines, 0U);
}

/// All entities of a list, page by page.
std::vector<json> all_pages(const std::function<Reply(const std::string&)>& get,
                            const std::string& path) {
  std::vector<json> all;
  for (std::string cursor;;) {
    const Reply reply = get(path + (cursor.empty() ? "" : "&cursor=" + cursor));
    EXPECT_EQ(reply.status, 200) << reply.text;
    const json page = reply.document();
    if (reply.status != 200) return all;
    for (const json& entity : page["entities"]) all.push_back(entity);
    if (page["next"].is_null()) return all;
    cursor = page["next"];
  }
}

TEST_F(ApiTest, all_pages_together_are_all_entities_once) {
  for (const char* type :
       {"customer", "product", "price", "subscription", "invoice", "invoice_line"}) {
    const auto all = all_pages(get, std::string("/entities/stripe.") + type + "?limit=7");
    std::set<std::string> ids;
    for (const json& entity : all) ids.insert(entity["external_id"]);
    EXPECT_EQ(ids.size(), all.size()) << type;
    EXPECT_EQ(std::to_string(all.size()),
              stage_->host().sql(std::string("select count(*) from acme.stripe_") + type))
        << type;
    EXPECT_GT(all.size(), 0U) << type;
  }
}

// Another host tells of it at once, and this one may hear of it some seconds later: not a word that
// a client takes for the last one.
TEST_F(ApiTest, what_is_refused_by_a_catalogue_of_before_is_to_be_sent_again) {
  const auto ask = [](const std::string& query) { return get("/entities/pebble?" + query); };
  stage_->host().client().send("POST", "/types", json::parse(R"({"name":"pebble","attributes":[
      {"name":"colour","type":"text"}]})"));
  ASSERT_EQ(ask("colour=red").status, 200);
  stage_->host().sql(
      "insert into sluice.attribute (workspace_id, type_id, name, type, position) select "
      "workspace_id, type_id, 'weight', 'integer', 50 from sluice.entity_type where name = "
      "'pebble'; update sluice.catalog_version set version = version + 1");
  const Reply first = ask("weight=3");
  EXPECT_EQ(first.status, 503) << first.text;
  EXPECT_EQ(first.code(), "catalog.changed");
  EXPECT_EQ(ask("weight=3").status, 200);
  EXPECT_EQ(ask("length=3").status, 400) << "and this is the last word";
}

/// "a,b" behind a line end, which is CSV's.
std::size_t lines_in(const std::string& text) {
  std::size_t lines = 0;
  for (std::size_t at = text.find("\r\n"); at != std::string::npos; at = text.find("\r\n", at + 2))
    ++lines;
  return lines;
}

TEST_F(ApiTest, a_list_is_a_file_where_that_is_asked_for) {
  const auto lines_of = [](const std::string& path, const std::string& accept) {
    Ask question;
    question.path = "/v1/workspaces/acme" + path;
    question.token = stage_->reader;
    question.accept = accept;
    question.may_be_cut = true;
    return perform(stage_->host().url(), question);
  };
  ASSERT_EQ(cli({"entity", "create-type", "pearl", "code:text:unique", "note:text", "size:decimal",
                 "info:json"})
                .code,
            0);
  std::string file = "code,note,size,info\n";
  for (int n = 0; n < 450; ++n)
    file += "p" + std::to_string(n) + ",\"a \"\"b\"\",\n" + std::to_string(n) + "\",1.10,[1]\n";
  ASSERT_EQ(ask("POST", "/v1/workspaces/acme/types/pearl/import?key=code", stage_->admin, file,
                "text/csv")
                .status,
            200);
  // All of it, more than a page, is what the pages together are.
  const Reply whole = lines_of("/entities/pearl", "text/csv");
  EXPECT_EQ(whole.status, 200) << whole.text;
  EXPECT_EQ(whole.content_type, "text/csv; charset=utf-8; header=present");
  EXPECT_FALSE(whole.cut);
  EXPECT_EQ(whole.text.find("id,code,note,size,info\r\n"), 0U) << whole.text.substr(0, 200);
  EXPECT_EQ(lines_in(whole.text), 451U);
  EXPECT_NE(whole.text.find(",p7,\"a \"\"b\"\",\n7\",1.1,[1]\r\n"), std::string::npos);
  std::string pages;
  for (std::string path = "/entities/pearl?limit=200"; !path.empty();) {
    const Reply page = lines_of(path, "text/csv");
    ASSERT_EQ(page.status, 200) << page.text;
    pages += page.text;
    EXPECT_EQ(page.content_type.ends_with("header=present"), path == "/entities/pearl?limit=200");
    path.clear();
    if (page.link.empty()) continue;
    EXPECT_EQ(page.link.find("</v1/workspaces/acme/entities/pearl?limit=200&cursor="), 0U);
    EXPECT_TRUE(page.link.ends_with(">; rel=\"next\"")) << page.link;
    const auto begin = page.link.find("/entities");
    path = page.link.substr(begin, page.link.find('>') - begin);
  }
  EXPECT_EQ(pages, whole.text);
  // A filter, an order, and what the command line writes.
  const Reply some = lines_of("/entities/pearl?code[in]=p3,p2&sort=-code&fields=code", "text/csv");
  EXPECT_EQ(lines_in(some.text), 3U) << some.text;
  EXPECT_LT(some.text.find(",p3"), some.text.find(",p2")) << some.text;
  Said said = cli({"entity", "export", "pearl"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(said.output, whole.text);
  said = cli({"entity", "list", "pearl", "-o", "csv", "--limit", "2"});
  EXPECT_EQ(lines_in(said.output), 3U) << said.output;
  EXPECT_NE(said.errors.find("this is one page"), std::string::npos) << said.errors;
  // What was written goes in again as it is.
  EXPECT_EQ(ask("POST", "/v1/workspaces/acme/types/pearl/import?key=code", stage_->admin,
                whole.text, "text/csv")
                .document()["unchanged"],
            450);
  // NDJSON is the entities of the pages.
  const Reply lines = lines_of("/entities/pearl", "application/x-ndjson");
  EXPECT_EQ(lines.content_type, "application/x-ndjson");
  const auto all = all_pages(get, "/entities/pearl?limit=200");
  std::istringstream given(lines.text);
  std::size_t at = 0;
  for (std::string line; std::getline(given, line); ++at) EXPECT_EQ(json::parse(line), all.at(at));
  EXPECT_EQ(at, 450U);
  const Reply expanded =
      lines_of("/entities/stripe.invoice?expand=customer&limit=2", "application/x-ndjson");
  EXPECT_NE(expanded.text.find("\"expanded\":{\"customer\":{"), std::string::npos);
  // What has no place in it.
  EXPECT_EQ(lines_of("/entities/stripe.invoice?expand=customer", "text/csv").code(),
            "expand.not_in_csv");
  EXPECT_EQ(lines_of("/entities/pearl?count=true", "text/csv").code(), "request.bad_parameter");
  EXPECT_EQ(lines_of("/entities/pearl?nothing=1", "text/csv").code(), "filter.unknown_attribute");
  EXPECT_EQ(lines_of("/entities/nothing", "application/x-ndjson").code(), "type.not_found");
  EXPECT_EQ(lines_of("/entities/pearl?limit=1", "text/html,*/*;q=0.8").content_type,
            "application/json");
  // A row of the third page that cannot be read: its file has no end, and who asks hears of it.
  stage_->host().sql(
      "update sluice.own_entity set data = '[]' where data->>'code' = 'p444' returning id");
  const Reply cut = lines_of("/entities/pearl", "text/csv");
  EXPECT_TRUE(cut.cut);
  EXPECT_EQ(lines_in(cut.text), 401U);
  said = cli({"entity", "export", "pearl"});
  EXPECT_NE(said.code, 0);
  EXPECT_NE(said.errors.find("is not whole"), std::string::npos) << said.errors;
  EXPECT_NE(stage_->host().log().find("api.answer_cut"), std::string::npos);
  const Reply told = lines_of("/entities/pearl", "application/x-ndjson");
  EXPECT_FALSE(told.cut);
  EXPECT_NE(told.text.find("\"entity.unreadable\""), std::string::npos);
  EXPECT_EQ(lines_of("/entities/pearl?sort=-id&limit=50", "text/csv").code(), "entity.unreadable");
}

TEST_F(ApiTest, filters_find_what_sql_finds) {
  const std::pair<const char*, const char*> all[] = {
      {"status=open", "status = 'open'"},
      {"status[in]=open,paid", "status in ('open','paid')"},
      {"status[in]=%22open%22,%22a,%20%22%22b%22,paid", "status in ('open','paid')"},
      {"status[ne]=open", "status is distinct from 'open'"},
      {"total[gte]=5000", "total >= 5000"},
      {"total[gt]=1000&total[lt]=20000&status=paid",
       "total > 1000 and total < 20000 and status = 'paid'"},
      {"created[lte]=2024-06-01T00:00:00Z", "created <= '2024-06-01T00:00:00Z'"},
      {"subscription[is_null]=true", "subscription is null"},
  };
  int found = 0;
  for (const auto& [query, condition] : all) {
    const auto listed = all_pages(get, std::string("/entities/stripe.invoice?limit=200&") + query);
    EXPECT_EQ(std::to_string(listed.size()),
              stage_->host().sql(std::string("select count(*) from acme.stripe_invoice where ") +
                                 condition))
        << query;
    found += listed.empty() ? 0 : 1;
  }
  EXPECT_GE(found, 4) << "filters that find nothing prove nothing";
  for (const char* odd : {"", ",open", "open,", "open,,paid", "%22open", "%22open%22x"}) {
    const Reply refused = get(std::string("/entities/stripe.invoice?status[in]=") + odd);
    EXPECT_EQ(refused.status, 400) << odd;
    EXPECT_EQ(refused.code(), "filter.bad_value") << odd;
  }
  const json customer = get("/entities/customer?limit=1").document()["entities"][0];
  const std::string email = customer["attributes"]["email"];
  EXPECT_EQ(
      get("/entities/customer?email=" + cli::Client::escape(email)).document()["entities"].size(),
      1U);
}

TEST_F(ApiTest, the_change_feed_gives_every_entity_once_and_goes_on_after_a_change) {
  ASSERT_TRUE(stage_->quiet());
  std::map<std::string, int> inserts;
  std::int64_t position = 0;
  std::string cursor;
  for (bool more = true; more;) {
    const json page = get("/changes?limit=50&cursor=" + cursor).document();
    ASSERT_TRUE(page.contains("changes")) << page;
    for (const json& change : page["changes"]) {
      if (change["op"] == "insert")
        ++inserts[change["type"].get<std::string>() + "/" + change["entity_id"].get<std::string>()];
      EXPECT_EQ(change["position"], std::to_string(++position)) << change;
    }
    more = page["has_more"];
    cursor = page["cursor"];
  }
  std::size_t stored = 0;
  const json types = get("/types").document()["types"];
  for (const json& type : types) {
    for (const json& entity : all_pages(
             get, "/entities/" + type["name"].get<std::string>() + "?limit=200&deleted=include")) {
      ++stored;
      EXPECT_EQ(inserts[type["name"].get<std::string>() + "/" + entity["id"].get<std::string>()], 1)
          << entity["id"] << " of " << type["name"];
    }
  }
  EXPECT_EQ(inserts.size(), stored);
  EXPECT_GT(stored, 100U);
  // At its end: nothing, and the same cursor.
  const json nothing = get("/changes?cursor=" + cursor).document();
  EXPECT_TRUE(nothing["changes"].empty()) << nothing;
  EXPECT_EQ(nothing["cursor"], cursor);
  const Reply made = ask("POST", "/v1/workspaces/acme/entities/customer", stage_->admin,
                         R"({"email":"feed@example.org","name":"Feed"})");
  ASSERT_EQ(made.status, 201) << made.text;
  json seen;
  ASSERT_TRUE(eventually(std::chrono::seconds(20), [&] {
    seen = get("/changes?type=customer&cursor=" + cursor).document();
    return !seen["changes"].empty();
  }));
  EXPECT_EQ(seen["changes"].size(), 1U) << seen;
  EXPECT_EQ(seen["changes"][0]["entity_id"], made.document()["id"]);
  EXPECT_EQ(seen["changes"][0]["vendor_at"], json(nullptr)) << "no vendor had a part in it";
  // Another workspace's feed has nothing of it, and does not take its cursor.
  EXPECT_TRUE(ask("GET", "/v1/workspaces/other/changes", stage_->other_reader)
                  .document()["changes"]
                  .empty());
  EXPECT_EQ(
      ask("GET", "/v1/workspaces/other/changes?cursor=" + cursor, stage_->other_reader).code(),
      "feed.bad_cursor");
}

TEST_F(ApiTest, an_import_tells_the_line_and_the_reason_of_each_row_that_it_refuses) {
  ASSERT_EQ(cli({"entity", "create-type", "seat", "email:text:unique", "floor:integer"}).code, 0);
  const std::string csv = write_file("mixed.csv",
                                     "email,floor\n"
                                     "g\u00f6\u00f6d1@example.org,1\n"
                                     "good2@example.org,first\n"
                                     "\"good\n3@example.org\",\"3\"\n"
                                     "bad\xff@example.org,4\n"
                                     "good4@example.org,5,too many\n");
  const Said said = cli({"entity", "import", "seat", csv});
  EXPECT_EQ(said.code, 65) << said.errors;
  EXPECT_NE(said.output.find("5 rows: 2 new, 0 changed, 0 unchanged, 3 rejected"),
            std::string::npos)
      << said.output;
  EXPECT_NE(said.output.find("7 lines: 1 header, 3 of stored rows, 3 refused, 0 blank"),
            std::string::npos)
      << said.output;
  EXPECT_NE(said.errors.find("import.rejected"), std::string::npos) << said.errors;
  const Said again = cli({"--json", "entity", "import", "seat", csv});
  EXPECT_EQ(again.code, 65);
  const json result = json::parse(again.output);
  EXPECT_EQ(result["unchanged"], 2) << result;
  EXPECT_EQ(result["lines"],
            json::parse(R"({"total":7,"header":1,"rows":3,"refused":3,"blank":0,"skipped":0})"));
  std::map<int, std::string> codes;
  for (const json& reject : result["rejects"]) {
    codes[reject["line"].get<int>()] = reject["code"];
    EXPECT_FALSE(reject["reason"].get<std::string>().empty());
  }
  const std::map<int, std::string> expected = {
      {3, "import.bad_value"}, {6, "import.bad_utf8"}, {7, "import.wrong_columns"}};
  EXPECT_EQ(codes, expected) << result;
  const std::string ndjson = write_file(
      "rows.ndjson",
      "{\"email\":\"nd@example.org\"}\n{\"email\":\n{\"email\":\"n\\u0000l@example.org\"}\n");
  const Said lines = cli({"--json", "entity", "import", "seat", ndjson});
  EXPECT_EQ(lines.code, 65);
  EXPECT_EQ(json::parse(lines.output)["rejected"], 2) << lines.output;
}

TEST_F(ApiTest, a_rule_that_can_find_nothing_and_rows_that_are_one_are_told) {
  const std::string& all = stage_->operator_token;
  const std::string third = "/v1/workspaces/third";
  ASSERT_LT(ask("POST", "/v1/workspaces", all, R"({"name":"third"})").status, 300);
  ASSERT_LT(ask("POST", third + "/connectors/stripe/install", all, "{}").status, 300);
  const auto rule = [&] {
    const json rules = ask("GET", third + "/link-rules", all).document()["rules"];
    for (const json& one : rules)
      if (one["name"] == "stripe.customer.email") return one;
    return json();
  };
  EXPECT_EQ(rule()["connector"], "stripe");
  EXPECT_EQ(rule()["idle"]["code"], "rule.unknown_type");
  EXPECT_EQ(ask("GET", third + "/errors", all).document()["errors"], json::array())
      << "a type that is not there yet is no fault";
  ASSERT_EQ(ask("POST", third + "/types", all,
                R"({"name":"customer","attributes":[{"name":"email","type":"text"}]})")
                .status,
            201);
  EXPECT_EQ(rule()["effective"], false);
  EXPECT_EQ(rule()["idle"]["code"], "rule.no_such_key");
  ASSERT_EQ(
      ask("POST", third + "/types", all,
          R"({"name":"person","attributes":[{"name":"email","type":"text","format":"email","unique":true}]})")
          .status,
      201);
  std::vector<std::string> ids;
  for (const char* email : {"a@x.example", "b@x.example"}) {
    const json made =
        ask("POST", third + "/entities/person", all, json{{"email", email}}.dump()).document();
    ids.push_back(made["id"].get<std::string>());
  }
  const Reply taken =
      ask("PATCH", third + "/entities/person/" + ids[1], all, R"({"email":"A@X.example"})");
  EXPECT_EQ(taken.code(), "entity.duplicate_key");
  EXPECT_NE(taken.text.find("entity " + ids[0] + " has this value"), std::string::npos)
      << taken.text;
  stage_->host().sql(
      "insert into sluice.own_shared select workspace_id, type_id, attribute, 'a@x.example', id "
      "from sluice.own_unique where value = 'b@x.example'");
  std::map<std::string, json> told;
  const json errors = ask("GET", third + "/errors", all).document()["errors"];
  for (const json& one : errors) told[one["code"].get<std::string>()] = one;
  EXPECT_FALSE(told.contains("rule.unknown_type")) << "the type is there: " << errors;
  // The vendor's rows as they stand; nobody but PostgreSQL has made this one.
  EXPECT_FALSE(told.contains("amount.unknown_currency")) << errors;
  stage_->host().sql(
      "insert into vendor.stripe_charge (workspace_id, connection_id, external_id, content_hash, "
      "currency, amount) select workspace_id, 1, 'ch_odd', gen_random_uuid(), 'xyz', 100 from "
      "sluice.workspace where name = 'third'");
  const json odd = ask("GET", third + "/errors", all).document()["errors"];
  for (const json& one : odd) told[one["code"].get<std::string>()] = one;
  EXPECT_EQ(told["amount.unknown_currency"]["subject"], "stripe.charge") << odd;
  EXPECT_EQ(told["amount.unknown_currency"]["count"], 1) << odd;
  EXPECT_NE(told["amount.unknown_currency"]["what"].dump().find(
                "1 row of stripe.charge has an amount in currency 'xyz' that Sluice does not know"),
            std::string::npos)
      << odd;
  EXPECT_EQ(told["rule.no_such_key"]["subject"], "stripe.customer.email") << errors;
  EXPECT_NE(told["rule.no_such_key"]["what"].dump().find("'customer.email' is no link key"),
            std::string::npos)
      << errors;
  EXPECT_NE(told["rule.no_such_key"]["action"].dump().find("link_key"), std::string::npos)
      << errors;
  EXPECT_EQ(told["entity.same_key"]["subject"], "person.email") << errors;
  EXPECT_NE(told["entity.same_key"]["what"].dump().find("entities " + ids[0] + " and " + ids[1]),
            std::string::npos)
      << errors;
}

TEST_F(ApiTest, of_a_file_with_a_stray_quote_every_line_is_accounted_for) {
  ASSERT_EQ(cli({"entity", "create-type", "note", "email:text:unique:format=email", "note"}).code,
            0);
  const std::string csv =
      write_file("stray.csv",
                 "email;note\nu1@example.org;ok\nu2@example.org;\"never closed\n"
                 "\nU1@Example.org;\"two\nlines\"\nu4@example.org;kept\nno address;kept\n");
  const Said said = cli({"entity", "import", "note", csv});
  EXPECT_EQ(said.code, 65) << said.errors;
  for (const char* text : {"5 rows: 3 new, 0 changed, 0 unchanged, 2 rejected",
                           "8 lines: 1 header, 3 of stored rows, 3 refused, 1 blank",
                           "1 value is stored and gives no key", "8  email      email",
                           "line 2 has the same email, and another note",
                           "quotes open on line 3: text follows a closing quote"}) {
    EXPECT_NE(said.output.find(text), std::string::npos) << text << "\n" << said.output;
  }
  EXPECT_NE(said.errors.find("2 rows were rejected (3 lines); all others are stored"),
            std::string::npos)
      << said.errors;
}

TEST_F(ApiTest, the_command_line_shows_tables_and_the_hosts_json) {
  const std::pair<std::vector<std::string>, const char*> all[] = {
      {{"connector", "list"}, "stripe"},
      {{"connection", "list"}, "billing"},
      {{"status"}, "1 connection: 1 well"},
      {{"status", "--streams"}, "invoices"},
      {{"host"}, "the host's own"},
      {{"version"}, "NEWEST FILE"},
      {{"status", "billing"}, "invoices"},
      {{"runs", "billing", "--limit", "3"}, "more: --before"},
      {{"runs"}, "billing/"},  // the newest fifty, of which many may have done nothing
      {{"runs", "--stream", "customers"}, "customers"},
      {{"run", "show", "1"}, "outcome"},
      {{"errors"}, "all is well"},
      {{"quarantine", "list"}, "(none)"},
      {{"token", "list"}, "reader"},
      {{"entity", "types"}, "stripe.invoice_line"},
      {{"entity", "type", "customer"}, "email"},
      {{"entity", "list", "stripe.invoice", "--limit", "3", "--expand", "customer", "--filter",
        "status=paid"},
       "more: --cursor"},
      {{"entity", "list", "customer", "--limit", "3"}, "more: --cursor"},
      {{"link", "rules"}, "stripe.customer.email"},
      {{"link", "list", "--state", "linked", "--limit", "3"}, "linked"},
      {{"link", "list", "--state", "no_key", "--limit", "3"}, ""},
      {{"changes", "--since", "1h", "--limit", "2"}, "more: --cursor "},
      {{"changes", "--summary"}, "stripe.customer"},
      {{"changes", "--kind", "link", "--limit", "2"}, "link stripe.customer"},
      {{"changes", "--type", "stripe.invoice", "--op", "insert", "-o", "wide"}, "(at the vendor "},
      {{"runs", "--did-something"}, "customers"},
      {{"changes", "--limit", "3"}, "cursor: "},
      {{"workspace", "list"}, "other"},
  };
  for (const auto& [words, wanted] : all) {
    const Said shown = cli(words);
    EXPECT_EQ(shown.code, 0) << words.back() << shown.errors;
    EXPECT_NE(shown.output.find(wanted), std::string::npos) << words.back() << "\n" << shown.output;
    std::vector<std::string> as_json = words;
    as_json.push_back("--json");
    const Said given = cli(as_json);
    EXPECT_EQ(given.code, 0) << given.errors;
    EXPECT_TRUE(json::parse(given.output, nullptr, false).is_object()) << words.back() << "\n"
                                                                       << given.output;
  }
}

TEST_F(ApiTest, the_command_lines_exit_code_says_what_kind_of_failure_it_was) {
  EXPECT_EQ(cli({"--help"}).code, 0);
  EXPECT_EQ(cli({}).code, 64);
  EXPECT_EQ(cli({"statu"}).code, 64);
  EXPECT_EQ(cli({"status", "--colour"}).code, 64);
  EXPECT_EQ(cli({"entity", "list", "customer", "--filter", "x"}).code, 64);
  EXPECT_EQ(cli({"status", "nobody"}).code, 65);
  EXPECT_EQ(cli({"entity", "list", "customer", "--filter", "colour=red"}).code, 65);
  EXPECT_EQ(cli({"entity", "get", "stripe.customer", "a/b"}).code, 65);
  EXPECT_EQ(cli({"entity", "import", "customer", "/does/not/exist.csv"}).code, 65);
  EXPECT_EQ(cli({"entity", "create-type", "caf\xff", "name"}).code, 65);
  EXPECT_EQ(cli({"status"}, "slc_1_1_wrong").code, 77);
  EXPECT_EQ(cli({"status"}, "slc_1_1_wr\nong").code, 77);
  EXPECT_EQ(cli({"-w", "nowhere", "status"}).code, 65);
  EXPECT_EQ(cli({"workspace", "list"}, stage_->reader).code, 77);
  EXPECT_EQ(cli({"status"}, "", "http://127.0.0.1:1").code, 69);
  EXPECT_EQ(cli({"status"}, "", stage_->host().url() + "/").code, 0);
  const Said no_secret = cli({"connection", "create", "x", "--connector", "stripe", "--secret",
                              "api_key=@NOT_THERE_AT_ALL"});
  EXPECT_EQ(no_secret.code, 65) << no_secret.errors;
  EXPECT_NE(no_secret.errors.find("NOT_THERE_AT_ALL"), std::string::npos);
  const Said misplaced =
      cli({"connection", "create", "x", "--connector", "stripe", "--secret", "sk_very_secret"});
  EXPECT_EQ(misplaced.code, 64);
  EXPECT_EQ(misplaced.errors.find("sk_very_secret"), std::string::npos) << misplaced.errors;
}

/// What any BI tool makes stands on our views (cases/dependent-view.sql).
TEST_F(ApiTest, what_is_made_is_answered_as_made_and_a_view_that_could_not_follow_is_an_error) {
  Host& host = stage_->host();
  host.sql(
      "create schema bi; create role api_test_bi; create view bi.v as select email, plan from "
      "acme.customer; grant select on acme.customer to api_test_bi");
  const auto post = [&](const std::string& path, const std::string& body) {
    return ask("POST", "/v1/workspaces/acme" + path, stage_->admin, body);
  };
  const auto kinds = [&] {
    std::string all;
    const json errors = get("/errors").document().at("errors");
    for (const json& one : errors)
      all += one["kind"].get<std::string>() + " " + one["subject"].get<std::string>() + " " +
             one["code"].get<std::string>() + ";";
    return all;
  };
  // An attribute more is in nobody's way.
  Reply made = post("/types/customer/attributes", R"({"name":"segment","type":"text"})");
  EXPECT_EQ(made.status, 201) << made.text;
  EXPECT_FALSE(made.document().contains("notes")) << made.text;
  EXPECT_EQ(host.sql("select count(segment) from acme.customer"), "0");
  EXPECT_EQ(host.sql("select has_table_privilege('api_test_bi', 'acme.customer', 'select')"), "t");
  EXPECT_EQ(kinds(), "");
  // What must be made again is, and its user is named; the rest goes on.
  host.sql("update sluice.attribute set type = 'json' where name = 'plan'");
  made = post("/types", R"({"name":"zebra","attributes":[{"name":"a","type":"text"}]})");
  EXPECT_EQ(made.status, 201) << made.text;
  EXPECT_NE(made.text.find("view bi.v"), std::string::npos) << made.text;
  EXPECT_EQ(host.sql("select count(*) from acme.zebra"), "0");
  EXPECT_EQ(kinds(), "view customer views.depended_on;");
  Said said = cli({"view", "refresh"});
  EXPECT_EQ(said.code, 75);
  EXPECT_NE(said.output.find("view bi.v"), std::string::npos) << said.output;
  // Links do not wait for it.
  const Reply off = ask("PATCH", "/v1/workspaces/acme/link-rules/stripe.customer.email",
                        stage_->admin, R"({"enabled":false})");
  EXPECT_EQ(off.status, 202) << off.text;
  EXPECT_EQ(host.sql("select count(*) from acme.link"), "0");
  const Reply on = ask("PATCH", "/v1/workspaces/acme/link-rules/stripe.customer.email",
                       stage_->admin, R"({"enabled":true})");
  EXPECT_EQ(on.status, 202) << on.text;
  host.sql("drop view bi.v");
  said = cli({"view", "refresh"});
  EXPECT_EQ(said.code, 0) << said.output << said.errors;
  EXPECT_EQ(host.sql("select has_table_privilege('api_test_bi', 'acme.customer', 'select')"), "t");
  EXPECT_EQ(kinds(), "");
  host.sql("update sluice.attribute set type = 'text' where name = 'plan'");
  EXPECT_EQ(kinds(), "view customer views.outdated;") << "a refresh that never was";
  EXPECT_EQ(cli({"view", "refresh"}).code, 0);
  EXPECT_EQ(kinds(), "");
  EXPECT_TRUE(stage_->quiet());
}

TEST_F(ApiTest, head_answers_as_get_without_a_body) {
  const Reply head = ask("HEAD", "/v1/workspaces/acme/types", stage_->reader);
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.text.empty());
}

TEST_F(ApiTest, what_only_the_database_knows_is_left_out_of_health_when_it_does_not_say) {
  const json all = ask("GET", "/health", stage_->operator_token).document();
  EXPECT_EQ(all["status"], "well") << all;
  EXPECT_TRUE(all["database"].contains("bytes"));
  stage_->host().sql("alter table sluice.connection rename column egress to elsewhere");
  const Reply some = ask("GET", "/health", stage_->operator_token);
  const Reply nobodys = ask("GET", "/health", "");
  stage_->host().sql("alter table sluice.connection rename column elsewhere to egress");
  EXPECT_EQ(some.status, 200) << some.text;
  const json document = some.document();
  EXPECT_TRUE(document.contains("machine"));
  EXPECT_FALSE(document["database"].contains("bytes"));
  EXPECT_EQ(document["status"], "degraded");
  ASSERT_EQ(document["reasons"].size(), 1U) << document;
  EXPECT_EQ(document["reasons"][0]["code"], "health.left_out");
  EXPECT_FALSE(nobodys.document().contains("machine"));
  EXPECT_EQ(nobodys.document()["reasons"], json::array());
  EXPECT_EQ(ask("GET", "/health", stage_->operator_token).document()["status"], "well");
}

}  // namespace
}  // namespace sluice::e2e
