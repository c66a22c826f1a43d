// How a stream is, in words, and how long a full read still takes.
#include <gtest/gtest.h>

#include "api/words.hpp"

namespace sluice::api {
namespace {

constexpr Micros kNow{1'790'000'000'000'000};

Micros seconds_later(std::int64_t seconds) { return kNow + std::chrono::seconds(seconds); }

StreamFacts snapshot() {
  StreamFacts facts;
  facts.connection = "billing";
  facts.connection_state = "HEALTHY";
  facts.name = "disputes";
  facts.mode = "snapshot";
  facts.state = "idle";
  facts.secret = "api_key";
  facts.snapshot_done = true;
  facts.now = kNow;
  facts.last_success_at = seconds_later(-300);
  return facts;
}

StreamFacts reading(std::int64_t enumerated, std::optional<double> rate) {
  StreamFacts facts = snapshot();
  facts.state = "running";
  facts.snapshot_done = false;
  facts.worked_on = true;
  facts.enumerated = enumerated;
  RunningFacts running;
  running.run = 7;
  running.records = enumerated;
  running.pages = enumerated / 100;
  running.records_per_second = rate;
  facts.running = running;
  return facts;
}

StreamFacts failed(const std::string& error_class, const std::string& reason) {
  StreamFacts facts = snapshot();
  facts.state = "failed";
  facts.error_class = error_class;
  facts.reason = reason;
  facts.failures = 3;
  facts.last_run = 41;
  facts.next_run_at = seconds_later(240);
  return facts;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(Span, is_told_in_one_or_two_units) {
  using std::chrono::seconds;
  const std::pair<int, const char*> all[] = {
      {0, "0 s"},           {89, "89 s"},  {90, "2 min"},          {5399, "90 min"},
      {5400, "1 h 30 min"}, {7200, "2 h"}, {12'000, "3 h 20 min"}, {200'000, "2 days"}};
  for (const auto& [span, words] : all) EXPECT_EQ(span_in_words(seconds(span)), words);
}

TEST(Estimate, comes_from_the_last_full_read) {
  StreamFacts facts = reading(28'000, 100.0);
  facts.last_full_records = 100'000;
  const Estimate left = estimate(facts);
  EXPECT_EQ(left.basis, "last_full_read");
  EXPECT_EQ(left.of_records, 100'000);
  EXPECT_EQ(left.seconds_left, 720);
  EXPECT_EQ(left.words, "about 12 min left, from the last full read");
}

TEST(Estimate, prefers_the_vendors_total_where_it_counts_the_same_things) {
  StreamFacts facts = reading(500, 10.0);
  facts.last_full_records = 100'000;
  facts.vendor_total = 1'000;
  facts.total_counts_records = true;
  EXPECT_EQ(estimate(facts).basis, "vendor_total");
  EXPECT_EQ(estimate(facts).seconds_left, 50);
  facts.total_counts_records = false;  // it also puts out children, which the vendor does not count
  EXPECT_EQ(estimate(facts).basis, "last_full_read");
}

TEST(Estimate, is_unknown_rather_than_made_up) {
  StreamFacts first = reading(500, 10.0);
  EXPECT_EQ(estimate(first).seconds_left, std::nullopt);
  EXPECT_EQ(estimate(first).basis, "");
  EXPECT_TRUE(has(estimate(first).words, "unknown"));
  StreamFacts young = reading(500, std::nullopt);
  young.last_full_records = 1'000;
  EXPECT_EQ(estimate(young).seconds_left, std::nullopt);
  EXPECT_TRUE(has(estimate(young).words, "too early"));
  StreamFacts stalled = reading(500, 0.0);
  stalled.last_full_records = 1'000;
  EXPECT_EQ(estimate(stalled).seconds_left, std::nullopt);
  EXPECT_TRUE(has(estimate(stalled).words, "nothing arrives"));
  StreamFacts more = reading(1'500, 10.0);
  more.last_full_records = 1'000;
  EXPECT_EQ(estimate(more).seconds_left, std::nullopt);
  EXPECT_TRUE(has(estimate(more).words, "more than at the last full read"));
}

TEST(Estimate, is_for_full_reads_only) {
  StreamFacts changes = reading(500, 10.0);
  changes.mode = "changes";
  changes.last_full_records = 1'000;
  EXPECT_EQ(estimate(changes).words, "");
  EXPECT_EQ(estimate(snapshot()).words, "");
}

TEST(Words, who_waits_for_the_vendors_rate_says_so_and_until_when) {
  StreamFacts facts = reading(500, 0.0);
  facts.last_full_records = 1'000;
  facts.running->held = std::chrono::milliseconds(44'100);
  const StreamWords words = describe(facts);
  EXPECT_EQ(words.summary,
            "reading everything: 500 records in 5 pages; waits for the vendor's rate, the next "
            "request goes in 45 s, at 2026-09-21T14:14:05Z");
}

TEST(Words, a_stream_whose_records_are_put_aside_is_not_well) {
  StreamFacts facts = snapshot();
  facts.put_aside = 3;
  const StreamWords words = describe(facts);
  EXPECT_EQ(words.health, "partial");
  EXPECT_TRUE(words.summary.starts_with("3 records are put aside; everything is read"))
      << words.summary;
  EXPECT_TRUE(has(words.action, "sluice quarantine list --connection billing")) << words.action;
  facts.put_aside = 1;
  EXPECT_TRUE(describe(facts).summary.starts_with("1 record is put aside;"));
  facts.put_aside = 0;
  EXPECT_EQ(describe(facts).health, "ok");
  StreamFacts reads = reading(500, 10.0);
  reads.put_aside = 3;
  EXPECT_EQ(describe(reads).health, "running");
}

TEST(Words, a_refused_key_says_which_command_mends_it) {
  const StreamWords words = describe(failed("AUTH", "Stripe: api_key_expired"));
  EXPECT_EQ(words.health, "needs_action");
  EXPECT_TRUE(has(words.summary, "refuses the key: Stripe: api_key_expired")) << words.summary;
  EXPECT_TRUE(has(words.summary, "3 times in a row")) << words.summary;
  EXPECT_TRUE(has(words.action, "sluice connection set-secret billing api_key")) << words.action;
  EXPECT_TRUE(has(words.action, "in 4 min (at 2026-09-21T")) << words.action;
}

TEST(Words, a_stream_that_is_held_needs_a_person_though_it_is_switched_off) {
  StreamFacts facts = failed("HELD", "its connector (toy 1.2.3) ended the host 2 times");
  facts.enabled = false;
  facts.next_run_at = std::nullopt;
  const StreamWords words = describe(facts);
  EXPECT_EQ(words.health, "needs_action");
  EXPECT_TRUE(has(words.summary, "held: its connector (toy 1.2.3) ended the host 2 times"))
      << words.summary;
  EXPECT_TRUE(has(words.action, "sluice connection resume billing disputes")) << words.action;
  facts.error_class = "";
  EXPECT_EQ(describe(facts).health, "off") << "an admin's pause is no trouble";
}

TEST(Words, a_missing_permission_keeps_the_connectors_words) {
  const StreamWords words = describe(failed("PERMISSION", "needs rak_dispute_read"));
  EXPECT_EQ(words.health, "needs_action");
  EXPECT_TRUE(has(words.summary, "rak_dispute_read")) << words.summary;
  EXPECT_TRUE(has(words.action, "sluice sync billing --stream disputes")) << words.action;
}

TEST(Words, what_mends_itself_asks_for_nothing) {
  for (const char* error_class : {"RATE_LIMITED", "UPSTREAM_TRANSIENT"}) {
    const StreamWords words = describe(failed(error_class, "503"));
    EXPECT_EQ(words.health, "failing") << error_class;
    EXPECT_TRUE(words.action.starts_with("nothing to do")) << words.action;
    EXPECT_TRUE(has(words.action, "in 4 min")) << words.action;
  }
  const StreamWords defect = describe(failed("INTERNAL", "sync.no_progress"));
  EXPECT_EQ(defect.health, "failing");
  EXPECT_TRUE(has(defect.action, "sluice run show 41")) << defect.action;
}

// Or "errors" would be empty each time that it is looked at while something is tried again.
TEST(Words, what_failed_has_failed_also_while_it_is_tried_again) {
  StreamFacts facts = failed("UPSTREAM_TRANSIENT", "502");
  facts.state = "running";
  facts.running = RunningFacts();
  facts.worked_on = true;
  EXPECT_EQ(describe(facts).health, "failing");
  EXPECT_TRUE(has(describe(facts).summary, "502 (3 times in a row)")) << describe(facts).summary;
  EXPECT_EQ(describe(facts).action, "nothing to do unless it lasts: it is being tried again now");
  facts.running->held = std::chrono::milliseconds(44'100);
  EXPECT_TRUE(has(describe(facts).summary, "(3 times in a row); waits for the vendor's rate"))
      << describe(facts).summary;
  facts.running->held.reset();
  facts.worked_on = false;
  EXPECT_EQ(describe(facts).health, "failing");
  EXPECT_TRUE(has(describe(facts).action, "the host that tried it again is gone"));
  facts.failures = 0;  // a page has come
  facts.worked_on = true;
  EXPECT_EQ(describe(facts).health, "running");
}

TEST(Words, a_full_read_says_how_far_it_is) {
  StreamFacts facts = reading(28'000, 100.0);
  facts.last_full_records = 100'000;
  const StreamWords words = describe(facts);
  EXPECT_EQ(words.health, "running");
  EXPECT_EQ(words.summary,
            "reading everything: 28,000 records in 280 pages, 100/s, about 12 min left, from the "
            "last full read");
  EXPECT_EQ(words.action, "");
}

TEST(Words, a_run_whose_host_is_gone_is_not_running) {
  StreamFacts facts = reading(100, 1.0);
  facts.worked_on = false;
  EXPECT_EQ(describe(facts).health, "waiting");
  EXPECT_TRUE(has(describe(facts).summary, "the host that ran it is gone"));
}

TEST(Words, what_is_due_for_long_and_not_worked_on_is_overdue) {
  StreamFacts facts = snapshot();
  facts.mode = "changes";
  facts.next_run_at = seconds_later(-600);
  EXPECT_EQ(describe(facts).health, "overdue");
  EXPECT_TRUE(has(describe(facts).summary, "due for 10 min"));
  facts.worked_on = true;  // its turn comes
  EXPECT_EQ(describe(facts).health, "waiting");
  facts.worked_on = false;
  facts.next_run_at = seconds_later(-2);
  EXPECT_EQ(describe(facts).health, "waiting");
}

TEST(Words, a_stream_that_is_well_says_when_it_was_read_and_when_it_will_be) {
  StreamFacts facts = snapshot();
  facts.mode = "changes";
  facts.last_success_at = seconds_later(-3);
  facts.next_run_at = seconds_later(27);
  const StreamWords words = describe(facts);
  EXPECT_EQ(words.health, "ok");
  EXPECT_TRUE(words.summary.starts_with("follows the vendor's changes; last 3 s ago; next in 27 s"))
      << words.summary;
  EXPECT_EQ(words.action, "");
  EXPECT_TRUE(has(describe(snapshot()).summary, "next only when somebody asks for it"));
}

TEST(Words, a_new_stream_waits_for_its_first_run) {
  StreamFacts facts = snapshot();
  facts.state = "new";
  facts.snapshot_done = false;
  facts.last_success_at.reset();
  facts.next_run_at = seconds_later(-1);
  EXPECT_EQ(describe(facts).health, "waiting");
  EXPECT_TRUE(has(describe(facts).summary, "first run"));
}

TEST(Words, a_blocked_reconcile_shows_the_command_that_decides) {
  StreamFacts facts = snapshot();
  facts.reconcile_blocked = true;
  facts.reconcile_reason = "900 of 1000 would go";
  const StreamWords words = describe(facts);
  EXPECT_EQ(words.health, "blocked");
  EXPECT_TRUE(has(words.summary, "900 of 1000 would go")) << words.summary;
  EXPECT_TRUE(has(words.action, "sluice reconcile confirm billing disputes")) << words.action;
  EXPECT_TRUE(has(words.action, "sluice reconcile reject billing disputes")) << words.action;
}

TEST(Words, a_stream_that_is_off_is_no_trouble) {
  StreamFacts facts = failed("AUTH", "x");
  facts.enabled = false;
  EXPECT_EQ(describe(facts).health, "off");
  facts.enabled = true;
  facts.connection_state = "DISCONNECTED";
  EXPECT_EQ(describe(facts).health, "off");
  EXPECT_TRUE(has(describe(facts).action, "sluice connection enable billing"));
}

}  // namespace
}  // namespace sluice::api
