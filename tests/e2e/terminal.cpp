#include "e2e/terminal.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>

namespace sluice::e2e {

OnTerminal run_on_terminal(const std::vector<std::string>& words,
                           const std::map<std::string, std::string>& environment,
                           const std::vector<std::pair<std::string, std::string>>& typed) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = 80;
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  OnTerminal seen;
  std::size_t next = 0, looked = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (;;) {
    if (next < typed.size()) {
      const auto at = seen.screen.find(typed[next].first, looked);
      if (at != std::string::npos) {
        looked = at + typed[next].first.size();
        const std::string line = typed[next++].second + "\n";
        EXPECT_EQ(::write(terminal, line.data(), line.size()), static_cast<ssize_t>(line.size()));
        continue;
      }
    }
    if (std::chrono::steady_clock::now() > end) {
      ADD_FAILURE() << "it neither asks nor ends: " << seen.screen;
      ::kill(child, SIGKILL);
      break;
    }
    pollfd ready{terminal, POLLIN, 0};
    if (::poll(&ready, 1, 200) <= 0) continue;
    char piece[4096];
    const ssize_t got = ::read(terminal, piece, sizeof piece);
    if (got <= 0) break;  // nobody writes there any more
    seen.screen.append(piece, static_cast<std::size_t>(got));
  }
  EXPECT_EQ(next, typed.size()) << "never asked: " << seen.screen;
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(terminal);
  seen.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return seen;
}

}  // namespace sluice::e2e
