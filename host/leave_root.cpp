#include "leave_root.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "api/server.hpp"
#include "base/log.hpp"
#include "pg/cluster.hpp"
#include "pg/service_user.hpp"
#include "wiring/privileges.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

/// What is there already is looked at, and left as it is.
void make_data_directory(const fs::path& directory) {
  std::error_code error;
  const bool is_new = fs::create_directories(directory, error);
  // The private database runs as another user when we are root: it passes through, and sees no
  // names.
  if (!error && is_new) fs::permissions(directory, static_cast<fs::perms>(0711), error);
  const auto facts = error ? fs::file_status() : fs::status(directory, error);
  if (error || !fs::is_directory(facts)) {
    throw Failure(Error(ErrorKind::bad_input, "data_directory.unusable",
                        fmt::format("the data directory {} cannot be made: {}", directory.string(),
                                    error ? error.message() : "it is no directory"),
                        "Name another with --data, or give this user the right to it"));
  }
  constexpr auto kOthersWrite = fs::perms::group_write | fs::perms::others_write;
  if ((facts.permissions() & kOthersWrite) != fs::perms::none) {
    throw Failure(Error(
        ErrorKind::denied, "data_directory.open",
        fmt::format("others may write to the data directory {}: they could put "
                    "their own root key and connectors there",
                    directory.string()),
        fmt::format("Name one of Sluice's own with --data, or chmod go-w {}", directory.string())));
  }
}

/// Root's, or of the user that the host is. Anybody else could put a root key and a database of his
/// own there, whoever may write to it now.
void check_owner(const fs::path& directory, uid_t user) {
  struct stat facts {};
  if (::stat(directory.c_str(), &facts) != 0 || facts.st_uid == 0 || facts.st_uid == user) return;
  throw Failure(
      Error(ErrorKind::denied, "data_directory.foreign",
            fmt::format(
                "the data directory {} belongs to user {}, and Sluice works as user {}: what lies "
                "there may not be its own",
                directory.string(), facts.st_uid, user),
            fmt::format("Name another with --data; or, if what lies there is right, chown {} {}",
                        user, directory.string())));
}

wiring::Owner owner_of(pg::ServiceUser user) {
  wiring::Owner owner;
  owner.name = std::move(user.name);
  owner.uid = user.uid;
  owner.gid = user.gid;
  owner.home = std::move(user.home);
  return owner;
}

void give_directory(const fs::path& directory, const wiring::Owner& owner) {
  expect(pg::Cluster::end_before_hand_over(directory / "postgres", owner.uid));
  const wiring::HandedOver handed = expect(wiring::hand_over(directory, owner));
  std::string from;
  for (const uid_t uid : handed.from) from += fmt::format("{}{}", from.empty() ? "" : " ", uid);
  if (handed.entries > 0) {
    log::info("data_directory.handed_over", {{"directory", directory.string()},
                                             {"user", owner.name},
                                             {"entries", static_cast<std::int64_t>(handed.entries)},
                                             {"from_user_ids", from}});
  }
  for (const std::string& kept : handed.kept)
    log::warning("data_directory.not_handed_over", {{"file", kept}});
}

/// What keeps this user out of its data directory is above it.
void check_the_way(const fs::path& directory) {
  std::error_code failed;
  fs::path above = fs::absolute(directory, failed);
  if (::access(above.c_str(), R_OK | W_OK | X_OK) == 0) return;
  fs::path closed = above;
  for (; above != above.root_path(); above = above.parent_path()) {
    if (::access(above.c_str(), X_OK) != 0) closed = above;
  }
  throw Failure(
      Error(ErrorKind::bad_input, "data_directory.not_traversable",
            fmt::format("{} keeps the user out as whom Sluice works, on the way to its "
                        "data directory {}",
                        closed.string(), directory.string()),
            fmt::format("chmod o+x {}, or put the data directory elsewhere", closed.string())));
}

BoundListeners bind_listeners(const wiring::Config& config) {
  BoundListeners bound;
  api::ListenAt at;
  at.address = config.listen_address;
  at.port = config.listen_port;
  bound.api = expect(api::bind_listener(at));
  if (config.watch_port < 0) return bound;
  at.address = config.watch_address;
  at.port = static_cast<std::uint16_t>(config.watch_port);
  bound.watch = expect(api::bind_listener(at));
  return bound;
}

/// Only root can become another; who is that one already need not.
void check_user(const wiring::Config& config) {
  if (config.data_user.empty()) return;
  const pg::ServiceUser wanted = expect(pg::named_service_user(config.data_user));
  if (wanted.uid == ::geteuid()) return;
  throw Failure(Error(ErrorKind::bad_input, "config.not_root",
                      fmt::format("data.user is {}, and this is user {}, who cannot become another",
                                  config.data_user, ::geteuid()),
                      "Start sluiced as root or as that user, or leave data.user out"));
}

/// data.user; else whose the data directory is already, unless that is root; else the shared one.
pg::ServiceUser user_to_become(const wiring::Config& config) {
  if (!config.data_user.empty()) return expect(pg::named_service_user(config.data_user));
  struct stat facts {};
  if (::stat(config.data_directory.c_str(), &facts) == 0 && facts.st_uid != 0) {
    if (auto owner = pg::named_service_user(std::to_string(facts.st_uid))) return std::move(*owner);
  }
  return expect(pg::shared_service_user());
}

}  // namespace

BoundListeners leave_root(const wiring::Config& config, Listening listening) {
  if (::geteuid() != 0) {
    check_user(config);
    make_data_directory(config.data_directory);
    check_owner(config.data_directory, ::geteuid());
    return {};
  }
  const wiring::Owner owner = owner_of(user_to_become(config));
  make_data_directory(config.data_directory);
  check_owner(config.data_directory, owner.uid);
  BoundListeners bound;
  if (listening == Listening::soon) bound = bind_listeners(config);
  give_directory(config.data_directory, owner);
  expect(wiring::become(owner));
  check_the_way(config.data_directory);
  log::info("host.user", {{"user", owner.name}, {"uid", std::int64_t{owner.uid}}});
  if (owner.name == pg::kSharedServiceUser) {
    log::warning("host.user_shared",
                 {{"user", owner.name},
                  {"what", "all instances under this user can read each other's data and keys"},
                  {"do", "make a user for this instance alone, and name it with data.user"}});
  }
  return bound;
}

}  // namespace sluice
