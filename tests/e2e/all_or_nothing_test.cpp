// Every statement of everything that changes something is let fail, once before it is sent, once by
// a server that has no room, and once so that its answer is lost. Whatever the request is then
// answered, the tables say the same.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <set>

#include "e2e/hot_plug_world.hpp"
#include "e2e/raw_client.hpp"
#include "e2e/rest.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

/// One route, asked with other names each time.
struct Operation {
  std::string route;            ///< as GET /openapi.json has it
  std::string action;           ///< of its audit line; empty: it changes nothing of a workspace
  std::function<Ask(int)> ask;  ///< the n-th request
  std::function<void(int)> before = {};  ///< makes what the n-th is about
};

constexpr const char* kFaults[] = {"unsent", "refused", "answer_lost"};
constexpr int kStatementsMax = 400;
constexpr int kInEachWay = 12;
constexpr int kTypesOfASide = 40;

/// What people entered and what they are told: each part as a text that changes with it. What hosts
/// do by themselves in between (runs, leases, links) is left out.
constexpr const char* kEntered = R"(
  select jsonb_build_object(
    'workspaces', (select string_agg(name, ' ' order by name) from sluice.workspace),
    'schemas', (select string_agg(nspname, ' ' order by nspname) from pg_namespace
                where obj_description(oid) like 'sluice workspace %'),
    'generations', (select count(*) from sluice.feed_generation),
    'types', (select md5(string_agg(concat_ws(' ', type_id, name, declaration, created_at, state in ('dropping', 'dropped')), ' '
                 order by workspace_id, type_id)) from sluice.entity_type),
    'attributes', (select md5(string_agg(a::text, ' ' order by a::text)) from sluice.attribute a),
    'decisions', (select string_agg(concat_ws(' ', source_id, target_id, verdict, why), ' ' order by source_id, target_id) from sluice.link_decision),
    'rules', (select string_agg(concat_ws(' ', name, enabled), ' ' order by name) from sluice.link_rule where not going),
    'catalogues', (select string_agg(v::text, ' ' order by v::text) from sluice.catalog_version v),
    'entities', (select md5(string_agg(e::text, ' ' order by e.id)) from sluice.own_entity e),
    'unique', (select md5(string_agg(u::text, ' ' order by u::text)) from sluice.own_unique u),
    'changes', (select count(*) from sluice.change where connection_id = 0 and op in ('insert', 'update', 'delete')),
    'tokens', (select string_agg(token_id || name || (revoked_at is null), ' ' order by token_id) from sluice.token),
    'sql users', (select string_agg(rolname || rolcanlogin, ' ' order by rolname) from pg_roles where rolname like 'sluice\_sql\_d%'),
    'installations', (select string_agg(i::text, ' ' order by i::text) from sluice.installation i),
    'versions', (select count(*) from sluice.connector_version),
    'approvals', (select count(*) from sluice.connector_approval),
    'holds', (select string_agg(encode(sha256, 'hex') || code, ' ' order by sha256) from sluice.connector_hold),
    'connections', (select string_agg(concat_ws(' ', name, config, egress, state in ('DISCONNECTING', 'DISCONNECTED')), ' '
                       order by connection_id) from sluice.connection where state_reason <> 'is being deleted'),
    'secrets', (select string_agg(concat_ws(' ', connection_id, name, version, state), ', ' order by connection_id, name, version)
                from sluice.secret where state in ('current', 'pending') and ciphertext is not null),
    'streams', (select md5(string_agg(concat_ws(' ', connection_id, stream, enabled, interval_seconds,
                   case when not enabled then reconcile end), ' '
                   order by connection_id, stream)) from sluice.stream),
    'quarantine', (select count(*) from sluice.quarantine),
    'work', (select count(*) from sluice.work where kind <> 'secrets.tidy'),
    'audit', (select count(*) from sluice.audit where actor like 'token %' and action <> 'request.refused'
                and detail->>'accepted' is distinct from 'false')
  ))";

class AllOrNothing : public HotPlug {
 protected:
  AllOrNothing() : fault_file_(directory_ / "faults" / "fault") {
    // The host writes beside it, as the user that it becomes.
    std::filesystem::create_directory(fault_file_.parent_path());
    std::filesystem::permissions(fault_file_.parent_path(), std::filesystem::perms::all);
    host_->environment["SLUICE_FAIL_STATEMENT"] = fault_file_.string();
  }

  [[nodiscard]] Ask global(std::string method, std::string path, const json& body = nullptr) const {
    Ask what;
    what.method = std::move(method);
    what.path = std::move(path);
    what.token = host_->token();
    if (!body.is_null()) what.body = body.dump();
    return what;
  }
  [[nodiscard]] Ask in(std::string method, const std::string& path,
                       const json& body = nullptr) const {
    return global(std::move(method), "/v1/workspaces/acme" + path, body);
  }
  Reply ask(const Ask& what) const { return perform(host_->url(), what); }
  static std::string nth(const std::string& name, int n) { return name + std::to_string(n); }

  json entered() { return json::parse(host_->sql(kEntered)); }
  std::int64_t audited(const std::string& action) {
    return host_->count(
        "select count(*) from sluice.audit where action = '" + action +
        "' and actor like 'token %' and detail->>'accepted' is distinct from 'false'");
  }

  /// From now on the statement of that number fails so.
  void let_fail(int statement, const std::string& fault) {
    std::filesystem::remove(fault_file_.string() + ".hit");
    const std::string part = fault_file_.string() + ".part";
    std::ofstream(part) << statement << ' ' << fault << ' ' << ++asked_;
    std::filesystem::rename(part, fault_file_);
  }
  /// Which one it was; empty when there were fewer.
  std::string what_failed() {
    std::filesystem::remove(fault_file_);
    return read_file(fault_file_.string() + ".hit");
  }

  static std::string difference(const json& before, const json& after) {
    std::string text;
    for (const auto& [part, value] : before.items()) {
      if (value == after[part]) continue;
      text += "\n  " + part + ": " + value.dump().substr(0, 600) + "\n    -> " +
              after[part].dump().substr(0, 600);
    }
    return text;
  }

  void judge(const Operation& operation, const std::string& fault, const std::string& failed,
             const Reply& reply, const json& before, const json& after, std::int64_t lines);
  bool fails_at(const Operation& operation, int statement, const std::string& fault);
  struct Failed {
    int statements = 0;  ///< of one request
    int times = 0;       ///< how often one of them failed
  };
  Failed all_fail(const Operation& operation);
  std::vector<Operation> all_operations();

  /// A connection that was written behind the host's back, and is in this state.
  void put_connection(const std::string& name, const std::string& state) {
    host_->sql(
        "insert into sluice.connection (workspace_id, connector, name, config, egress, state, "
        "state_reason, vendor_account) select workspace_id, connector, '" +
        name + "', config, egress, '" + state + "', 'disabled by an admin', 'acct_' || '" + name +
        "' from sluice.connection where name = 'base'");
  }
  void quarantine(int n) {
    host_->sql(
        "insert into sluice.quarantine (workspace_id, connection_id, type, external_id, code, "
        "reason, record) select workspace_id, connection_id, 'stripe.customer', 'cus_" +
        std::to_string(n) + "', 'a.b', 'r', '{}' from sluice.connection where name = 'billing'");
  }
  /// A workspace for a few, so that none comes near what a workspace may have.
  static std::string side(int n) { return "/v1/workspaces/" + nth("side", n / kTypesOfASide); }
  void make_side(int n) {
    if (!sides_.insert(n / kTypesOfASide).second) return;
    ask(global("POST", "/v1/workspaces", json{{"name", nth("side", n / kTypesOfASide)}}));
    ask(global("POST", side(n) + "/types",
               json::parse(R"({"name":"thing","attributes":[{"name":"n","type":"integer"}]})")));
  }
  /// As many as a workspace may have are fewer than these tries.
  void drop_logins() {
    host_->sql(
        "do $$ declare one name; begin for one in select rolname from pg_roles where rolname like "
        "'sluice\\_sql\\_d%' loop execute format('drop role %I', one); end loop; end $$");
  }
  std::string customer() {
    return host_->sql("select min(id) from vendor.harbour_customer where deleted_at is null");
  }
  std::string last(const std::string& id, const std::string& from) {
    return host_->sql("select max(" + id + ") from " + from);
  }

  std::filesystem::path fault_file_;
  std::set<int> sides_;
  int asked_ = 0;
  int number_ = 0;  ///< of requests, so that each has names of its own
};

void AllOrNothing::judge(const Operation& operation, const std::string& fault,
                         const std::string& failed, const Reply& reply, const json& before,
                         const json& after, std::int64_t lines) {
  SCOPED_TRACE(operation.route + ", " + fault + ": " + failed.substr(0, 200) + "\n" +
               std::to_string(reply.status) + " " + reply.text.substr(0, 500));
  const bool stored = before != after;
  if (reply.status < 300) {
    if (!operation.action.empty()) {
      EXPECT_EQ(lines, 1) << "done, and the audit does not say so once";
    }
    return;
  }
  const bool unknown = reply.code() == "database.unknown_outcome";
  if (!unknown) {
    EXPECT_FALSE(stored) << "not done, it says, and this is so:" << difference(before, after);
    return;
  }
  EXPECT_EQ(fault, "answer_lost") << "it is known that nothing was done";
  if (stored && !operation.action.empty()) {
    EXPECT_EQ(lines, 1) << "half done:" << difference(before, after);
  }
}

/// Lets one statement of it fail so; false when it has fewer.
bool AllOrNothing::fails_at(const Operation& operation, int statement, const std::string& fault) {
  const int n = ++number_;
  if (operation.before) operation.before(n);
  const json before = entered();
  const std::int64_t lines = audited(operation.action);
  let_fail(statement, fault);
  const Reply reply = ask(operation.ask(n));
  const std::string failed = what_failed();
  if (failed.empty()) {
    EXPECT_LT(reply.status, 300) << operation.route << " " << reply.text;
    return false;
  }
  judge(operation, fault, failed, reply, before, entered(), audited(operation.action) - lines);
  if (reply.status < 300) return true;
  // The same again: done, or there already when it was done and nobody knew.
  const Reply again = ask(operation.ask(n));
  const bool there = reply.code() == "database.unknown_outcome" && again.status < 500;
  EXPECT_TRUE(again.status < 300 || there)
      << operation.route << ", again after " << fault << ": " << failed.substr(0, 200) << "\n"
      << reply.text << "\n"
      << again.text;
  return true;
}

/// Each statement of it fails; the first ones, and all with SLUICE_TEST_LONG, in each way, those
/// behind them (of views, which follow after a commit) in one way after the other.
AllOrNothing::Failed AllOrNothing::all_fail(const Operation& operation) {
  const bool is_long = std::getenv("SLUICE_TEST_LONG") != nullptr;
  Failed all;
  for (int statement = 1; statement < kStatementsMax; ++statement) {
    for (std::size_t way = 0; way < std::size(kFaults); ++way) {
      const bool due = is_long || statement <= kInEachWay ||
                       static_cast<std::size_t>(statement) % std::size(kFaults) == way;
      if (!due) continue;
      if (!fails_at(operation, statement, kFaults[way])) return all;
      ++all.times;
    }
    all.statements = statement;
  }
  ADD_FAILURE() << operation.route << " does not end";
  return all;
}

std::vector<Operation> AllOrNothing::all_operations() {
  const std::string w = "/v1/workspaces/{workspace}";
  const json nothing = json::object();
  const auto email = [](int n) { return json{{"email", nth("m", n) + "@example.org"}}; };
  const auto connection = [](int n) { return "/connections/" + nth("d", n); };
  const auto wants = [this](int n) {
    json body = harbour(nth("c", n));
    body["second_connection"] = true;
    return body;
  };
  const json place = json::parse(R"({"name":"place","path":"extra.place","link_key":"exact"})");
  const json all_a_b = json::parse(R"({"connection":"billing","code":"a.b"})");
  const auto one_quarantined = [this](const std::string& what) {
    return in("POST", "/quarantine/" + last("quarantine_id", "sluice.quarantine") + "/" + what,
              json::object());
  };
  const auto fill = [this](int n) { quarantine(n); };
  const auto switch_connector = [this](const std::string& to) {
    return [this, to](int) {
      eventually(std::chrono::seconds(30), [&] {
        return ask(in("POST", "/connectors/harbour/" + to, json::object())).status < 300;
      });
    };
  };
  return {
      {"post /v1/workspaces", "workspace.create",
       [this](int n) {
         return global("POST", "/v1/workspaces", json{{"name", nth("w", n)}});
       }},
      {"post /v1/feed/new-generation", "feed.new_generation",
       [this](int) {
         return global("POST", "/v1/feed/new-generation", json{{"why", "a test"}});
       }},
      {"post " + w + "/types", "type.create",
       [this](int n) {
         json body = json::parse(
             R"({"attributes":[{"name":"email","type":"text","format":"email","unique":true}]})");
         body["name"] = nth("kind", n);
         return global("POST", side(n) + "/types", body);
       },
       [this](int n) { make_side(n); }},
      {"delete " + w + "/types/{type}", "type.drop",
       [this](int n) { return global("DELETE", side(n) + "/types/" + nth("gone", n)); },
       [this](int n) {
         make_side(n);
         json body = json::parse(R"({"attributes":[{"name":"email","type":"text"}]})");
         body["name"] = nth("gone", n);
         ask(global("POST", side(n) + "/types", body));
       }},
      {"post " + w + "/types/{type}/attributes", "type.add_attribute",
       [this](int n) {
         return global("POST", side(n) + "/types/thing/attributes",
                       json{{"name", nth("a", n)}, {"type", "text"}});
       },
       [this](int n) { make_side(n); }},
      {"post " + w + "/types/{type}/attributes", "type.add_attribute",
       [this, place](int) { return in("POST", "/types/harbour.customer/attributes", place); },
       [this](int) { ask(in("DELETE", "/types/harbour.customer/attributes/place")); }},
      {"delete " + w + "/types/{type}/attributes/{attribute}", "type.drop_attribute",
       [this](int) { return in("DELETE", "/types/harbour.customer/attributes/place"); },
       [this, place](int) { ask(in("POST", "/types/harbour.customer/attributes", place)); }},
      {"post " + w + "/types/{type}/import", "type.import",
       [this](int n) {
         Ask what = in("POST", "/types/person/import");
         what.content_type = "text/csv";
         what.body = "email\n" + nth("i", n) + "@example.org\n" + nth("j", n) + "@example.org\n";
         return what;
       }},
      {"post " + w + "/entities/{type}", "entity.create",
       [this, email](int n) { return in("POST", "/entities/person", email(n)); }},
      {"patch " + w + "/entities/{type}/{id}", "entity.update",
       [this](int n) {
         return in("PATCH", "/entities/person/" + last("id", "sluice.own_entity"),
                   json{{"plan", nth("p", n)}});
       }},
      {"delete " + w + "/entities/{type}/{id}", "entity.delete",
       [this](int) { return in("DELETE", "/entities/person/" + last("id", "sluice.own_entity")); },
       [this](int n) {
         ask(in("POST", "/entities/person", json{{"email", nth("x", n) + "@example.org"}}));
       }},
      {"post " + w + "/link-rules", "rule.create",
       [this](int n) {
         return in("POST", "/link-rules",
                   json{{"name", nth("r", n)},
                        {"source", "harbour.customer.email"},
                        {"target", "person.email"},
                        {"kind", "email"}});
       }},
      {"patch " + w + "/link-rules/{rule}", "rule.change",
       [this](int n) {
         return in("PATCH", "/link-rules/switched", json{{"enabled", n % 2 == 0}});
       }},
      {"post " + w + "/entities/{type}/{id}/links/{rule}", "link.decide",
       [this](int n) {
         return in("POST",
                   "/entities/harbour.customer/" + customer() + "/links/harbour.customer.email",
                   json{{"decision", "rejected"}, {"why", nth("w", n)}});
       }},
      {"delete " + w + "/entities/{type}/{id}/links/{rule}", "link.withdraw",
       [this](int) {
         return in("DELETE",
                   "/entities/harbour.customer/" + customer() + "/links/harbour.customer.email");
       },
       [this](int n) {
         ask(in("POST",
                "/entities/harbour.customer/" + customer() + "/links/harbour.customer.email",
                json{{"decision", "rejected"}, {"why", nth("v", n)}}));
       }},
      {"delete " + w + "/link-rules/{rule}", "rule.remove",
       [this](int n) { return in("DELETE", "/link-rules/" + nth("gone", n)); },
       [this](int n) {
         ask(in("POST", "/link-rules",
                json{{"name", nth("gone", n)},
                     {"source", "harbour.customer.email"},
                     {"target", "person.email"},
                     {"kind", "email"}}));
       }},
      {"post " + w + "/tokens", "token.create",
       [this](int n) {
         return in("POST", "/tokens", json{{"name", nth("t", n)}});
       }},
      {"post " + w + "/sql-users", "sql_user.create",
       [this](int n) {
         return in("POST", "/sql-users", json{{"name", nth("s", n)}});
       },
       [this](int) { drop_logins(); }},
      {"delete " + w + "/sql-users/{name}", "sql_user.delete",
       [this](int n) { return in("DELETE", "/sql-users/" + nth("d", n)); },
       [this](int n) {
         drop_logins();
         ask(in("POST", "/sql-users", json{{"name", nth("d", n)}}));
       }},
      {"delete " + w + "/tokens/{id}", "token.revoke",
       [this](int) { return in("DELETE", "/tokens/" + last("token_id", "sluice.token")); },
       [this](int n) {
         ask(in("POST", "/tokens", json{{"name", nth("u", n)}}));
       }},
      {"post " + w + "/connectors/{connector}/install", "connector.install",
       [this](int n) {
         json body;
         body["version"] = n % 2 == 0 ? "1.0.0" : "1.1.0";
         body["accept_loss"] = true;
         return in("POST", "/connectors/harbour/install", body);
       }},
      {"post " + w + "/views/refresh", "",
       [this, nothing](int) { return in("POST", "/views/refresh", nothing); }},
      {"post /v1/connectors/rescan", "",
       [this](int) { return global("POST", "/v1/connectors/rescan"); }},
      {"post /v1/connectors/{connector}/revoke", "connector.revoke",
       [this](int) {
         return global("POST", "/v1/connectors/harbour/revoke", json{{"version", "1.1.0"}});
       },
       [this](int) { ask(global("POST", "/v1/connectors/harbour/approve")); }},
      {"post /v1/connectors/{connector}/approve", "connector.approve",
       [this](int) { return global("POST", "/v1/connectors/harbour/approve"); },
       [this](int) { host_->sql("delete from sluice.connector_approval"); }},
      {"post " + w + "/connections", "connection.create",
       [this, wants](int n) { return in("POST", "/connections", wants(n)); }},
      {"post " + w + "/connections/{name}/check", "connection.check",
       [this, nothing](int) { return in("POST", "/connections/base/check", nothing); }},
      {"put " + w + "/connections/{name}/secrets/{secret}", "connection.set_secret",
       [this](int) {
         return in("PUT", "/connections/base/secrets/api_key", json{{"value", kKey}});
       }},
      {"patch " + w + "/connections/{name}", "connection.set_config",
       [this](int n) {
         json body;
         body["config"]["page_size"] = 10 + n % 80;
         body["secrets"]["api_key"] = kKey;
         return in("PATCH", "/connections/base", body);
       }},
      {"patch " + w + "/connections/{name}/streams/{stream}", "stream.interval",
       [this](int n) {
         return in("PATCH", "/connections/base/streams/customers",
                   json{{"interval_seconds", 7200 + n}});
       }},
      {"post " + w + "/connections/{name}/sync", "connection.sync",
       [this](int) {
         return in("POST", "/connections/base/sync", json{{"streams", {"customers"}}});
       }},
      {"post " + w + "/connections/{name}/streams/{stream}/reconcile", "reconcile.confirm",
       [this, connection](int n) {
         return in("POST", connection(n) + "/streams/customers/reconcile",
                   json{{"confirm", false}});
       },
       [this](int n) {
         put_connection(nth("d", n), "DISCONNECTED");
         host_->sql(
             "insert into sluice.stream (workspace_id, connection_id, stream, mode, enabled, "
             "reconcile) select workspace_id, connection_id, 'customers', 'snapshot', false, "
             "'blocked' from sluice.connection where name = '" +
             nth("d", n) + "'");
       }},
      {"post " + w + "/quarantine/{id}/replay", "quarantine.replay",
       [one_quarantined](int) { return one_quarantined("replay"); }, fill},
      {"post " + w + "/quarantine/replay", "quarantine.replay",
       [this, all_a_b](int) { return in("POST", "/quarantine/replay", all_a_b); }, fill},
      {"post " + w + "/quarantine/{id}/dismiss", "quarantine.dismiss",
       [one_quarantined](int) { return one_quarantined("dismiss"); }, fill},
      {"post " + w + "/quarantine/dismiss", "quarantine.dismiss",
       [this, all_a_b](int) { return in("POST", "/quarantine/dismiss", all_a_b); }, fill},
      {"post " + w + "/connections/{name}/disable", "connection.disable",
       [this, connection, nothing](int n) {
         return in("POST", connection(n) + "/disable", nothing);
       },
       [this](int n) { put_connection(nth("d", n), "HEALTHY"); }},
      {"post " + w + "/connections/{name}/enable", "connection.enable",
       [this, connection, nothing](int n) {
         return in("POST", connection(n) + "/enable", nothing);
       },
       [this](int n) { put_connection(nth("d", n), "DISCONNECTED"); }},
      {"delete " + w + "/connections/{name}", "connection.delete",
       [this, connection](int n) { return in("DELETE", connection(n)); },
       [this](int n) { put_connection(nth("d", n), "DISCONNECTED"); }},
      {"post " + w + "/connectors/{connector}/disable", "connector.disable",
       [this, nothing](int) { return in("POST", "/connectors/harbour/disable", nothing); },
       switch_connector("enable")},
      {"post " + w + "/connectors/{connector}/enable", "connector.enable",
       [this, nothing](int) { return in("POST", "/connectors/harbour/enable", nothing); },
       [this](int) {
         ask(in("POST", "/connectors/harbour/disable", json::object()));
         eventually(std::chrono::seconds(60), [&] {
           return host_->count(
                      "select count(*) from sluice.connection where state = "
                      "'DISCONNECTING'") == 0;
         });
       }},
  };
}

TEST_F(AllOrNothing, whichever_statement_fails_the_tables_say_what_the_answer_says) {
  start_fake(3, {"--subscription-percent", "0"});
  drop(version("harbour_100"), "harbour-1.0.so");
  drop(version("harbour_110"), "harbour-1.1.so");
  start_host();
  ASSERT_TRUE(becomes("harbour-1.1.so", "admitted"));
  send("POST", "/types", json::parse(R"({"name":"person","attributes":[
      {"name":"email","type":"text","format":"email","unique":true},{"name":"plan","type":"text"}]})"));
  send("POST", "/entities/person", json{{"email", "first@example.org"}});
  install("harbour", json::object());
  send("POST", "/link-rules", json::parse(R"({"name":"switched","source":"harbour.customer.email",
      "target":"person.email","kind":"email"})"));
  json base = harbour("base");
  send("POST", "/connections", base);
  ASSERT_TRUE(is_read("base", "customers"));
  // One whose connector can read a single record again.
  drop(std::filesystem::path(SLUICE_BINARY_DIR) / "connectors" / "stripe.so", "stripe.so");
  ASSERT_TRUE(becomes("stripe.so", "admitted"));
  install("stripe", json::object());
  send("POST", "/connections", billing());
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count(
               "select count(*) from sluice.stream where not snapshot_done and mode = "
               "'snapshot'") == 0;
  })) << host_->log();
  // Nobody works on what is asked for here: another host has the lease, and does not come back.
  host_->sql(
      "insert into sluice.lease_hold (workspace_id, name, holder, expires_at) select workspace_id, "
      "'connection/' || connection_id, gen_random_uuid(), now() + interval '1 day' from "
      "sluice.connection where name = 'billing' on conflict (workspace_id, name) do update set "
      "holder = excluded.holder, expires_at = excluded.expires_at");

  const std::vector<Operation> operations = all_operations();
  std::set<std::string> routes;
  const json paths = ask(global("GET", "/openapi.json")).document()["paths"];
  for (const auto& [path, methods] : paths.items()) {
    for (const auto& [method, operation] : methods.items()) {
      if (method != "get") routes.insert(method + " " + path);
    }
  }
  std::set<std::string> asked;
  for (const Operation& operation : operations) {
    if (asked.insert(operation.route).second)  // one may do two things
      EXPECT_EQ(routes.erase(operation.route), 1U) << operation.route << " is no route";
  }
  EXPECT_TRUE(routes.empty()) << *routes.begin() << " is asked nothing here";

  const char* const only = std::getenv("SLUICE_TEST_ROUTE");  // for whoever mends one
  std::printf("%-72s %10s %10s\n", "", "statements", "failures");
  for (const Operation& operation : operations) {
    if (only != nullptr && operation.route.find(only) == std::string::npos) continue;
    const Failed failed = all_fail(operation);
    std::printf("%-72s %10d %10d\n", operation.route.c_str(), failed.statements, failed.times);
    std::fflush(stdout);
    EXPECT_TRUE(operation.action.empty() || failed.statements > 1) << "nothing of it was counted";
  }
  expect_no_restart();
  EXPECT_EQ(host_->count("select count(*) from sluice.secret s where ciphertext is not null and "
                         "not exists (select 1 from sluice.connection c where c.connection_id = "
                         "s.connection_id)"),
            0);
}

TEST_F(AllOrNothing, what_a_killed_host_left_half_made_is_shown_and_can_be_deleted) {
  start_fake(3, {"--subscription-percent", "0"});
  drop(version("harbour_110"), "harbour-1.1.so");
  start_host();
  install("harbour", json::object());
  json base = harbour("base");
  fake_->control("POST", "latency", json{{"ms", 25'000}});
  const std::string body = base.dump();
  RawClient making(host_->url());
  making.send("POST /v1/workspaces/acme/connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
              host_->token() + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
              body);
  ASSERT_TRUE(eventually(std::chrono::seconds(20), [&] {
    return host_->count("select count(*) from sluice.secret where state = 'current'") == 1;
  })) << host_->log();
  host_->kill_hard();
  fake_->control("POST", "latency", json{{"ms", 0}});
  host_->start();
  const json shown = ask(in("GET", "/connections/base")).document();
  EXPECT_NE(shown.value("reason", shown.dump()).find("being made"), std::string::npos)
      << shown.dump();
  const Reply deleted = ask(in("DELETE", "/connections/base"));
  EXPECT_LT(deleted.status, 300) << deleted.text;
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from sluice.connection") == 0;
  })) << host_->log();
  EXPECT_EQ(host_->count("select count(*) from sluice.secret where ciphertext is not null"), 0);
  send("POST", "/connections", base);
}

}  // namespace
}  // namespace sluice::e2e
