// The parts of a bench are processes of their own, so that one's memory is not counted as
// another's.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sluice::bench {

/// Runs this program again as `role` with `arguments` as one JSON text, waits for it and returns
/// the last line that it printed, as JSON. Throws std::runtime_error when it fails.
nlohmann::json run_role(const std::string& role, const nlohmann::json& arguments);

/// The same, but it stays: what it wrote up to its first newline comes back. It is killed when this
/// process ends, and by the destructor.
class Background {
 public:
  explicit Background(const std::string& role);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  [[nodiscard]] const std::string& first_line() const { return first_line_; }

 private:
  pid_t pid_ = -1;
  std::string first_line_;
};

/// Peak resident memory of this process (VmHWM) and now (VmRSS), in MB.
double peak_rss_mb();
double rss_mb();
/// CPU seconds of this process, all threads, user and system.
double cpu_seconds();
/// CPU seconds of the ended children of a process: a postmaster's backends.
double children_cpu_seconds(pid_t pid);
/// The children of a process that it has not reaped yet.
std::vector<pid_t> children_of(pid_t pid);

}  // namespace sluice::bench
