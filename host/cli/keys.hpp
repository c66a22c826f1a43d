// What a person presses while a picture is shown.
#pragma once

#include <chrono>
#include <functional>

namespace sluice::cli {

enum class Key { up, down, page_up, page_down, home, end, quit };

/// While it lives, keys are read one by one and are not echoed, if standard input and output are
/// both the terminal; the terminal is as before when it ends, also by a signal. One at a time.
class Keys {
 public:
  Keys();
  ~Keys();
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  /// Waits for so long, and meanwhile calls `pressed` for each key. Where there is no terminal it
  /// merely waits. False: it is to end.
  bool wait(std::chrono::milliseconds time, const std::function<bool(Key)>& pressed) const;

 private:
  bool on_ = false;
};

}  // namespace sluice::cli
