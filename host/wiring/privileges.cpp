#include "wiring/privileges.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "base/descriptor.hpp"

namespace sluice::wiring {
namespace {

namespace fs = std::filesystem;

/// What Sluice makes in its data directory, or reads there.
constexpr std::array<std::string_view, 11> kOurs = {
    "postgres", "postgres.new", "postgres.lock",   "postgres.log", "postgres.log.1", "run",
    "sql",      "connectors",   "connector-calls", "root.key",     "operator.token"};
/// Any of these makes a directory one of ours.
constexpr std::array<std::string_view, 2> kMarks = {"postgres", "root.key"};
constexpr std::size_t kKeptNamedMax = 20;
constexpr int kDepthMax = 32;
/// Keys stay in memory also when they are not root's any more.
constexpr rlim_t kLockedBytes = 64u << 20;

std::unexpected<Error> unusable(const fs::path& path, const char* what) {
  return fail(ErrorKind::bad_input, "data_directory.unusable",
              fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)),
              "Check the data directory's owner and file system");
}

std::unexpected<Error> no_privileges(const char* what) {
  return fail(
      ErrorKind::internal, "host.privileges",
      fmt::format("root's rights could not be given up: {}: {}", what, std::strerror(errno)),
      "Start sluiced as the user that it is to be, or let its service manager do so");
}

/// Names in an open directory, without . and ..
Result<std::vector<std::string>> names_in(int directory, const fs::path& path) {
  const int again = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return unusable(path, "cannot be read");
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(again), &::closedir);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

class HandOver {
 public:
  explicit HandOver(const Owner& owner) : owner_(owner) {}

  HandedOver done;

  /// `name` in the open directory `parent`, with all below it. `path` is for messages alone.
  Result<void> entry(int parent, const std::string& name, const fs::path& path, int depth) {
    const Descriptor file(::openat(parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat facts {};
    if (file.get() < 0 || ::fstat(file.get(), &facts) != 0) {
      if (errno == ENOENT) return {};  // it went meanwhile
      return unusable(path, "cannot be looked at");
    }
    if (facts.st_uid == owner_.uid) return {};
    if (S_ISDIR(facts.st_mode)) {
      if (auto given = children(file.get(), path, depth); !given) return given;
    } else if (!S_ISREG(facts.st_mode) && !S_ISSOCK(facts.st_mode)) {
      keep(path, "is no file");
      return {};
    } else if (S_ISREG(facts.st_mode) && facts.st_nlink != 1) {
      keep(path, "has several names");
      return {};
    }
    return give(file.get(), facts, path);
  }

  Result<void> give(int file, const struct stat& facts, const fs::path& path) {
    if (facts.st_uid == owner_.uid) return {};
    if (::fchownat(file, "", owner_.uid, owner_.gid, AT_EMPTY_PATH) != 0)
      return unusable(path, "cannot be given away");
    ++done.entries;
    if (std::find(done.from.begin(), done.from.end(), facts.st_uid) == done.from.end())
      done.from.push_back(facts.st_uid);
    return {};
  }

 private:
  Result<void> children(int directory, const fs::path& path, int depth) {
    if (depth == kDepthMax) {
      keep(path, "lies too deep");
      return {};
    }
    auto names = names_in(directory, path);
    if (!names) return std::unexpected(std::move(names.error()));
    for (const std::string& child : *names) {
      if (auto given = entry(directory, child, path / child, depth + 1); !given) return given;
    }
    return {};
  }

  void keep(const fs::path& path, const char* why) {
    if (done.kept.size() < kKeptNamedMax)
      done.kept.push_back(fmt::format("{} {}", path.string(), why));
  }

  const Owner& owner_;
};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool without_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> none{};
  return ::syscall(SYS_capset, &header, none.data()) == 0;
}

}  // namespace

Result<HandedOver> hand_over(const fs::path& named, const Owner& owner) {
  std::error_code failed;
  const fs::path directory = fs::canonical(named, failed);  // whoever named it may name a link
  const Descriptor top(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat facts {};
  if (top.get() < 0 || ::fstat(top.get(), &facts) != 0)
    return unusable(directory, "cannot be opened");
  auto names = names_in(top.get(), directory);
  if (!names) return std::unexpected(std::move(names.error()));
  std::erase(*names, "lost+found");
  const bool ours = facts.st_uid == owner.uid || names->empty() ||
                    std::any_of(names->begin(), names->end(),
                                [](const std::string& name) { return is_one_of(name, kMarks); });
  if (!ours) {
    return fail(ErrorKind::denied, "data_directory.foreign",
                fmt::format("the data directory {} holds '{}' and nothing of Sluice's, so it is "
                            "not given to the user {}, as whom Sluice works",
                            directory.string(), names->front(), owner.name),
                fmt::format("Name an empty directory with --data; or, if it is right, chown {} {}",
                            owner.name, directory.string()));
  }
  HandOver giving(owner);
  for (const std::string& name : *names) {
    if (!is_one_of(name, kOurs)) continue;
    if (auto given = giving.entry(top.get(), name, directory / name, 0); !given)
      return std::unexpected(std::move(given.error()));
  }
  if (auto given = giving.give(top.get(), facts, directory); !given)
    return std::unexpected(std::move(given.error()));
  return std::move(giving.done);
}

Result<void> become(const Owner& owner) {
  rlimit locked{};
  if (::getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur < kLockedBytes) {
    locked.rlim_cur = kLockedBytes;
    locked.rlim_max = std::max(locked.rlim_max, kLockedBytes);
    ::setrlimit(RLIMIT_MEMLOCK, &locked);  // refused: said by whoever locks
  }
  if (::initgroups(owner.name.c_str(), owner.gid) != 0) return no_privileges("initgroups");
  // Up to the last one that this kernel knows. A container may have taken the right to drop them.
  for (unsigned long one = 0; ::prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; ++one) {
    if (::prctl(PR_CAPBSET_DROP, one, 0, 0, 0) != 0 && errno != EPERM)
      return no_privileges("prctl(PR_CAPBSET_DROP)");
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return no_privileges("prctl(PR_CAP_AMBIENT)");
  // libpq and others look there, and where they may not look they fail.
  ::setenv("HOME", owner.home.c_str(), 1);
  ::setenv("USER", owner.name.c_str(), 1);
  ::setenv("LOGNAME", owner.name.c_str(), 1);
  if (::setresgid(owner.gid, owner.gid, owner.gid) != 0) return no_privileges("setresgid");
  if (::setresuid(owner.uid, owner.uid, owner.uid) != 0) return no_privileges("setresuid");
  if (!without_capabilities()) return no_privileges("capset");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return no_privileges("prctl(PR_SET_NO_NEW_PRIVS)");
  // Another user means what the system says of programs that change theirs.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return no_privileges("prctl(PR_SET_DUMPABLE)");
  if (::setuid(0) == 0 || ::seteuid(0) == 0 || ::geteuid() != owner.uid ||
      ::getegid() != owner.gid) {
    errno = EPERM;
    return no_privileges("there is a way back to root");
  }
  return {};
}

}  // namespace sluice::wiring
