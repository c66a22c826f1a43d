// What a host knows of itself without its database: how much room its disks have, whether its
// database answers and why not. For /health, /readyz and the metrics, also while nothing else
// works.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"

namespace sluice::api {

struct HostWatch {
  struct Disk {
    std::string name;                 ///< "data"; shown to everybody
    std::filesystem::path directory;  ///< shown to operators
  };
  std::vector<Disk> disks;
  /// When a disk is running out, see is_running_out(): the settings disk.*. 0 each: not looked at.
  std::int64_t free_percent_min = 10;
  std::int64_t free_bytes_min = std::int64_t{256} << 20;
  std::int64_t free_bytes_enough = std::int64_t{20} << 30;
  std::int64_t full_in_days_min = 3;
  bool database_is_private = false;
};

struct DiskNow {
  std::string name;
  std::filesystem::path directory;
  std::int64_t free_bytes = 0;  ///< for who is not root
  std::int64_t total_bytes = 0;
  bool running_out = false;
  /// How much fuller it gets in a day, by the last 24 hours at most; nothing before ten minutes.
  std::optional<std::int64_t> growth_bytes_per_day;
  std::int64_t growth_seconds = 0;  ///< what that is of
};

/// It has fewer than free_bytes_min bytes left; or less than free_percent_min of itself, and then
/// fewer than free_bytes_enough, too, since a tenth of a large disk is much; or it is full in
/// full_in_days_min days, by what was seen in six hours at the least: a first import is no rule.
[[nodiscard]] bool is_running_out(const DiskNow& disk, const HostWatch& watch);

struct DatabaseNow {
  enum class State { up, away };
  State state = State::up;
  std::string why;  ///< one of a few sentences without names; empty while it is up
  bool disk_full = false;
  std::optional<Micros> since;    ///< when it was found away
  std::int64_t starts_tried = 0;  ///< of a private one, since then
};

/// Something that a host cannot do, or soon cannot. Anybody may read it: no names of tenants, no
/// paths.
struct HostReason {
  std::string code;  ///< database.away, database.disk_full, disk.running_out
  std::string what;
  std::string action;
  bool keeps_from_work = false;
};

/// Memory and load of the machine, from /proc; zeros where that is not to be had.
struct MachineNow {
  std::int64_t process_bytes = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t memory_available_bytes = 0;
  double load_1 = 0, load_5 = 0, load_15 = 0;
  int processors = 0;
};
[[nodiscard]] MachineNow machine_now();

/// Which of the known reasons a text of PostgreSQL or libpq holds; never the text itself, which may
/// quote anything.
[[nodiscard]] std::string reason_in(std::string_view said);

/// One per host, used on its loop; the clock outlives it.
class HostFacts {
 public:
  HostFacts(HostWatch watch, const Clock& clock);

  /// Looks at the disks; its owner does every few seconds. Does not wait for anything but statfs.
  void look();
  /// What a question to the database came to; empty: it answers.
  void database_said(std::string_view failure);
  /// A private one ended, or was not started again.
  void database_died();
  void database_not_started(std::string_view why);

  [[nodiscard]] const std::vector<DiskNow>& disks() const { return disks_; }
  [[nodiscard]] const DatabaseNow& database() const { return database_; }
  [[nodiscard]] bool database_is_private() const { return watch_.database_is_private; }
  [[nodiscard]] std::vector<HostReason> reasons() const;

 private:
  struct Sample {
    std::chrono::steady_clock::time_point at;
    std::vector<std::int64_t> used;  ///< by disk
  };
  void away(std::string why);

  HostWatch watch_;
  const Clock& clock_;
  std::vector<DiskNow> disks_;
  std::deque<Sample> samples_;
  DatabaseNow database_;
};

/// "1.5 GB".
[[nodiscard]] std::string bytes_in_words(std::int64_t bytes);

}  // namespace sluice::api
