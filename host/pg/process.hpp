// Starting a program with little: no shell, no inherited descriptors, our own few environment
// variables, another user if asked. Internal to pg/ (initdb, postgres).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace sluice::pg {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct Command {
  std::filesystem::path binary;
  std::vector<std::string> arguments;
  std::optional<Identity> identity;  ///< become this user; needs root
  int output = -1;                   ///< descriptor for stdout and stderr; -1: /dev/null
  bool own_session = false;          ///< setsid: outlives us and our terminal
};

/// A running process, ours or adopted, held by a pidfd so that its number cannot come to mean
/// another.
class Process {
 public:
  static Result<Process> spawn(const Command& command);
  /// A process that somebody else started; not_found when there is none of that number.
  static Result<Process> adopt(pid_t pid);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  ///< lets go; does not end it

  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const;
  /// True when it ended within `wait`. Reaps it if it is a child of ours.
  bool ended_within(std::chrono::milliseconds wait);
  /// 0 to 255, or 128 + signal; after ended_within() said true for a child of ours.
  [[nodiscard]] int exit_code() const { return exit_code_; }

 private:
  Process(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {}
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int exit_code_ = 0;
  bool ended_ = false;
};

/// Spawns and waits; the exit code. Killed when it takes longer.
Result<int> run_to_end(const Command& command, std::chrono::seconds wait);

}  // namespace sluice::pg
