// A workspace "acme" with the connector acme (customer, invoice), an own type customer, and rows of
// both.
#pragma once

#include <fmt/format.h>

#include "model/own_entities.hpp"
#include "model/own_types.hpp"
#include "model/storage.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::testing {

class FeedWorld : public PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    run(build());
  }
  Task<void> build() {
    workspace_ = co_await make_workspace(pool());
    auto lease = co_await pool().acquire();
    const auto manifest = acme_manifest();
    co_await model::install_types(*lease, workspace_, manifest);
    const auto request = nlohmann::json::parse(R"({"name":"customer","attributes":[
        {"name":"email","type":"text","format":"email","unique":true},{"name":"seats","type":"integer"},
        {"name":"since","type":"date"},{"name":"rate","type":"decimal"},{"name":"info","type":"json"}]})");
    auto type = model::own_type_from_json(request);
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await model::create_own_type(transaction, workspace_, std::move(*type));
    co_await transaction.commit();
    co_await lease->script(
        "insert into sluice.connector_version (connector, version, sha256, manifest)"
        " values ('acme', '1.0.0', decode(repeat('00', 32), 'hex'), '{}');"
        "insert into sluice.installation (workspace_id, connector, sha256)"
        " select workspace_id, 'acme', decode(repeat('00', 32), 'hex') from sluice.workspace;"
        "insert into sluice.connection (workspace_id, connector, name)"
        " select workspace_id, 'acme', 'main' from sluice.workspace");
    catalog_ = co_await model::load_catalog(*lease, workspace_);
  }
  /// Runs SQL in which {w} is the workspace and {c} its connection.
  void sql(std::string text) {
    const auto ids =
        run(pool().query("select workspace_id::text, connection_id::text from sluice.connection "
                         "order by connection_id limit 1"));
    replace(text, "{w}", ids.get<std::string>(0, 0));
    replace(text, "{c}", ids.get<std::string>(0, 1));
    run(script(std::move(text)));
  }
  /// As superuser: what a host never does, too.
  Task<void> script(std::string text) {
    auto lease = co_await superuser_pool().acquire();
    co_await lease->script(std::move(text));
  }
  std::string text(std::string query) {
    const auto rows = run(superuser_pool().query(query));
    std::string out;
    for (int i = 0; i < rows.rows(); ++i) {
      out += i ? "\n" : "";
      for (int c = 0; c < rows.columns(); ++c) {
        out +=
            (c ? "|" : "") + (rows.is_null(i, c) ? std::string("~") : std::string(rows.text(i, c)));
      }
    }
    return out;
  }
  void customer(std::string external_id, std::string email) {
    sql(fmt::format(
        "insert into vendor.acme_customer (workspace_id, connection_id, external_id, content_hash, "
        "email,"
        " created) values ({{w}}, {{c}}, '{}', gen_random_uuid(), '{}', '2026-01-02T03:04:05Z')",
        external_id, email));
  }
  void invoice(std::string external_id, std::string of, std::int64_t total) {
    sql(
        fmt::format("insert into vendor.acme_invoice (workspace_id, connection_id, external_id, "
                    "content_hash, number,"
                    " customer, total, rate, score, paid, created, due, lines, hash) values "
                    "({{w}}, {{c}}, '{0}',"
                    " gen_random_uuid(), 'N-{0}', '{1}', {2}, 12.50, 0.5, true, "
                    "'2026-01-02T03:04:05.5Z', '2026-02-01',"
                    " '[1]', decode('00ff', 'hex'))",
                    external_id, of, total));
  }
  EntityId own(std::string email) {
    std::vector<model::OwnRow> rows(1);
    rows[0].values["email"] = email;
    rows[0].values["seats"] = 5;
    return run(write(std::move(rows)))[0].id;
  }
  Task<std::vector<model::OwnOutcome>> write(std::vector<model::OwnRow> rows) {
    model::OwnWrite how;
    auto lease = co_await pool().acquire();
    co_return co_await model::write_own(*lease, workspace_, *catalog_->find("customer"),
                                        std::move(rows), std::move(how));
  }
  void link(std::string external_id, EntityId target) {
    sql(fmt::format(
        "insert into sluice.link (workspace_id, rule_id, source_id, source_type_id, state, "
        "target_id,"
        " target_type_id, kind) select {{w}}, r.rule_id, e.id, s.type_id, 'linked', {}, t.type_id, "
        "1"
        " from sluice.link_rule r, vendor.acme_customer e, sluice.entity_type s, "
        "sluice.entity_type t"
        " where e.external_id = '{}' and s.name = 'acme.customer' and t.name = 'customer'",
        target.value, external_id));
  }
  WorkspaceId workspace_;
  model::CatalogPtr catalog_;

 private:
  static void replace(std::string& text, std::string_view what, const std::string& by) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos;)
      text.replace(at, what.size(), by);
  }
};

}  // namespace sluice::testing
