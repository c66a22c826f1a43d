#include <fmt/format.h>

#include "pg/ingest/writer_fixture.hpp"

namespace sluice::ingest {
namespace {

/// A page goes into connection 1, whose types are empty, and into connection 2, where a row of each
/// type is there already: by COPY and by INSERT.
class CopyTest : public WriterTest {
 protected:
  void SetUp() override {
    WriterTest::SetUp();
    run(
        pool().query("insert into sluice.connection (workspace_id, connector, name) "
                     "values (1, 'acme', 'b')"));
    run(
        pool().query("insert into sluice.stream (workspace_id, connection_id, stream, mode) "
                     "values (1, 2, 'people', 'snapshot')"));
    run(
        pool().query("insert into sluice.sync_run (workspace_id, connection_id, stream, kind) "
                     "values (1, 2, 'people', 'full')"));
    for (const char* table : {"person", "line"}) {
      run(pool().query(fmt::format(
          "insert into vendor.acme_{} (workspace_id, connection_id, external_id, content_hash) "
          "values (1, 2, 'seed', gen_random_uuid())",
          table)));
    }
  }

  PageCounts write_into(std::int64_t connection, const contract::Page& page) {
    PageContext context = context_;
    context.connection = ConnectionId(connection);
    context.run = RunId(connection);
    PageEffects effects;
    effects.observed_version = 5;
    return run(writer_->write(context, page, effects));
  }

  /// Everything that a page left behind for a connection, but ids and times.
  std::string left_by(std::int64_t connection) {
    const auto where = [connection](const char* alias) {
      return fmt::format("{0}.workspace_id = 1 and {0}.connection_id = {1}", alias, connection);
    };
    std::string all;
    for (const char* table : {"person", "line"}) {
      all +=
          ask(fmt::format("select (to_jsonb(t) - 'id' - 'connection_id' - 'first_synced_at' - "
                          "'last_synced_at' - 'deleted_at')"
                          "::text || (t.id > 0)::text || (t.deleted_at is null)::text from "
                          "vendor.acme_{} t where {} and external_id <> 'seed' "
                          "order by external_id",
                          table, where("t")));
      all += "\n";
      all += ask(fmt::format(
          "select concat_ws('|', t.external_id, k.kind, k.digest, k.attribute) from "
          "sluice.link_key k join vendor.acme_{} t on t.id = k.entity_id where {} order by 1",
          table, where("t")));
      all += "\n";
    }
    all +=
        ask("select concat_ws('|', type_id, op, external_id, changed) from sluice.change t "
            "where " +
            where("t") + " order by position");
    all += "\n";
    all +=
        ask("select concat_ws('|', type, external_id, code, reason, record, times) from "
            "sluice.quarantine t where " +
            where("t") + " order by external_id, code");
    return all;
  }

  /// Blocks of ids are taken for COPY only.
  bool has_copied() {
    return run(pool().query("select last_value >= 10000 from sluice.entity_id")).get<bool>(0, 0);
  }

  PageBuilder people(int from, int to, int age = 1) {
    auto built = page();
    for (int i = from; i < to; ++i) {
      built.record("person", "p" + std::to_string(i),
                   {{"name", "Ann"}, {"email", fmt::format("a{}@x", i)}, {"age", age}}, i);
    }
    return built;
  }
};

TEST_F(CopyTest, a_copied_page_leaves_the_same_rows_as_an_inserted_one) {
  auto built = people(0, 80);
  const char* decimals[] = {"0",       "-0.00",  "12.50",          "+7",
                            ".5",      "5.",     "-9999",          "10000",
                            "0.0001",  "000.10", "-123456789.987", "99999999999999999999.5",
                            "1000000", "0.00012"};
  int at = 0;
  for (const char* decimal : decimals) {
    built.record("person", "d" + std::to_string(at++), {{"name", "Ann"}, {"price", decimal}});
  }
  built.record("person", "every kind",
               {{"name", "Ann"},
                {"email", "Ann@Example.com"},
                {"age", -41},
                {"score", -0.5},
                {"born", -800'000},
                {"data", R"({"b":1,"a":[2,"\u00e9"]})"},
                {"blob", std::string("\x00\x01\xff", 3)},
                {"price", "1.5"},
                {"seen", -1'000'000},
                {"active", false}});
  built.record("person", "nulls", {{"name", "Ann"}, {"email", nullptr}, {"price", nullptr}});
  built.record("person", "nul", {{"name", std::string("A\0B", 3)}});
  built.record("person", "no name", {{"age", 1}});
  built.record("person", "twice", {{"name", "first"}, {"age", 1}});
  built.record("person", "twice", {{"name", "second"}});
  built.record("person", "comes and goes", {{"name", "Ann"}, {"email", "gone@x"}});
  built.deleted("person", "comes and goes");
  built.deleted("person", "never seen");
  built.record("person", "bad json", {{"name", "Ann"}, {"data", "{oops"}});
  built.page.records.back().source_url = built.page.keep("https://acme.example/bad");
  built.record("person", "with url", {{"name", "Ann"}});
  built.page.records.back().source_url = built.page.keep("https://acme.example/1");
  built.record("person", "with more", {{"name", "Ann"}});
  const auto named = built.page.allocate<contract::NamedValue>(1);
  named[0] = contract::NamedValue();
  named[0].name = built.page.keep("discovered");
  named[0].value.kind = Kind::int64;
  named[0].value.number = 3;
  built.page.records.back().named = named;
  for (int i = 0; i < 60; ++i) {
    built.record("line", "l" + std::to_string(i), {{"person", "p1"}, {"amount", i}});
  }
  const PageCounts copied = write_into(1, built.page);
  EXPECT_TRUE(has_copied());
  const PageCounts inserted = write_into(2, built.page);
  EXPECT_EQ(copied.inserted, inserted.inserted);
  EXPECT_EQ(copied.updated, inserted.updated);
  EXPECT_EQ(copied.deleted, inserted.deleted);
  EXPECT_EQ(copied.quarantined, inserted.quarantined);
  EXPECT_EQ(copied.unchanged, inserted.unchanged);
  const std::string by_copy = left_by(1), by_insert = left_by(2);
  const auto differ =
      std::mismatch(by_copy.begin(), by_copy.end(), by_insert.begin(), by_insert.end());
  EXPECT_TRUE(by_copy == by_insert)
      << std::string(differ.first, std::min(by_copy.end(), differ.first + 300)) << "\n"
      << std::string(differ.second, std::min(by_insert.end(), differ.second + 300));
  EXPECT_EQ(ask("select count(distinct id) = count(*) from vendor.acme_person"), "t");
  // And once more, over what is there now: nothing.
  const PageCounts again = write_into(1, built.page);
  EXPECT_EQ(again.inserted + again.deleted, write_into(2, built.page).deleted);
}

TEST_F(CopyTest, a_decimal_with_an_exponent_goes_by_insert_with_its_page) {
  auto built = people(0, 60);
  built.record("person", "exponent", {{"name", "Ann"}, {"price", "1.5e3"}});
  EXPECT_EQ(write_into(1, built.page).inserted, 61);
  EXPECT_EQ(ask("select price from vendor.acme_person where external_id = 'exponent'"), "1500");
}

TEST_F(CopyTest, a_row_that_somebody_else_stored_sends_the_page_the_other_way) {
  auto first = people(0, 60);
  EXPECT_EQ(write_into(1, first.page).inserted, 60);
  EXPECT_TRUE(has_copied());
  Writer other(pool());  // another lane, another host
  auto meanwhile = page();
  meanwhile.record("person", "p70", {{"name", "Bob"}, {"age", 9}}, 70);
  PageContext context = context_;
  run(other.write(context, meanwhile.page, PageEffects()));
  auto second = people(60, 120);
  const PageCounts counts = write_into(1, second.page);
  EXPECT_EQ(counts.inserted, 59);
  EXPECT_EQ(counts.updated, 1);
  EXPECT_EQ(ask("select count(*) || '/' || count(distinct id) from vendor.acme_person where "
                "connection_id = 1"),
            "120/120");
  EXPECT_EQ(ask("select count(*) from sluice.change where op = 'insert' and connection_id = 1"),
            "120");
  EXPECT_EQ(ask("select name from vendor.acme_person where external_id = 'p70'"), "Ann");
  EXPECT_EQ(ask("select pages || ' ' || records from sluice.sync_run where run_id = 1"), "3 121");
}

TEST_F(CopyTest, a_row_of_an_earlier_page_is_updated_not_copied_again) {
  write_into(1, people(0, 60).page);
  auto overlapping = people(50, 110, 2);
  const PageCounts counts = write_into(1, overlapping.page);
  EXPECT_EQ(counts.inserted, 50);
  EXPECT_EQ(counts.updated, 10);
  EXPECT_EQ(
      ask("select count(*) || ' ' || sum(age) from vendor.acme_person where connection_id = 1"),
      "110 170");
}

TEST_F(CopyTest, what_only_postgresql_refuses_is_quarantined_and_the_others_are_copied) {
  run(pool().query("alter table vendor.acme_person alter column price type numeric(5,2)"));
  auto built = people(0, 60);
  built.record("person", "huge", {{"name", "Ann"}, {"price", "123456"}});
  const PageCounts counts = write_into(1, built.page);
  EXPECT_EQ(counts.inserted, 60);
  EXPECT_EQ(counts.quarantined, 1);
  EXPECT_EQ(ask("select external_id || ' ' || code from sluice.quarantine"), "huge value.refused");
}

TEST_F(CopyTest, a_stale_epoch_copies_nothing) {
  context_.epoch = Epoch(6);
  auto built = people(0, 60);
  EXPECT_THROW(write_into(1, built.page), Failure);
  EXPECT_EQ(ask("select count(*) from vendor.acme_person where connection_id = 1"), "0");
}

TEST_F(CopyTest, any_decimal_reads_back_as_insert_stores_it) {
  std::uint32_t state = 7;
  const auto next = [&state](std::uint32_t bound) {
    state = state * 1'664'525U + 1'013'904'223U;
    return (state >> 8) % bound;
  };
  auto built = page();
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    std::string decimal = next(3) == 0 ? "-" : "";
    const std::uint32_t whole = next(24), fraction = next(14);
    for (std::uint32_t d = 0; d < whole; ++d)
      decimal.push_back(next(3) == 0 ? '0' : static_cast<char>('0' + next(10)));
    if (fraction > 0 || whole == 0) decimal.push_back('.');
    for (std::uint32_t d = 0; d < std::max(fraction, whole == 0 ? 1u : 0u); ++d)
      decimal.push_back(next(3) == 0 ? '0' : static_cast<char>('0' + next(10)));
    built.record("person", fmt::format("d{:03}", i), {{"name", decimal}, {"price", decimal}});
  }
  EXPECT_EQ(write_into(1, built.page).inserted, 300);
  EXPECT_TRUE(has_copied());
  EXPECT_EQ(ask("select external_id || ' ' || name || ' ' || price from vendor.acme_person "
                "where connection_id = 1 and price::text is distinct from (name::numeric)::text"),
            "");
  EXPECT_EQ(ask("select count(*) from vendor.acme_person where connection_id = 1 and price = "
                "name::numeric"),
            "300");
}

}  // namespace
}  // namespace sluice::ingest
