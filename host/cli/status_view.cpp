#include "cli/status_view.hpp"
#include "cli/screen.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <set>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/exact_json.hpp"
#include "base/numbers.hpp"

namespace sluice::cli {
namespace {

constexpr std::int64_t kTriedSoonSeconds = 60;
constexpr std::size_t kWhatMax = 60;

json stream_rows(const json& document) {
  json rows = json::array();
  for (const json& connection : document.at("connections")) {
    for (json stream : connection.at("streams")) {
      stream["connection"] = connection.at("name");
      rows.push_back(std::move(stream));
    }
  }
  return rows;
}

std::string age_of(const json& stream) {
  const json& age = stream.at("last_success_age_seconds");
  if (age.is_null()) return "never";
  const auto seconds = age.get<std::int64_t>();
  if (seconds < 120) return fmt::format("{} s ago", seconds);
  if (seconds < 120 * 60) return fmt::format("{} min ago", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{} h ago", seconds / 3600);
  return fmt::format("{} days ago", seconds / 86'400);
}

std::string rate_of(const json& run) {
  if (run.is_null() || run.at("records_per_second").is_null()) return "";
  return fmt::format(
      "{}/s", std::llround(std::strtod(cell(run.at("records_per_second")).c_str(), nullptr)));
}

std::string span(std::int64_t seconds) {
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 120 * 60) return fmt::format("{} min", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{} h", seconds / 3600);
  return fmt::format("{} days", seconds / 86'400);
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// Exactly so wide: cut, with a mark, or filled up.
std::string padded(std::string text, std::size_t width) {
  std::string line = text;
  if (characters(line) > width) line = cut_lines(line, width - 1) + "…";
  return line + std::string(width - characters(line), ' ');
}

/// Of a host of before there is no such word.
std::string health_of(const json& connection) {
  return connection.value("health",
                          std::string(connection.at("state") == "DISCONNECTED" ? "off" : "ok"));
}

int order_of(const std::string& health) {
  static const std::map<std::string, int> kOrder = {
      {"needs_action", 0}, {"failing", 1}, {"reading", 2}, {"partial", 2}, {"ok", 3}, {"off", 4}};
  const auto found = kOrder.find(health);
  return found == kOrder.end() ? 0 : found->second;
}

std::string word_of(const std::string& health) {
  return health == "needs_action" ? "needs you" : health;
}

std::string coloured(const std::string& text, const std::string& health, const Screen& screen) {
  if (!screen.colour) return text;
  const char* colour = health == "ok"                                    ? "\x1b[32m"
                       : health == "needs_action" || health == "blocked" ? "\x1b[1;31m"
                       : health == "failing" || health == "overdue"      ? "\x1b[31m"
                       : health == "partial"                             ? "\x1b[33m"
                       : health == "reading" || health == "running"      ? "\x1b[36m"
                                                                         : "";
  return *colour == '\0' ? text : colour + text + "\x1b[0m";
}

/// "11:02:09" of today, else the day.
std::string as_of(const json& when) {
  const std::string time = cell(when.at("at"));  // 2026-11-28T11:02:09Z
  if (time.size() < 19) return time;
  return when.at("behind_seconds").get<std::int64_t>() < 12 * 3600 ? time.substr(11, 8)
                                                                   : time.substr(0, 10);
}

std::string rest_of_line(const std::string& text, std::size_t used, const Screen& screen) {
  if (screen.rows == 0) return text;  // no terminal: whoever reads it cuts as he likes
  const std::size_t left = screen.columns > used + 8 ? screen.columns - used : 8;
  if (characters(text) <= left) return text;
  return cut_lines(text, left - 1) + "…";
}

/// What a line has room for: the first thing that is wrong, or how far the first read is.
std::string what_of(const json& connection) {
  const json& trouble = connection.value("trouble", json());
  if (trouble.is_string()) return cell(trouble);
  const json problems = connection.value("problems", json::array());
  if (!problems.empty()) {
    const std::string more = problems.size() > 1 ? fmt::format("(+{}) ", problems.size() - 1) : "";
    return more + cell(problems.at(0).at("what"));
  }
  std::size_t read = 0, all = 0;
  std::string paused;
  for (const json& stream : connection.at("streams")) {
    if (stream.at("health") == "off") {
      if (!cell(stream.at("reason")).empty())  // of one that is off from the start there is none
        paused += (paused.empty() ? "" : ", ") + cell(stream.at("name"));
      continue;
    }
    ++all;
    if (!stream.at("last_success_age_seconds").is_null()) ++read;
  }
  if (health_of(connection) == "reading") return fmt::format("{} of {} read", read, all);
  return paused.empty() ? "" : "paused: " + paused;
}

/// In full words it stands below, also where nothing is cut.
std::string first_words(const std::string& text) {
  return characters(text) <= kWhatMax ? text : cut_lines(text, kWhatMax - 1) + "…";
}

std::string line_of_connection(const json& connection, const Screen& screen) {
  const std::string health = health_of(connection);
  const json as = connection.value("as_of", json());
  const std::string head =
      fmt::format("{} ", padded(cell(connection.at("name")), 18)) +
      coloured(padded(word_of(health), 9), health, screen) +
      fmt::format(" {:>12}  {:<10} {:<8} ", with_commas(connection.value("rows", std::int64_t{0})),
                  as.is_null() ? "-" : as_of(as),
                  as.is_null() ? "-" : span(as.at("behind_seconds").get<std::int64_t>()));
  std::string line = head + rest_of_line(first_words(what_of(connection)), 63, screen);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

/// It helps another stream of the same kind of object, and all is well with it.
bool is_folded(const json& stream, const json& connection) {
  const json& types = stream.value("types", json());
  if (stream.at("health") != "ok" || stream.at("mode") == "snapshot" || !types.is_array() ||
      types.empty())
    return false;
  for (const json& other : connection.at("streams")) {
    const json& theirs = other.value("types", json());
    if (other.at("mode") != "snapshot" || !theirs.is_array()) continue;
    const bool within = std::all_of(types.begin(), types.end(), [&](const json& type) {
      return std::find(theirs.begin(), theirs.end(), type) != theirs.end();
    });
    if (within) return true;
  }
  return false;
}

/// Rows of a stream's own kinds of object, here or in the vendor's complete list; empty: not known,
/// or it is of many streams' kinds.
std::string rows_of(const json& stream, const json& connection, const char* member) {
  if (stream.at("mode") != "snapshot" || !stream.value("types", json()).is_array()) return "";
  std::int64_t all = 0;
  bool any = false;
  for (const json& type : connection.value("types", json::array())) {
    const json& types = stream.at("types");
    if (types.empty() || types.at(0) != type.at("type") || type.at(member).is_null()) continue;
    all += type.at(member).get<std::int64_t>();
    any = true;
  }
  return any ? with_commas(all) : "";
}

std::string line_of_stream(const json& stream, const json& connection, const Screen& screen) {
  const std::string health = cell(stream.at("health"));
  const json& age = stream.at("last_success_age_seconds");
  const std::string head =
      fmt::format("{} ", padded(cell(stream.at("name")), 22)) +
      coloured(padded(word_of(health), 9), health, screen) +
      fmt::format(" {:>10} {:>10}  {:<9} ", rows_of(stream, connection, "rows"),
                  rows_of(stream, connection, "vendor_rows"),
                  age.is_null() ? "never" : span(age.get<std::int64_t>()));
  std::string line = head + rest_of_line(cell(stream.at("summary")), 66, screen);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

/// Each thing that is wrong, in full words, and what to do: one text each.
std::vector<std::string> details_of(const json& connections, const json& document,
                                    const Screen& screen) {
  std::vector<std::string> all;
  const std::size_t columns = screen.rows == 0 ? SIZE_MAX : screen.columns;
  for (const json& reason : document.value("host_reasons", json::array())) {
    std::string text = "the host\n" + wrapped_lines("  " + cell(reason.at("what")), 2, columns);
    if (!cell(reason.at("action")).empty())
      text += "\n" + wrapped_lines("  to do: " + cell(reason.at("action")), 4, columns);
    all.push_back(std::move(text));
  }
  for (const json& connection : connections) {
    const std::string name = cell(connection.at("name"));
    if (const std::string trouble = cell(connection.value("trouble", json())); !trouble.empty()) {
      all.push_back(
          wrapped_lines("this host cannot work on " + name + "\n  " + trouble, 2, columns));
    }
    for (const json& problem : connection.value("problems", json::array())) {
      const bool is_one = problem.value("subjects", json::array()).size() < 2;
      std::string text = fmt::format(
          "{} {}{}\n", word_of(problem.value("health", std::string("needs_action"))), name,
          is_one && problem.at("kind") == "stream" ? "/" + cell(problem.at("subject")) : "");
      text += wrapped_lines("  " + cell(problem.at("what")), 2, columns);
      if (!cell(problem.at("action")).empty())
        text += "\n" + wrapped_lines("  to do: " + cell(problem.at("action")), 4, columns);
      all.push_back(std::move(text));
    }
  }
  for (const json& work : document.value("work", json::array())) {
    std::string text = fmt::format("under way: {} {}, {} looked at", cell(work.at("kind")),
                                   cell(work.at("subject")), cell(work.at("items")));
    if (work.at("error").is_object())
      text +=
          fmt::format("\n  failed, and is tried again: {}", cell(work.at("error").at("message")));
    all.push_back(wrapped_lines(text, 2, columns));
  }
  return all;
}

/// As many of them as `lines` takes; of the rest, where they are to be seen.
std::string fitting(const std::vector<std::string>& texts, std::size_t lines) {
  std::string out;
  std::size_t used = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto own = static_cast<std::size_t>(
        2 + std::count(texts[i].begin(), texts[i].end(), '\n'));  // and a blank line
    const bool last = i + 1 == texts.size();
    if (lines != SIZE_MAX && used + own + (last ? 0 : 1) > lines)
      return out + fmt::format("{} more: sluice errors\n", texts.size() - i);
    out += "\n" + texts[i] + "\n";
    used += own;
  }
  return out;
}

/// "1 record", "2422 records"
std::string several(const json& count, const char* what) {
  return fmt::format("{} {}{}", cell(count), what, count == 1 ? "" : "s");
}

/// What is said of a stream when it changes; without ages, which change always.
std::string line_of(const json& stream) {
  const json& run = stream.at("run");
  std::string line = fmt::format("{}/{} {}", cell(stream.at("connection")), cell(stream.at("name")),
                                 cell(stream.at("health")));
  if (run.is_null()) {
    line += ", " + several(stream.at("records_total"), "record") + " in all";
  } else {
    line += ", " + several(run.at("records"), "record") + ", " + several(run.at("pages"), "page");
    if (const std::string rate = rate_of(run); !rate.empty()) line += ", " + rate;
    if (!stream.at("estimate").is_null()) line += ", " + cell(stream.at("estimate").at("words"));
  }
  if (stream.at("quarantined").get<std::int64_t>() > 0)
    line += fmt::format(", {} quarantined", cell(stream.at("quarantined")));
  if (!cell(stream.at("action")).empty())
    line += fmt::format(": {}; to do: {}", cell(stream.at("summary")), cell(stream.at("action")));
  return line;
}

/// A picture scrolls: it holds everything.
Screen whole_screen() {
  Screen screen = screen_of_output();
  screen.rows = 10'000;
  return screen;
}

bool is_tried_soon(const json& stream) {
  const json& in = stream.at("next_run_in_seconds");
  return !in.is_null() && in.get<std::int64_t>() <= kTriedSoonSeconds;
}

}  // namespace

std::string summary_line(const json& document) {
  std::map<std::string, std::size_t> by_health;
  std::int64_t rows = 0, put_aside = 0;
  bool at_least = false;
  for (const json& connection : document.at("connections")) {
    ++by_health[health_of(connection)];
    rows += connection.value("rows", std::int64_t{0});
    put_aside += connection.value("quarantined", std::int64_t{0});
    at_least = at_least || connection.value("quarantined_at_least", false);
  }
  for (const json& type : document.value("own_types", json::array()))
    rows += type.value("rows", std::int64_t{0});
  const std::size_t all = document.at("connections").size();
  std::string text = fmt::format("{} connection{}:", all, all == 1 ? "" : "s");
  std::string separator = " ";
  const auto add = [&](const char* health, const char* one, const char* many) {
    const std::size_t count = by_health[health];
    if (count == 0) return;
    text += fmt::format("{}{} {}", separator, count, count == 1 ? one : many);
    separator = ", ";
  };
  add("ok", "well", "well");
  add("partial", "well but for what is put aside", "well but for what is put aside");
  add("reading", "being read", "being read");
  add("failing", "fails and is tried again", "fail and are tried again");
  add("needs_action", "needs you", "need you");
  add("off", "off", "off");
  if (all == 0) text = "no connections yet: sluice connection create NAME --connector …";
  text += fmt::format("; {} row{}", with_commas(rows), rows == 1 ? "" : "s");
  if (put_aside > 0)
    text += fmt::format("; {}{} put aside", with_commas(put_aside), at_least ? "+" : "");
  return text;
}

/// A line for each own type, and one for all that `lines` has no room for; 0: there is no end.
std::string own_types_text(const json& document, std::size_t lines) {
  const json types = document.value("own_types", json::array());
  const bool all_fit = lines == 0 || types.size() <= lines;
  const std::size_t shown = all_fit ? types.size() : lines - 1;
  std::string text;
  std::int64_t more = 0;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto rows = types.at(i).value("rows", std::int64_t{0});
    if (i < shown) {
      text += fmt::format("{} {:<9} {:>12}\n", padded(cell(types.at(i).at("type")), 18), "own",
                          with_commas(rows));
    } else {
      more += rows;
    }
  }
  if (all_fit) return text;
  return text + fmt::format("{} {:<9} {:>12}  sluice entity types\n",
                            padded(fmt::format("and {} more", types.size() - shown), 18), "own",
                            with_commas(more));
}

std::string summary_text(const json& document, const Screen& screen) {
  json connections = document.at("connections");
  std::stable_sort(connections.begin(), connections.end(), [](const json& a, const json& b) {
    return order_of(health_of(a)) < order_of(health_of(b));
  });
  std::string text = fmt::format("{:<18} {:<9} {:>12}  {:<10} {:<8} {}\n", "CONNECTION", "STATE",
                                 "ROWS", "AS OF", "BEHIND", "WHAT");
  for (const json& connection : connections) text += line_of_connection(connection, screen);
  const std::vector<std::string> details = details_of(connections, document, screen);
  // Header, connections, a blank line, the summary, and the prompt; half of the rest for what is
  // wrong.
  const std::size_t others = connections.size() + 4;
  std::size_t room = screen.rows > others ? screen.rows - others : 1;
  if (!details.empty()) room = std::max<std::size_t>(1, room / 2);
  text += own_types_text(document, screen.rows == 0 ? 0 : room);
  text += "\n" + summary_line(document) + "\n";
  const std::size_t used = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  // The prompt needs a line, too.
  const std::size_t left = screen.rows == 0         ? 0
                           : screen.rows > used + 1 ? screen.rows - used - 1
                                                    : 1;
  return text + fitting(details, screen.rows == 0 ? SIZE_MAX : left);
}

std::string streams_text(const json& document, const Screen& screen) {
  std::string text = fmt::format("{:<22} {:<9} {:>10} {:>10}  {:<9} {}\n", "STREAM", "HEALTH",
                                 "ROWS", "AT VENDOR", "READ", "SUMMARY");
  std::size_t folded = 0;
  const bool several = document.at("connections").size() > 1;
  for (const json& connection : document.at("connections")) {
    if (several) text += cell(connection.at("name")) + ":\n";
    for (const json& stream : connection.at("streams")) {
      if (is_folded(stream, connection)) {
        ++folded;
        continue;
      }
      text += line_of_stream(stream, connection, screen);
    }
  }
  if (folded > 0)
    text +=
        fmt::format("and {} that watch the same kinds of object: all is well with them\n", folded);
  text += "\n" + summary_line(document) + "\n";
  return text + fitting(details_of(document.at("connections"), document, screen), SIZE_MAX);
}

std::string progress_text(const json& document) {
  json rows = stream_rows(document);
  for (json& row : rows) {
    row["rate"] = rate_of(row["run"]);
    row["last_success"] = age_of(row);
    row["left"] = row["estimate"].is_null() ? json("") : row["estimate"]["words"];
  }
  return table(rows, {{"CONNECTION", "/connection"},
                      {"STREAM", "/name"},
                      {"HEALTH", "/health"},
                      {"RUN", "/run/records", true},
                      {"PAGES", "/run/pages", true},
                      {"RATE", "/rate", true},
                      {"LAST SUCCESS", "/last_success"},
                      {"LEFT", "/left"}}) +
         "\n" + summary_line(document) + "\n" +
         fitting(details_of(document.at("connections"), document, screen_of_output()), SIZE_MAX);
}

std::string progress_line(const json& document) {
  std::size_t all = 0, read = 0;
  std::int64_t records = 0;
  double rate = 0;
  std::int64_t longest = -1;
  for (const json& stream : stream_rows(document)) {
    const std::string health = stream.at("health");
    if (health == "off") continue;
    ++all;
    const json& run = stream.at("run");
    if (run.is_null() && health != "waiting" && health != "overdue") ++read;
    if (run.is_null()) continue;
    records += run.at("records").get<std::int64_t>();
    if (!run.at("records_per_second").is_null())
      rate += std::strtod(cell(run.at("records_per_second")).c_str(), nullptr);
    const json& estimate = stream.at("estimate");
    if (!estimate.is_null() && !estimate.value("seconds_left", json()).is_null())
      longest = std::max(longest, estimate.at("seconds_left").get<std::int64_t>());
  }
  std::string text = fmt::format("{} of {} streams done", read, all);
  if (records > 0) text += fmt::format(", {} records in what runs", with_commas(records));
  if (rate >= 1) text += fmt::format(", {}/s", std::llround(rate));
  if (longest >= 0) text += fmt::format(", about {} left of what is known", span(longest));
  std::int64_t refetch = 0;
  for (const json& connection : document.at("connections"))
    refetch += connection.at("refetch").at("waiting").get<std::int64_t>();
  if (refetch > 0) text += fmt::format(", {} objects to be read again", with_commas(refetch));
  return text;
}

bool is_quiet(const json& document) {
  for (const json& connection : document.at("connections")) {
    if (connection.at("state") == "DISCONNECTED") continue;
    if (connection.at("state") == "DISCONNECTING") return false;
    if (connection.at("refetch").at("waiting").get<std::int64_t>() >
        connection.at("refetch").at("failing").get<std::int64_t>())
      return false;
    for (const json& stream : connection.at("streams")) {
      const std::string health = stream.at("health");
      if (!stream.at("run").is_null()) return false;
      if (health == "running" || health == "waiting" || health == "overdue") return false;
      if (health == "failing" && is_tried_soon(stream)) return false;
    }
  }
  return true;
}

bool has_trouble(const json& document) {
  static const std::set<std::string> kUnwell = {"failing", "needs_action", "blocked", "overdue",
                                                "partial"};
  for (const json& connection : document.at("connections")) {
    const std::string health = health_of(connection);
    // Those that were read again by themselves are of no stream.
    if (health != "off" && connection.value("quarantined", std::int64_t{0}) > 0) return true;
    // Its streams say it for themselves, of those that are looked at.
    if (connection.at("streams").empty() && (health == "needs_action" || health == "failing"))
      return true;
    if (connection.value("trouble", json()).is_string()) return true;
  }
  for (const json& stream : stream_rows(document)) {
    if (kUnwell.contains(stream.at("health").get<std::string>())) return true;
  }
  return false;
}

std::string cut_lines(const std::string& text, std::size_t columns) {
  std::string out;
  std::size_t width = 0;
  bool escape = false;  // a colour takes no room
  for (const char c : text) {
    if (escape || c == '\x1b') {
      escape = c != 'm';
      out += c;
      continue;
    }
    const bool continues = (c & 0xC0) == 0x80;
    if (c == '\n') {
      width = 0;
    } else if (!continues) {
      ++width;
    }
    if (width <= columns) out += c;
  }
  return out;
}

Watch::Form Watch::form_for_output(bool as_json) {
  if (as_json) return Form::json_lines;
  return ::isatty(STDOUT_FILENO) != 0 ? Form::picture : Form::lines;
}

std::string window_of(const std::string& text, const Screen& screen, std::size_t& from) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (screen.rows == 0 || lines.size() <= screen.rows) {
    from = 0;
    return text;
  }
  const std::size_t shown = screen.rows - 2;  // below the header and above the last line
  const std::size_t body = lines.size() - 1;
  from = std::min(from, body - shown);
  std::string out = lines[0] + "\n";
  for (std::size_t i = 0; i < shown; ++i) out += lines[1 + from + i] + "\n";
  // Without an end of line: the window would roll by one.
  return out + fmt::format("lines {} to {} of {}; arrows and page keys scroll, q ends", from + 1,
                           from + shown, body);
}

void Watch::draw(const std::string& text) {
  text_ = text;
  const Screen screen = screen_of_output();
  // Home, each line cleared behind its text, and what is left of the picture before; in one piece,
  // so that nothing flickers.
  std::string picture = drawn_ ? "\x1b[H" : "\x1b[2J\x1b[H";
  for (const char c : cut_lines(window_of(text, screen, from_), screen.columns)) {
    if (c == '\n') picture += "\x1b[K";
    picture += c;
  }
  std::cout << picture << "\x1b[K\x1b[J" << std::flush;
  drawn_ = true;
}

void Watch::scroll(long lines) {
  if (form_ != Form::picture || !drawn_) return;
  const long to = static_cast<long>(from_) + lines;
  from_ = static_cast<std::size_t>(std::max(0L, to));
  draw(std::string(text_));
}

long Watch::page_lines() {
  const std::size_t rows = screen_of_output().rows;
  return rows > 4 ? static_cast<long>(rows) - 3 : 1;
}

void Watch::show(const json& document) {
  switch (form_) {
    case Form::json_lines:
      std::cout << for_screen(write_json(document)) << std::endl;
      return;
    case Form::picture:
      draw(shows_ == Shows::connections ? summary_text(document, whole_screen())
                                        : progress_text(document));
      return;
    case Form::lines:
      break;
  }
  const std::string now = to_rfc3339(std::chrono::floor<std::chrono::seconds>(SystemClock().now()));
  for (const json& stream : stream_rows(document)) {
    std::string line = line_of(stream);
    std::string& before = said_[cell(stream.at("connection")) + "/" + cell(stream.at("name"))];
    if (line == before) continue;
    std::cout << now << ' ' << line << '\n';
    before = std::move(line);
  }
  std::cout << std::flush;
}

void Watch::say(const std::string& text) {
  if (form_ == Form::picture) {
    draw(text + "\n");
  } else {
    std::cerr << "sluice: " << text << std::endl;
  }
}

}  // namespace sluice::cli
