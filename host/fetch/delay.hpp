// Waiting for a span of time, as a seam: the budget and the retries wait through it, so that a test
// with a clock of its own need not wait at all.
#pragma once

#include <chrono>

#include "base/async.hpp"

namespace sluice::fetch {

/// One per loop, owned by main, outlives every Client and Budget.
class Delay {
 public:
  virtual ~Delay() = default;
  /// Resumes the caller after `span` (at once when it is not positive). Cancelled: throws
  /// boost::system::system_error(operation_aborted).
  virtual Task<> wait(std::chrono::nanoseconds span) = 0;
};

/// A steady timer on the caller's executor.
class TimerDelay final : public Delay {
 public:
  Task<> wait(std::chrono::nanoseconds span) override;
};

}  // namespace sluice::fetch
