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

}  // namespace
}  // namespace sluice::feed
