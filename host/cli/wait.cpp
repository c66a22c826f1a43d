#include "cli/wait.hpp"

#include <poll.h>

namespace sluice::cli {

void pause_for(std::chrono::milliseconds time) {
  ::poll(nullptr, 0, static_cast<int>(time.count()));
}

bool wait_until(std::chrono::seconds most, const std::function<bool()>& is_so) {
  const auto end = std::chrono::steady_clock::now() + most;
  for (;;) {
    if (is_so()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    pause_for(std::chrono::milliseconds(250));
  }
}

}  // namespace sluice::cli
