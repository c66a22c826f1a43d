#include "sync/reconcile.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/failpoint.hpp"
#include "model/storage.hpp"
#include "pg/sync/next_host.hpp"
#include "pg/sync/people.hpp"
#include "support/pg_fixture.hpp"
#include "sync/connection_state.hpp"
#include "sync/stream_state.hpp"

namespace sluice::sync {
namespace {

class ReconcileTest : public PeopleTest {
 protected:
  Store store() { return Store{pool(), clock_, *catalogs_, *writer_}; }

  BegunEnumeration begin() {
    return run(
        begin_enumeration(store(), proof_of(context_), ConnectionId(1), manifest_, "people"));
  }

  /// One page of persons from..to, as the enumeration's; the last one completes it.
  void page(const BegunEnumeration& begun, int from, int to, bool last,
            const std::string& name = "Ann") {
    contract::Page page;
    for (int i = from; i <= to; ++i) {
      contract::Value value;
      value.kind = contract::Kind::string;
      value.text = page.keep(name);
      const auto values = page.allocate<contract::Value>(1);
      values[0] = value;
      contract::Record& record = page.records.emplace_back();
      record.external_id = page.keep(fmt::format("p{:05}", i));
      record.values = values;
    }
    ingest::PageEffects effects;
    effects.enumeration = begun.recording ? begun.number : 0;
    effects.snapshot_done = last;
    effects.checkpoint = fmt::format("after {}", to);
    run(writer_->write(context_, page, std::move(effects)));
  }

  /// `count` persons, read in a first load.
  void load(int count) {
    const BegunEnumeration first = begin();
    page(first, 1, count, true);
  }

  ReconcileOutcome compare(const BegunEnumeration& begun, bool confirmed = false) {
    Enumeration enumeration;
    enumeration.stream = "people";
    enumeration.number = begun.number;
    enumeration.confirmed = confirmed;
    const std::function<bool()> go_on = [] { return true; };
    return run(reconcile(store(), context_, enumeration, ReconcileLimits(), go_on));
  }

  std::string ask(const std::string& sql) {
    const pg::QueryResult rows = run(pool().query(sql));
    std::string out;
    for (int r = 0; r < rows.rows(); ++r) {
      out += r > 0 ? " " : "";
      out += rows.is_null(r, 0) ? "null" : rows.get<std::string>(r, 0);
    }
    return out;
  }
  std::string state() { return ask("select reconcile from sluice.stream"); }
  std::string living() {
    return ask("select count(*) from vendor.acme_person where deleted_at is null");
  }
};

TEST_F(ReconcileTest, a_first_load_keeps_no_ids_and_compares_nothing) {
  const BegunEnumeration first = begin();
  EXPECT_FALSE(first.recording);
  page(first, 1, 100, true);
  EXPECT_EQ(ask("select count(*) from sluice.seen"), "0");
  EXPECT_EQ(state(), "none");
}

TEST_F(ReconcileTest, what_a_complete_read_lacks_is_deleted_where_nothing_can_be_fetched) {
  load(100);
  const BegunEnumeration again = begin();
  ASSERT_TRUE(again.recording);
  EXPECT_EQ(ask("select coalesce(checkpoint::text, 'none') || snapshot_done from sluice.stream"),
            "nonefalse");
  page(again, 1, 50, false);
  EXPECT_EQ(state(), "recording");
  page(again, 51, 90, true);
  EXPECT_EQ(state(), "due");
  const ReconcileOutcome outcome = compare(again);
  EXPECT_FALSE(outcome.blocked);
  EXPECT_EQ(outcome.deleted, 10);
  EXPECT_EQ(living(), "90");
  EXPECT_EQ(ask("select min(external_id) from vendor.acme_person where deleted_at is not null"),
            "p00091");
  EXPECT_EQ(ask("select count(*) from sluice.change where op = 'delete'"), "10");
  EXPECT_EQ(state(), "none");
  EXPECT_EQ(ask("select count(*) from sluice.seen"), "0");
}

TEST_F(ReconcileTest, where_the_connector_can_fetch_the_vendor_is_asked_for_each_instead) {
  manifest_.operations = {"check", "read", "fetch"};
  load(100);
  const BegunEnumeration again = begin();
  page(again, 1, 95, true);
  const ReconcileOutcome outcome = compare(again);
  EXPECT_EQ(outcome.looked_up, 5);
  EXPECT_EQ(outcome.deleted, 0);
  EXPECT_EQ(living(), "100");
  EXPECT_EQ(ask("select external_id from sluice.refetch order by 1"),
            "p00096 p00097 p00098 p00099 p00100");
  EXPECT_EQ(ask("select distinct type || ' ' || reason from sluice.refetch"),
            "person not in the last complete list");
}

TEST_F(ReconcileTest, what_is_gone_by_look_ups_is_counted_with_the_reconcile_that_asked) {
  manifest_.operations = {"check", "read", "fetch"};
  load(100);
  const BegunEnumeration again = begin();
  page(again, 1, 95, true);
  run(pool().query("update sluice.sync_run set stream = '', kind = 'reconcile'"));
  compare(again);
  EXPECT_EQ(ask("select looked_up || ' ' || found_gone || ' ' || deleted from sluice.sync_run"),
            "5 0 0");
  EXPECT_EQ(ask("select distinct for_run from sluice.refetch"), "1");
  // Another run looks them up: two are gone, and so is one that nobody missed.
  run(
      pool().query("insert into sluice.sync_run (workspace_id, connection_id, stream, kind) values "
                   "(1, 1, '', 'refetch')"));
  ingest::PageContext looks = context_;
  looks.run = RunId(2);
  looks.stream = "";
  contract::Page page;
  for (const char* id : {"p00096", "p00097", "p00001"}) {
    contract::Record& record = page.records.emplace_back();
    record.external_id = page.keep(id);
    record.deleted = true;
  }
  ingest::Wishes wishes;
  for (const char* id : {"p00096", "p00097", "p00098"}) wishes.by_id[id].for_run = RunId(1);
  wishes.by_id["p00001"].noticed_at = Micros(1);
  ingest::PageEffects effects;
  effects.wishes = &wishes;
  run(writer_->write(looks, page, std::move(effects)));
  EXPECT_EQ(ask("select looked_up || '/' || found_gone || '/' || deleted from sluice.sync_run "
                "order by run_id"),
            "5/2/0 0/0/3");
}

TEST_F(ReconcileTest, a_read_that_never_reaches_its_last_page_is_never_due) {
  load(100);
  const BegunEnumeration again = begin();
  page(again, 1, 70, false);  // page 7 of 9 fails behind this one
  EXPECT_EQ(state(), "recording");
  EXPECT_EQ(living(), "100");
  // The next read from the start is another enumeration: it must not inherit these ids.
  const BegunEnumeration third = begin();
  EXPECT_GT(third.number, again.number);
  EXPECT_EQ(ask("select count(*) from sluice.seen"), "0");
}

TEST_F(ReconcileTest, forty_percent_fewer_ids_delete_nothing_until_a_person_says_yes) {
  load(100);
  const BegunEnumeration again = begin();
  page(again, 1, 60, true);
  const ReconcileOutcome outcome = compare(again);
  EXPECT_TRUE(outcome.blocked);
  EXPECT_NE(outcome.reason.find("40 of 100 entities of acme.person"), std::string::npos)
      << outcome.reason;
  EXPECT_EQ(living(), "100");
  EXPECT_EQ(state(), "blocked");
  EXPECT_EQ(ask("select reconcile_detail->>'reason' from sluice.stream"), outcome.reason);
  const std::string types = "select reconcile_detail->'types'->0->>";
  EXPECT_EQ(ask(types + "'missing' from sluice.stream"), "40");
  EXPECT_EQ(ask("select jsonb_array_length(reconcile_detail->'types'->0->'examples') from "
                "sluice.stream"),
            "5");
  run(pool().query("update sluice.stream set reconcile = 'confirmed'"));  // the person's yes
  const ReconcileOutcome confirmed = compare(again, true);
  EXPECT_EQ(confirmed.deleted, 40);
  EXPECT_EQ(living(), "60");
}

/// As after a narrower configuration: a GET would find each of them alive.
TEST_F(ReconcileTest, a_persons_yes_asks_nobody_and_what_is_listed_again_comes_back) {
  manifest_.operations = {"check", "read", "fetch"};
  load(100);
  const BegunEnumeration again = begin();
  page(again, 1, 60, true);
  ASSERT_TRUE(compare(again).blocked);
  run(pool().query("update sluice.stream set reconcile = 'confirmed'"));
  const ReconcileOutcome confirmed = compare(again, true);
  EXPECT_EQ(confirmed.deleted, 40);
  EXPECT_EQ(confirmed.looked_up, 0);
  EXPECT_EQ(living(), "60");
  EXPECT_EQ(ask("select count(*) from sluice.refetch"), "0");
  const std::string ids =
      "select string_agg(id::text, ' ' order by external_id) from "
      "vendor.acme_person";
  const std::string before = ask(ids);
  const BegunEnumeration third = begin();
  page(third, 1, 100, true);
  EXPECT_FALSE(compare(third).blocked);
  EXPECT_EQ(living(), "100");
  EXPECT_EQ(ask(ids), before) << "under the ids that they had";
}

TEST_F(ReconcileTest, a_handful_may_go_whatever_their_share) {
  load(25);
  const BegunEnumeration again = begin();
  page(again, 1, 5, true);
  EXPECT_EQ(compare(again).deleted, 20);
}

/// A vendor that says {} for a moment must not empty a table, however small.
TEST_F(ReconcileTest, where_nobody_can_be_asked_the_last_ones_do_not_go_without_a_person) {
  load(3);
  const BegunEnumeration again = begin();
  page(again, 1, 0, true);
  const ReconcileOutcome outcome = compare(again);
  EXPECT_TRUE(outcome.blocked);
  EXPECT_NE(outcome.reason.find("3 of 3 entities of acme.person"), std::string::npos)
      << outcome.reason;
  EXPECT_EQ(living(), "3");
}

TEST_F(ReconcileTest, what_was_stored_or_changed_since_the_read_began_is_not_missed_by_it) {
  load(100);
  const BegunEnumeration again = begin();
  BegunEnumeration beside = again;
  beside.recording = false;  // as the change stream writes: not part of the enumeration
  page(beside, 100, 100, false, "Bea");
  page(beside, 101, 101, false);
  page(again, 1, 98, true);
  EXPECT_EQ(compare(again).deleted, 1);
  EXPECT_EQ(ask("select external_id from vendor.acme_person where deleted_at is not null"),
            "p00099");
}

TEST_F(ReconcileTest, a_refused_record_is_there_all_the_same) {
  load(30);
  const BegunEnumeration again = begin();
  contract::Page refused;
  contract::RejectedRecord& record = refused.rejected.emplace_back();
  record.external_id = "p00030";
  record.code = "record.wrong_kind";
  record.reason = "name is a number";
  ingest::PageEffects effects;
  effects.enumeration = again.number;
  run(writer_->write(context_, refused, std::move(effects)));
  page(again, 1, 28, true);
  EXPECT_EQ(compare(again).deleted, 1);
  EXPECT_EQ(ask("select external_id from vendor.acme_person where deleted_at is not null"),
            "p00029");
}

// Also what came without an id, and what is not there any more.
TEST_F(ReconcileTest, a_complete_read_forgives_what_it_did_not_refuse_again) {
  load(30);
  const BegunEnumeration again = begin();
  contract::Page refused;
  for (const char* id : {"p00029", "p00030", "", "", ""}) {
    contract::RejectedRecord& record = refused.rejected.emplace_back();
    record.external_id = id;
    record.code = *id == '\0' ? "record.no_id" : "record.wrong_kind";
    record.reason = "because";
  }
  ingest::PageEffects effects;
  effects.enumeration = again.number;
  const contract::RejectedRecord second = refused.rejected[1];
  run(writer_->write(context_, refused, std::move(effects)));
  page(again, 1, 28, true);
  const std::string kept =
      "select string_agg(external_id || ' ' || times, ', ' order by external_id) from "
      "sluice.quarantine";
  EXPECT_EQ(ask(kept), " 3, p00029 1, p00030 1") << "it refused them itself";
  run(pool().query("update sluice.quarantine set last_seen_at = last_seen_at - interval '1 hour'"));
  const BegunEnumeration third = begin();
  contract::Page one;
  one.rejected.push_back(second);
  effects = ingest::PageEffects();
  effects.enumeration = third.number;
  run(writer_->write(context_, one, std::move(effects)));
  EXPECT_EQ(ask(kept), " 3, p00029 1, p00030 2") << "not before its end";
  page(third, 1, 29, true);
  EXPECT_EQ(ask(kept), "p00030 2");
}

TEST_F(ReconcileTest, trust_that_is_asked_for_until_a_read_begins_is_that_reads) {
  load(3);
  EXPECT_FALSE(begin().trusts_vendor);
  run(pool().query("update sluice.stream set trust_vendor = true"));
  EXPECT_TRUE(begin().trusts_vendor);
}

TEST_F(ReconcileTest, records_without_a_usable_id_stop_deletions_that_nobody_can_check) {
  load(30);
  const BegunEnumeration again = begin();
  contract::Page refused;
  contract::RejectedRecord& record = refused.rejected.emplace_back();
  record.code = "record.no_id";
  record.reason = "the id is no UTF-8";
  ingest::PageEffects effects;
  effects.enumeration = again.number;
  run(writer_->write(context_, refused, std::move(effects)));
  page(again, 1, 29, true);
  const ReconcileOutcome outcome = compare(again);
  EXPECT_TRUE(outcome.blocked);
  EXPECT_NE(outcome.reason.find("without a usable id"), std::string::npos) << outcome.reason;
  EXPECT_EQ(living(), "30");
}

TEST_F(ReconcileTest, more_than_one_page_of_deletions_goes_and_can_begin_again) {
  load(12'000);
  const BegunEnumeration again = begin();
  page(again, 1, 9'700, true);
  Enumeration enumeration;
  enumeration.stream = "people";
  enumeration.number = again.number;
  int pages = 0;
  const std::function<bool()> only_one = [&pages] { return ++pages <= 1; };
  const ReconcileOutcome stopped =
      run(reconcile(store(), context_, enumeration, ReconcileLimits(), only_one));
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.deleted, kBuryBatch);
  EXPECT_EQ(state(), "due");
  EXPECT_EQ(compare(again).deleted, 1'300);
  EXPECT_EQ(living(), "9700");
  EXPECT_EQ(state(), "none");
}

TEST_F(ReconcileTest,
       turning_a_connection_off_buries_everything_and_a_read_brings_the_same_ids_back) {
  load(2'500);
  const std::string before = ask("select sum(id) from vendor.acme_person");
  const std::function<bool()> go_on = [] { return true; };
  EXPECT_TRUE(run(bury_everything(store(), context_, go_on)));
  EXPECT_EQ(living(), "0");
  EXPECT_TRUE(run(bury_everything(store(), context_, go_on)));
  EXPECT_EQ(ask("select count(*) from sluice.change where op = 'delete'"), "2500");
  page(begin(), 1, 2'500, true);
  EXPECT_EQ(living(), "2500");
  EXPECT_EQ(ask("select sum(id) from vendor.acme_person"), before);
  EXPECT_EQ(ask("select count(*) from sluice.change where op = 'restore'"), "2500");
}

/// What the last page of a run says of the run and its stream, in its own transaction.
class RunEndTest : public ReconcileTest {
 protected:
  ingest::PageCounts write(ingest::PageEffects effects, const std::string& id = "p1") {
    contract::Page page;
    contract::Value value;
    value.kind = contract::Kind::string;
    value.text = page.keep(std::string("Ann"));
    const auto values = page.allocate<contract::Value>(1);
    values[0] = value;
    contract::Record& record = page.records.emplace_back();
    record.external_id = page.keep(id);
    record.values = values;
    return run(writer_->write(context_, page, std::move(effects)));
  }
  ingest::PageCounts last_page() {
    ingest::PageEffects effects;
    effects.last = true;
    effects.checkpoint = "the end";
    return write(std::move(effects));
  }
  /// The run began a minute ago; the stream was due before it, or asked for since.
  void running(const std::string& mode, int interval_s, const std::string& next_run_at) {
    ask("update sluice.sync_run set started_at = now() - interval '1 minute'");
    ask(fmt::format(
        "update sluice.stream set mode = '{}', interval_seconds = {}, state = 'running', "
        "reason = 'was away', consecutive_failures = 2, next_run_at = {}",
        mode, interval_s, next_run_at));
  }
};

TEST_F(RunEndTest, the_last_page_ends_the_run_and_says_when_the_stream_is_due) {
  running("poll", 600, "now() - interval '2 minutes'");
  last_page();
  EXPECT_EQ(ask("select outcome || (finished_at is not null)::text from sluice.sync_run"),
            "donetrue");
  EXPECT_EQ(ask("select concat_ws(' ', state, reason, consecutive_failures, last_run_id, "
                "last_success_at is not null, next_run_at between now() + interval '500 seconds' "
                "and now() + interval '601 seconds') from sluice.stream"),
            "idle  0 1 t t");
}

TEST_F(RunEndTest, who_asks_while_a_poll_stream_runs_gets_another_run) {
  running("poll", 600, "now() - interval '5 seconds'");
  last_page();
  EXPECT_EQ(ask("select next_run_at <= now() from sluice.stream"), "t");
}

TEST_F(RunEndTest, who_asks_while_a_snapshot_is_read_is_answered_by_it) {
  running("snapshot", 0, "now() - interval '5 seconds'");
  last_page();
  EXPECT_EQ(ask("select next_run_at is null from sluice.stream"), "t");
}

TEST_F(RunEndTest, a_page_before_the_last_says_nothing_of_the_end) {
  running("snapshot", 0, "now() - interval '2 minutes'");
  ingest::PageEffects effects;
  effects.checkpoint = "middle";
  write(std::move(effects));
  EXPECT_EQ(ask("select state || (next_run_at <= now())::text from sluice.stream"), "runningtrue");
  EXPECT_EQ(ask("select finished_at is null from sluice.sync_run"), "t");
}

TEST_F(RunEndTest, a_run_whose_stream_is_to_be_read_anew_stores_its_records_and_no_checkpoint) {
  ask("update sluice.stream set reading = 4, checkpoint = null, next_run_at = now()");
  ingest::PageEffects effects;
  effects.last = true;
  effects.snapshot_done = true;
  effects.checkpoint = "of the reading before";
  effects.reading = 3;
  EXPECT_TRUE(write(std::move(effects)).superseded);
  EXPECT_EQ(living(), "1");
  EXPECT_EQ(ask("select concat_ws(' ', checkpoint is null, snapshot_done, next_run_at <= now()) "
                "from sluice.stream"),
            "t f t");
  effects = ingest::PageEffects();
  effects.checkpoint = "of this one";
  effects.reading = 4;
  EXPECT_FALSE(write(std::move(effects), "p2").superseded);
  EXPECT_EQ(ask("select checkpoint is not null from sluice.stream"), "t");
}

TEST_F(RunEndTest, the_first_mark_of_changes_has_all_snapshots_read_again_in_the_same_transaction) {
  ask("update sluice.stream set snapshot_done = true, checkpoint = 'x', next_run_at = null");
  ask("insert into sluice.stream (workspace_id, connection_id, stream, mode) values (1, 1, 'feed', "
      "'changes'), (1, 1, 'unread', 'snapshot')");
  context_.stream = "feed";
  ingest::PageEffects effects;
  effects.checkpoint = "mark";
  effects.snapshots_again = "changes are followed now";
  write(std::move(effects));
  EXPECT_EQ(ask("select concat_ws(' ', stream, checkpoint is null, snapshot_done, reading, "
                "next_run_at is null) from sluice.stream order by stream"),
            "feed f f 0 t people t f 1 f unread t f 0 t");
}

TEST_F(ReconcileTest, a_host_that_lost_its_lease_leaves_the_next_ones_enumeration_alone) {
  load(100);
  const BegunEnumeration again = begin();
  page(again, 1, 100, true);
  run(pool().query("update sluice.lease_epoch set epoch = 8"));
  run(pool().query(
      "update sluice.stream set enumeration = enumeration + 1, reconcile = 'recording', "
      "checkpoint = 'after 50'"));
  run(pool().query(
      "insert into sluice.seen (workspace_id, connection_id, stream, enumeration, type, hashes) "
      "select 1, 1, 'people', enumeration, 'person', '{1,2}' from sluice.stream"));
  std::string code;
  try {
    compare(again);
  } catch (const Failure& failure) {
    code = failure.error().code;
  }
  EXPECT_EQ(code, "lease.lost");
  code.clear();
  try {
    begin();
  } catch (const Failure& failure) {
    code = failure.error().code;
  }
  EXPECT_EQ(code, "lease.lost");
  EXPECT_EQ(ask("select count(*) from sluice.seen n join sluice.stream s using (enumeration)"),
            "1");
  EXPECT_EQ(ask("select reconcile || convert_from(checkpoint, 'UTF8') from sluice.stream"),
            "recordingafter 50");
}

TEST_F(ReconcileTest, an_enumeration_that_begins_takes_the_stream_from_whoever_reads_it) {
  load(10);
  const std::string before = ask("select reading from sluice.stream");
  const BegunEnumeration again = begin();
  EXPECT_EQ(std::to_string(again.reading), ask("select reading from sluice.stream"));
  EXPECT_NE(std::to_string(again.reading), before);
}

class Stopped : public ReconcileTest {
 protected:
  static constexpr const char* kEverything =
      "select md5(concat_ws('|', (select string_agg(x::text, ',' order by x::text) from "
      "sluice.stream x), (select string_agg(x::text, ',' order by x::text) from sluice.connection "
      "x), (select string_agg(x::text, ',' order by x::text) from sluice.sync_run x), (select "
      "string_agg(x::text, ',' order by x::text) from sluice.seen x), (select string_agg(x::text, "
      "',' order by x::text) from sluice.refetch x), (select string_agg(x::text, ',' order by "
      "x::text) from sluice.change x), (select string_agg(x::text, ',' order by x::text) from "
      "sluice.link_key x), (select string_agg(x::text, ',' order by x::text) from "
      "sluice.quarantine x), (select string_agg(x::text, ',' order by x::text) from "
      "vendor.acme_person x)))";

  /// As it was before anything was read, under the epoch that the context has.
  void begin_anew() {
    auto connection = connect();
    run(connection->script(
        "truncate sluice.seen, sluice.refetch, sluice.change, sluice.link_key, sluice.link_queue, "
        "sluice.quarantine, vendor.acme_person; delete from sluice.lease_hold;"
        "update sluice.lease_epoch set epoch = 7;"
        "update sluice.connection set state = 'HEALTHY';"
        "update sluice.stream set checkpoint = null, snapshot_done = false, reconcile = 'none', "
        "state = 'idle', next_run_at = now(), enabled = true, error_class = null;"));
    writer_ = std::make_unique<ingest::Writer>(pool());
  }

  void transition(pg::Call made) {
    run(pg::write_fenced(pool(), proof_of(context_), std::move(made)));
  }

  /// Everything that work under a lease sends, once at least.
  void a_life() {
    StreamKey key;
    key.workspace = WorkspaceId(1);
    key.connection = ConnectionId(1);
    key.stream = "people";
    manifest_.operations = {"fetch"};
    transition(stream_state::let_go(WorkspaceId(1), ConnectionId(1)));
    transition(stream_state::hold_back(WorkspaceId(1), ConnectionId(1), 0, "waits"));
    transition(stream_state::take(key));
    load(60);  // copied
    const BegunEnumeration again = begin();
    page(again, 1, 40, false, "Bea");
    contract::Page notices;
    contract::RejectedRecord& record = notices.rejected.emplace_back();
    record.code = "record.no_id";
    record.reason = "no id";
    contract::Notice& notice = notices.notices.emplace_back();
    notice.external_id = notices.keep("p00001");
    ingest::PageEffects effects;
    effects.enumeration = again.number;
    effects.snapshots_again = "a change stream has begun";
    ingest::PageEffects::Answered answered;
    answered.type = "person";
    answered.external_id = "p00002";
    effects.answered.push_back(answered);
    run(writer_->write(context_, notices, std::move(effects)));
    page(again, 41, 58, true);
    transition(stream_state::supersede(key, RunId(1)));
    compare(again);  // two are looked up
    contract::Page looked_up;
    contract::Record& gone = looked_up.records.emplace_back();
    gone.external_id = looked_up.keep("p00060");
    gone.deleted = true;
    ingest::Wishes wishes;
    wishes.by_id["p00060"].for_run = context_.run;
    ingest::PageEffects asked;
    asked.wishes = &wishes;
    run(writer_->write(context_, looked_up, std::move(asked)));
    manifest_.operations = {};
    const BegunEnumeration third = begin();
    page(third, 1, 55, true);
    compare(third);  // four are deleted
    const BegunEnumeration fourth = begin();
    page(fourth, 1, 5, true);
    compare(fourth);  // too many are missing
    stream_state::Failing failing;
    failing.run = RunId(1);
    failing.reason = "no";
    failing.error_class = "BAD_DATA";
    transition(stream_state::fail(key, failing));
    transition(stream_state::restart(key, "refused"));
    transition(stream_state::restart_all(key, "refused"));
    transition(stream_state::park(WorkspaceId(1), ConnectionId(1), "another account"));
    transition(stream_state::died(key, RunId(1), "its connector ended the host once"));
    transition(stream_state::hold(key, RunId(1), "its connector ended the host 2 times"));
    transition(stream_state::hold_refetch(WorkspaceId(1), ConnectionId(1), "person", "the same"));
    transition(stream_state::hold_all(WorkspaceId(1), ConnectionId(1), "the same"));
    pg::Array connections(pg::Oid::int8);
    connections.add(std::int64_t{1});
    transition(stream_state::release(WorkspaceId(1), std::move(connections)));
    transition(connection_state::refresh(WorkspaceId(1), ConnectionId(1)));
    const std::function<bool()> go_on = [] { return true; };
    run(bury_everything(store(), context_, go_on));
    static const pg::Statement kTurnOff{"test_turn_off",
                                        "update sluice.connection set state = 'DISCONNECTING'"};
    pg::Call turn_off;
    turn_off.statement = &kTurnOff;
    transition(std::move(turn_off));
    transition(connection_state::disconnected(WorkspaceId(1), ConnectionId(1)));
    transition(stream_state::switch_off(WorkspaceId(1), ConnectionId(1)));
  }
};

TEST_F(Stopped, before_or_after_any_statement_of_its_life_a_former_holder_writes_nothing_more) {
  std::vector<std::string> passages;
  {
    const failpoint::Observer listing([&](std::string_view name) {
      if (name.starts_with("fenced.")) passages.emplace_back(name);
    });
    begin_anew();
    a_life();
  }
  ASSERT_GT(passages.size(), 100U);
  // The first passage of each name is enough here; SLUICE_TEST_LONG stops at every one.
  const bool all = std::getenv("SLUICE_TEST_LONG") != nullptr;
  std::set<std::string> stopped_at;
  for (std::size_t at = 0; at < passages.size(); ++at) {
    if (!all && stopped_at.contains(passages[at])) continue;
    SCOPED_TRACE(passages[at] + ", passage " + std::to_string(at));
    stopped_at.insert(passages[at]);
    begin_anew();
    NextHost next(app_conninfo());
    std::string at_takeover;
    std::size_t passed = 0;
    std::string ended_with;
    {
      const failpoint::Observer stop([&](std::string_view name) {
        if (!name.starts_with("fenced.") || passed++ != at) return;
        EXPECT_EQ(name, passages[at]);
        EXPECT_TRUE(next.take(WorkspaceId(1), "account"));
        at_takeover = next.ask(kEverything);
      });
      try {
        a_life();
      } catch (const Failure& failure) {
        ended_with = failure.error().code;
      }
    }
    EXPECT_FALSE(at_takeover.empty()) << "nobody stopped there";
    if (at + 1 < passages.size() && passages[at] != "fenced.after.fence_commit") {
      EXPECT_FALSE(ended_with.empty()) << "it went on";
    }
    // Only what the test itself changed beside the lease may differ: nothing, while it ended there.
    if (!ended_with.empty()) {
      EXPECT_EQ(next.ask(kEverything), at_takeover) << ended_with;
    }
  }
  for (const std::string& name : stopped_at) std::printf("stopped at %s\n", name.c_str());
  for (const char* name : {"stream_take",
                           "stream_let_go",
                           "stream_supersede",
                           "stream_fail",
                           "stream_restart",
                           "stream_restart_all",
                           "stream_hold_back",
                           "stream_park",
                           "stream_died",
                           "stream_hold",
                           "stream_hold_refetch",
                           "stream_hold_all",
                           "stream_release",
                           "stream_switch_off",
                           "stream_begin_enumeration",
                           "stream_forget_seen_before",
                           "stream_block",
                           "stream_compared",
                           "stream_forget_seen",
                           "connection_refresh",
                           "connection_disconnected",
                           "reconcile_look_up_person",
                           "fence_begin",
                           "fence_guard",
                           "fence_copy",
                           "fence_commit",
                           "journal_append",
                           "ingest_refuse",
                           "ingest_forget_answered",
                           "ingest_forgive",
                           "ingest_forgive_read",
                           "ingest_refetch",
                           "ingest_seen",
                           "ingest_read_before_mark",
                           "ingest_stream",
                           "ingest_run",
                           "ingest_found_gone"}) {
    EXPECT_TRUE(stopped_at.contains(std::string("fenced.before.") + name)) << name;
    EXPECT_TRUE(stopped_at.contains(std::string("fenced.after.") + name)) << name;
  }
}

}  // namespace
}  // namespace sluice::sync
