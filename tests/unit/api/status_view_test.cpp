// Status documents, as the command line shows them.
#include <gtest/gtest.h>

#include "cli/status_view.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;

json stream(const std::string& name, const std::string& health) {
  json one =
      json::parse(R"({"state":"idle","summary":"all is read","action":"","records_total":1234,
    "quarantined":0,"run":null,"estimate":null,"last_success_age_seconds":70,"next_run_in_seconds":null})");
  one["name"] = name;
  one["health"] = health;
  return one;
}

json document(std::vector<json> streams) {
  json connection =
      json::parse(R"({"name":"billing","connector":"stripe","state":"HEALTHY","reason":"",
    "account":{"id":"acct_1","name":"Acme"},"mode":"test","quarantined":0,
    "refetch":{"waiting":0,"failing":0,"due":0,"reason":""}})");
  connection["streams"] = std::move(streams);
  json whole;
  whole["connections"] = json::array({connection});
  return whole;
}

json running() {
  json one = stream("invoices", "running");
  one["run"] = json::parse(R"({"records":1200,"pages":12,"records_per_second":600.4})");
  one["estimate"] = json::parse(R"({"words":"about 12 min left, from the last full read"})");
  return one;
}

json refused() {
  json one = stream("disputes", "needs_action");
  one["summary"] = "the key lacks a permission: rak_dispute_read";
  one["action"] = "give the key that permission";
  return one;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(StatusText, says_in_full_words_what_is_wrong_and_what_to_do) {
  json bad = refused();
  bad["summary"] = std::string(300, 'x') + "end";
  const std::string text = status_text(document({stream("customers", "ok"), bad}));
  EXPECT_TRUE(has(text, "customers")) << text;
  EXPECT_TRUE(has(text, "1 min ago") || has(text, "70 s ago")) << text;
  EXPECT_TRUE(has(text, "xend")) << text;
  EXPECT_TRUE(has(text, "to do: give the key that permission")) << text;
}

TEST(StatusText, says_what_the_host_itself_cannot_do) {
  json whole = document({stream("customers", "ok")});
  EXPECT_FALSE(has(status_text(whole), "this host cannot"));
  whole["connections"][0]["trouble"] = "no space left on device";
  EXPECT_TRUE(
      has(status_text(whole), "this host cannot work on billing\n  no space left on device"));
}

TEST(ProgressText, shows_rate_and_time_left) {
  const std::string text = progress_text(document({running()}));
  EXPECT_TRUE(has(text, "600/s")) << text;
  EXPECT_TRUE(has(text, "about 12 min left, from the last full read")) << text;
}

TEST(Quiet, is_when_nothing_runs_waits_or_is_about_to_be_tried_again) {
  EXPECT_TRUE(is_quiet(document({stream("a", "ok"), refused(), stream("b", "off")})));
  EXPECT_FALSE(is_quiet(document({stream("a", "ok"), running()})));
  EXPECT_FALSE(is_quiet(document({stream("a", "waiting")})));
  json soon = stream("a", "failing");
  soon["next_run_in_seconds"] = 20;
  EXPECT_FALSE(is_quiet(document({soon})));
  soon["next_run_in_seconds"] = 2000;
  EXPECT_TRUE(is_quiet(document({soon})));
  json backlog = document({stream("a", "ok")});
  backlog["connections"][0]["refetch"]["waiting"] = 2;
  EXPECT_FALSE(is_quiet(backlog));
  backlog["connections"][0]["refetch"]["failing"] = 2;
  EXPECT_TRUE(is_quiet(backlog));
}

TEST(Trouble, is_what_failed_or_needs_a_person) {
  EXPECT_FALSE(has_trouble(document({stream("a", "ok"), running(), stream("b", "off")})));
  EXPECT_TRUE(has_trouble(document({stream("a", "ok"), refused()})));
  EXPECT_TRUE(has_trouble(document({stream("a", "blocked")})));
}

TEST(Lines, are_cut_by_characters_not_bytes) {
  EXPECT_EQ(cut_lines("abcdef\nab\n", 3), "abc\nab\n");
  EXPECT_EQ(cut_lines("äöü€x\n", 4), "äöü€\n");
}

std::string said(Watch& watch, const json& what) {
  ::testing::internal::CaptureStdout();
  watch.show(what);
  return ::testing::internal::GetCapturedStdout();
}

TEST(WatchLines, are_written_only_for_streams_that_changed) {
  Watch watch(Watch::Form::lines);
  const std::string first = said(watch, document({stream("a", "ok"), running()}));
  EXPECT_TRUE(has(first, "billing/a ok, 1234 records in all")) << first;
  EXPECT_TRUE(has(first, "billing/invoices running, 1200 records, 12 pages, 600/s, about 12 min"))
      << first;
  EXPECT_EQ(said(watch, document({stream("a", "ok"), running()})), "");
  json further = running();
  further["run"]["records"] = 1300;
  const std::string second = said(watch, document({stream("a", "ok"), further}));
  EXPECT_FALSE(has(second, "billing/a")) << second;
  EXPECT_TRUE(has(second, "1300 records")) << second;
}

TEST(WatchPicture, is_drawn_over_the_one_before) {
  Watch watch(Watch::Form::picture);
  const std::string first = said(watch, document({running()}));
  EXPECT_TRUE(first.starts_with("\x1b[2J\x1b[H")) << first;
  const std::string second = said(watch, document({running()}));
  EXPECT_TRUE(second.starts_with("\x1b[H")) << second;
  EXPECT_FALSE(has(second, "\x1b[2J"));
  EXPECT_TRUE(second.ends_with("\x1b[J"));
}

TEST(WatchJson, is_one_document_a_line) {
  Watch watch(Watch::Form::json_lines);
  const std::string line = said(watch, document({running()}));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(json::parse(line), document({running()}));
}

}  // namespace
}  // namespace sluice::cli
