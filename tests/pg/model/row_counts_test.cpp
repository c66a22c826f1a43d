// Rows as they stand: said without counting, and equal to counting, whatever was done.
#include "model/row_counts.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <memory>
#include <random>
#include <vector>

#include "model/catalog.hpp"
#include "model/storage.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using sluice::testing::acme_manifest;
using sluice::testing::make_workspace;

constexpr const char* kTable = "vendor.acme_invoice";

class RowCountsTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    workspace_ = run(make_workspace(pool()));
    run(install());
  }
  Task<void> install() {
    auto lease = co_await pool().acquire();
    co_await install_types(*lease, workspace_, acme_manifest());
  }
  Task<CatalogPtr> load() {
    auto lease = co_await pool().acquire();
    co_return co_await load_catalog(*lease, workspace_);
  }
  Task<std::int64_t> fold() {
    auto lease = co_await pool().acquire();
    co_return co_await fold_row_counts(*lease);
  }
  void sql(const std::string& text) { run(pool().query(text)); }
  std::int64_t number(const std::string& text) {
    return run(pool().query(text)).get<std::int64_t>(0, 0);
  }
  void insert(std::int64_t connection, std::int64_t from, std::int64_t to) {
    sql(
        fmt::format("insert into {} (workspace_id, connection_id, external_id, content_hash) "
                    "select {}, {}, 'i' || n, gen_random_uuid() from generate_series({}, {}) n "
                    "on conflict (workspace_id, connection_id, external_id) do update set "
                    "deleted_at = null",
                    kTable, workspace_.value, connection, from, to));
  }
  std::int64_t said(std::int64_t connection) {
    const CatalogPtr catalog = run(load());
    const StoredType* type = catalog->find("acme.invoice");
    return run(row_counts(pool(), workspace_)).of(*type, ConnectionId{connection});
  }
  std::int64_t counted(std::int64_t connection) {
    return number(
        fmt::format("select count(*) from {} where workspace_id = {} and connection_id = "
                    "{} and deleted_at is null",
                    kTable, workspace_.value, connection));
  }

  std::string any_statement(std::mt19937& dice, std::int64_t connection) {
    const auto from = static_cast<std::int64_t>(dice() % 200);
    const std::string some = fmt::format(
        "ctid = any(array(select ctid from {} where connection_id = {} and external_id >= 'i{:04}' "
        "order by external_id limit 20 for update skip locked))",
        kTable, connection, from);
    switch (dice() % 5) {
      case 0:
        return fmt::format("update {} set deleted_at = now() where {}", kTable, some);
      case 1:
        return fmt::format("delete from {} where {}", kTable, some);
      case 2:
        return "select sluice.fold_row_counts(7)";
      default:
        return fmt::format(
            "insert into {} (workspace_id, connection_id, external_id, content_hash) select {}, "
            "{}, 'i' || lpad(n::text, 4, '0'), gen_random_uuid() from generate_series({}, {}) n "
            "order by 3 on conflict (workspace_id, connection_id, external_id) do update set "
            "deleted_at = null",
            kTable, workspace_.value, connection, from, from + 15);
    }
  }
  Task<void> work(pg::Connection& connection, unsigned seed, std::int64_t of, int& under_way) {
    std::mt19937 dice(seed);
    try {
      for (int i = 0; i < 150; ++i) {
        const std::string statement = any_statement(dice, of);
        co_await connection.query(statement);
      }
    } catch (const std::exception& error) {
      failure_ = error.what();
    }
    --under_way;
  }

  static constexpr unsigned kWorkers = 4;
  std::string failure_;
  WorkspaceId workspace_;
};

TEST_F(RowCountsTest, WhatComesGoesAndComesBackIsCounted) {
  insert(1, 1, 10);
  insert(2, 1, 3);
  EXPECT_EQ(said(1), 10);
  EXPECT_EQ(said(2), 3);
  insert(1, 5, 12);  // eight that are there, and two that are not
  EXPECT_EQ(said(1), 12);
  sql(fmt::format("update {} set deleted_at = now() where connection_id = 1 and external_id < 'i3'",
                  kTable));
  EXPECT_EQ(said(1), counted(1));
  EXPECT_LT(said(1), 12);
  sql(fmt::format("delete from {} where connection_id = 1", kTable));
  EXPECT_EQ(said(1), 0);
  EXPECT_EQ(said(2), 3);
  const CatalogPtr catalog = run(load());
  EXPECT_EQ(run(row_counts(pool(), workspace_)).of(*catalog->find("acme.invoice")), 3);
}

TEST_F(RowCountsTest, WhatIsRolledBackIsNotCountedAndWhatOnlyChangesLeavesNothing) {
  insert(1, 1, 10);
  const std::int64_t before = number("select count(*) from sluice.row_delta");
  sql(fmt::format("update {} set last_synced_at = now()", kTable));
  EXPECT_EQ(number("select count(*) from sluice.row_delta"), before);
  sql(
      fmt::format("do $$ begin delete from {}; raise exception 'no'; exception when others then "
                  "null; end $$",
                  kTable));
  EXPECT_EQ(said(1), 10);
}

TEST_F(RowCountsTest, FoldingChangesNothingAndLeavesNoDifferences) {
  insert(1, 1, 10);
  insert(1, 11, 20);
  EXPECT_GE(run(fold()), 2);
  EXPECT_EQ(said(1), 20);
  EXPECT_EQ(number("select count(*) from sluice.row_delta"), 0);
  EXPECT_EQ(run(fold()), 0);
}

TEST_F(RowCountsTest, OwnEntitiesAreCountedByType) {
  sql(
      fmt::format("insert into sluice.entity_type (workspace_id, name, origin, relation, "
                  "declaration) values ({}, 'deal', 'own', 'sluice.own_entity', '{{}}')",
                  workspace_.value));
  sql(
      fmt::format("insert into sluice.own_entity (workspace_id, type_id, data) select {}, "
                  "(select type_id from sluice.entity_type where name = 'deal'), '{{}}' from "
                  "generate_series(1, 7)",
                  workspace_.value));
  sql("update sluice.own_entity set deleted_at = now() where id in (select id from "
      "sluice.own_entity limit 2)");
  const CatalogPtr catalog = run(load());
  EXPECT_EQ(run(row_counts(pool(), workspace_)).of(*catalog->find("deal")), 5);
}

/// Several writers who also fold, in any order, each on a connection of its own.
TEST_F(RowCountsTest, TheSumsAreTheTruthUnderTorture) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::vector<std::unique_ptr<pg::Connection>> connections;
  int under_way = kWorkers;
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    connections.push_back(connect_as_app());
    asio::co_spawn(io(), work(*connections.back(), seed + worker, worker % 2 + 1, under_way),
                   asio::detached);
  }
  ASSERT_TRUE(run_until_true([&] { return under_way == 0; }, std::chrono::seconds(60)));
  EXPECT_EQ(failure_, "");
  EXPECT_GT(counted(1) + counted(2), 0);
  EXPECT_EQ(said(1), counted(1));
  EXPECT_EQ(said(2), counted(2));
  run(fold());
  EXPECT_EQ(said(1), counted(1));
  EXPECT_EQ(said(2), counted(2));
}

}  // namespace
}  // namespace sluice::model
