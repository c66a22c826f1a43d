// How long what has been is kept: runs, the audit, finished work. (Changes go by whole months, for
// all workspaces together: feed/upkeep.hpp.)
#pragma once

#include <chrono>
#include <memory>

#include "work/runner.hpp"

namespace sluice::sync {

/// Zero: for ever.
struct Retention {
  std::chrono::days runs{30};  ///< of those that have ended; the last kRunsKept of a stream stay
  std::chrono::days audit{400};
  std::chrono::days work{30};  ///< since it was done
};
inline constexpr int kRunsKept = 20;           ///< of each stream, however old
inline constexpr int kForgottenAtOnce = 2000;  ///< rows of one batch, of one table

/// Durable work that every workspace has and that comes back by itself: forgets what is older, the
/// oldest first. Whoever holds the lease "work" does it by the settings of its own host. Subject:
/// empty; task: {"every_seconds"}.
inline constexpr const char* kApplyRetention = "retention.apply";

[[nodiscard]] std::unique_ptr<work::Kind> retention_kind(Retention kept);

}  // namespace sluice::sync
