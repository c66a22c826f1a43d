// Many requests at once: each is served in turn, nobody stands still, and no work loses its lease.
#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <set>

#include "e2e/hot_plug_world.hpp"
#include "e2e/lock_holder.hpp"
#include "e2e/neighbour.hpp"
#include "e2e/raw_client.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

class Storm : public HotPlug {
 protected:
  void drop_stripe() {
    drop(std::filesystem::path(SLUICE_BINARY_DIR) / "connectors" / "stripe.so", "stripe.so");
  }
  Timed ask(const Ask& what) const { return perform_timed(host_->url(), what); }
  [[nodiscard]] Ask in_acme(std::string method, const std::string& path, const json& body) const {
    Ask what;
    what.method = std::move(method);
    what.path = "/v1/workspaces/acme" + path;
    what.token = host_->token();
    if (!body.is_null()) what.body = body.dump();
    return what;
  }
  [[nodiscard]] Ask get(const std::string& path) const {
    Ask what;
    what.path = path;
    what.token = host_->token();
    return what;
  }
  std::future<Timed> send_one(Ask what) const {
    return std::async(std::launch::async, [this, what = std::move(what)] { return ask(what); });
  }
  std::vector<std::future<Timed>> send_all(const std::vector<Ask>& all) const {
    std::vector<std::future<Timed>> under_way;
    for (const Ask& one : all) under_way.push_back(send_one(one));
    return under_way;
  }
  static std::vector<Timed> answers(std::vector<std::future<Timed>>& under_way) {
    std::vector<Timed> all;
    for (auto& one : under_way) all.push_back(one.get());
    return all;
  }
  static void expect_all(const std::vector<Timed>& all, long status, double seconds_max) {
    for (const Timed& one : all) {
      EXPECT_EQ(one.reply.status, status) << one.reply.text;
      EXPECT_LT(one.seconds, seconds_max) << one.reply.text;
    }
  }
  /// Until some wait for the lock, and no more of them come.
  bool all_wait_for_the_lock() {
    constexpr auto kUnchanged = std::chrono::seconds(1);
    std::int64_t waiting = 0;
    auto since = steady_clock::now();
    return eventually(std::chrono::seconds(20), [&] {
      const std::int64_t now =
          host_->count("select count(*) from pg_stat_activity where wait_event_type = 'Lock'");
      if (now != std::exchange(waiting, now)) since = steady_clock::now();
      return waiting > 0 && steady_clock::now() - since > kUnchanged;
    });
  }
  std::int64_t audited(const std::string& action) {
    return host_->count("select count(*) from sluice.audit where action = '" + action +
                        "' and actor like 'token %'");
  }
  void expect_no_lost_lease() {
    EXPECT_EQ(host_->log().find("lease.lost"), std::string::npos) << host_->log();
  }
};

json own_type(const std::string& name) {
  json body = json::parse(R"({"attributes":[{"name":"email","type":"text","format":"email"}]})");
  body["name"] = name;
  return body;
}

TEST_F(Storm, twenty_four_types_asked_for_at_once_are_all_made_and_nobody_else_waits) {
  host_->start();
  host_->client().global("POST", "/v1/workspaces", json{{"name", "globex"}});
  std::vector<Ask> all;
  for (int n = 0; n < 24; ++n)
    all.push_back(in_acme("POST", "/types", own_type("kind_" + std::to_string(n))));
  LockHolder install(host_->conninfo(),
                     "select 1 from sluice.mutex where name = 'types' for update");
  auto storm = send_all(all);
  ASSERT_TRUE(all_wait_for_the_lock());
  // While all of acme's stand in line, another workspace asks and changes, and the host is ready.
  expect_all({ask(get("/v1/workspaces/globex/types"))}, 200, 5);
  expect_all({ask(get("/readyz"))}, 200, 5);
  Ask token = get("/v1/workspaces/globex/tokens");
  token.method = "POST";
  token.body = R"({"name":"neighbour"})";
  expect_all({ask(token)}, 201, 5);
  install.let_go();
  expect_all(answers(storm), 201, 30);
  EXPECT_EQ(host_->count("select count(*) from sluice.entity_type where name like 'kind%'"), 24);
  EXPECT_EQ(audited("type.create"), 24);
}

TEST_F(Storm, sixteen_tokens_asked_for_at_once_are_all_given_and_all_in_the_audit) {
  host_->start();
  std::vector<Ask> all;
  for (int n = 0; n < 16; ++n)
    all.push_back(in_acme("POST", "/tokens", json{{"name", "t" + std::to_string(n)}}));
  LockHolder tokens(host_->conninfo(), "lock table sluice.token in share mode");
  auto storm = send_all(all);
  ASSERT_TRUE(all_wait_for_the_lock());
  expect_all({ask(get("/v1/workspaces/acme/types"))}, 200, 5);
  tokens.let_go();
  expect_all(answers(storm), 201, 30);
  EXPECT_EQ(host_->count("select count(*) from sluice.token where name ~ '^t[0-9]'"), 16);
  EXPECT_EQ(audited("token.create"), 16);
}

TEST_F(Storm, a_connection_that_is_being_enabled_is_not_deleted_and_the_other_way_round) {
  start_fake(10, {"--subscription-percent", "0"});
  drop_stripe();
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  const std::string state = "select state from sluice.connection where name = 'billing'";
  const auto off = [&] {
    return eventually(std::chrono::seconds(30),
                      [&] { return host_->sql(state) == "DISCONNECTED"; });
  };
  host_->client().send("POST", "/connections/billing/disable", json::object());
  ASSERT_TRUE(off()) << host_->log();
  // Enabling has looked at the connection, and waits for the installation.
  LockHolder installation(host_->conninfo(), "select 1 from sluice.installation for update");
  auto enabled = send_one(in_acme("POST", "/connections/billing/enable", json::object()));
  ASSERT_TRUE(all_wait_for_the_lock());
  auto deleted = send_one(in_acme("DELETE", "/connections/billing", nullptr));
  ASSERT_TRUE(all_wait_for_the_lock());
  installation.let_go();
  EXPECT_EQ(enabled.get().reply.status, 202);
  const Reply refused = deleted.get().reply;
  EXPECT_EQ(refused.status, 409) << refused.text;
  EXPECT_EQ(refused.code(), "connection.not_disconnected") << refused.text;
  ASSERT_TRUE(settled()) << unsettled();
  EXPECT_GT(host_->count("select count(*) from acme.stripe_customer"), 0);

  host_->client().send("POST", "/connections/billing/disable", json::object());
  ASSERT_TRUE(off()) << host_->log();
  host_->client().send("DELETE", "/connections/billing", json());
  const Reply late = ask(in_acme("POST", "/connections/billing/enable", json::object())).reply;
  EXPECT_TRUE(late.code() == "connection.deleting" || late.code() == "connection.unknown")
      << late.text;
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from sluice.connection") == 0;
  })) << host_->log();
}

/// Not only when its time is over: the next host may go on at once.
TEST_F(Storm, a_host_that_is_told_to_end_gives_back_the_lease_of_durable_work) {
  host_->start();
  host_->sql(
      "insert into sluice.work (workspace_id, kind, subject, task) select w.workspace_id, "
      "'keys.make', 'nothing.' || n, '{\"type\": \"nothing\", \"attribute\": \"email\"}' from "
      "sluice.workspace w, generate_series(1, 20000) n where w.name = 'acme'");
  const std::string waiting =
      "select count(*) from sluice.work where state = 'waiting' and kind = 'keys.make'";
  ASSERT_TRUE(eventually(std::chrono::seconds(20), [&] { return host_->count(waiting) < 20'000; }))
      << host_->log();
  host_->sql(
      "create table public.given_back (name text, waiting bigint); grant all on public.given_back "
      "to sluice_app; create function "
      "public.witness() "
      "returns trigger language plpgsql as $$ begin insert into public.given_back select new.name, "
      "count(*) from sluice.work where state = 'waiting' and kind = 'keys.make'; return null; end "
      "$$; create trigger witness after update on sluice.lease_hold for each row when "
      "(new.expires_at = '-infinity') execute function public.witness()");
  EXPECT_EQ(host_->stop(), 0);
  host_->start();
  EXPECT_GT(host_->count("select coalesce(max(waiting), 0) from public.given_back where name = "
                         "'work'"),
            0)
      << "given back in the middle of it";
}

TEST_F(Storm, twenty_slow_questions_take_no_lease_from_a_sync_and_no_turn_from_others) {
  start_fake(30, {"--subscription-percent", "0"});
  drop_stripe();
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  std::vector<Ask> all;
  for (int n = 0; n < 20; ++n)
    all.push_back(get("/v1/workspaces/acme/entities/stripe.coupon?limit=1"));
  const std::string runs = "select count(*) from sluice.sync_run where stream = 'events'";
  const std::int64_t before = host_->count(runs);
  LockHolder table(host_->conninfo(), "lock table vendor.stripe_coupon in access exclusive mode");
  auto storm = send_all(all);
  ASSERT_TRUE(all_wait_for_the_lock());
  // Longer than a lease lives, which here is 2 s, and each second's look at the events is done.
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->count(runs) >= before + 5;
  })) << host_->log();
  expect_all({ask(get("/readyz"))}, 200, 5);
  table.let_go();
  for (const Timed& one : answers(storm)) {
    EXPECT_TRUE(one.reply.status == 200 || one.reply.status == 503) << one.reply.text;
    if (one.reply.status == 503) {
      EXPECT_TRUE(one.reply.code() == "host.busy" || one.reply.code() == "database.too_slow")
          << one.reply.text;
    }
    EXPECT_LT(one.seconds, 30);
  }
  expect_no_lost_lease();
}

/// One route and how many at once ask it.
struct Gust {
  std::string route;             ///< as GET /openapi.json has it
  std::string action;            ///< of its audit line; empty: kNoLine says why there is none
  std::function<Ask(int)> ask;   ///< the n-th request
  std::function<void()> before;  ///< what has to be there
};

/// Routes that change nothing of a workspace.
const std::map<std::string, std::string> kNoLine = {
    {"post /v1/workspaces/{workspace}/views/refresh",
     "the views are what the catalogue says already; where one is not, it is made so"},
    {"post /v1/connectors/rescan",
     "this host looks at its files, as it does by itself each minute"},
};

class EveryRoute : public Storm {
 protected:
  static constexpr int kConnections = 12;  ///< of the host: 2 of them for changing
  static constexpr int kAtOnce = 4 * kConnections;

  [[nodiscard]] Ask in(std::string method, const std::string& path, const json& body = {}) const {
    return in_acme(std::move(method), path, body);
  }
  static std::string nth(const std::string& name, int n) { return name + std::to_string(n); }

  /// The n-th id that the statement finds, from 0.
  std::string id_of(const std::string& from, const std::string& id, int n) {
    return host_->sql("select " + id + " from " + from + " order by 1 offset " + std::to_string(n) +
                      " limit 1");
  }
  void until(const std::string& condition) {
    EXPECT_TRUE(eventually(std::chrono::seconds(120),
                           [&] { return host_->sql("select " + condition) == "t"; }))
        << condition << host_->log();
  }
  void all_are(const std::string& wanted) {
    until(
        "not exists (select 1 from sluice.connection where connector = 'harbour' and state not "
        "in (" +
        wanted + "))");
  }
  void quarantine() {
    host_->sql(
        "insert into sluice.quarantine (workspace_id, connection_id, type, external_id, code, "
        "reason, record) select workspace_id, connection_id, 'stripe.customer', 'cus_' || n, "
        "'a.b', 'r', '{}' from sluice.connection, generate_series(1, " +
        std::to_string(kAtOnce) + ") n where name = 'billing' on conflict do nothing");
  }

  std::vector<Gust> all_gusts();
  void expect_served(const Gust& gust);
  void expect_refused_once_revoked(const Gust& gust);
};

std::vector<Gust> EveryRoute::all_gusts() {
  const std::string w = "/v1/workspaces/{workspace}";
  const auto connection = [](int n) { return "/connections/" + nth("c", n); };
  const auto nothing = json::object();
  const std::string own =
      "sluice.own_entity where deleted_at is null and type_id = (select type_id from "
      "sluice.entity_type where name = 'kind0')";
  const std::string tokens = "sluice.token where name ~ '^t[0-9]'";
  const auto quarantined = [this](int n) {
    return "/quarantine/" + id_of("sluice.quarantine", "quarantine_id", n % 2);
  };
  const json all_a_b = json::parse(R"({"connection":"billing","code":"a.b"})");
  const auto fill = [this] { quarantine(); };
  return {
      {"post /v1/workspaces",
       "workspace.create",
       [this](int n) {
         Ask what = get("/v1/workspaces");
         what.method = "POST";
         what.body = json{{"name", nth("w", n)}}.dump();
         return what;
       },
       {}},
      {"post /v1/feed/new-generation",
       "feed.new_generation",
       [this](int) {
         Ask what = get("/v1/feed/new-generation");
         what.method = "POST";
         what.body = R"({"why":"a storm"})";
         return what;
       },
       {}},
      {"post " + w + "/types",
       "type.create",
       [this](int n) { return in("POST", "/types", own_type(nth("kind", n))); },
       {}},
      {"post " + w + "/types/{type}/attributes",
       "type.add_attribute",
       [this](int n) {
         return in("POST", "/types/" + nth("kind", n) + "/attributes",
                   json{{"name", "plan"}, {"type", "text"}});
       },
       {}},
      {"delete " + w + "/types/{type}/attributes/{attribute}", "type.drop_attribute",
       [this](int n) {
         return in("DELETE", "/types/harbour.customer/attributes/" + nth("place", n % 4));
       },
       [this] {
         for (int n = 0; n < 4; ++n) {
           const Timed added = ask(
               in("POST", "/types/harbour.customer/attributes",
                  json{{"name", nth("place", n)}, {"path", "extra.place"}, {"link_key", "exact"}}));
           EXPECT_EQ(added.reply.status, 201) << added.reply.text;
         }
       }},
      {"post " + w + "/types/{type}/import",
       "type.import",
       [this](int n) {
         Ask what = in("POST", "/types/" + nth("kind", n) + "/import");
         what.content_type = "text/csv";
         what.body = "email\nann@example.org\n";
         return what;
       },
       {}},
      {"post " + w + "/entities/{type}",
       "entity.create",
       [this](int n) {
         return in("POST", "/entities/kind0", json{{"email", nth("m", n) + "@example.org"}});
       },
       {}},
      {"patch " + w + "/entities/{type}/{id}",
       "entity.update",
       [this, own](int n) {
         return in("PATCH", "/entities/kind0/" + id_of(own, "id", n), json{{"plan", "team"}});
       },
       {}},
      {"post " + w + "/entities/{type}/{id}/links/{rule}", "link.decide",
       [this, own](int n) {
         return in("POST", "/entities/kind0/" + id_of(own, "id", n) + "/links/kinds",
                   json{{"decision", "rejected"}});
       },
       [this] {
         EXPECT_LT(ask(in("POST", "/link-rules",
                          json{{"name", "kinds"},
                               {"source", "kind0.email"},
                               {"target", "kind1.email"},
                               {"kind", "email"}}))
                       .reply.status,
                   300);
       }},
      {"delete " + w + "/entities/{type}/{id}/links/{rule}",
       "link.withdraw",
       [this](int n) {
         return in("DELETE", "/entities/kind0/" + id_of("sluice.link_decision", "source_id", n) +
                                 "/links/kinds");
       },
       {}},
      {"delete " + w + "/entities/{type}/{id}",
       "entity.delete",
       [this, own](int n) { return in("DELETE", "/entities/kind0/" + id_of(own, "id", n)); },
       {}},
      {"post " + w + "/link-rules",
       "rule.create",
       [this](int n) {
         return in("POST", "/link-rules",
                   json{{"name", nth("r", n)},
                        {"source", "harbour.customer.email"},
                        {"target", nth("kind", n) + ".email"},
                        {"kind", "email"}});
       },
       {}},
      {"patch " + w + "/link-rules/{rule}",
       "rule.change",
       [this](int n) {
         return in("PATCH", "/link-rules/" + nth("r", n), json{{"enabled", false}});
       },
       {}},
      {"delete " + w + "/link-rules/{rule}",
       "rule.remove",
       [this](int n) { return in("DELETE", "/link-rules/" + nth("r", n)); },
       {}},
      {"post " + w + "/tokens",
       "token.create",
       [this](int n) {
         return in("POST", "/tokens", json{{"name", nth("t", n)}});
       },
       {}},
      {"post " + w + "/sql-users",
       "sql_user.create",
       [this](int n) {
         return in("POST", "/sql-users", json{{"name", nth("s", n)}});
       },
       {}},
      {"delete " + w + "/sql-users/{name}",
       "sql_user.delete",
       [this](int n) { return in("DELETE", "/sql-users/" + nth("s", n)); },
       {}},
      {"delete " + w + "/tokens/{id}",
       "token.revoke",
       [this, tokens](int n) { return in("DELETE", "/tokens/" + id_of(tokens, "token_id", n)); },
       {}},
      {"post " + w + "/connectors/{connector}/install",
       "connector.install",
       [this, nothing](int) { return in("POST", "/connectors/harbour/install", nothing); },
       {}},
      {"post " + w + "/views/refresh",
       "",
       [this, nothing](int) { return in("POST", "/views/refresh", nothing); },
       {}},
      {"post /v1/connectors/rescan",
       "",
       [this](int) {
         Ask what = get("/v1/connectors/rescan");
         what.method = "POST";
         return what;
       },
       {}},
      {"post /v1/connectors/{connector}/revoke",
       "connector.revoke",
       [this](int) {
         Ask what = get("/v1/connectors/harbour/revoke");
         what.method = "POST";
         return what;
       },
       {}},
      {"post /v1/connectors/{connector}/approve",
       "connector.approve",
       [this](int) {
         Ask what = get("/v1/connectors/harbour/approve");
         what.method = "POST";
         return what;
       },
       {}},
      {"post " + w + "/connections",
       "connection.create",
       [this](int n) {
         json body = harbour(nth("c", n));
         body["second_connection"] = true;
         return in("POST", "/connections", body);
       },
       {}},
      {"post " + w + "/connections/{name}/check",
       "connection.check",
       [this, connection, nothing](int n) { return in("POST", connection(n) + "/check", nothing); },
       {}},
      {"put " + w + "/connections/{name}/secrets/{secret}",
       "connection.set_secret",
       [this, connection](int n) {
         return in("PUT", connection(n) + "/secrets/api_key", json{{"value", kKey}});
       },
       {}},
      {"patch " + w + "/connections/{name}",
       "connection.set_config",
       [this, connection](int n) {
         return in("PATCH", connection(n), json{{"config", {{"page_size", 10}}}});
       },
       {}},
      {"patch " + w + "/connections/{name}/streams/{stream}",
       "stream.interval",
       [this, connection](int n) {
         return in("PATCH", connection(n) + "/streams/products", json{{"interval_seconds", 7200}});
       },
       {}},
      {"post " + w + "/connections/{name}/sync",
       "connection.sync",
       [this, connection](int n) {
         return in("POST", connection(n) + "/sync", json{{"streams", {"products"}}});
       },
       {}},
      {"post " + w + "/connections/{name}/streams/{stream}/reconcile", "reconcile.confirm",
       [this, connection](int n) {
         return in("POST", connection(n) + "/streams/customers/reconcile",
                   json{{"confirm", false}});
       },
       [this] {
         host_->sql(
             "update sluice.stream set reconcile = 'blocked' where stream = "
             "'customers'");
       }},
      {"post " + w + "/quarantine/{id}/replay", "quarantine.replay",
       [this, quarantined, nothing](int n) {
         return in("POST", quarantined(n) + "/replay", nothing);
       },
       fill},
      {"post " + w + "/quarantine/replay", "quarantine.replay",
       [this, all_a_b](int) { return in("POST", "/quarantine/replay", all_a_b); }, fill},
      {"post " + w + "/quarantine/{id}/dismiss", "quarantine.dismiss",
       [this, quarantined, nothing](int n) {
         return in("POST", quarantined(n) + "/dismiss", nothing);
       },
       fill},
      {"post " + w + "/quarantine/dismiss", "quarantine.dismiss",
       [this, all_a_b](int) { return in("POST", "/quarantine/dismiss", all_a_b); }, fill},
      {"post " + w + "/connections/{name}/disable",
       "connection.disable",
       [this, connection, nothing](int n) {
         return in("POST", connection(n) + "/disable", nothing);
       },
       {}},
      {"post " + w + "/connections/{name}/enable", "connection.enable",
       [this, connection, nothing](int n) {
         return in("POST", connection(n) + "/enable", nothing);
       },
       [this] { all_are("'DISCONNECTED'"); }},
      {"delete " + w + "/connections/{name}", "connection.delete",
       [this, connection](int n) { return in("DELETE", connection(n)); },
       [this, connection, nothing] {
         for (int n = 0; n < kAtOnce; ++n) ask(in("POST", connection(n) + "/disable", nothing));
         all_are("'DISCONNECTED'");
       }},
      {"post " + w + "/connectors/{connector}/disable",
       "connector.disable",
       [this, nothing](int) { return in("POST", "/connectors/harbour/disable", nothing); },
       {}},
      {"post " + w + "/connectors/{connector}/enable",
       "connector.enable",
       [this, nothing](int) { return in("POST", "/connectors/harbour/enable", nothing); },
       {}},
      {"delete " + w + "/types/{type}",
       "type.drop",
       [this](int n) { return in("DELETE", "/types/" + nth("kind", n)); },
       {}},
  };
}

/// A token that is revoked after its request was let in, and before its body came: nothing is done.
void EveryRoute::expect_refused_once_revoked(const Gust& gust) {
  const Ask wanted = gust.ask(0);
  if (!wanted.body) return;
  json asked;
  asked["name"] = "held";
  asked["role"] = "operator";
  const json made = host_->client().send("POST", "/tokens", asked);
  const std::string id = host_->sql("select max(token_id) from sluice.token where name = 'held'");
  const std::int64_t before = audited(gust.action);
  const std::int64_t connections = host_->count("select count(*) from sluice.connection");
  RawClient held(host_->url());
  held.send(
      fmt::format("{} {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: "
                  "{}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                  wanted.method, wanted.path, made.at("token").get<std::string>(),
                  wanted.content_type, wanted.body->size()));
  held.read_until("100 Continue\r\n\r\n");  // it was let in
  host_->client().send("DELETE", "/tokens/" + id, nullptr);
  held.send(*wanted.body);
  const std::string answer = held.read_until("}");
  EXPECT_NE(answer.find(" 401 "), std::string::npos) << answer;
  EXPECT_NE(answer.find("token.revoked"), std::string::npos) << answer;
  EXPECT_EQ(audited(gust.action), before + (gust.action == "token.revoke" ? 1 : 0));
  if (gust.action == "connection.create") {  // of others some are going, at their own pace
    EXPECT_EQ(host_->count("select count(*) from sluice.connection"), connections);
  }
}

/// All are answered, none for want of a connection; the audit has a line for each that was done.
void EveryRoute::expect_served(const Gust& gust) {
  SCOPED_TRACE(gust.route);
  if (gust.before) gust.before();
  if (!kNoLine.contains(gust.route)) expect_refused_once_revoked(gust);
  std::vector<Ask> all;
  for (int n = 0; n < kAtOnce; ++n) all.push_back(gust.ask(n));
  const std::int64_t before = audited(gust.action);
  auto storm = send_all(all);
  int done = 0;
  double longest = 0;
  for (const Timed& one : answers(storm)) {
    EXPECT_LT(one.reply.status, 500) << one.reply.text;
    done += one.reply.status < 300 ? 1 : 0;
    longest = std::max(longest, one.seconds);
  }
  std::printf("%-75s %d of %d done, the last after %.2f s\n", gust.route.c_str(), done, kAtOnce,
              longest);
  EXPECT_GT(done, 0);
  if (kNoLine.contains(gust.route)) return;
  EXPECT_FALSE(gust.action.empty()) << "no line of the audit, and no reason";
  EXPECT_EQ(audited(gust.action) - before, done);
}

TEST_F(EveryRoute, that_changes_something_serves_four_times_as_many_as_there_are_connections) {
  start_fake(3, {"--subscription-percent", "0"});
  drop(version("harbour_110"), "harbour.so");
  drop_stripe();
  host_->settings.push_back("database.pool_size=" + std::to_string(kConnections));
  start_host();
  install("stripe", json::object());
  install("harbour", json::object());
  send("POST", "/connections", billing());
  host_->client().global("POST", "/v1/workspaces", json{{"name", "globex"}});

  std::set<std::string> routes;
  const json paths = ask(get("/openapi.json")).reply.document()["paths"];
  for (const auto& [path, methods] : paths.items()) {
    for (const auto& [method, operation] : methods.items()) {
      if (method != "get") routes.insert(method + " " + path);
    }
  }
  const std::vector<Gust> gusts = all_gusts();
  for (const Gust& gust : gusts)
    EXPECT_EQ(routes.erase(gust.route), 1U) << gust.route << " is no route";
  EXPECT_TRUE(routes.empty()) << *routes.begin() << " has no storm here: give it one";

  Neighbour globex([this] { return ask(get("/v1/workspaces/globex/types")); });
  for (const Gust& gust : gusts) expect_served(gust);
  const double longest = globex.stop();
  std::printf("the neighbour waited %.0f ms at p99, %.0f ms at most\n", globex.p99() * 1000,
              longest * 1000);
  EXPECT_EQ(globex.refused(), 0);
  EXPECT_LT(longest, 5);
  expect_no_lost_lease();
}

}  // namespace
}  // namespace sluice::e2e
