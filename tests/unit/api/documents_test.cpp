// What operators read holds what the program has: every route, log event and metric.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "api/api.hpp"

namespace sluice::api {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

fs::path source() { return fs::path(SLUICE_SOURCE_DIR); }

/// The first group of each match in the sources of the host.
std::set<std::string> in_sources(const std::string& pattern, const std::string& folder = "") {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(source() / "host" / folder)) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = text_of(entry.path());
    for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
      found.insert((*at)[1]);
  }
  return found;
}

/// The first group of each match in a document.
std::set<std::string> in_document(const std::string& document, const std::string& pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator at(document.begin(), document.end(), expression), end; at != end; ++at)
    found.insert((*at)[1]);
  return found;
}

TEST(Documents, every_metric_and_event_in_them_is_there) {
  const auto metrics = in_sources(R"re("((?:sluice|process)_[a-z_]+)")re", "api");
  const std::string counted = text_of(source() / "docs/operating/metrics.md");
  const auto shown_metrics =
      in_document(counted, R"re(`((?:sluice|process)_[a-z_]+)(?:\{[^`]*)?`)re");
  EXPECT_GT(shown_metrics.size(), 30U);
  for (const std::string& name : shown_metrics) EXPECT_TRUE(metrics.contains(name)) << name;

  const auto events =
      in_sources(R"re(log::(?:debug|info|warning|error|write)\([^"]*"([a-z_.0-9]+)")re");
  const std::string logged = text_of(source() / "docs/operating/logs.md");
  const std::string table = logged.substr(logged.find("## Events"));
  const auto shown_events = in_document(table, R"re(`([a-z_]+\.[a-z_.]+)`)re");
  EXPECT_GT(shown_events.size(), 20U);
  for (const std::string& event : shown_events) EXPECT_TRUE(events.contains(event)) << event;
}

TEST(Documents, every_log_event_is_in_the_document_of_logs) {
  const std::string document = text_of(source() / "docs/operating/logs.md");
  const auto events = in_sources(R"re(log::(?:debug|info|warning|error)\(\s*"([a-z_.0-9]+)")re");
  EXPECT_GT(events.size(), 20U);
  for (const std::string& event : events)
    EXPECT_NE(document.find("`" + event + "`"), std::string::npos) << event;
}

TEST(Documents, every_metric_is_in_the_document_of_metrics) {
  const std::string document = text_of(source() / "docs/operating/metrics.md");
  const auto names = in_sources(R"re("((?:sluice|process)_[a-z_]+)")re", "api");
  EXPECT_GT(names.size(), 30U);
  for (const std::string& name : names)
    EXPECT_NE(document.find("`" + name + "`"), std::string::npos) << name;
}

}  // namespace
}  // namespace sluice::api
