#include "cli/keys.hpp"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <optional>
#include <string_view>
#include <utility>

#include "cli/wait.hpp"

namespace sluice::cli {
namespace {

// For the signal handler, which has no other way to them.
termios before;
volatile std::sig_atomic_t is_changed = 0;

constexpr std::array<int, 3> kEnding = {SIGINT, SIGTERM, SIGHUP};

void put_back() {
  if (is_changed == 0) return;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
  is_changed = 0;
}

void on_signal(int number) {
  put_back();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

/// The first key of what a terminal sent, in either of its modes, which is taken off. What is none
/// is passed over.
std::optional<Key> next_key(std::string_view& sent) {
  static constexpr std::array<std::pair<std::string_view, Key>, 14> kKeys = {{
      {"\x1b[A", Key::up},
      {"\x1bOA", Key::up},
      {"k", Key::up},
      {"\x1b[B", Key::down},
      {"\x1bOB", Key::down},
      {"j", Key::down},
      {"\x1b[5~", Key::page_up},
      {"b", Key::page_up},
      {"\x1b[6~", Key::page_down},
      {" ", Key::page_down},
      {"\x1b[H", Key::home},
      {"g", Key::home},
      {"\x1b[F", Key::end},
      {"q", Key::quit},
  }};
  for (; !sent.empty(); sent.remove_prefix(1)) {
    for (const auto& [text, key] : kKeys) {
      if (!sent.starts_with(text)) continue;
      sent.remove_prefix(text.size());
      return key;
    }
  }
  return std::nullopt;
}

}  // namespace

Keys::Keys() {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0) return;
  if (::tcgetattr(STDIN_FILENO, &before) != 0) return;
  termios now = before;
  now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  now.c_cc[VMIN] = 0;
  now.c_cc[VTIME] = 0;
  for (const int number : kEnding) std::signal(number, on_signal);
  is_changed = 1;
  on_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

Keys::~Keys() {
  if (is_changed == 0) return;
  put_back();
  for (const int number : kEnding) std::signal(number, SIG_DFL);
}

bool Keys::wait(std::chrono::milliseconds time, const std::function<bool(Key)>& pressed) const {
  if (!on_) {
    pause_for(time);
    return true;
  }
  const auto end = std::chrono::steady_clock::now() + time;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, static_cast<int>(left.count())) <= 0) continue;
    std::array<char, 16> sent{};
    const ssize_t count = ::read(STDIN_FILENO, sent.data(), sent.size());
    if (count <= 0) return false;  // the terminal is gone
    std::string_view keys(sent.data(), static_cast<std::size_t>(count));
    while (const auto key = next_key(keys)) {
      if (!pressed(*key)) return false;
    }
  }
}

}  // namespace sluice::cli
