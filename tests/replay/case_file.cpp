#include "replay/case_file.hpp"

#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace sluice::replay {
namespace {

constexpr std::string_view kExpected = "=== expected";

[[noreturn]] void complain(const std::filesystem::path& path, std::size_t line,
                           const std::string& what) {
  throw std::runtime_error(path.string() + ":" + std::to_string(line) + ": " + what);
}

bool starts(const std::string& text, std::string_view with) { return text.rfind(with, 0) == 0; }

std::string after_colon(const std::string& line) {
  const auto at = line.find_first_not_of(' ', line.find(':') + 1);
  return at == std::string::npos ? std::string() : line.substr(at);
}

/// "@each 1..3: {\"id\":\"il_$i\"}" is the template three times, with commas between.
std::string expanded(const std::string& line, const std::filesystem::path& path,
                     std::size_t number) {
  const auto at = line.find("@each ");
  if (at == std::string::npos) return line;
  int from = 0;
  int to = 0;
  int used = 0;
  if (std::sscanf(line.c_str() + at, "@each %d..%d: %n", &from, &to, &used) != 2) {
    complain(path, number, "expected @each <from>..<to>: <template>");
  }
  std::string pattern = line.substr(at + static_cast<std::size_t>(used));
  const bool goes_on =
      !pattern.empty() && pattern.back() == ',';  // the array goes on in the next line
  if (goes_on) pattern.pop_back();
  std::string out = line.substr(0, at);
  const int step = from <= to ? 1 : -1;
  for (int i = from;; i += step) {
    for (std::size_t j = 0; j < pattern.size(); ++j) {
      if (pattern[j] == '$' && j + 1 < pattern.size() && pattern[j + 1] == 'i') {
        out += std::to_string(i);
        ++j;
      } else {
        out += pattern[j];
      }
    }
    if (i == to) break;
    out += ',';
  }
  return goes_on ? out + "," : out;
}

/// "\xFF" in a body stands for the byte, so that bad UTF-8 can be written.
std::string with_raw_bytes(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "\\x") == 0 && i + 3 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 2, 2), nullptr, 16));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::int64_t parse_now(const std::string& text) {
  std::istringstream in(text);
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  char c = 0;
  in >> year >> c >> month >> c >> day >> c >> hour >> c >> minute >> c >> second;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return (days * 86400 + hour * 3600 + minute * 60 + second) * 1000;
}

void read_head(Case& test_case, const std::string& line, std::size_t number) {
  const std::string value = after_colon(line);
  const std::string key = line.substr(0, line.find(':'));
  if (key == "operation") {
    test_case.operation = value;
  } else if (key == "stream") {
    test_case.stream = value;
  } else if (key == "type") {
    test_case.type = value;
  } else if (key == "ids") {
    std::istringstream in(value);
    for (std::string id; in >> id;) test_case.ids.push_back(id);
  } else if (key == "config") {
    test_case.config = value;
  } else if (key == "checkpoint") {
    test_case.checkpoint = value;
  } else if (key == "checkpoint_format") {
    test_case.checkpoint_format = static_cast<std::uint32_t>(std::stoul(value));
  } else if (key == "page_size") {
    test_case.page_size = static_cast<std::uint32_t>(std::stoul(value));
  } else if (key == "now") {
    test_case.now_ms = parse_now(value);
  } else if (key == "resumes") {
    test_case.resumes = value != "no";
  } else {
    complain(test_case.path, number, "does not know \"" + key + "\"");
  }
}

}  // namespace

Case read_case(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error(path.string() + ": cannot be opened");
  Case test_case;
  test_case.path = path;
  test_case.now_ms = parse_now("2026-11-23T05:00:00Z");
  enum class Part { head, answer_head, body, expected } part = Part::head;
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line == kExpected) {
      part = Part::expected;
    } else if (part == Part::expected) {
      test_case.expected += line + "\n";
    } else if (starts(line, ">> ")) {
      part = Part::answer_head;
      test_case.exchanges.emplace_back().target = line.substr(3);
    } else if (line.empty() && part == Part::answer_head) {
      part = Part::body;
    } else if (line.empty() || (starts(line, "#") && part != Part::body)) {
      continue;
    } else if (part == Part::head) {
      read_head(test_case, line, number);
    } else if (part == Part::answer_head) {
      Exchange& exchange = test_case.exchanges.back();
      if (starts(line, "status:")) {
        exchange.status = std::stoi(after_colon(line));
      } else {
        exchange.headers.emplace_back(line.substr(0, line.find(':')), after_colon(line));
      }
    } else {
      test_case.exchanges.back().body += with_raw_bytes(expanded(line, path, number)) + "\n";
    }
  }
  return test_case;
}

void update_case(const Case& test_case, const std::string& trace) {
  std::ifstream in(test_case.path);
  std::string text;
  for (std::string line; std::getline(in, line) && line != kExpected;) text += line + "\n";
  in.close();
  std::ofstream out(test_case.path, std::ios::trunc);
  out << text << kExpected << "\n" << trace;
}

}  // namespace sluice::replay
