#include "stats.hpp"

#include <functional>
#include <utility>

namespace fake_stripe {

void Stats::count(Request request) {
  const std::lock_guard lock(mutex_);
  ++total_;
  bytes_ += request.bytes;
  ++statuses_[std::to_string(request.status)];
  ++versions_[request.stripe_version.empty() ? "(none)" : request.stripe_version];
  if (!request.fault.empty()) ++faults_;
  count_path(request);
  journal_.push_back(std::move(request));
  if (journal_.size() > kJournalMax) journal_.pop_front();
}

void Stats::count_path(const Request& request) {
  Path& path = paths_[request.route];
  ++path.requests;
  path.bytes += request.bytes;
  ++path.statuses[std::to_string(request.status)];
  if (request.spoiled) {
    ++path.faulted;
    return;
  }
  if (request.status != 200) {
    ++path.refused;
    return;
  }
  ++path.ok;
  path.objects += request.objects;
  if (request.is_page) ++path.pages;
  if (answered_.size() >= kTargetsMax) return;
  const std::size_t hash = std::hash<std::string>()(request.account + " " + request.target);
  if (!answered_.insert(hash).second) ++path.repeats;
}

void Stats::clear() {
  const std::lock_guard lock(mutex_);
  paths_.clear();
  statuses_.clear();
  versions_.clear();
  answered_.clear();
  journal_.clear();
  total_ = bytes_ = faults_ = 0;
}

nlohmann::json Stats::summary() const {
  const std::lock_guard lock(mutex_);
  nlohmann::json requests = nlohmann::json::object();
  nlohmann::json paths = nlohmann::json::object();
  std::uint64_t repeats = 0;
  std::uint64_t ok = 0;
  for (const auto& [route, path] : paths_) {
    requests[route] = path.requests;
    repeats += path.repeats;
    ok += path.ok;
    paths[route] = {
        {"requests", path.requests}, {"ok", path.ok},           {"faulted", path.faulted},
        {"refused", path.refused},   {"pages", path.pages},     {"objects", path.objects},
        {"bytes", path.bytes},       {"repeats", path.repeats}, {"statuses", path.statuses}};
  }
  return {{"total", total_},       {"ok", ok},
          {"repeats", repeats},    {"bytes", bytes_},
          {"faulted", faults_},    {"requests", requests},
          {"statuses", statuses_}, {"versions", versions_},
          {"paths", paths}};
}

nlohmann::json Stats::last(std::size_t count) const {
  const std::lock_guard lock(mutex_);
  nlohmann::json all = nlohmann::json::array();
  const std::size_t first = journal_.size() > count ? journal_.size() - count : 0;
  for (std::size_t i = first; i < journal_.size(); ++i) {
    const Request& r = journal_[i];
    all.push_back({{"method", r.method},
                   {"target", r.target},
                   {"account", r.account},
                   {"status", r.status},
                   {"bytes", r.bytes},
                   {"page", r.page},
                   {"stripe_version", r.stripe_version},
                   {"request_id", r.request_id},
                   {"fault", r.fault}});
  }
  return all;
}

}  // namespace fake_stripe
