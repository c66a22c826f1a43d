#include "faults.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <stdexcept>

#include "dice.hpp"
#include "query.hpp"

namespace fake_stripe {
namespace {

constexpr std::array<std::string_view, 30> kKinds = {
    "status",      "html502",    "html",        "bad_utf8",   "cut",           "cut_head",
    "drop",        "reset",      "hang",        "slow",       "trickle",       "chunked",
    "empty",       "garbage",    "429",         "401",        "403",           "permission",
    "409",         "retention",  "cursor_gone", "nonjson200", "truncate_json", "wrong_length",
    "repeat_page", "empty_page", "has_more",    "end_early",  "overlap",       "lock_timeout"};

constexpr std::array<std::string_view, 4> kShaping = {"rewrite", "expanded", "inflate", "omit"};

/// Kinds after which the client holds a right answer, only later or in another wrapping.
constexpr std::array<std::string_view, 3> kHarmless = {"slow", "trickle", "chunked"};

/// Answers that are well-formed pages, right or not.
constexpr std::array<std::string_view, 5> kPages = {"repeat_page", "empty_page", "has_more",
                                                    "end_early", "overlap"};

constexpr std::array<std::string_view, 24> kFields = {
    "match", "account", "nth",     "times",      "probability", "seed",  "page",  "from_page",
    "kind",  "status",  "headers", "delay_ms",   "every_ms",    "bytes", "body",  "reason",
    "code",  "type",    "message", "permission", "field",       "value", "share", "paths"};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// '*' stands for any characters, also none.
bool glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool matches(const Fault& fault, std::string_view target, std::string_view account,
             std::uint32_t page) {
  if (!fault.account.empty() && fault.account != account) return false;
  if (fault.page != 0 && fault.page != page) return false;
  if (fault.from_page != 0 && page < fault.from_page) return false;
  const std::string_view pattern = fault.match;
  if (pattern.empty() || pattern == "*") return true;
  if (pattern.find('?') != std::string_view::npos) return target.starts_with(pattern);
  return glob(pattern, target.substr(0, target.find('?')));
}

void check_fields(const nlohmann::json& description) {
  for (const auto& [name, value] : description.items()) {
    if (!among(kFields, name)) throw std::invalid_argument("fault: unknown field '" + name + "'");
  }
}

Fault parse(const nlohmann::json& d) {
  Fault fault;
  const bool by_chance = d.contains("probability");
  fault.match = d.value("match", "");
  fault.account = d.value("account", "");
  fault.nth = d.value("nth", std::int64_t{1});
  fault.times = d.value("times", std::int64_t{by_chance ? 0 : 1});
  fault.probability = d.value("probability", 1.0);
  fault.seed = d.value("seed", std::uint64_t{1});
  fault.page = d.value("page", std::uint32_t{0});
  fault.from_page = d.value("from_page", std::uint32_t{0});
  fault.kind = d.value("kind", "");
  fault.status = d.value("status", fault.kind == "html" ? 502 : 500);
  if (fault.kind == "lock_timeout") fault.status = d.value("status", 409);
  fault.headers = d.value("headers", fault.headers);
  fault.delay_ms = d.value("delay_ms", std::int64_t{0});
  fault.every_ms = d.value("every_ms", std::int64_t{20});
  fault.bytes = d.value("bytes", std::int64_t{0});
  fault.body = d.value("body", "");
  fault.reason = d.value("reason", "endpoint-rate");
  fault.code = d.value("code", "");
  fault.type = d.value("type", "");
  fault.message = d.value("message", "");
  fault.permission = d.value("permission", "");
  fault.field = d.value("field", "");
  if (d.contains("value")) fault.value = d["value"];
  fault.share = d.value("share", fault.kind == "omit" ? 0.1 : 1.0);
  fault.paths = d.value("paths", fault.paths);
  return fault;
}

}  // namespace

bool Fault::shapes() const { return among(kShaping, kind); }

bool Fault::spoils() const { return !shapes() && !among(kHarmless, kind) && !among(kPages, kind); }

bool Fault::takes(std::string_view id) const {
  if (share >= 1) return true;
  constexpr std::uint64_t kMillion = 1'000'000;
  return Dice(seed, id, 0).below(kMillion) < static_cast<std::uint64_t>(share * kMillion);
}

std::string Misfortune::kinds() const {
  std::string all = fault ? fault->kind : "";
  for (const Fault& one : shaping) all += (all.empty() ? "" : "+") + one.kind;
  return all;
}

const Fault* Misfortune::shape(std::string_view kind) const {
  for (const Fault& one : shaping) {
    if (one.kind == kind) return &one;
  }
  return nullptr;
}

void Faults::add(const nlohmann::json& description) {
  check_fields(description);
  Fault fault = parse(description);
  if (!among(kKinds, fault.kind) && !among(kShaping, fault.kind)) {
    throw std::invalid_argument("fault: unknown kind '" + fault.kind + "'; README.md lists them");
  }
  if (fault.kind == "rewrite" && fault.field.empty()) {
    throw std::invalid_argument("fault: rewrite needs a field");
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
                   {"probability", f.probability},
                   {"seen", f.seen},
                   {"hits", f.hits}});
  }
  return all;
}

Misfortune Faults::hit(std::string_view target, std::string_view account, std::uint32_t page) {
  const std::lock_guard lock(mutex_);
  Misfortune chosen;
  for (Fault& fault : faults_) {
    if (!matches(fault, target, account, page)) continue;
    ++fault.seen;
    bool due = fault.seen >= fault.nth;
    if (fault.probability < 1) {
      constexpr std::uint64_t kMillion = 1'000'000;
      Dice dice(fault.seed, "fault", static_cast<std::uint64_t>(fault.seen));
      due = due && (fault.times == 0 || fault.hits < fault.times) &&
            dice.below(kMillion) < static_cast<std::uint64_t>(fault.probability * kMillion);
    } else {
      due = due && (fault.times == 0 || fault.seen < fault.nth + fault.times);
    }
    if (!due || (chosen.fault && !fault.shapes())) continue;
    ++fault.hits;
    if (fault.shapes()) {
      chosen.shaping.push_back(fault);
    } else {
      chosen.fault = fault;
    }
  }
  return chosen;
}

namespace {

/// A listing is what is asked for without where in it.
std::uint64_t listing_hash(std::string_view account, std::string_view target,
                           std::string_view cursor) {
  std::string key(account);
  key += ' ';
  key += target.substr(0, target.find('?'));
  const auto mark = target.find('?');
  const std::string_view query = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  for (const auto& [name, value] : parse_pairs(query)) {
    if (name == "starting_after" || name == "ending_before") continue;
    key += '&' + name + '=' + value;
  }
  key += ' ';
  key += cursor;
  return std::hash<std::string>()(key);
}

}  // namespace

std::uint32_t PageBook::page_of(std::string_view account, std::string_view target) const {
  if (target.find("starting_after=") == std::string_view::npos) return 1;
  std::string cursor;
  for (const auto& [name, value] : parse_pairs(target.substr(target.find('?') + 1))) {
    if (name == "starting_after") cursor = value;
  }
  const std::uint64_t key = listing_hash(account, target, cursor);
  const std::lock_guard lock(mutex_);
  const auto found = pages_.find(key);
  return found == pages_.end() ? 1 : found->second;
}

void PageBook::note(std::string_view account, std::string_view target, std::uint32_t page,
                    std::string_view last) {
  const std::uint64_t key = listing_hash(account, target, last);
  const std::lock_guard lock(mutex_);
  if (pages_.size() >= kEntriesMax) pages_.clear();
  pages_[key] = page + 1;
}

}  // namespace fake_stripe
