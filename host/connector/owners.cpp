#include "connector/owners.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace sluice::connector {
namespace {

namespace fs = std::filesystem;

std::optional<uid_t> user_of(const std::string& name) {
  std::array<char, 16 * 1024> room{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, room.data(), room.size(), &found) == 0 &&
      found != nullptr) {
    return found->pw_uid;
  }
  uid_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return number;
}

std::unexpected<Error> untrusted(const char* code, const fs::path& path, const std::string& why,
                                 std::string hint) {
  return fail(
      ErrorKind::denied, code,
      fmt::format("{} {}: what lies there runs with all that this host may do", path.string(), why),
      std::move(hint));
}

std::string hint_of_owner(const fs::path& path) {
  return fmt::format(
      "chown root {}, or name its owner in connectors.owners in this host's configuration",
      path.string());
}

/// As the system allows in one path.
constexpr int kLinksMax = 40;

bool others_write(const struct stat& facts) { return (facts.st_mode & (S_IWGRP | S_IWOTH)) != 0; }

}  // namespace

std::string user_name(uid_t user) {
  std::array<char, 16 * 1024> room{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, room.data(), room.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return fmt::format("user {}", user);
}

Owners::Owners() : users_{0, ::geteuid()} {}

Result<Owners> Owners::besides(const std::vector<std::string>& names) {
  Owners all;
  for (const std::string& name : names) {
    const auto user = user_of(name);
    if (!user) {
      return fail(ErrorKind::bad_input, "connector.unknown_owner",
                  fmt::format("connectors.owners names '{}', and there is no such user", name),
                  "Name users of this machine, or their numbers");
    }
    all.users_.push_back(*user);
  }
  return all;
}

bool Owners::trusts(uid_t owner) const {
  return std::find(users_.begin(), users_.end(), owner) != users_.end();
}

/// Where the way to a directory goes, from the root on: each directory in which a name is looked
/// up. Symbolic links are followed as the system does it.
class Owners::Way {
 public:
  explicit Way(const fs::path& to) { put(to); }

  /// The next name, looked up in `at`; false at the end of the way.
  [[nodiscard]] bool next(fs::path& at, fs::path& name) {
    while (!rest_.empty()) {
      name = std::move(rest_.back());
      rest_.pop_back();
      if (name == "/") {
        at = name;
      } else if (name == "..") {
        at = at.parent_path();
      } else if (!name.empty() && name != ".") {
        return true;
      }
    }
    return false;
  }
  /// A name was a link that leads there.
  void put(const fs::path& to) {
    const std::vector<fs::path> parts(to.begin(), to.end());
    rest_.insert(rest_.end(), parts.rbegin(), parts.rend());
  }

 private:
  std::vector<fs::path> rest_;  ///< the next one last
};

Result<void> Owners::check_directory(const fs::path& directory) const {
  constexpr const char* kCode = "connector.untrusted_directory";
  std::error_code failed;
  const fs::path real = fs::canonical(directory, failed);
  if (failed) return {};  // whoever reads it says why it cannot
  Way way(fs::absolute(directory));
  fs::path at = "/", name;
  struct stat facts {};
  for (int links = 0; way.next(at, name);) {
    if (::stat(at.c_str(), &facts) != 0) return {};
    if (!trusts(facts.st_uid)) {
      return untrusted(kCode, real,
                       fmt::format("is reached by {}, which belongs to {}", at.string(),
                                   user_name(facts.st_uid)),
                       hint_of_owner(at));
    }
    const bool is_shared = others_write(facts);
    if (is_shared && (facts.st_mode & S_ISVTX) == 0) {
      return untrusted(kCode, real,
                       fmt::format("is reached by {}, where others may write", at.string()),
                       "chmod go-w " + at.string());
    }
    const fs::path next = at / name;
    if (::lstat(next.c_str(), &facts) != 0) return {};
    if (!S_ISLNK(facts.st_mode)) {
      at = next;
      continue;
    }
    if (is_shared && !trusts(facts.st_uid)) {
      return untrusted(kCode, real,
                       fmt::format("is reached by the link {}, which belongs to {}", next.string(),
                                   user_name(facts.st_uid)),
                       "Name the directory itself in connectors.directories");
    }
    const fs::path target = fs::read_symlink(next, failed);
    if (failed || ++links > kLinksMax) return {};
    way.put(target);
  }
  if (::stat(real.c_str(), &facts) != 0) return {};
  if (!trusts(facts.st_uid))
    return untrusted(kCode, real, "belongs to " + user_name(facts.st_uid), hint_of_owner(real));
  if (others_write(facts))
    return untrusted(kCode, real, "may be written to by others", "chmod go-w " + real.string());
  return {};
}

Result<void> Owners::check_file(const fs::path& file) const {
  constexpr const char* kCode = "connector.untrusted_file";
  struct stat facts {};
  if (::lstat(file.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return {};
  if (!trusts(facts.st_uid))
    return untrusted(kCode, file, "belongs to " + user_name(facts.st_uid), hint_of_owner(file));
  if (others_write(facts))
    return untrusted(kCode, file, "may be written to by others", "chmod go-w " + file.string());
  return {};
}

}  // namespace sluice::connector
