#include "api/causes.hpp"

#include "api/words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::size_t kNamesMax = 50;  ///< in one sentence

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// What one stream needs is needed by all: the command without the stream.
std::string action_for_all(std::string action, const json& subjects) {
  for (const json& subject : subjects) {
    const std::string only = " --stream " + subject.get<std::string>();
    for (auto at = action.find(only); at != std::string::npos; at = action.find(only)) {
      const std::size_t end = at + only.size();
      if (end < action.size() && is_word(action[end])) break;  // a longer name
      action.erase(at, only.size());
    }
  }
  return action;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  if (const auto at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

/// One key, many permissions: they can be given at once.
void say_permissions(json& entry) {
  const std::size_t count = entry["permissions"].size();
  entry["what"] =
      fmt::format("the key lacks {}: {}; streams: {}",
                  count == 1 ? "the permission" : fmt::format("{} permissions", count),
                  names_in_words(entry["permissions"]), names_in_words(entry["subjects"]));
  if (count > 1) {
    entry["action"] =
        replaced(entry["action"].get<std::string>(), "that permission", "these permissions");
  }
}

void finish(json& entry) {
  const json& subjects = entry["subjects"];
  if (subjects.size() < 2) return;
  entry["subject"] = fmt::format("{} {}s", subjects.size(), entry["kind"].get<std::string>());
  entry["action"] = action_for_all(entry["action"].get<std::string>(), subjects);
  if (!entry["permissions"].empty()) {
    say_permissions(entry);
    return;
  }
  json others = json::array();
  for (std::size_t i = 1; i < subjects.size(); ++i) others.push_back(subjects[i]);
  entry["what"] = fmt::format("{}: {}; the same: {}", subjects[0].get<std::string>(),
                              entry["what"].get<std::string>(), names_in_words(others));
}

void add_name(json& names, const json& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

}  // namespace

json problem_of(std::string_view kind, const json& connection, const json& subject,
                std::string_view code, const json& what, const json& action) {
  json one;
  one["kind"] = kind;
  one["connection"] = connection;
  one["subject"] = subject;
  one["subjects"] = json::array();
  if (subject != "") one["subjects"].push_back(subject);
  one["permissions"] = json::array();
  one["code"] = code;
  one["count"] = 1;
  one["what"] = what;
  one["action"] = action;
  return one;
}

void Causes::add(json problem) {
  if (entries_.size() >= entries_max_) {
    truncated_ = true;
  } else {
    entries_.push_back(std::move(problem));
  }
}

void Causes::add(json problem, const std::string& cause) {
  const Key key(problem["kind"], problem["connection"], problem["code"], cause);
  const auto [place, is_new] = places_.try_emplace(key, entries_.size());
  if (is_new) {
    if (entries_.size() >= entries_max_) places_.erase(place);
    add(std::move(problem));
    return;
  }
  json& entry = entries_[place->second];
  for (const json& subject : problem["subjects"]) add_name(entry["subjects"], subject);
  for (const json& permission : problem["permissions"]) add_name(entry["permissions"], permission);
  entry["count"] = entry["count"].get<std::int64_t>() + problem["count"].get<std::int64_t>();
  if (problem.contains("failures")) {
    entry["failures"] =
        std::max(entry["failures"].get<std::int64_t>(), problem["failures"].get<std::int64_t>());
  }
}

json Causes::take() {
  json all = json::array();
  for (json& entry : entries_) {
    finish(entry);
    all.push_back(std::move(entry));
  }
  entries_.clear();
  places_.clear();
  return all;
}

std::string cause_in(std::string_view reason, std::string_view subject) {
  std::string cause;
  for (std::size_t at = 0; at < reason.size();) {
    // Each stream asks at a path of its own.
    if (reason[at] == '/' && at > 0 && reason[at - 1] == ' ') {
      cause += '*';
      while (at < reason.size() && reason[at] != ' ' && reason[at] != ',' && reason[at] != ':')
        ++at;
      continue;
    }
    if (!is_word(reason[at])) {
      cause += reason[at++];
      continue;
    }
    std::size_t end = at;
    while (end < reason.size() && is_word(reason[end])) ++end;
    const std::string_view word = reason.substr(at, end - at);
    const bool differs = word == subject || std::any_of(word.begin(), word.end(), [](char c) {
                           return std::isdigit(static_cast<unsigned char>(c)) != 0;
                         });
    cause += differs ? std::string_view("*") : word;
    at = end;
  }
  return cause;
}

bool add_causes(Causes& causes, const json& connection) {
  static const std::set<std::string> kUnwell = {"failing", "needs_action", "blocked", "overdue"};
  // One key, one configuration, one file: what is told of one stream is so for all.
  static const std::set<std::string> kOfTheWhole = {"AUTH", "PERMISSION", "overdue"};
  bool any = false;
  for (const json& stream : connection["streams"]) {
    const std::string health = stream["health"];
    if (!kUnwell.contains(health)) continue;
    any = true;
    const std::string error_class = stream["error_class"];
    json one = problem_of("stream", connection["name"], stream["name"],
                          health == "blocked" || error_class.empty() ? health : error_class,
                          stream["summary"], stream["action"]);
    one["health"] = health;
    one["failures"] = stream["consecutive_failures"];
    if (!stream["permission"].is_null()) one["permissions"].push_back(stream["permission"]);
    if (health == "blocked") {  // each waits for a decision of its own
      causes.add(std::move(one));
      continue;
    }
    // A key that is refused is one cause in whatever words; so is a permission, named or not.
    std::string cause =
        kOfTheWhole.contains(one["code"].get<std::string>())
            ? (stream["permission"].is_null() ? "" : "named")
            : cause_in(stream["reason"].get<std::string>(), stream["name"].get<std::string>());
    causes.add(std::move(one), cause);
  }
  const std::string state = connection["state"];
  // DEGRADED only sums up the streams, and lags behind them: when none of them is unwell, it is
  // over.
  if (any || (state != "FAILED" && state != "STALE")) return any;
  causes.add(problem_of(
      "connection", connection["name"], connection["name"], state, connection["reason"],
      "ask the vendor again: sluice connection check " + connection["name"].get<std::string>()));
  return any;
}

std::string names_in_words(const json& names) {
  std::string text;
  std::size_t said = 0;
  for (const json& name : names) {
    if (said == kNamesMax) break;
    text += (said == 0 ? "" : ", ") + name.get<std::string>();
    ++said;
  }
  if (names.size() > said) text += fmt::format(" and {} more", names.size() - said);
  return text;
}

}  // namespace sluice::api
