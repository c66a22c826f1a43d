// Status documents, as the command line shows them.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/status_view.hpp"

namespace sluice::cli {
namespace {

using nlohmann::json;

json stream(const std::string& name, const std::string& health) {
  json one =
      json::parse(R"({"state":"idle","summary":"all is read","action":"","records_total":1234,
    "quarantined":0,"mode":"changes","run":null,"estimate":null,"last_success_age_seconds":70,"next_run_in_seconds":null})");
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

Screen window(std::size_t rows) {
  Screen screen;
  screen.rows = rows;
  return screen;
}

/// Each line as wide as it is on a terminal.
void expect_fits(const std::string& text, const Screen& screen) {
  std::size_t lines = 0;
  for (std::size_t at = 0; at < text.size(); ++lines) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    const auto width = static_cast<std::size_t>(
        std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
    EXPECT_LE(width, screen.columns) << line;
    at = end + 1;
  }
  if (screen.rows > 0) EXPECT_LT(lines, screen.rows) << text;  // and the prompt
}

json lacking(const std::string& name) {
  json one = document({refused()})["connections"][0];
  one["name"] = name;
  one["health"] = "needs_action";
  one["rows"] = 27468;
  json problem;
  problem["kind"] = "stream";
  problem["health"] = "needs_action";
  problem["subject"] = "18 streams";
  problem["subjects"] = json::array();
  std::string what = "the key lacks 18 permissions: ";
  for (int i = 0; i < 18; ++i) {
    problem["subjects"].push_back("stream_" + std::to_string(i));
    what += "rak_permission_number_" + std::to_string(i) + "_read, ";
  }
  problem["what"] = what;
  problem["action"] = "give the key these permissions at the vendor, then: sluice sync " + name;
  one["problems"] = json::array({problem});
  return one;
}

TEST(SummaryText, is_a_line_a_connection_with_the_trouble_first_and_a_sum) {
  json whole = document({stream("customers", "ok")});
  json& fine = whole["connections"][0];
  fine["name"] = "a-fine-one";
  fine["health"] = "partial";
  fine["rows"] = 500;
  fine["quarantined"] = 6;
  fine["as_of"] =
      json::parse(R"({"at":"2026-11-28T11:02:09Z","behind_seconds":40,"stream":"events"})");
  whole["connections"].push_back(lacking("billing"));
  whole["own_types"] = json::parse(R"([{"type":"customer","rows":7}])");
  const std::string text = summary_text(whole, Screen{});
  EXPECT_LT(text.find("billing"), text.find("a-fine-one")) << text;
  EXPECT_TRUE(has(text, "needs you       27,468")) << text;
  EXPECT_TRUE(has(text, "11:02:09   40 s")) << text;
  EXPECT_TRUE(has(text, "customer           own                  7")) << text;
  EXPECT_TRUE(has(text,
                  "2 connections: 1 well but for what is put aside, 1 needs you; 27,975 rows; "
                  "6 put aside"))
      << text;
  EXPECT_TRUE(has(text, "rak_permission_number_17_read")) << "no window, all is said: " << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(SummaryText, fits_a_window_and_says_where_the_rest_is) {
  for (const std::size_t connections : {1, 3, 10}) {
    json whole;
    whole["connections"] = json::array();
    for (std::size_t i = 0; i < connections; ++i)
      whole["connections"].push_back(
          lacking("connection-with-quite-a-long-name-" + std::to_string(i)));
    const std::string text = summary_text(whole, window(24));
    expect_fits(text, window(24));
    EXPECT_TRUE(connections == 1 || has(text, "more: sluice errors")) << text;
  }
}

TEST(SummaryText, folds_own_types_that_the_window_has_no_room_for) {
  json whole = document({stream("customers", "ok")});
  whole["own_types"] = json::array();
  for (int i = 0; i < 40; ++i) {
    json type;
    type["type"] = "type_" + std::to_string(i);
    type["rows"] = 3;
    whole["own_types"].push_back(type);
  }
  const std::string text = summary_text(whole, window(24));
  expect_fits(text, window(24));
  EXPECT_TRUE(has(text, "type_17 ")) << text;
  EXPECT_TRUE(has(text, "and 22 more        own                 66  sluice entity types")) << text;
  EXPECT_TRUE(has(summary_text(whole, Screen{}), "type_39 ")) << "without a window there is no end";

  whole["connections"] = json::array({lacking("billing")});
  whole["connections"][0]["problems"][0]["what"] = "the key lacks a permission";
  const std::string trouble = summary_text(whole, window(24));
  expect_fits(trouble, window(24));
  EXPECT_TRUE(has(trouble, "to do: give the key these permissions")) << trouble;
}

TEST(SummaryText, has_colours_on_a_terminal_that_take_no_room) {
  json whole;
  whole["connections"] = json::array({lacking("billing")});
  Screen screen = window(24);
  screen.colour = true;
  const std::string text = summary_text(whole, screen);
  EXPECT_TRUE(has(text, "\x1b[1;31mneeds you\x1b[0m")) << text;
  std::string plain = text;
  for (const std::string code : {"\x1b[1;31m", "\x1b[0m"}) {
    for (auto at = plain.find(code); at != std::string::npos; at = plain.find(code))
      plain.erase(at, code.size());
  }
  EXPECT_EQ(plain, summary_text(whole, window(24)));
}

TEST(SummaryText, says_what_the_host_itself_cannot_do) {
  json whole = document({stream("customers", "ok")});
  EXPECT_FALSE(has(summary_text(whole, Screen{}), "this host cannot"));
  whole["connections"][0]["trouble"] = "no space left on device";
  EXPECT_TRUE(has(summary_text(whole, Screen{}),
                  "this host cannot work on billing\n  no space left on device"));
  EXPECT_TRUE(has_trouble(whole));
}

TEST(SummaryText, says_what_the_host_says_of_itself_first) {
  json whole = document({stream("customers", "ok")});
  whole["connections"] = json::array({lacking("billing")});
  whole["host_reasons"] = json::parse(
      R"([{"code":"disk.running_out","what":"the disk \"data\" has 0 B free","action":"make room"}])");
  const std::string text = summary_text(whole, window(24));
  EXPECT_TRUE(has(text, "the host\n  the disk \"data\" has 0 B free\n  to do: make room\n"))
      << text;
  EXPECT_LT(text.find("the host\n"), text.find("rak_permission_number_0_read")) << text;
  expect_fits(text, window(24));
}

TEST(StreamsText, folds_what_watches_the_same_kind_of_object_while_all_is_well) {
  json list = stream("customers", "ok");
  list["mode"] = "snapshot";
  list["types"] = json::array({"stripe.customer"});
  json poll = stream("customers_poll", "ok");
  poll["mode"] = "poll";
  poll["types"] = list["types"];
  json whole = document({list, poll});
  whole["connections"][0]["types"] =
      json::parse(R"([{"type":"stripe.customer","rows":2000,"vendor_rows":2001}])");
  const std::string text = streams_text(whole, Screen{});
  EXPECT_FALSE(has(text, "customers_poll")) << text;
  EXPECT_TRUE(has(text, "and 1 that watch")) << text;
  EXPECT_TRUE(has(text, "2,000      2,001")) << text;
  expect_fits(streams_text(whole, window(24)), window(24));
  whole["connections"][0]["streams"][1]["health"] = "failing";
  EXPECT_TRUE(has(streams_text(whole, Screen{}), "customers_poll"));
}

TEST(StreamsText, says_in_full_words_what_is_wrong_and_what_to_do) {
  json whole;
  whole["connections"] = json::array({lacking("billing")});
  const std::string text = streams_text(whole, Screen{});
  EXPECT_TRUE(has(text, "rak_permission_number_17_read")) << text;
  EXPECT_TRUE(has(text, "to do: give the key these permissions")) << text;
}

TEST(Window, keeps_the_header_and_scrolls_to_the_end_and_no_further) {
  std::string text = "HEADER\n";
  for (int i = 1; i <= 50; ++i) text += "line " + std::to_string(i) + "\n";
  std::size_t from = 0;
  const std::string top = window_of(text, window(10), from);
  EXPECT_TRUE(top.starts_with("HEADER\nline 1\n")) << top;
  EXPECT_TRUE(has(top, "lines 1 to 8 of 50")) << top;
  EXPECT_EQ(std::count(top.begin(), top.end(), '\n'), 9) << "ten lines, the last without an end";
  from = 1000;
  const std::string bottom = window_of(text, window(10), from);
  EXPECT_EQ(from, 42U);
  EXPECT_TRUE(bottom.starts_with("HEADER\nline 43\n")) << bottom;
  EXPECT_TRUE(has(bottom, "line 50\nlines 43 to 50 of 50")) << bottom;
  from = 7;
  EXPECT_EQ(window_of("HEADER\na\n", window(10), from), "HEADER\na\n");
  EXPECT_EQ(from, 0U);
}

TEST(Progress, says_how_far_all_of_it_is) {
  json whole = document({stream("a", "ok"), running(), stream("b", "waiting"), stream("c", "off")});
  whole["connections"][0]["refetch"]["waiting"] = 2;
  EXPECT_EQ(progress_line(whole),
            "1 of 3 streams done, 1,200 records in what runs, 600/s, 2 objects to be read again");
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
  EXPECT_TRUE(has_trouble(document({stream("a", "ok"), stream("b", "partial")})));
  json refetched = document({stream("a", "ok")});
  refetched["connections"][0]["quarantined"] = 1;
  EXPECT_TRUE(has_trouble(refetched)) << "put aside by no stream";
  refetched["connections"][0]["state"] = "DISCONNECTED";
  EXPECT_FALSE(has_trouble(refetched));
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

TEST(Wrapped, goes_on_behind_its_indent_and_counts_characters) {
  EXPECT_EQ(wrapped("sluice: warning: ", 8, "--token is seen by all", 30),
            "sluice: warning: --token is\n        seen by all\n");
  EXPECT_EQ(wrapped("", 0, "é é é", 3), "é é\né\n");
  EXPECT_EQ(wrapped("", 2, "longer than a line", 4), "longer\n  than\n  a\n  line\n");
}

TEST(WrappedLines, keep_their_ends_and_what_they_begin_with) {
  EXPECT_EQ(wrapped_lines("the host\n  cannot go on at all\n\nlast", 4, 12),
            "the host\n  cannot go\n    on at\n    all\n\nlast");
  EXPECT_EQ(wrapped_lines("", 4, 12), "");
}

}  // namespace
}  // namespace sluice::cli
