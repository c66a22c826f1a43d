#include "api/host_facts.hpp"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

namespace sluice::api {
namespace {

constexpr auto kSampleInterval = std::chrono::minutes(10);
constexpr auto kSamplesFor = std::chrono::hours(24);
constexpr std::chrono::seconds kGrowthCountsFrom = std::chrono::hours(6);

constexpr std::string_view kDiskFull = "its disk is full";

struct Known {
  std::string_view said;
  std::string_view why;
};
constexpr std::array<Known, 17> kKnown = {{
    {"No space left on device", kDiskFull},
    {"Disk quota exceeded", kDiskFull},
    {"53100", kDiskFull},
    {"Cannot allocate memory", "the machine has no memory left for it"},
    {"out of memory", "the machine has no memory left for it"},
    {"Too many open files", "it may open no more files"},
    {"Read-only file system", "its disk can only be read"},
    {"Permission denied", "it may not open its files, or its socket"},
    {"Input/output error", "its disk has errors"},
    {"starting up", "it is starting"},
    {"in recovery mode", "it recovers from a crash"},
    {"shutting down", "it is shutting down"},
    {"could not translate host name", "its name does not resolve"},
    {"authentication failed", "it does not take this host's login"},
    {"no pg_hba.conf entry", "it does not take this host's login"},
    {"too many clients", "it takes no more connections"},
    {"Connection refused", "nothing listens where it should be"},
}};

double free_percent(std::int64_t free_bytes, std::int64_t total_bytes) {
  return total_bytes == 0
             ? 0
             : 100.0 * static_cast<double>(free_bytes) / static_cast<double>(total_bytes);
}

/// Until it is full at the pace of now; without end when it does not grow.
double days_left(const DiskNow& disk) {
  const std::int64_t growth = disk.growth_bytes_per_day.value_or(0);
  if (growth <= 0) return std::numeric_limits<double>::infinity();
  return static_cast<double>(disk.free_bytes) / static_cast<double>(growth);
}

std::string time_of_day(Micros at) {
  return to_rfc3339(std::chrono::floor<std::chrono::seconds>(at));
}

}  // namespace

bool is_running_out(const DiskNow& disk, const HostWatch& watch) {
  const bool small_share =
      free_percent(disk.free_bytes, disk.total_bytes) < static_cast<double>(watch.free_percent_min);
  const bool is_enough = watch.free_bytes_enough > 0 && disk.free_bytes >= watch.free_bytes_enough;
  const bool fills = disk.growth_seconds >= kGrowthCountsFrom.count() &&
                     days_left(disk) < static_cast<double>(watch.full_in_days_min);
  return disk.free_bytes < watch.free_bytes_min || (small_share && !is_enough) || fills;
}

std::string bytes_in_words(std::int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (std::abs(value) >= 1000 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 || std::abs(value) >= 100 ? fmt::format("{:.0f} {}", value, kUnits.at(unit))
                                             : fmt::format("{:.1f} {}", value, kUnits.at(unit));
}

std::string reason_in(std::string_view said) {
  for (const Known& known : kKnown) {
    if (said.find(known.said) != std::string_view::npos) return std::string(known.why);
  }
  return {};
}

MachineNow machine_now() {
  MachineNow now;
  std::int64_t pages = 0, resident = 0;
  if (std::ifstream statm("/proc/self/statm"); statm >> pages >> resident)
    now.process_bytes = resident * ::sysconf(_SC_PAGESIZE);
  std::ifstream memory("/proc/meminfo");
  for (std::string line; std::getline(memory, line);) {
    std::istringstream words(line);
    std::string name;
    std::int64_t kibibytes = 0;
    if (!(words >> name >> kibibytes)) continue;
    if (name == "MemTotal:") now.memory_bytes = kibibytes * 1024;
    if (name == "MemAvailable:") now.memory_available_bytes = kibibytes * 1024;
  }
  std::ifstream("/proc/loadavg") >> now.load_1 >> now.load_5 >> now.load_15;
  now.processors = static_cast<int>(std::thread::hardware_concurrency());
  return now;
}

HostFacts::HostFacts(HostWatch watch, const Clock& clock)
    : watch_(std::move(watch)), clock_(clock) {
  look();
}

void HostFacts::look() {
  std::vector<DiskNow> disks;
  std::vector<std::int64_t> used;
  for (const HostWatch::Disk& disk : watch_.disks) {
    struct statvfs facts {};
    if (::statvfs(disk.directory.c_str(), &facts) != 0) continue;
    DiskNow& now = disks.emplace_back();
    const auto block = static_cast<std::int64_t>(facts.f_frsize);
    now.name = disk.name;
    now.directory = disk.directory;
    now.free_bytes = static_cast<std::int64_t>(facts.f_bavail) * block;
    now.total_bytes = static_cast<std::int64_t>(facts.f_blocks) * block;
    used.push_back(static_cast<std::int64_t>(facts.f_blocks - facts.f_bfree) * block);
  }
  const auto time = clock_.steady();
  while (samples_.size() > 1 && time - samples_.front().at > kSamplesFor) samples_.pop_front();
  const bool same = !samples_.empty() && samples_.front().used.size() == used.size();
  if (!samples_.empty() && !same) samples_.clear();  // a disk came or went
  if (same && time - samples_.front().at >= kSampleInterval) {
    const auto of = std::chrono::duration_cast<std::chrono::seconds>(time - samples_.front().at);
    for (std::size_t i = 0; i < disks.size(); ++i) {
      const auto grown = static_cast<double>(used[i] - samples_.front().used[i]);
      disks[i].growth_bytes_per_day =
          static_cast<std::int64_t>(grown * 86'400 / static_cast<double>(of.count()));
      disks[i].growth_seconds = of.count();
    }
  }
  for (DiskNow& disk : disks) disk.running_out = is_running_out(disk, watch_);
  if (samples_.empty() || time - samples_.back().at >= kSampleInterval) {
    Sample& sample = samples_.emplace_back();
    sample.at = time;
    sample.used = std::move(used);
  }
  disks_ = std::move(disks);
}

void HostFacts::away(std::string why) {
  if (database_.state == DatabaseNow::State::up) {
    database_ = {};
    database_.state = DatabaseNow::State::away;
    database_.since = clock_.now();
  }
  if (!why.empty()) database_.why = std::move(why);
  database_.disk_full = database_.why == kDiskFull;
}

void HostFacts::database_said(std::string_view failure) {
  if (failure.empty()) {
    database_ = {};
  } else {
    // What a private one said last is why; that it is starting, or that nothing listens, follows.
    away(database_.starts_tried > 0 && !database_.why.empty() ? std::string() : reason_in(failure));
  }
}

void HostFacts::database_died() { away({}); }

void HostFacts::database_not_started(std::string_view why) {
  away(reason_in(why));
  ++database_.starts_tried;
}

std::vector<HostReason> HostFacts::reasons() const {
  std::vector<HostReason> all;
  if (database_.state == DatabaseNow::State::away) {
    HostReason& away = all.emplace_back();
    away.code = database_.disk_full ? "database.disk_full" : "database.away";
    away.keeps_from_work = true;
    away.what = "the database does not answer";
    if (database_.since) away.what += " since " + time_of_day(*database_.since);
    if (!database_.why.empty()) away.what += ": " + database_.why;
    if (database_.starts_tried > 0)
      away.what += fmt::format("; starting it was tried {} times", database_.starts_tried);
    away.action =
        database_.disk_full
            ? "make room where PostgreSQL keeps its files; it goes on by itself then"
        : watch_.database_is_private
            ? "it is started again by itself; when that does not help, the host's log and "
              "postgres.log in its data directory say more"
            : "look at the server of database.url; work goes on by itself when it answers";
  }
  for (const DiskNow& disk : disks_) {
    if (!disk.running_out) continue;
    HostReason& low = all.emplace_back();
    low.code = "disk.running_out";
    low.what = fmt::format("the disk \"{}\" has {} free of {} ({:.0f} %)", disk.name,
                           bytes_in_words(disk.free_bytes), bytes_in_words(disk.total_bytes),
                           free_percent(disk.free_bytes, disk.total_bytes));
    if (disk.growth_bytes_per_day.value_or(0) > 0) {
      low.what += fmt::format(", and gets {} fuller a day: at that pace it is full in {:.1f} days",
                              bytes_in_words(*disk.growth_bytes_per_day), days_left(disk));
    }
    low.action =
        "make room, or give it a larger one: when it is full nothing is stored any more; the "
        "settings disk.* say when this is told";
  }
  return all;
}

}  // namespace sluice::api
