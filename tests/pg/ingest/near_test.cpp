// Rows that were stored one after the other are found by the range of their ids; the verdict is the
// same as when each is looked up by itself.
#include <fmt/format.h>

#include "pg/ingest/writer_fixture.hpp"

namespace sluice::ingest {
namespace {

class NearTest : public WriterTest {
 protected:
  PageBuilder people(int from, int to, int age = 1) {
    auto built = page();
    for (int i = from; i < to; ++i) {
      built.record("person", fmt::format("p{:04}", i), {{"name", "Ann"}, {"age", age}}, 10);
    }
    return built;
  }

  /// A host that has just started and knows nothing of the types.
  void restart() { writer_ = std::make_unique<Writer>(pool()); }

  PageCounts write_into(std::int64_t connection, const contract::Page& page) {
    PageContext context = context_;
    context.connection = ConnectionId(connection);
    context.stream = "";
    return run(writer_->write(context, page, PageEffects()));
  }
};

TEST_F(NearTest, a_page_that_was_stored_as_it_comes_is_found_without_a_lookup_of_each_row) {
  write(people(0, 200).page);
  restart();
  const PageCounts again = write(people(0, 200).page);
  EXPECT_EQ(again.unchanged, 200);
  EXPECT_EQ(writer_->stats().found_near, 200);
  EXPECT_EQ(writer_->stats().looked_up, 0);
}

TEST_F(NearTest, pages_whose_borders_have_moved_are_found_too) {
  write(people(0, 200).page);
  write(people(200, 400).page);
  write(people(400, 600).page);
  restart();
  EXPECT_EQ(write(people(70, 270).page).unchanged, 200);
  EXPECT_EQ(write(people(270, 470).page).unchanged, 200);
  EXPECT_GT(writer_->stats().found_near, 350);
}

TEST_F(NearTest, what_differs_is_written_as_ever) {
  write(people(0, 200).page);
  auto gone = page();
  gone.deleted("person", "p0008", 20);
  EXPECT_EQ(write(gone.page).deleted, 1);
  run(pool().query("update vendor.acme_person set deleted_at = now() where external_id = 'p0020'"));
  restart();
  auto built = page();
  for (int i = 0; i < 200; ++i) {
    const std::string id = fmt::format("p{:04}", i);
    if (i == 5) {
      built.record("person", id, {{"name", "Bob"}, {"age", 1}}, 10);
    } else if (i == 6) {
      built.deleted("person", id, 11);
    } else if (i == 7) {
      built.record("person", id, {{"name", "from the past"}, {"age", 1}}, 9);
    } else if (i == 8) {
      built.record("person", id, {{"name", "Ann"}, {"age", 1}}, 30);
    } else if (i == 9) {
      built.record("person", id, {{"name", "Ann"}, {"age", 1}}, 40);
    } else {
      built.record("person", id, {{"name", "Ann"}, {"age", 1}}, 10);
    }
  }
  for (int i = 0; i < 10; ++i) built.record("person", fmt::format("q{}", i), {{"name", "New"}}, 10);
  const PageCounts counts = write(built.page);
  EXPECT_EQ(counts.inserted, 10);
  EXPECT_EQ(counts.updated, 3);  // p0005, and p0008 and p0020 are back
  EXPECT_EQ(counts.deleted, 1);
  EXPECT_EQ(counts.unchanged, 195);
  EXPECT_EQ(counts.older, 1);  // p0007
  // The last of the page's ids is new, so that the range ends before the last row that is there.
  EXPECT_GE(writer_->stats().looked_up, 16);
  EXPECT_LE(writer_->stats().looked_up, 60);
  EXPECT_EQ(ask("select concat_ws(' ', name, source_version, deleted_at is null) from "
                "vendor.acme_person where external_id between 'p0005' and 'p0010' "
                "order by external_id"),
            "Bob 10 t Ann 11 f Ann 10 t Ann 30 t Ann 40 t Ann 10 t");
}

TEST_F(NearTest, rows_of_another_connection_that_lie_between_are_nobody_elses) {
  run(
      pool().query("insert into sluice.connection (workspace_id, connector, name) "
                   "values (1, 'acme', 'b')"));
  // The same ids in both, in turns, so that each one's range holds the other's rows.
  for (int at = 0; at < 200; at += 20) {
    write_into(1, people(at, at + 20, 1).page);
    write_into(2, people(at, at + 20, 2).page);
  }
  restart();
  EXPECT_EQ(write_into(1, people(0, 200, 1).page).unchanged, 200);
  EXPECT_EQ(writer_->stats().found_near, 200);
  EXPECT_EQ(write_into(1, people(0, 200, 2).page).updated, 200);
  EXPECT_EQ(ask("select sum(age) from vendor.acme_person group by connection_id"), "400 400");
}

TEST_F(NearTest, rows_that_lie_far_apart_are_looked_up_one_by_one) {
  write(people(0, 200).page);
  run(pool().query("update vendor.acme_person set id = id * 100000"));
  restart();
  for (int turn = 1; turn <= 3; ++turn) {
    EXPECT_EQ(write(people(0, 200).page).unchanged, 200);
    EXPECT_EQ(writer_->stats().found_near, 0);
    EXPECT_EQ(writer_->stats().looked_up, 200 * turn);
  }
}

TEST_F(NearTest, rows_that_were_made_ready_to_be_copied_are_copied) {
  write(people(0, 100).page);
  PageEffects effects;
  effects.observed_version = 5;
  auto next = people(100, 200, 3);
  const PageCheck check = writer_->check(context_);
  ASSERT_EQ(check.copied.size(), 1U);
  effects.checked = check(next.page);
  EXPECT_EQ(write(next.page, std::move(effects)).inserted, 100);
  EXPECT_EQ(
      ask("select concat_ws(' ', count(*), count(distinct id), min(id) > 0, sum(age), "
          "count(*) filter (where observed_version = (1::bigint << 62) + (7::bigint << 37) + 5)) "
          "from vendor.acme_person"),
      "200 200 t 400 100");
  // They were ready, and then the type is no longer met so.
  auto late = people(200, 300, 3);
  PageEffects after;
  after.checked = writer_->check(context_)(late.page);
  write(people(150, 250, 3).page);
  EXPECT_EQ(write(late.page, std::move(after)).inserted, 50);
  EXPECT_EQ(ask("select concat_ws(' ', count(*), count(distinct id)) from vendor.acme_person"),
            "300 300");
}

}  // namespace
}  // namespace sluice::ingest
