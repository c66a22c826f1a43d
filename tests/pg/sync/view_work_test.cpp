// SQL views that no change of a catalogue renews.
#include "sync/view_work.hpp"

#include "contract/manifest.hpp"
#include "feed/views.hpp"
#include "model/storage.hpp"
#include "pg/feed/world.hpp"
#include "pg/model/manifests.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

class ViewWork : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    for (const char* name : {"first", "second"}) {
      sql("insert into sluice.workspace (name) values ('" + std::string(name) + "')");
    }
    sql("delete from sluice.work");  // what every workspace has
    sql("insert into sluice.lease_epoch values (1, 'work', 1), (2, 'work', 1)");
  }
  std::string sql(const std::string& text) {
    const auto rows = run(pool().query(text));
    return rows.empty() ? "" : rows.get<std::string>(0, 0);
  }
  Task<std::int64_t> start() { return renew_views_left_behind(pool()); }
  std::string due() {
    return sql(
        "select coalesce(string_agg(workspace_id::text, ' ' order by workspace_id), '') "
        "from sluice.work where kind = 'views.renew' and state = 'waiting'");
  }
  void do_work() {
    for (const int workspace : {1, 2}) {
      pg::LeaseProof proof;
      proof.workspace = WorkspaceId(workspace);
      proof.name = "work";
      proof.epoch = Epoch(1);
      work::Runner runner(pool(), work_kinds());
      run(runner.run_once(proof, [] { return true; }));
    }
  }
  std::string made() {
    return sql(
        "select string_agg(nspname::text, ' ' order by nspname) from pg_namespace "
        "where nspname in ('first', 'second')");
  }
};

TEST_F(ViewWork, views_of_another_version_or_place_are_due_at_a_start_and_no_others) {
  EXPECT_EQ(run(start()), 2) << "never made";
  EXPECT_EQ(run(start()), 0) << "due already";
  EXPECT_EQ(due(), "1 2");
  do_work();
  EXPECT_EQ(due(), "");
  EXPECT_EQ(made(), "first second");
  EXPECT_EQ(run(start()), 0) << "made";

  sql("update sluice.workspace set views_made = '0' || views_made where name = 'first'");
  EXPECT_EQ(run(start()), 1) << "by an older version";
  EXPECT_EQ(due(), "1");
  do_work();
  sql("update sluice.workspace set views_made = 'z' || views_made where name = 'second'");
  EXPECT_EQ(run(start()), 1) << "by a newer one";
  EXPECT_EQ(due(), "2");
  do_work();
  EXPECT_EQ(run(start()), 0);
}

TEST_F(ViewWork, a_database_that_was_put_elsewhere_makes_its_views_anew) {
  run(start());
  do_work();
  const std::string here = sql("select views_made from sluice.workspace where name = 'first'");
  const std::string oid = sql("select oid from pg_database where datname = current_database()");
  ASSERT_NE(here.find("/" + oid + " by "), std::string::npos) << here;
  // As a dump brings it along: of this server, but of another database.
  sql("update sluice.workspace set views_made = replace(views_made, '/" + oid + " ', '/1 ')");
  EXPECT_EQ(run(start()), 2);
  do_work();
  EXPECT_EQ(sql("select string_agg(distinct views_made, ' ') from sluice.workspace"), here);
}

/// What 101fb78 admitted and installed, and could make no view of: one column twice. From then on
/// no connector could be installed in that workspace and no type be made.
constexpr std::string_view kLocksItsWorkspace = R"({
  "id": "gview", "version": "0.1.0", "display_name": "G", "operations": ["check", "read"],
  "hosts": [{"name": "api", "url": "https://api.gview.example"}],
  "streams": [{"name": "things", "mode": "snapshot", "entity_types": ["thing"]}],
  "entity_types": [{"name": "thing", "attributes": [
    {"name": "connection_name", "type": "text", "protected": true},
    {"name": "sluice_connection_name", "type": "text", "protected": true},
    {"name": "size", "type": "integer"}]}]})";

class LockedWorkspace : public ViewWork {
 protected:
  Task<void> install(contract::Manifest manifest) {
    auto lease = co_await pool().acquire();
    co_await model::install_types(*lease, WorkspaceId(1), manifest);
  }
  Task<std::vector<feed::StaleView>> stale() {
    auto lease = co_await pool().acquire();
    const model::CatalogPtr catalog = co_await model::load_catalog(*lease, WorkspaceId(1));
    co_return co_await feed::stale_views(*lease, *catalog);
  }
};

TEST_F(LockedWorkspace, it_opens_at_the_first_start) {
  ASSERT_FALSE(contract::parse_manifest(kLocksItsWorkspace)) << "nobody installs it anew";
  const auto manifest = contract::parse_manifest(kLocksItsWorkspace, contract::Admission::before);
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ(manifest->flaws.size(), 2U);
  run(install(*manifest));
  sql("insert into sluice.connector_version (connector, version, sha256, manifest)"
      " values ('gview', '0.1.0', decode(repeat('00', 32), 'hex'), '{}')");
  sql("insert into sluice.installation (workspace_id, connector, sha256)"
      " values (1, 'gview', decode(repeat('00', 32), 'hex'))");
  sql("insert into sluice.connection (workspace_id, connector, name) values (1, 'gview', 'main')");
  sql("insert into vendor.gview_thing (workspace_id, connection_id, external_id, content_hash,"
      " connection_name, sluice_connection_name, size) select 1, connection_id, 'g1',"
      " gen_random_uuid(), 'its own', 'and this', 3 from sluice.connection");
  ASSERT_EQ(sql("select count(*)::text from pg_namespace where nspname = 'first'"), "0");

  EXPECT_EQ(run(start()), 2);
  do_work();
  EXPECT_EQ(due(), "");
  EXPECT_TRUE(run(stale()).empty());
  EXPECT_EQ(sql("select concat_ws(', ', connection_name, sluice_connection_name,"
                " sluice_connection_name_2) from first.gview_thing"),
            "its own, and this, main");
  run(install(sluice::testing::acme_manifest()));
  sql("update sluice.workspace set views_made = ''");
  run(start());
  do_work();
  EXPECT_EQ(sql("select string_agg(relname, ' ' order by relname) from pg_class"
                " where relnamespace = 'first'::regnamespace and relkind = 'v'"),
            "acme_customer acme_invoice change gview_thing link");
}

}  // namespace
}  // namespace sluice::sync
