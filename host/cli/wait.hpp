// Waiting, for a command line that has no loop.
#pragma once

#include <chrono>
#include <functional>

namespace sluice::cli {

void pause_for(std::chrono::milliseconds time);

/// Asks every quarter of a second, at least once; false when it was not so in time.
bool wait_until(std::chrono::seconds most, const std::function<bool()>& is_so);

}  // namespace sluice::cli
