#include "cli/status_view.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <iostream>
#include <set>
#include <vector>

#include "base/clock.hpp"
#include "base/exact_json.hpp"

namespace sluice::cli {
namespace {

constexpr std::int64_t kTriedSoonSeconds = 60;
constexpr std::size_t kColumnsFallback = 120;

json stream_rows(const json& document) {
  json rows = json::array();
  for (const json& connection : document["connections"]) {
    for (json stream : connection["streams"]) {
      stream["connection"] = connection["name"];
      rows.push_back(std::move(stream));
    }
  }
  return rows;
}

std::string age_of(const json& stream) {
  const json& age = stream["last_success_age_seconds"];
  if (age.is_null()) return "never";
  const auto seconds = age.get<std::int64_t>();
  if (seconds < 120) return fmt::format("{} s ago", seconds);
  if (seconds < 120 * 60) return fmt::format("{} min ago", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{} h ago", seconds / 3600);
  return fmt::format("{} days ago", seconds / 86'400);
}

std::string rate_of(const json& run) {
  if (run.is_null() || run["records_per_second"].is_null()) return "";
  return fmt::format("{}/s",
                     std::llround(std::strtod(cell(run["records_per_second"]).c_str(), nullptr)));
}

/// "customers: the key lacks …" and, below it, what to do.
std::string troubles(const json& document, const json& rows) {
  std::string text;
  for (const json& connection : document["connections"]) {
    if (const std::string trouble = cell(connection.value("trouble", json())); !trouble.empty())
      text +=
          fmt::format("\nthis host cannot work on {}\n  {}\n", cell(connection["name"]), trouble);
  }
  for (const json& work : document.value("work", json::array())) {
    text += fmt::format("\nunder way: {} {}, {} looked at\n", cell(work["kind"]),
                        cell(work["subject"]), cell(work["items"]));
    if (work["error"].is_object())
      text += fmt::format("  failed, and is tried again: {}\n", cell(work["error"]["message"]));
  }
  for (const json& stream : rows) {
    const std::string action = cell(stream["action"]);
    if (action.empty()) continue;
    text += fmt::format("\n{} {}/{}\n  {}\n  to do: {}\n", cell(stream["health"]),
                        cell(stream["connection"]), cell(stream["name"]), cell(stream["summary"]),
                        action);
  }
  return text;
}

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kColumnsFallback;
  return size.ws_col;
}

/// What is said of a stream when it changes; without ages, which change always.
std::string line_of(const json& stream) {
  const json& run = stream["run"];
  std::string line = fmt::format("{}/{} {}", cell(stream["connection"]), cell(stream["name"]),
                                 cell(stream["health"]));
  if (run.is_null()) {
    line += fmt::format(", {} records in all", cell(stream["records_total"]));
  } else {
    line += fmt::format(", {} records, {} pages", cell(run["records"]), cell(run["pages"]));
    if (const std::string rate = rate_of(run); !rate.empty()) line += ", " + rate;
    if (!stream["estimate"].is_null()) line += ", " + cell(stream["estimate"]["words"]);
  }
  if (stream["quarantined"].get<std::int64_t>() > 0)
    line += fmt::format(", {} quarantined", cell(stream["quarantined"]));
  if (!cell(stream["action"]).empty())
    line += fmt::format(": {}; to do: {}", cell(stream["summary"]), cell(stream["action"]));
  return line;
}

bool is_tried_soon(const json& stream) {
  const json& in = stream["next_run_in_seconds"];
  return !in.is_null() && in.get<std::int64_t>() <= kTriedSoonSeconds;
}

}  // namespace

std::string status_text(const json& document) {
  json rows = stream_rows(document);
  for (json& row : rows) row["last_success"] = age_of(row);
  return table(document["connections"], {{"CONNECTION", "/name"},
                                         {"CONNECTOR", "/connector"},
                                         {"STATE", "/state"},
                                         {"ACCOUNT", "/account/id"},
                                         {"MODE", "/mode"},
                                         {"REFETCH", "/refetch/waiting", true},
                                         {"QUARANTINED", "/quarantined", true},
                                         {"REASON", "/reason"}}) +
         "\n" +
         table(rows,
               {{"CONNECTION", "/connection"},
                {"STREAM", "/name"},
                {"HEALTH", "/health"},
                {"RECORDS", "/records_total", true},
                {"QUARANTINED", "/quarantined", true},
                {"LAST SUCCESS", "/last_success"},
                {"SUMMARY", "/summary"}},
               100) +
         troubles(document, rows);
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
                      {"RECORDS", "/records_total", true},
                      {"LAST SUCCESS", "/last_success"},
                      {"LEFT", "/left"}}) +
         troubles(document, rows);
}

bool is_quiet(const json& document) {
  for (const json& connection : document["connections"]) {
    if (connection["state"] == "DISCONNECTED") continue;
    if (connection["state"] == "DISCONNECTING") return false;
    if (connection["refetch"]["waiting"].get<std::int64_t>() >
        connection["refetch"]["failing"].get<std::int64_t>())
      return false;
    for (const json& stream : connection["streams"]) {
      const std::string health = stream["health"];
      if (!stream["run"].is_null()) return false;
      if (health == "running" || health == "waiting" || health == "overdue") return false;
      if (health == "failing" && is_tried_soon(stream)) return false;
    }
  }
  return true;
}

bool has_trouble(const json& document) {
  static const std::set<std::string> kUnwell = {"failing", "needs_action", "blocked", "overdue"};
  for (const json& stream : stream_rows(document)) {
    if (kUnwell.contains(stream["health"].get<std::string>())) return true;
  }
  return false;
}

std::string cut_lines(const std::string& text, std::size_t columns) {
  std::string out;
  std::size_t width = 0;
  for (const char c : text) {
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

void Watch::draw(const std::string& text) {
  // Home, each line cleared behind its text, and what is left of the picture before.
  std::string picture = drawn_ ? "\x1b[H" : "\x1b[2J\x1b[H";
  for (const char c : cut_lines(text, terminal_columns())) {
    if (c == '\n') picture += "\x1b[K";
    picture += c;
  }
  std::cout << picture << "\x1b[J" << std::flush;
  drawn_ = true;
}

void Watch::show(const json& document) {
  switch (form_) {
    case Form::json_lines:
      std::cout << write_json(document) << std::endl;
      return;
    case Form::picture:
      draw(progress_text(document));
      return;
    case Form::lines:
      break;
  }
  const std::string now = to_rfc3339(std::chrono::floor<std::chrono::seconds>(SystemClock().now()));
  for (const json& stream : stream_rows(document)) {
    std::string line = line_of(stream);
    std::string& before = said_[cell(stream["connection"]) + "/" + cell(stream["name"])];
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
