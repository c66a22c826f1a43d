// A program under test, as a real process.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace sluice::e2e {

struct Launch {
  std::string program;
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;  ///< on top of ours
  std::string output;                              ///< file for standard output
  std::string errors;                              ///< file for standard error
};

/// Killed with SIGKILL when it is destroyed and still runs.
class Process {
 public:
  explicit Process(const Launch& launch);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) const;
  /// Waits for its end; the exit code, or 128 + the signal. Aborts the test run after `most`.
  int wait(std::chrono::seconds most = std::chrono::seconds(60));
  [[nodiscard]] bool running();
  [[nodiscard]] int pid() const { return pid_; }

 private:
  int pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
};

/// Polls every 20 ms; false when `most` passed first.
bool eventually(std::chrono::seconds most, const std::function<bool()>& is_so);

std::string read_file(const std::string& path);

}  // namespace sluice::e2e
