#include "pg/ingest/writer_fixture.hpp"

#include "model/catalog_version.hpp"

namespace sluice::ingest {
namespace {

class TailTest : public WriterTest {
 protected:
  /// The stream "people" enumerates persons.
  void enumerate() {
    contract::Stream stream;
    stream.name = "people";
    stream.entity_types = {"person", "line"};
    stream.enumerates = {"person"};
    manifest_.streams.push_back(stream);
  }

  PageEffects answering(std::initializer_list<const char*> ids) {
    PageEffects effects;
    for (const char* id : ids) {
      PageEffects::Answered& answered = effects.answered.emplace_back();
      answered.type = "person";
      answered.external_id = id;
      answered.generation = 1;
    }
    return effects;
  }

  /// As the engine writes the answer of a refetch: no stream, a run of its own.
  PageCounts refetch(const contract::Page& page, PageEffects effects) {
    const auto made = run(pool().query(
        "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) values (1, 1, '', "
        "'refetch') returning run_id"));
    PageContext context = context_;
    context.stream = "";
    context.run = made.get<RunId>(0, 0);
    last_run_ = context.run;
    return run(writer_->write(context, page, std::move(effects)));
  }

  std::string quarantined() {
    return ask("select external_id || '=' || code from sluice.quarantine order by 1");
  }

  RunId last_run_;
};

TEST_F(TailTest, a_recording_enumeration_keeps_eight_bytes_of_each_id_that_is_there) {
  enumerate();
  auto built = page();
  built.record("person", "a", {{"name", "Ann"}}).record("person", "b", {{"age", 1}});
  built.record("line", "l", {{"amount", 1}}).deleted("person", "c");
  contract::RejectedRecord rejected;
  rejected.external_id = "d";
  rejected.code = "record.wrong_kind";
  rejected.reason = "because";
  built.page.rejected.push_back(rejected);
  PageEffects effects;
  effects.enumeration = 4;
  write(built.page, effects);
  // What is refused is there all the same; what is deleted is not; lines are not enumerated.
  EXPECT_EQ(ask("select concat_ws(' ', stream, enumeration, type, cardinality(hashes)) from "
                "sluice.seen"),
            "people 4 person 3");
  EXPECT_EQ(ask("select count(*) from unnest(array['a','b','d']) as x, sluice.seen s where "
                "hashtextextended(x collate \"C\", 0) = any(s.hashes)"),
            "3");
  write(built.page, effects);
  EXPECT_EQ(ask("select count(*) from sluice.seen"), "2");
}

TEST_F(TailTest, a_page_that_goes_by_an_old_catalogue_is_not_stored_and_is_by_the_new_one) {
  auto built = page();
  built.record("person", "a", {{"name", "Ann"}});
  const auto raise = [](pg::Pool& pool) -> Task<void> {
    auto connection = co_await pool.acquire();
    auto transaction = co_await pg::Transaction::begin(*connection);
    co_await model::raise_catalog_version(transaction, WorkspaceId(1));
    co_await transaction.commit();
  };
  run(raise(pool()));
  try {
    write(built.page);
    FAIL() << "it was stored";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "catalog.changed");
    EXPECT_EQ(failure.error().kind, ErrorKind::retry_later);
  }
  EXPECT_EQ(ask("select count(*) from vendor.acme_person"), "0");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "0");
  run(reload());
  EXPECT_EQ(write(built.page).inserted, 1);
}

TEST_F(TailTest, without_an_enumeration_no_ids_are_kept) {
  enumerate();
  auto built = page();
  write(built.record("person", "a", {{"name", "Ann"}}).page);
  PageEffects effects;
  effects.enumeration = 4;
  write(page().page, effects);  // a page without any
  EXPECT_EQ(ask("select count(*) from sluice.seen"), "0");
}

TEST_F(TailTest, the_last_page_of_a_recording_enumeration_makes_its_comparison_due) {
  enumerate();
  run(pool().query("update sluice.stream set reconcile = 'recording'"));
  auto built = page();
  built.record("person", "a", {{"name", "Ann"}});
  PageEffects effects;
  effects.enumeration = 1;
  write(built.page, effects);
  EXPECT_EQ(ask("select reconcile || enumerated_records from sluice.stream"), "recording1");
  effects.snapshot_done = true;
  write(built.page, effects);
  EXPECT_EQ(ask("select reconcile || last_full_records from sluice.stream"), "due2");
}

TEST_F(TailTest, what_is_read_again_and_stored_leaves_the_quarantine) {
  auto bad = page();
  bad.record("person", "mended", {{"age", 1}}).record("person", "asked not", {{"age", 1}});
  bad.record("person", "still bad", {{"age", 1}}).record("person", "gone", {{"age", 1}});
  write(bad.page);
  auto answer = page();
  answer.record("person", "mended", {{"name", "Ann"}}).record("person", "still bad", {{"age", 2}});
  answer.deleted("person", "gone");
  refetch(answer.page, answering({"mended", "still bad", "gone"}));
  EXPECT_EQ(quarantined(), "asked not=record.required_missing still bad=record.required_missing");
}

TEST_F(TailTest, only_the_reason_that_holds_no_longer_leaves_the_quarantine) {
  auto bad = page();
  write(bad.record("person", "p", {{"age", 1}}).page);
  auto answer = page();
  answer.record("person", "p", {{"name", "Ann"}, {"data", "{oops"}});
  refetch(answer.page, answering({"p"}));
  EXPECT_EQ(quarantined(), "p=value.invalid_json");
}

TEST_F(TailTest, a_note_about_an_unchanged_row_stays) {
  auto noted = page();
  noted.record("person", "p", {{"name", std::string("A\0B", 3)}});
  write(noted.page);
  EXPECT_EQ(quarantined(), "p=value.nul_replaced");
  EXPECT_EQ(refetch(noted.page, answering({"p"})).unchanged, 1);
  EXPECT_EQ(quarantined(), "p=value.nul_replaced");
  auto clean = page();
  refetch(clean.record("person", "p", {{"name", "AB"}}).page, answering({"p"}));
  EXPECT_EQ(quarantined(), "");
}

TEST_F(TailTest, what_an_earlier_page_of_the_same_refetch_refused_stays) {
  auto first = page();
  first.record("person", "p", {{"age", 1}});
  refetch(first.page, PageEffects());
  PageContext context = context_;
  context.stream = "";
  context.run = last_run_;
  run(writer_->write(context, page().page, answering({"p"})));
  EXPECT_EQ(quarantined(), "p=record.required_missing");
}

TEST_F(TailTest, a_set_that_lacks_many_children_marks_them_in_parts) {
  constexpr int kChildren = 25'000;
  run(
      pool().query("insert into vendor.acme_line (workspace_id, connection_id, external_id, "
                   "content_hash, person) select 1, 1, 'l' || i, gen_random_uuid(), 'p' from "
                   "generate_series(1, " +
                   std::to_string(kChildren) + ") as i"));
  auto built = page();
  contract::CompleteSet set;
  set.type = *manifest_.type_index("line");
  set.attribute = 0;
  set.equals = built.page.keep("p");
  const auto ids = built.page.allocate<std::string_view>(1);
  ids[0] = built.page.keep("l7");
  set.ids = ids;
  built.page.sets.push_back(set);
  EXPECT_EQ(write(built.page).deleted, kChildren - 1);
  EXPECT_EQ(ask("select external_id from vendor.acme_line where deleted_at is null"), "l7");
  EXPECT_EQ(ask("select count(*) || ' ' || count(distinct entity_id) from sluice.change where op = "
                "'delete'"),
            "24999 24999");
}

}  // namespace
}  // namespace sluice::ingest
