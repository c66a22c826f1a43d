// Amounts in currencies that nobody knows: found by an index, and told by type and currency.
#include "model/currencies.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "model/storage.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using sluice::testing::acme_manifest;
using sluice::testing::attribute;
using sluice::testing::make_workspace;

class CurrenciesTest : public sluice::testing::PgTest {
 protected:
  static contract::Manifest with_amounts() {
    contract::Manifest manifest = acme_manifest();
    contract::EntityType& invoice = manifest.entity_types[1];
    invoice.attributes.push_back(attribute("fee", contract::AttributeType::decimal));
    invoice.attributes.push_back(attribute("currency", contract::AttributeType::text));
    for (contract::Attribute& one : invoice.attributes) {
      if (one.name != "total" && one.name != "fee") continue;
      one.format = contract::kMinorUnits;
      one.currency = "currency";
    }
    manifest.currency_exponents["usdc"] = 6;
    return manifest;
  }
  Task<Installed> install(contract::Manifest manifest) {
    auto lease = co_await pool().acquire();
    co_return co_await install_types(*lease, workspace_, manifest);
  }
  Task<std::vector<UnknownCurrency>> look() {
    auto lease = co_await pool().acquire();
    const CatalogPtr catalog = co_await load_catalog(*lease, workspace_);
    co_return co_await unknown_currencies(*lease, *catalog);
  }
  /// "acme.invoice xyz 2"
  std::string found() {
    std::string all;
    for (const UnknownCurrency& one : run(look()))
      all += fmt::format("{} {} {} {};", one.type, one.currency, one.rows, one.amounts.size());
    return all;
  }
  void put(const std::string& ids, const std::string& currency, const std::string& total) {
    run(pool().query(
        fmt::format("insert into vendor.acme_invoice (workspace_id, connection_id, external_id, "
                    "content_hash, currency, total) select {}, 1, id, gen_random_uuid(), {}, {} "
                    "from unnest('{}'::text[]) id",
                    workspace_.value, currency, total, ids)));
  }
  WorkspaceId workspace_;
};

TEST_F(CurrenciesTest, AmountsWithoutAKnownCurrencyAreCountedByTypeAndCurrency) {
  workspace_ = run(make_workspace(pool()));
  EXPECT_TRUE(run(install(with_amounts())).currency_indexes.empty()) << "of a new table";
  EXPECT_EQ(found(), "");
  put("{a,b}", "'usd'", "100");
  put("{c}", "null", "100");
  put("{d}", "'usdc'", "100");
  EXPECT_EQ(found(), "") << "ISO 4217, none, and what the connector says";
  put("{e,f}", "'xyz'", "100");
  put("{g}", "'XYZ'", "100");
  put("{h}", "'doge'", "100");
  put("{i}", "'nil'", "null");
  EXPECT_EQ(found(), "acme.invoice XYZ 1 2;acme.invoice doge 1 2;acme.invoice xyz 2 2;");
  run(pool().query("update vendor.acme_invoice set deleted_at = now() where external_id = 'h'"));
  run(pool().query("update vendor.acme_invoice set currency = 'eur' where external_id = 'g'"));
  EXPECT_EQ(found(), "acme.invoice xyz 2 2;");
  const WorkspaceId mine = workspace_;
  workspace_ = run(make_workspace(pool(), "other"));
  run(install(with_amounts()));
  EXPECT_EQ(found(), "") << "another's rows";
  workspace_ = mine;
  // Nothing is read without the index, of however many rows.
  run(pool().query("drop index vendor.acme_invoice_odd_currency"));
  EXPECT_EQ(found(), "");
  const Installed news = run(install(with_amounts()));
  ASSERT_EQ(news.currency_indexes.size(), 1U) << "left to durable work, once for both amounts";
  EXPECT_EQ(news.currency_indexes[0].table, "acme_invoice");
  EXPECT_EQ(news.currency_indexes[0].attribute, "currency");
  run(pool().query(create_currency_index("acme_invoice", "currency")));
  EXPECT_EQ(found(), "acme.invoice xyz 2 2;");
}

/// A vendor's text may be of any length, and an index entry ends at 2,704 bytes.
TEST_F(CurrenciesTest, ACurrencyOfAnyLengthIsStoredAndTold) {
  workspace_ = run(make_workspace(pool()));
  run(install(with_amounts()));
  put("{a}", "(select string_agg(md5(n::text), '') from generate_series(1, 100) n)", "100");
  const std::string told = found();
  EXPECT_TRUE(told.starts_with("acme.invoice c4ca4238a0b923820dcc ")) << told;
  // The same where the index is made behind it.
  run(pool().query("drop index vendor.acme_invoice_odd_currency"));
  run(pool().query(create_currency_index("acme_invoice", "currency")));
  EXPECT_EQ(found(), told);
}

TEST_F(CurrenciesTest, TheIndexHasWhatIsUnknownAndIsUsed) {
  workspace_ = run(make_workspace(pool()));
  run(install(with_amounts()));
  run(pool().query(
      fmt::format("insert into vendor.acme_invoice (workspace_id, connection_id, external_id, "
                  "content_hash, currency, total) select {}, 1, 'x' || n, gen_random_uuid(), "
                  "case when n % 1000 = 0 then 'xyz' else 'usd' end, n from "
                  "generate_series(1, 20000) n",
                  workspace_.value)));
  EXPECT_EQ(found(), "acme.invoice xyz 20 2;");
  const auto before = run(
      pool().query("select pg_stat_clear_snapshot(), pg_stat_force_next_flush(), seq_tup_read from "
                   "pg_stat_all_tables where relid = 'vendor.acme_invoice'::regclass"));
  EXPECT_EQ(before.get<std::int64_t>(0, 2), 0) << "the table was read";
}

}  // namespace
}  // namespace sluice::model
