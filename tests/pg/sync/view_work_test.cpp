// SQL views that no change of a catalogue renews.
#include "sync/view_work.hpp"

#include "feed/views.hpp"
#include "pg/feed/world.hpp"
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

}  // namespace
}  // namespace sluice::sync
