#include "feed/views.hpp"

#include <gtest/gtest.h>

#include "pg/feed/world.hpp"

namespace sluice::feed {
namespace {

class ViewsTest : public sluice::testing::FeedWorld {
 protected:
  Task<void> refresh_task(std::string name) {
    auto lease = co_await pool().acquire();
    co_await refresh_views(*lease, *catalog_, std::move(name));
  }
  std::string refresh(std::string name = "acme") {
    try {
      run(refresh_task(std::move(name)));
    } catch (const Failure& failure) {
      return failure.error().code;
    }
    return "";
  }
  void reload() { catalog_ = run(load()); }
  Task<model::CatalogPtr> load() {
    auto lease = co_await pool().acquire();
    co_return co_await model::load_catalog(*lease, workspace_);
  }
  /// What identifies the stored definitions: a view that is written again gets a new row version.
  std::string versions() {
    return text(
        "select c.relname, c.oid, r.xmin from pg_class c join pg_rewrite r on r.ev_class = c.oid"
        " where c.relnamespace = 'acme'::regnamespace order by 1");
  }
  Task<std::string> explain_task(std::string query) {
    auto lease = co_await pool().acquire();
    const std::string sql = "explain (costs off) " + query;
    const auto rows = co_await lease->query(sql);
    std::string out;
    for (int i = 0; i < rows.rows(); ++i) out += rows.get<std::string>(i, 0) + "\n";
    co_return out;
  }
  std::string explain(std::string query) { return run(explain_task(std::move(query))); }
};

TEST_F(ViewsTest, APresetTypeReadsAsATypedView) {
  customer("cus_1", "a@x.com");
  const EntityId target = own("a@x.com");
  link("cus_1", target);
  invoice("in_1", "cus_1", 500);
  sql("insert into vendor.acme_invoice (workspace_id, connection_id, external_id, content_hash, "
      "deleted_at)"
      " values ({w}, {c}, 'gone', gen_random_uuid(), now())");
  EXPECT_EQ(refresh(), "");
  EXPECT_EQ(text("select external_id, connection_name, number, customer, total, rate, score, paid, "
                 "due, lines, hash"
                 " from acme.acme_invoice"),
            "in_1|main|N-in_1|cus_1|500|12.50|0.5|t|2026-02-01|[1]|\\x00ff");
  EXPECT_EQ(text("select c.seats, v.email from acme.acme_customer v join acme.customer c on c.id = "
                 "v.customer_id"),
            "5|a@x.com");
  EXPECT_EQ(text("select rule, state, source_type, source_external_id, target_type, target_id = " +
                 std::to_string(target.value) + " from acme.link"),
            "acme.customer.email|linked|acme.customer|cus_1|customer|t");
  EXPECT_EQ(text("select type, op, connection_name from acme.change"), "customer|insert|~");
}

TEST_F(ViewsTest, OverlayShowsOnlyOnWhatIsNotProtected) {
  invoice("in_1", "cus_1", 500);
  sql("update vendor.acme_invoice set memo = 'vendor', overlay = '{\"memo\": \"mine\", \"total\": "
      "\"1\"}'");
  EXPECT_EQ(refresh(), "");
  EXPECT_EQ(text("select memo, total from acme.acme_invoice"), "mine|500");
  sql("update vendor.acme_invoice set overlay = '{\"memo\": null}'");
  EXPECT_EQ(text("select memo from acme.acme_invoice"), "~");
}

TEST_F(ViewsTest, RefreshingAgainWritesNothing) {
  EXPECT_EQ(refresh(), "");
  const std::string before = versions();
  EXPECT_EQ(refresh(), "");
  EXPECT_EQ(versions(), before);
}

TEST_F(ViewsTest, ANewAttributeAppearsAndALostTypeDisappears) {
  EXPECT_EQ(refresh(), "");
  sql("create view acme.mine as select 1 as one");
  sql("insert into sluice.attribute (workspace_id, type_id, name, position, type)"
      " select workspace_id, type_id, 'phone', 20, 'text' from sluice.entity_type where name = "
      "'customer'");
  reload();
  EXPECT_EQ(refresh(), "");
  EXPECT_EQ(text("select phone from acme.customer"), "");
  model::Catalog smaller = *catalog_;
  std::erase_if(smaller.types, [](const auto& type) { return type.name == "acme.invoice"; });
  catalog_ = std::make_shared<const model::Catalog>(smaller);
  EXPECT_EQ(refresh(), "");
  EXPECT_EQ(text("select string_agg(viewname, ' ' order by viewname) from pg_views where "
                 "schemaname = 'acme'"),
            "acme_customer change customer link mine");
}

TEST_F(ViewsTest, AViewThatSomebodyUsesIsNotTakenAway) {
  EXPECT_EQ(refresh(), "");
  sql("create view public.report as select email from acme.customer");
  model::Catalog other = *catalog_;
  for (auto& type : other.types) {
    if (type.name == "customer") std::swap(type.attributes[0], type.attributes[1]);
  }
  catalog_ = std::make_shared<const model::Catalog>(other);
  EXPECT_EQ(refresh(), "views.depended_on");
  EXPECT_EQ(text("select count(*) from public.report"), "0");
  sql("drop view public.report");
  EXPECT_EQ(refresh(), "");
}

TEST_F(ViewsTest, SchemasThatAreNotOursAreRefused) {
  for (const char* name :
       {"public", "sluice", "vendor", "information_schema", "pg_catalog", "pg_x"}) {
    EXPECT_EQ(refresh(name), "workspace.reserved_name") << name;
  }
  sql("create schema taken");
  EXPECT_EQ(refresh("taken"), "workspace.schema_taken");
}

TEST_F(ViewsTest, AClashingLinkColumnTakesTheRulesName) {
  model::Catalog other = *catalog_;
  other.rules.push_back(other.rules[0]);
  other.rules.back().name = "second-rule";
  other.rules.back().id = RuleId(99);
  catalog_ = std::make_shared<const model::Catalog>(other);
  EXPECT_EQ(refresh(), "");
  EXPECT_EQ(text("select customer_id, second_rule_id from acme.acme_customer"), "");
}

TEST_F(ViewsTest, OnEmptyTablesLinksAreIndexLookups) {
  EXPECT_EQ(refresh(), "");
  const std::string forward = explain("select email, customer_id from acme.acme_customer");
  // By link_pkey or link_by_source, as the planner likes: an entity has one link a rule. What must
  // not happen is a scan of the workspace's links with source_id as a mere filter.
  EXPECT_NE(forward.find("Index Cond: ((workspace_id = 1) AND "), std::string::npos) << forward;
  EXPECT_NE(forward.find("AND (source_id = e.id))\n"), std::string::npos) << forward;
  EXPECT_EQ(forward.find("Filter: (source_id"), std::string::npos) << forward;
  EXPECT_EQ(forward.find("Seq Scan"), std::string::npos) << forward;
  const std::string backward = explain("select source_id from acme.link where target_id = 5");
  EXPECT_NE(backward.find("link_by_target"), std::string::npos) << backward;
  const std::string without = explain("select email from acme.acme_customer");
  EXPECT_EQ(without.find("link"), std::string::npos) << "a column nobody asks for costs nothing\n"
                                                     << without;
}

TEST_F(ViewsTest, WithoutStatisticsALinkColumnIsStillOneLookupARow) {
  EXPECT_EQ(refresh(), "");
  sql("insert into vendor.acme_customer (workspace_id, connection_id, external_id, content_hash, "
      "email) select {w}, {c}, 'cus_' || n, gen_random_uuid(), 'u' || n from generate_series(1, "
      "20000) n");
  sql("insert into sluice.link (workspace_id, rule_id, source_id, source_type_id, state, "
      "target_id, "
      "target_type_id, kind) select {w}, r.rule_id, e.id, s.type_id, 'linked', 1000000 + e.id / 3, "
      "t.type_id, 1 from vendor.acme_customer e, sluice.link_rule r, sluice.entity_type s, "
      "sluice.entity_type t where s.name = 'acme.customer' and t.name = 'customer'");
  // Joined by a planner that takes 20,000 links for one row, this would take minutes.
  EXPECT_EQ(text("select count(customer_id) from acme.acme_customer"), "20000");
  // The way to filter by target: the view link, which is indexed by it.
  const std::string by_target = explain(
      "select v.email from acme.link l join acme.acme_customer v on v.id = l.source_id "
      "where l.target_id = 1000005 and l.rule = 'acme.customer.email'");
  EXPECT_NE(by_target.find("link_by_target"), std::string::npos) << by_target;
}

TEST_F(ViewsTest, TheLinkColumnSaysWhatALookupOfEachRowWouldSay) {
  EXPECT_EQ(refresh(), "");
  customer("cus_1", "a@x.com");
  customer("cus_2", "b@x.com");
  customer("cus_3", "c@x.com");
  customer("cus_4", "d@x.com");
  const EntityId target = own("a@x.com");
  for (const char* id : {"cus_1", "cus_2", "cus_3"}) link(id, target);
  sql("update sluice.link l set state = 'contested' from vendor.acme_customer e where e.id = "
      "l.source_id and e.external_id = 'cus_2'");
  sql("update sluice.link l set state = 'confirmed' from vendor.acme_customer e where e.id = "
      "l.source_id and e.external_id = 'cus_3'");
  const std::string id = std::to_string(target.value);
  EXPECT_EQ(text("select external_id, customer_id from acme.acme_customer order by 1"),
            "cus_1|" + id + "\ncus_2|~\ncus_3|" + id + "\ncus_4|~");
  EXPECT_EQ(
      text("select external_id from acme.acme_customer where customer_id = " + id + " order by 1"),
      "cus_1\ncus_3");
  EXPECT_EQ(text("select external_id from acme.acme_customer where customer_id is null order by 1"),
            "cus_2\ncus_4");
  EXPECT_EQ(text("select count(*) from acme.acme_customer"), "4");
}

}  // namespace
}  // namespace sluice::feed
