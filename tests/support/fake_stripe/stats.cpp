#include "stats.hpp"

#include <utility>

namespace fake_stripe {

void Stats::count(Request request) {
  const std::lock_guard lock(mutex_);
  ++total_;
  bytes_ += request.bytes;
  ++requests_[request.route];
  ++statuses_[std::to_string(request.status)];
  ++versions_[request.stripe_version.empty() ? "(none)" : request.stripe_version];
  if (!request.fault.empty()) ++faults_;
  journal_.push_back(std::move(request));
  if (journal_.size() > kJournalMax) journal_.pop_front();
}

void Stats::clear() {
  const std::lock_guard lock(mutex_);
  requests_.clear();
  statuses_.clear();
  versions_.clear();
  journal_.clear();
  total_ = bytes_ = faults_ = 0;
}

nlohmann::json Stats::summary() const {
  const std::lock_guard lock(mutex_);
  return {{"total", total_},       {"bytes", bytes_},       {"faulted", faults_},
          {"requests", requests_}, {"statuses", statuses_}, {"versions", versions_}};
}

nlohmann::json Stats::last(std::size_t count) const {
  const std::lock_guard lock(mutex_);
  nlohmann::json all = nlohmann::json::array();
  const std::size_t first = journal_.size() > count ? journal_.size() - count : 0;
  for (std::size_t i = first; i < journal_.size(); ++i) {
    const Request& r = journal_[i];
    all.push_back({{"method", r.method},
                   {"target", r.target},
                   {"status", r.status},
                   {"bytes", r.bytes},
                   {"stripe_version", r.stripe_version},
                   {"request_id", r.request_id},
                   {"fault", r.fault}});
  }
  return all;
}

}  // namespace fake_stripe
