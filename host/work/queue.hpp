// Durable work: what somebody starts that takes long. A row of sluice.work says what, and how far
// it is; it is written by the transaction that makes it due, so that nothing is due without a row.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/ids.hpp"
#include "pg/pool.hpp"

namespace sluice::work {

using WorkId = Id<struct WorkTag>;

struct NewWork {
  std::string kind;     ///< of those the runner was given
  std::string subject;  ///< what it is about, in the admin's words: the name of a rule
  nlohmann::json task = nlohmann::json::object();
  std::string actor;  ///< "token 3"; empty: the host itself
};

/// Part of the caller's transaction; due from its commit on. Of two pieces of work of one kind and
/// subject the later one stands for both.
Task<WorkId> put(pg::Transaction& transaction, WorkspaceId workspace, NewWork work);

/// A piece of work as it stands.
struct ShownWork {
  WorkId id;
  std::string kind, subject, state;
  std::int64_t items = 0;
  std::int64_t attempts = 0;
  nlohmann::json error;  ///< of the last attempt, if that failed: {"code", "message", "hint"}
  Micros created_at{}, updated_at{};
};
inline constexpr std::int64_t kShownMax = 100;

/// What is waiting or under way, what fails first, by kind and subject; at most kShownMax. Work
/// that comes back by itself is shown only while it fails.
Task<std::vector<ShownWork>> list_open(pg::Pool& pool, WorkspaceId workspace);

}  // namespace sluice::work
