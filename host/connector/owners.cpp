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

std::string name_of(uid_t user) {
  std::array<char, 16 * 1024> room{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, room.data(), room.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return fmt::format("user {}", user);
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

bool others_write(const struct stat& facts) { return (facts.st_mode & (S_IWGRP | S_IWOTH)) != 0; }

}  // namespace

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

Result<void> Owners::check_directory(const fs::path& directory) const {
  constexpr const char* kCode = "connector.untrusted_directory";
  std::error_code failed;
  const fs::path real = fs::canonical(directory, failed);
  struct stat facts {};
  if (failed || ::stat(real.c_str(), &facts) != 0)
    return {};  // whoever reads it says why it cannot
  if (!trusts(facts.st_uid)) {
    return untrusted(kCode, real, "belongs to " + name_of(facts.st_uid), hint_of_owner(real));
  }
  if (others_write(facts))
    return untrusted(kCode, real, "may be written to by others", "chmod go-w " + real.string());
  for (fs::path above = real.parent_path();; above = above.parent_path()) {
    if (::stat(above.c_str(), &facts) == 0 && (facts.st_mode & S_IWOTH) != 0 &&
        (facts.st_mode & S_ISVTX) == 0) {
      return untrusted(kCode, real, "lies in " + above.string() + ", where everybody may write",
                       "chmod o-w " + above.string());
    }
    if (above == above.parent_path()) return {};
  }
}

Result<void> Owners::check_file(const fs::path& file) const {
  constexpr const char* kCode = "connector.untrusted_file";
  struct stat facts {};
  if (::lstat(file.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return {};
  if (!trusts(facts.st_uid))
    return untrusted(kCode, file, "belongs to " + name_of(facts.st_uid), hint_of_owner(file));
  if (others_write(facts))
    return untrusted(kCode, file, "may be written to by others", "chmod go-w " + file.string());
  return {};
}

}  // namespace sluice::connector
