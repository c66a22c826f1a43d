#include "ingest/writer.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "base/failpoint.hpp"
#include "pg/ingest/writer_fixture.hpp"

namespace sluice::ingest {
namespace {

TEST_F(WriterTest, a_page_is_stored_with_every_type_its_keys_its_changes_and_its_checkpoint) {
  auto built = page();
  built.record("person", "p1",
               {{"name", "Ann"},
                {"email", "Ann@Example.com"},
                {"age", 41},
                {"score", 0.5},
                {"born", 1},
                {"data", R"({"b":1,"a":[2]})"},
                {"blob", "\x01\x02"},
                {"price", "12.50"},
                {"seen", 1'000'000},
                {"active", true}});
  built.record("line", "l1", {{"person", "p1"}, {"amount", 5}});
  PageEffects effects;
  effects.checkpoint = "page 2";
  effects.checkpoint_format = 3;
  effects.requests = 2;
  const PageCounts counts = write(built.page, effects);
  EXPECT_EQ(counts.records, 2);
  EXPECT_EQ(counts.inserted, 2);
  EXPECT_EQ(counts.unchanged, 0);
  EXPECT_EQ(
      ask("select concat_ws('|', name, email, age, score, born, data, blob, price, seen, active) "
          "from vendor.acme_person"),
      R"(Ann|Ann@Example.com|41|0.5|1970-01-02|{"a": [2], "b": 1}|\x0102|12.50|1970-01-01 00:00:01+00|t)");
  EXPECT_EQ(ask("select count(*) from sluice.link_key"), "1");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "1");
  EXPECT_EQ(ask("select op || external_id from sluice.change order by position"),
            "insertp1 insertl1");
  EXPECT_EQ(ask("select convert_from(checkpoint, 'UTF8') || checkpoint_format || records_total "
                "from sluice.stream"),
            "page 232");
  EXPECT_EQ(ask("select concat_ws(' ', pages, requests, records, inserted) from sluice.sync_run"),
            "1 2 2 2");
}

TEST_F(WriterTest, the_same_page_again_changes_nothing_at_all) {
  auto built = page();
  for (int i = 0; i < 50; ++i) {
    built.record("person", "p" + std::to_string(i),
                 {{"name", "Ann"}, {"email", "a@b"}, {"data", "{}"}}, i);
  }
  built.deleted("person", "never seen");
  write(built.page);
  const std::string before =
      ask("select xmin || '/' || ctid from vendor.acme_person order by external_id");
  const std::string changes = ask("select count(*) from sluice.change");
  for (int i = 0; i < 3; ++i) {  // the first of them without a look, the others with one
    const PageCounts again = write(built.page);
    EXPECT_EQ(again.unchanged, 51);
    EXPECT_EQ(again.inserted + again.updated + again.deleted + again.quarantined, 0);
  }
  EXPECT_EQ(ask("select xmin || '/' || ctid from vendor.acme_person order by external_id"), before);
  EXPECT_EQ(ask("select distinct xmax::text from vendor.acme_person"), "0");
  EXPECT_EQ(ask("select count(*) from sluice.change"), changes);
}

/// The vendor's time of each change: "p1 insert 5, p2 insert -".
constexpr const char* kVendorTimes =
    "select string_agg(format('%s %s %s', external_id, op, coalesce((extract(epoch from "
    "vendor_at))::bigint::text, '-')), ', ' order by type_id, external_id) from sluice.change";

/// acme.person with `joined` and `edited`, which say when it was made and changed last; µs.
contract::Manifest with_times() {
  contract::Manifest manifest = acme();
  std::vector<contract::Attribute>& attributes = manifest.entity_types[0].attributes;
  attributes.push_back(attribute("joined", AttributeType::timestamp));
  attributes.back().format = contract::kCreatedAt;
  attributes.push_back(attribute("edited", AttributeType::timestamp));
  attributes.back().format = contract::kModifiedAt;
  return manifest;
}

constexpr std::int64_t kSecond = 1'000'000;

TEST_F(WriterTest, a_change_says_when_it_happened_at_the_vendor_where_the_record_does) {
  manifest_ = with_times();
  run(reload());
  auto built = page();
  built.record("person", "p1", {{"name", "A"}, {"joined", 5 * kSecond}, {"edited", 7 * kSecond}});
  built.record("person", "p2", {{"name", "B"}, {"joined", 5 * kSecond}, {"edited", nullptr}});
  built.record("person", "p3", {{"name", "C"}});
  built.record("line", "l1", {{"person", "p1"}});
  write(built.page);
  EXPECT_EQ(ask(kVendorTimes), "p1 insert 7, p2 insert 5, p3 insert -, l1 insert -");
  run(pool().query("delete from sluice.change"));
  auto changed = page();
  changed.record("person", "p1", {{"name", "AA"}, {"edited", 9 * kSecond}});
  changed.record("person", "p2", {{"name", "BB"}, {"joined", 5 * kSecond}});
  changed.deleted("person", "p3");
  write(changed.page);
  EXPECT_EQ(ask(kVendorTimes), "p1 update 9, p2 update -, p3 delete -")
      << "when an object was made says nothing of when it was changed";
}

TEST_F(WriterTest, a_change_that_was_noticed_says_when_the_vendor_said_it_happened) {
  manifest_ = with_times();
  run(reload());
  auto built = page();
  built.record("person", "p1", {{"name", "A"}, {"edited", 7 * kSecond}});
  built.record("person", "p2", {{"name", "B"}, {"joined", 5 * kSecond}});
  built.record("person", "p3", {{"name", "C"}});
  built.record("line", "p3", {{"person", "p1"}});
  Wishes wishes;
  for (const char* id : {"p1", "p2", "p3"}) wishes.by_id[id].noticed_at = Micros(8 * kSecond);
  PageEffects effects;
  effects.wishes = &wishes;
  write(built.page, effects);
  EXPECT_EQ(ask(kVendorTimes), "p1 insert 7, p2 insert 8, p3 insert 8, p3 insert -")
      << "what was noticed is of its type alone";
  run(pool().query("delete from sluice.change"));
  auto gone = page();
  gone.record("person", "p1", {{"name", "AA"}, {"edited", nullptr}});
  gone.deleted("person", "p2");
  write(gone.page, effects);
  EXPECT_EQ(ask(kVendorTimes), "p1 update 8, p2 delete 8");
}

TEST_F(WriterTest, a_time_that_no_calendar_has_is_none) {
  manifest_ = with_times();
  run(reload());
  constexpr std::int64_t kYear9999Ends = 253'402'300'799;
  auto built = page();
  built.record("person", "p1", {{"name", "A"}, {"joined", (kYear9999Ends + 1) * kSecond}});
  built.record("person", "p2", {{"name", "B"}, {"joined", kYear9999Ends * kSecond}});
  built.record("person", "p3", {{"name", "C"}, {"joined", -62'135'596'801 * kSecond}});
  write(built.page);
  EXPECT_EQ(ask(kVendorTimes), "p1 insert -, p2 insert 253402300799, p3 insert -");
}

TEST_F(WriterTest, copied_rows_say_when_they_were_made_too) {
  manifest_ = with_times();
  run(reload());
  auto built = page();
  for (int i = 0; i < 60; ++i)
    built.record("person", "p" + std::to_string(i), {{"name", "A"}, {"joined", i * kSecond}});
  write(built.page);
  EXPECT_EQ(ask("select last_value >= 10000 from sluice.entity_id"), "t") << "it was no COPY";
  EXPECT_EQ(ask("select count(*) from sluice.change where external_id = 'p' || "
                "(extract(epoch from vendor_at))::bigint"),
            "60");
}

// dlt #2928: a schema that is found out on the way, some attributes more with each page.
TEST_F(WriterTest, six_hundred_discovered_attributes_are_all_kept_whichever_page_brought_them) {
  constexpr int kAttributes = 600;
  constexpr int kPages = 6;
  for (int n = 0; n < kPages; ++n) {
    auto built = page();
    built.record("person", "p", {{"name", "Ann"}});
    const auto named = built.page.allocate<contract::NamedValue>(kAttributes / kPages);
    for (int at = 0; at < kAttributes / kPages; ++at) {
      const int number = n * kAttributes / kPages + at;
      contract::NamedValue& one = named[static_cast<std::size_t>(at)];
      one = contract::NamedValue();
      one.name = built.page.keep("found_" + std::to_string(number));
      one.value.kind = contract::Kind::int64;
      one.value.number = number;
    }
    built.page.records.back().named = named;
    EXPECT_EQ(write(built.page).quarantined, 0);
  }
  EXPECT_EQ(
      ask("select concat_ws(' ', count(*), sum(value::int)) from vendor.acme_person, "
          "jsonb_each_text(extra)"),
      std::to_string(kAttributes) + " " + std::to_string(kAttributes * (kAttributes - 1) / 2));
}

/// A record of p with these discovered attributes, each a number.
void add_found(PageBuilder& built, const nlohmann::json& values,
               const std::vector<std::string>& found, bool whole) {
  built.record("person", "p", values);
  const auto named = built.page.allocate<contract::NamedValue>(found.size());
  for (std::size_t at = 0; at < found.size(); ++at) {
    named[at] = contract::NamedValue();
    named[at].name = built.page.keep(found[at]);
    named[at].value.kind = contract::Kind::int64;
    named[at].value.number = static_cast<std::int64_t>(at);
  }
  built.page.records.back().named = named;
  built.page.records.back().whole = whole;
}

TEST_F(WriterTest, what_a_whole_record_lacks_of_discovered_attributes_and_its_url_goes) {
  const auto put = [&](const std::vector<std::string>& found, bool whole,
                       const std::string& url = "") {
    auto built = page();
    add_found(built, {{"name", "Ann"}, {"age", 1}}, found, whole);
    built.page.records.back().source_url = built.page.keep(url);
    return write(built.page);
  };
  const std::string stored =
      "select concat_ws('|', extra, source_url, age) from vendor.acme_person";
  EXPECT_EQ(put({"a", "b"}, true, "https://v/p").inserted, 1);
  EXPECT_EQ(ask(stored), R"({"a": 0, "b": 1}|https://v/p|1)");
  EXPECT_EQ(put({"a", "b"}, true, "https://v/p").unchanged, 1);
  EXPECT_EQ(put({"c"}, false).updated, 1);  // one that is not adds
  EXPECT_EQ(ask(stored), R"({"a": 0, "b": 1, "c": 0}|https://v/p|1)");
  EXPECT_EQ(put({"a"}, true).updated, 1);
  EXPECT_EQ(ask(stored), R"({"a": 0}|1)");
  EXPECT_EQ(put({}, true).updated, 1);
  EXPECT_EQ(ask(stored), "1");
  EXPECT_EQ(put({}, true).unchanged, 1);
  // What it does not list of declared attributes stays.
  auto built = page();
  add_found(built, {{"name", "Bea"}}, {}, true);
  EXPECT_EQ(write(built.page).updated, 1);
  EXPECT_EQ(ask(stored), "1");
  EXPECT_EQ(ask("select changed::text from sluice.change where changed ? 'extra' order by position "
                "desc limit 1"),
            R"({"extra": [{"a": 0}, null]})");
}

TEST_F(WriterTest, of_two_records_in_one_page_a_partial_one_adds_to_a_whole_one) {
  auto first = page();
  add_found(first, {{"name", "Ann"}}, {"old"}, true);
  write(first.page);
  auto built = page();
  add_found(built, {{"name", "Ann"}}, {"a"}, true);
  add_found(built, {{"name", "Ann"}}, {"b"}, false);
  write(built.page);
  EXPECT_EQ(ask("select extra from vendor.acme_person"), R"({"a": 0, "b": 0})");
  auto again = page();
  add_found(again, {{"name", "Ann"}}, {"c"}, false);
  add_found(again, {{"name", "Ann"}}, {"d"}, true);
  write(again.page);
  EXPECT_EQ(ask("select extra from vendor.acme_person"), R"({"d": 0})");
}

TEST_F(WriterTest, a_partial_record_leaves_the_rest_and_says_what_it_changed) {
  auto first = page();
  write(first.record("person", "p", {{"name", "Ann"}, {"email", "a@b"}, {"age", 1}}).page);
  auto second = page();
  const PageCounts counts = write(second.record("person", "p", {{"age", 2}}).page);
  EXPECT_EQ(counts.updated, 1);
  EXPECT_EQ(ask("select concat_ws('|', name, email, age) from vendor.acme_person"), "Ann|a@b|2");
  EXPECT_EQ(ask("select changed from sluice.change where op = 'update'"), R"({"age": [1, 2]})");
  auto third = page();
  write(third.record("person", "p", {{"email", nullptr}}).page);
  EXPECT_EQ(ask("select email is null from vendor.acme_person"), "t");
  EXPECT_EQ(ask("select count(*) from sluice.link_key"), "0");
}

TEST_F(WriterTest, any_split_of_records_into_pages_gives_the_same_rows) {
  struct Part {
    nlohmann::json values;
    bool deleted;
  };
  const std::vector<std::pair<const char*, Part>> records = {
      {"a", {{{"name", "A"}, {"age", 1}}, false}},
      {"b", {{{"name", "B"}, {"email", "b@x"}}, false}},
      {"a", {{{"email", "a@x"}}, false}},
      {"b", {nlohmann::json::object(), true}},
      {"a", {{{"name", "AA"}, {"age", 2}}, false}},
      {"b", {{{"age", 7}}, false}},
      {"c", {nlohmann::json::object(), true}},
      {"a", {{{"age", nullptr}}, false}}};
  const std::string rows =
      "select concat_ws('|', external_id, name, email, age, deleted_at is null) from "
      "vendor.acme_person "
      "order by external_id";
  const std::string keys =
      "select concat_ws('|', p.external_id, k.digest) from sluice.link_key k join "
      "vendor.acme_person p "
      "on p.id = k.entity_id order by 1";
  std::string expected, expected_keys;
  for (std::size_t size = 1; size <= records.size(); ++size) {
    run(pool().query("delete from vendor.acme_person"));
    run(pool().query("delete from sluice.link_key"));
    for (std::size_t begin = 0; begin < records.size(); begin += size) {
      auto built = page();
      for (std::size_t i = begin; i < std::min(begin + size, records.size()); ++i) {
        const auto& [id, part] = records[i];
        part.deleted ? built.deleted("person", id) : built.record("person", id, part.values);
      }
      write(built.page);
    }
    if (size == 1) {
      expected = ask(rows);
      expected_keys = ask(keys);
      EXPECT_EQ(expected, "a|AA|a@x|t b|B|b@x|7|t");
    }
    EXPECT_EQ(ask(rows), expected) << "pages of " << size;
    EXPECT_EQ(ask(keys), expected_keys) << "pages of " << size;
  }
}

TEST_F(WriterTest, a_version_never_decreases_and_a_record_without_one_counts_as_new) {
  const auto put = [&](std::int64_t version, int age) {
    auto built = page();
    return write(built.record("person", "p", {{"name", "Ann"}, {"age", age}}, version).page);
  };
  put(5, 1);
  EXPECT_EQ(put(4, 2).older, 1);
  EXPECT_EQ(ask("select age || ' ' || source_version from vendor.acme_person"), "1 5");
  EXPECT_EQ(put(5, 3).updated, 1);
  EXPECT_EQ(put(9, 3).unchanged, 1);  // newer, but nothing else: remembered, no change
  EXPECT_EQ(put(8, 4).older, 1);
  EXPECT_EQ(put(0, 5).updated, 1);
  EXPECT_EQ(ask("select age || ' ' || source_version from vendor.acme_person"), "5 9");
  auto built = page();
  EXPECT_EQ(write(built.deleted("person", "p", 8).page).deleted, 0);
}

TEST_F(WriterTest, deletion_keeps_the_values_takes_the_keys_and_can_be_undone) {
  auto first = page();
  write(first.record("person", "p", {{"name", "Ann"}, {"email", "a@b"}}).page);
  const std::string id = ask("select id from vendor.acme_person");
  auto second = page();
  EXPECT_EQ(write(second.deleted("person", "p").page).deleted, 1);
  EXPECT_EQ(write(second.page).deleted, 0);
  EXPECT_EQ(ask("select name from vendor.acme_person where deleted_at is not null"), "Ann");
  EXPECT_EQ(ask("select count(*) from sluice.link_key"), "0");
  auto third = page();
  EXPECT_EQ(write(third.record("person", "p", {{"age", 3}}).page).updated, 1);
  EXPECT_EQ(ask("select id from vendor.acme_person where deleted_at is null"), id);
  EXPECT_EQ(ask("select count(*) from sluice.link_key"),
            "1");  // of the email that this record did not have
  EXPECT_EQ(ask("select op from sluice.change order by position"), "insert delete restore");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "3");
}

TEST_F(WriterTest, a_changed_key_is_taken_off_and_put_on) {
  auto first = page();
  write(first.record("person", "p", {{"name", "Ann"}, {"email", "a@b"}}).page);
  const std::string digest = ask("select digest from sluice.link_key");
  auto second = page();
  write(second.record("person", "p", {{"name", "Ann"}, {"email", "A@B"}}).page);
  EXPECT_EQ(ask("select digest from sluice.link_key"), digest);  // the same key in other letters
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "1");
  auto third = page();
  write(third.record("person", "p", {{"email", "c@d"}}).page);
  EXPECT_EQ(ask("select count(*) filter (where digest::text <> '" + digest +
                "') || '/' || count(*) from sluice.link_key"),
            "1/1");
  EXPECT_EQ(ask("select count(*) from sluice.link_queue"), "3");
}

TEST_F(WriterTest, a_bad_record_is_quarantined_and_the_others_are_stored) {
  auto built = page();
  built.record("person", "good", {{"name", "Ann"}});
  built.record("person", "no name", {{"age", 1}});
  built.record("person", "bad json", {{"name", "Ann"}, {"data", "{oops"}});
  built.record("person", "null name", {{"name", nullptr}});
  contract::RejectedRecord rejected;
  rejected.external_id = "rejected";
  rejected.code = "record.wrong_kind";
  rejected.reason = "because";
  built.page.rejected.push_back(rejected);
  const PageCounts counts = write(built.page);
  EXPECT_EQ(counts.inserted, 1);
  EXPECT_EQ(counts.quarantined, 4);
  EXPECT_EQ(counts.unchanged, 0);
  write(built.page);
  EXPECT_EQ(ask("select concat(external_id, '=', code, times) from sluice.quarantine order by "
                "external_id"),
            "bad json=value.invalid_json2 no name=record.required_missing2 null "
            "name=record.required_null2 "
            "rejected=record.wrong_kind2");
}

TEST_F(WriterTest, a_value_that_only_postgresql_refuses_is_found_and_quarantined) {
  // A year that jsonb takes but numeric does not: more digits before the point than it holds.
  auto built = page();
  for (int i = 0; i < 20; ++i)
    built.record("person", "p" + std::to_string(i), {{"name", "Ann"}, {"price", "1"}});
  run(pool().query("alter table vendor.acme_person alter column price type numeric(5,2)"));
  built.record("person", "huge", {{"name", "Ann"}, {"price", "123456"}});
  const PageCounts counts = write(built.page);
  EXPECT_EQ(counts.inserted, 20);
  EXPECT_EQ(counts.quarantined, 1);
  EXPECT_EQ(ask("select external_id || ' ' || code from sluice.quarantine"), "huge value.refused");
}

TEST_F(WriterTest, u0000_is_stored_as_a_replacement_and_shown) {
  const auto put = [&](int age) {
    auto built = page();
    return write(
        built.record("person", "p", {{"name", std::string("A\0B", 3)}, {"age", age}}).page);
  };
  EXPECT_EQ(put(1).inserted, 1);
  EXPECT_EQ(put(1).unchanged, 1);
  EXPECT_EQ(put(2).quarantined, 0);
  EXPECT_EQ(ask("select name from vendor.acme_person"),
            "A\xEF\xBF\xBD"
            "B");
  EXPECT_EQ(ask("select code || times from sluice.quarantine"), "value.nul_replaced2");
}

TEST_F(WriterTest, a_stale_epoch_writes_nothing) {
  context_.epoch = Epoch(6);
  auto built = page();
  built.record("person", "p", {{"name", "Ann"}, {"email", "a@b"}})
      .notice("person", "q", contract::NoticeKind::changed);
  PageEffects effects;
  effects.checkpoint = "later";
  try {
    write(built.page, effects);
    FAIL() << "it was written";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "lease.lost");
    EXPECT_EQ(failure.error().kind, ErrorKind::cancelled);
  }
  EXPECT_EQ(ask("select (select count(*) from vendor.acme_person) + (select count(*) from "
                "sluice.change) + "
                "(select count(*) from sluice.link_key) + (select count(*) from sluice.refetch)"),
            "0");
  EXPECT_EQ(ask("select checkpoint is null from sluice.stream"), "t");
}

TEST_F(WriterTest, notices_meet_in_one_row_an_object_and_answered_ones_leave_unless_newer) {
  auto first = page();
  first.notice("person", "a", contract::NoticeKind::changed)
      .notice("person", "a", contract::NoticeKind::deleted);
  first.notice("person", "b", contract::NoticeKind::merged, "c");
  EXPECT_EQ(write(first.page).notices, 3);
  EXPECT_EQ(ask("select concat(external_id, kind, generation) from sluice.refetch order by 1"),
            "adeleted1 bmerged1 cchanged1");
  auto second = page();
  write(second.notice("person", "a", contract::NoticeKind::changed).page);
  PageEffects effects;
  for (const char* id : {"a", "b"}) {
    PageEffects::Answered answered;
    answered.type = "person";
    answered.external_id = id;
    answered.generation = 1;
    effects.answered.push_back(answered);
  }
  write(page().page, effects);
  EXPECT_EQ(ask("select concat(external_id, generation) from sluice.refetch order by 1"), "a2 c1");
}

TEST_F(WriterTest, a_complete_set_deletes_what_is_not_in_it_and_nothing_else) {
  auto first = page();
  for (const char* id : {"1", "2", "3"}) first.record("line", id, {{"person", "p"}, {"amount", 1}});
  first.record("line", "4", {{"person", "other"}, {"amount", 1}});
  write(first.page);
  auto second = page();
  second.record("line", "5", {{"person", "p"}, {"amount", 1}});
  contract::CompleteSet set;
  set.type = *manifest_.type_index("line");
  set.attribute = 0;
  set.equals = second.page.keep("p");
  const auto ids = second.page.allocate<std::string_view>(2);
  ids[0] = second.page.keep("2");
  ids[1] = second.page.keep("5");
  set.ids = ids;
  second.page.sets.push_back(set);
  EXPECT_EQ(write(second.page).deleted, 2);
  EXPECT_EQ(ask("select external_id from vendor.acme_line where deleted_at is null order by 1"),
            "2 4 5");
  EXPECT_EQ(write(second.page).deleted, 0);
}

TEST_F(WriterTest, children_go_with_their_parent_in_one_page_and_come_back_with_it) {
  const auto lines_of_p = [&](PageBuilder& built) {
    built.record("person", "p", {{"name", "Ann"}});
    for (const char* id : {"1", "2"}) built.record("line", id, {{"person", "p"}, {"amount", 1}});
    contract::CompleteSet set;
    set.type = *manifest_.type_index("line");
    set.attribute = 0;
    set.equals = built.page.keep("p");
    const auto ids = built.page.allocate<std::string_view>(2);
    ids[0] = built.page.keep("1");
    ids[1] = built.page.keep("2");
    set.ids = ids;
    built.page.sets.push_back(set);
  };
  const std::string living =
      "select string_agg(external_id, ' ' order by external_id) from (select external_id from "
      "vendor.acme_line where deleted_at is null union all select external_id from "
      "vendor.acme_person where deleted_at is null) a";
  auto first = page();
  lines_of_p(first);
  first.record("person", "q", {{"name", "Bob"}});
  first.record("line", "3", {{"person", "q"}, {"amount", 1}});
  write(first.page);
  const std::string so_far = ask("select max(position) from sluice.change");
  auto gone = page();
  gone.deleted("person", "p");
  const PageCounts counts = write(gone.page);
  EXPECT_EQ(counts.deleted, 3);
  EXPECT_EQ(counts.unchanged, 0);
  EXPECT_EQ(ask(living), "3 q");
  EXPECT_EQ(ask("select op || external_id from sluice.change where position > " + so_far +
                " order by op, external_id"),
            "delete1 delete2 deletep");
  EXPECT_EQ(ask("select deleted from sluice.sync_run"), "3");
  EXPECT_EQ(write(gone.page).deleted, 0);
  auto back = page();
  lines_of_p(back);
  EXPECT_EQ(write(back.page).updated, 3);
  EXPECT_EQ(ask(living), "1 2 3 p q");
  // Another process, which has seen no set.
  Writer other(pool());
  EXPECT_EQ(run(other.write(context_, gone.page, PageEffects())).deleted, 3);
  EXPECT_EQ(ask(living), "3 q");
  // Deleted and there again within one page: it is there.
  auto both = page();
  lines_of_p(both);
  write(both.page);
  auto to_and_fro = page();
  to_and_fro.deleted("person", "p");
  to_and_fro.record("person", "p", {{"name", "Ann again"}});
  write(to_and_fro.page);
  EXPECT_EQ(ask(living), "1 2 3 p q");
}

TEST_F(WriterTest, a_lower_version_is_counted_apart_and_one_trusting_page_overwrites) {
  auto now = page();
  now.record("person", "p", {{"name", "Ann"}}, 7);
  for (int i = 0; i < 60; ++i) now.record("person", "q" + std::to_string(i), {{"name", "Bob"}}, 7);
  write(now.page);
  auto restored = page();  // the vendor was put back to a backup
  restored.record("person", "p", {{"name", "Anna"}}, 5);
  for (int i = 0; i < 60; ++i)  // the same but for the version
    restored.record("person", "q" + std::to_string(i), {{"name", "Bob"}}, i < 30 ? 7 : 5);
  const PageCounts left = write(restored.page);
  EXPECT_EQ(left.older, 31);
  EXPECT_EQ(left.unchanged, 30);
  EXPECT_EQ(left.updated, 0);
  EXPECT_EQ(ask("select name || source_version from vendor.acme_person where external_id = 'p'"),
            "Ann7");
  EXPECT_EQ(ask("select older from sluice.sync_run"), "31");
  PageEffects trusting;
  trusting.trust_vendor = true;
  const PageCounts over = write(restored.page, trusting);
  EXPECT_EQ(over.older, 0);
  EXPECT_EQ(over.updated, 1);
  EXPECT_EQ(ask("select name || source_version from vendor.acme_person where external_id = 'p'"),
            "Anna5");
  EXPECT_EQ(ask("select count(*) from vendor.acme_person where source_version = 5"), "31");
  EXPECT_EQ(write(restored.page).unchanged, 61);
}

TEST_F(WriterTest, two_records_of_one_id_and_version_that_differ_are_told) {
  auto built = page();
  built.record("person", "p", {{"name", "Ann"}});
  built.record("person", "p", {{"name", "Bob"}});
  built.record("person", "q", {{"name", "Same"}});
  built.record("person", "q", {{"name", "Same"}});
  write(built.page);
  EXPECT_EQ(ask("select name from vendor.acme_person where external_id = 'p'"), "Bob");
  EXPECT_EQ(ask("select code || ' ' || external_id from sluice.quarantine"), "record.twice p");
}

TEST_F(WriterTest, what_only_refers_to_a_deleted_entity_stays) {
  auto first = page();
  first.record("person", "p", {{"name", "Ann"}});
  first.record("line", "1", {{"person", "p"}, {"amount", 1}});
  write(first.page);
  auto gone = page();
  gone.deleted("person", "p");
  EXPECT_EQ(write(gone.page).deleted, 1);  // nobody ever said what all of a person's lines are
  EXPECT_EQ(ask("select count(*) from vendor.acme_line where deleted_at is null"), "1");
}

/// Pages and when the vendor was asked for them.
class WriterOrderTest : public WriterTest {
 protected:
  PageCounts put(std::int64_t observed, const char* name, std::int64_t version = 0) {
    auto built = page();
    built.record("person", "p", {{"name", name}, {"email", std::string(name) + "@x"}}, version);
    return write_at(observed, built.page);
  }
  PageCounts drop(std::int64_t observed) {
    auto built = page();
    return write_at(observed, built.deleted("person", "p").page);
  }
  PageCounts write_at(std::int64_t observed, const contract::Page& page) {
    PageEffects effects;
    effects.observed_version = observed;
    return write(page, effects);
  }
  std::string name() { return ask("select name from vendor.acme_person where deleted_at is null"); }

  /// Writes pages one after the other, each again when it was a deadlock's victim, as the engine
  /// does.
  Task<void> lane(std::vector<std::pair<std::int64_t, PageBuilder>> pages, int& victims) {
    for (auto& [observed, built] : pages) {
      PageEffects effects;
      effects.observed_version = observed;
      for (bool written = false; !written;) {
        try {
          co_await writer_->write(context_, built.page, effects);
          written = true;
        } catch (const pg::QueryError& error) {
          if (error.kind() != ErrorKind::retry_later) throw;
        }
        victims += written ? 0 : 1;
      }
    }
  }
};

TEST_F(WriterOrderTest, lanes_that_write_the_same_rows_at_once_leave_the_newest_of_each) {
  constexpr int kLanes = 6, kPages = 15, kPersons = 12;
  std::uint32_t state = 7;
  const auto random = [&state](std::uint32_t below) {
    state = state * 1'664'525U + 1'013'904'223U;
    return (state >> 8) % below;
  };
  std::map<std::string, std::int64_t> newest;  // negative: deleted then
  int ended = 0, failed = 0, victims = 0;
  for (int l = 0; l < kLanes; ++l) {
    std::vector<std::pair<std::int64_t, PageBuilder>> pages;
    for (int p = 0; p < kPages; ++p) {
      const std::int64_t observed =
          1'000 + static_cast<std::int64_t>(random(100)) * 100 + p * kLanes + l;  // none twice
      auto built = page();
      for (int person = 0; person < kPersons; ++person) {
        const std::string id = "p" + std::to_string(person);
        const bool gone = random(4) == 0;
        if (gone) {
          built.deleted("person", id);
        } else {
          nlohmann::json values = {
              {"name", "Ann"}, {"age", observed}, {"email", std::to_string(observed) + "@x"}};
          if (random(2) == 0)
            values["score"] = 0.5;  // another presence is another statement, with other locks
          built.record("person", id, values);
        }
        if (observed > std::abs(newest[id])) newest[id] = gone ? -observed : observed;
      }
      pages.emplace_back(observed, std::move(built));
    }
    asio::co_spawn(executor(), lane(std::move(pages), victims),
                   [&](const std::exception_ptr& error) {
                     ++ended;
                     failed += error ? 1 : 0;
                   });
  }
  run_until_true([&] { return ended == kLanes; });
  EXPECT_EQ(failed, 0);
  for (const auto& [id, observed] : newest) {
    if (observed < 0)
      continue;  // a deletion of a row that never was, or is gone already, leaves no order: see
                 // Writer
    EXPECT_EQ(
        ask("select age from vendor.acme_person where deleted_at is null and external_id = '" + id +
            "'"),
        std::to_string(observed))
        << id << ", deadlocks: " << victims;
  }
  // One key each of those that are there, and it is theirs.
  EXPECT_EQ(ask("select count(*) from vendor.acme_person where deleted_at is null"),
            ask("select count(distinct entity_id) from sluice.link_key"));
  EXPECT_EQ(ask("select count(*) from sluice.link_key"),
            ask("select count(distinct entity_id) from sluice.link_key"));
}

TEST_F(WriterOrderTest, an_older_page_that_commits_after_a_newer_refetch_changes_nothing) {
  put(1'000, "first");
  EXPECT_EQ(put(3'000, "refetched").updated, 1);
  const PageCounts late = put(2'000, "snapshot");
  EXPECT_EQ(late.updated, 0);
  EXPECT_EQ(late.unchanged, 1);
  EXPECT_EQ(name(), "refetched");
  EXPECT_EQ(ask("select count(*) from sluice.change"), "2");
  EXPECT_EQ(ask("select count(*) from sluice.link_key"), "1");
}

TEST_F(WriterOrderTest, a_newer_refetch_that_commits_after_an_older_page_is_stored) {
  put(1'000, "first");
  EXPECT_EQ(put(2'000, "snapshot").updated, 1);
  EXPECT_EQ(put(3'000, "refetched").updated, 1);
  EXPECT_EQ(put(3'000, "the same moment").updated, 1);
  EXPECT_EQ(name(), "the same moment");
}

TEST_F(WriterOrderTest, an_older_page_neither_restores_nor_deletes_what_is_newer) {
  put(1'000, "first");
  EXPECT_EQ(drop(3'000).deleted, 1);
  EXPECT_EQ(put(2'000, "snapshot").updated, 0);
  EXPECT_EQ(name(), "");
  EXPECT_EQ(put(4'000, "restored").updated, 1);
  EXPECT_EQ(drop(3'500).deleted, 0);
  EXPECT_EQ(name(), "restored");
  EXPECT_EQ(ask("select op from sluice.change order by position"), "insert delete restore");
}

TEST_F(WriterOrderTest, no_order_applies_and_leaves_the_order_of_the_row) {
  put(3'000, "first");
  EXPECT_EQ(put(0, "from anywhere").updated, 1);
  EXPECT_EQ(put(2'000, "older").updated, 0);
  EXPECT_EQ(name(), "from anywhere");
}

TEST_F(WriterOrderTest, another_epoch_is_newer_whatever_its_clock_says) {
  put(3'000, "the host before");
  run(pool().query("update sluice.lease_epoch set epoch = 8"));
  context_.epoch = Epoch(8);
  EXPECT_EQ(put(1'000, "a host whose clock is slow").updated, 1);
  EXPECT_EQ(put(900, "older in the new epoch").updated, 0);
  EXPECT_EQ(name(), "a host whose clock is slow");
}

TEST_F(WriterOrderTest, a_vendors_version_speaks_before_the_clock_except_about_a_deletion) {
  put(3'000, "five", 5);
  EXPECT_EQ(put(2'000, "six", 6).updated, 1);  // a lagging replica answered later with less
  EXPECT_EQ(put(9'000, "four", 4).updated, 0);
  EXPECT_EQ(put(2'500, "six again", 6).updated, 0);  // the same version: the order of the answers
  EXPECT_EQ(put(9'000, "six again", 6).updated, 1);
  EXPECT_EQ(drop(12'000).deleted, 1);  // a deletion has no version
  EXPECT_EQ(put(11'000, "seven", 7).updated, 0);
  EXPECT_EQ(put(13'000, "seven", 7).updated, 1);
  EXPECT_EQ(name(), "seven");
}

TEST_F(WriterOrderTest, a_complete_set_leaves_a_child_that_is_newer) {
  auto children = page();
  children.record("line", "old", {{"person", "p"}, {"amount", 1}});
  write_at(1'000, children.page);
  auto refetched = page();
  refetched.record("line", "new", {{"person", "p"}, {"amount", 1}});
  write_at(3'000, refetched.page);
  auto built = page();
  contract::CompleteSet set;
  set.type = *manifest_.type_index("line");
  set.equals = built.page.keep("p");
  built.page.sets.push_back(set);
  EXPECT_EQ(write_at(2'000, built.page).deleted, 1);
  EXPECT_EQ(ask("select external_id from vendor.acme_line where deleted_at is null"), "new");
  auto late = page();
  late.record("line", "old", {{"person", "p"}, {"amount", 2}});
  EXPECT_EQ(write_at(1'500, late.page).updated, 0);  // what a set deleted is as new as the set
  EXPECT_EQ(write_at(4'000, built.page).deleted, 1);
}

TEST_F(WriterTest, a_complete_set_looks_again_when_the_other_lane_changes_a_row_meanwhile) {
  auto first = page();
  first.record("line", "1", {{"person", "p"}, {"amount", 1}})
      .record("line", "2", {{"person", "p"}, {"amount", 1}});
  write(first.page);
  auto built = page();
  contract::CompleteSet set;
  set.type = *manifest_.type_index("line");
  set.equals = built.page.keep("p");
  built.page.sets.push_back(set);
  const auto other = connect();
  run(other->query("begin"));
  run(other->query(
      "update vendor.acme_line set sync_version = sync_version + 1 where external_id = '1'"));
  PageCounts counts;
  bool done = false;
  asio::co_spawn(executor(), writer_->write(context_, built.page, PageEffects()),
                 [&](const std::exception_ptr& error, PageCounts result) {
                   EXPECT_FALSE(error);
                   counts = result;
                   done = true;
                 });
  const auto watch = connect();
  const std::string blocked =
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = "
      "'Lock'";
  for (int i = 0; i < 10'000 && run(watch->query(blocked)).empty(); ++i) {
  }
  run(other->query("commit"));
  run_until_true([&] { return done; });
  EXPECT_EQ(counts.deleted, 2);
  EXPECT_EQ(ask("select count(*) from sluice.change where op = 'delete'"), "2");
}

TEST_F(WriterTest, a_value_that_no_index_takes_is_quarantined_when_the_row_is_there_already) {
  auto first = page();
  first.record("line", "1", {{"person", "p"}, {"amount", 1}})
      .record("line", "2", {{"person", "p"}, {"amount", 1}});
  write(first.page);
  std::string noise;  // more than an index entry holds, also compressed
  std::uint32_t state = 1;
  for (int i = 0; i < 9'000; ++i) {
    state = state * 1'664'525U + 1'013'904'223U;
    noise.push_back(static_cast<char>('!' + (state >> 24) % 90));
  }
  auto second = page();
  second.record("line", "1", {{"person", noise}, {"amount", 2}})
      .record("line", "2", {{"person", "p"}, {"amount", 2}});
  const PageCounts counts = write(second.page);
  EXPECT_EQ(counts.quarantined, 1);
  EXPECT_EQ(counts.updated, 1);
  EXPECT_EQ(ask("select external_id || code from sluice.quarantine"), "1value.refused");
  EXPECT_EQ(ask("select amount from vendor.acme_line order by external_id"), "1 2");
}

TEST_F(WriterTest, what_is_looked_up_is_looked_up_by_index_even_when_the_tables_are_empty) {
  auto built = page();
  built.record("person", "p", {{"name", "Ann"}, {"email", "a@b"}, {"age", 1}});
  Batch batch(manifest_, *context_.catalog, built.page);
  const TypePlan& plan = batch.plan(0);
  const Presence& presence = batch.presence(batch.rows[0]);
  std::vector<std::string> plans;
  const auto explain = [&](const std::string& sql, const std::string& types, int nulls) {
    run(explain_generic(sql, types, nulls, plans));
  };
  explain(action_sql(Action::look, plan, presence),
          "bigint,bigint,bigint,text[],bigint[],uuid[],boolean[]", 7);
  explain(kRemoveKeys.sql, "bigint,bigint[],int[],int[],uuid[]", 5);
  explain(kForgetAnswered.sql, "bigint,bigint,text[],text[],bigint[]", 5);
  explain(kForgive.sql, "bigint,bigint,bigint,text[],text[]", 5);
  explain(any_row_sql(plan), "bigint,bigint", 2);
  explain(near_sql(plan), "bigint,bigint,text[],bigint", 4);
  for (const std::string& text : plans) {
    EXPECT_EQ(text.find("Seq Scan"), std::string::npos) << text;
    EXPECT_EQ(text.find("Hash"), std::string::npos) << text;
    EXPECT_NE(text.find("Index"), std::string::npos) << text;
  }
  EXPECT_EQ(plans.size(), 6U);
}

TEST_F(WriterTest, a_thousand_rows_and_six_hundred_attributes_go_through) {
  contract::Manifest wide = acme();
  contract::EntityType type;
  type.name = "wide";
  type.display_name = "Wide";
  for (int i = 0; i < 600; ++i)
    type.attributes.push_back(attribute("a" + std::to_string(i), AttributeType::text));
  type.display_attribute = "a0";
  wide.entity_types.push_back(type);
  manifest_ = wide;
  run(reload());
  auto built = page();
  nlohmann::json values;
  for (int i = 0; i < 600; ++i) values["a" + std::to_string(i)] = "v" + std::to_string(i);
  built.record("wide", "w", values);
  for (int i = 0; i < 1'000; ++i)
    built.record("person", "p" + std::to_string(i), {{"name", "Ann"}, {"age", i}});
  EXPECT_EQ(write(built.page).inserted, 1'001);
  EXPECT_EQ(ask("select a0 || a599 from vendor.acme_wide"), "v0v599");
  values["a599"] = "new";
  auto second = page();
  EXPECT_EQ(write(second.record("wide", "w", values).page).updated, 1);
  EXPECT_EQ(ask("select changed from sluice.change where op = 'update'"),
            R"({"a599": ["v599", "new"]})");
}

/// Runs as pg.ingest_failpoints, where each of the writer's failpoints throws at its first passage.
TEST_F(WriterTest, a_failure_before_the_commit_leaves_nothing_and_after_it_everything) {
  if (!failpoint::armed)
    GTEST_SKIP() << "set SLUICE_FAILPOINTS, as ctest's pg.ingest_failpoints does";
  auto built = page();
  built.record("person", "p", {{"name", "Ann"}, {"email", "a@b"}});
  const std::string stored =
      "select (select count(*) from vendor.acme_person) || '/' || (select count(*) from "
      "sluice.change) || '/' || (select count(*) from sluice.link_queue)";
  EXPECT_THROW(write(built.page), Failure);  // ingest.after_upsert
  EXPECT_EQ(ask(stored), "0/0/0");
  EXPECT_THROW(write(built.page), Failure);  // ingest.before_commit
  EXPECT_EQ(ask(stored), "0/0/0");
  EXPECT_THROW(write(built.page), Failure);  // ingest.after_commit
  EXPECT_EQ(ask(stored), "1/1/1");
  EXPECT_EQ(write(built.page).unchanged, 1);
  EXPECT_EQ(ask(stored), "1/1/1");
}

}  // namespace
}  // namespace sluice::ingest
