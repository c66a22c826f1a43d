#include "pg/service_user.hpp"

#include <fmt/format.h>
#include <pwd.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <optional>

#include "pg/process.hpp"

namespace sluice::pg {
namespace {

using namespace std::chrono_literals;

std::optional<ServiceUser> user_of(const passwd* entry) {
  if (entry == nullptr) return std::nullopt;
  ServiceUser user;
  user.name = entry->pw_name;
  user.uid = entry->pw_uid;
  user.gid = entry->pw_gid;
  user.home = entry->pw_dir;
  return user;
}

std::optional<ServiceUser> look_up(const std::string& name) {
  if (auto user = user_of(::getpwnam(name.c_str()))) return user;
  uid_t number = 0;
  const char* const end = name.data() + name.size();
  const auto [stopped, error] = std::from_chars(name.data(), end, number);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return user_of(::getpwuid(number));
}

}  // namespace

Result<ServiceUser> named_service_user(const std::string& name) {
  auto user = look_up(name);
  if (user && user->uid != 0) return std::move(*user);
  return fail(ErrorKind::bad_input, "config.no_user",
              user ? fmt::format("data.user is {}, which is root", name)
                   : fmt::format("data.user is {}, and there is no such user", name),
              "Name a user without privileges that only this instance has, or make one: useradd "
              "--system --user-group --no-create-home --shell /usr/sbin/nologin sluice");
}

Result<ServiceUser> shared_service_user() {
  if (auto user = look_up(kSharedServiceUser)) return std::move(*user);
  Command add;
  add.binary = "/usr/sbin/useradd";
  add.arguments = {"--system",     "--user-group", "--no-create-home",  "--home-dir",
                   "/nonexistent", "--shell",      "/usr/sbin/nologin", kSharedServiceUser};
  if (std::filesystem::exists(add.binary)) static_cast<void>(run_to_end(add, 20s));
  if (auto user = look_up(kSharedServiceUser)) return std::move(*user);
  if (auto user = look_up("postgres")) return std::move(*user);
  return fail(ErrorKind::internal, "cluster.no_user",
              fmt::format("neither Sluice nor PostgreSQL works as root, and the user '{}' could "
                          "not be made",
                          kSharedServiceUser),
              fmt::format("run: useradd --system {}, or name another user with data.user",
                          kSharedServiceUser));
}

}  // namespace sluice::pg
