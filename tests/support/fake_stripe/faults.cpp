#include "faults.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace fake_stripe {
namespace {

constexpr std::array<std::string_view, 16> kKinds = {
    "status",      "html502",    "cut",      "drop",     "slow",       "empty",
    "garbage",     "429",        "401",      "403",      "nonjson200", "truncate_json",
    "repeat_page", "empty_page", "has_more", "retention"};

constexpr std::array<std::string_view, 9> kFields = {
    "match", "nth", "times", "kind", "status", "headers", "delay_ms", "body", "reason"};

bool matches(const Fault& fault, std::string_view target) {
  const std::string_view pattern = fault.match;
  if (pattern.empty() || pattern == "*") return true;
  if (pattern.find('?') != std::string_view::npos) return target.starts_with(pattern);
  const std::string_view path = target.substr(0, target.find('?'));
  if (pattern.back() == '*') return path.starts_with(pattern.substr(0, pattern.size() - 1));
  return path == pattern;
}

void check_fields(const nlohmann::json& description) {
  for (const auto& [name, value] : description.items()) {
    if (std::find(kFields.begin(), kFields.end(), name) == kFields.end()) {
      throw std::invalid_argument("fault: unknown field '" + name + "'");
    }
  }
}

}  // namespace

void Faults::add(const nlohmann::json& description) {
  check_fields(description);
  Fault fault;
  fault.match = description.value("match", "");
  fault.nth = description.value("nth", std::int64_t{1});
  fault.times = description.value("times", std::int64_t{1});
  fault.kind = description.value("kind", "");
  fault.status = description.value("status", 500);
  fault.headers = description.value("headers", fault.headers);
  fault.delay_ms = description.value("delay_ms", std::int64_t{0});
  fault.body = description.value("body", "");
  fault.reason = description.value("reason", "endpoint-rate");
  if (std::find(kKinds.begin(), kKinds.end(), fault.kind) == kKinds.end()) {
    throw std::invalid_argument("fault: unknown kind '" + fault.kind + "'; README.md lists them");
  }
  const std::lock_guard lock(mutex_);
  faults_.push_back(std::move(fault));
}

void Faults::clear() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

nlohmann::json Faults::describe() const {
  const std::lock_guard lock(mutex_);
  nlohmann::json all = nlohmann::json::array();
  for (const Fault& f : faults_) {
    all.push_back({{"match", f.match},
                   {"kind", f.kind},
                   {"nth", f.nth},
                   {"times", f.times},
                   {"seen", f.seen},
                   {"hits", f.hits}});
  }
  return all;
}

std::optional<Fault> Faults::hit(std::string_view target) {
  const std::lock_guard lock(mutex_);
  std::optional<Fault> chosen;
  for (Fault& fault : faults_) {
    if (!matches(fault, target)) continue;
    ++fault.seen;
    const bool due =
        fault.seen >= fault.nth && (fault.times == 0 || fault.seen < fault.nth + fault.times);
    if (!due || chosen) continue;
    ++fault.hits;
    chosen = fault;
  }
  return chosen;
}

}  // namespace fake_stripe
