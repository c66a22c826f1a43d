#include "first_start.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/tokens.hpp"
#include "base/log.hpp"
#include "database_roles.hpp"
#include "leave_root.hpp"
#include "pg/cluster.hpp"
#include "sync/audit.hpp"
#include "vault/harden.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirst = "first start";
constexpr const char* kReset = "reset";

constexpr std::string_view kOursToRevoke =
    "update sluice.token set revoked_at = now() where workspace_id = (select workspace_id from "
    "sluice.workspace order by 1 limit 1) and role = 'operator' and revoked_at is null and "
    "name in ('first start', 'reset') returning workspace_id, token_id, name";

std::unexpected<Error> not_written(const fs::path& file, const char* what) {
  return fail(ErrorKind::bad_input, "data_directory.unusable",
              fmt::format("the token's file {} {}: {}", file.string(), what, std::strerror(errno)),
              "Mend the data directory and start again: no token was made");
}

/// Beside and renamed: never half there, never by a link that somebody put in its place.
Result<void> write_private(const fs::path& file, const std::string& text) {
  fs::path fresh = file;
  fresh += ".new";
  ::unlink(fresh.c_str());
  const int descriptor =
      ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return not_written(fresh, "cannot be made");
  const bool written =
      ::fchmod(descriptor, 0600) == 0 &&
      ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::fsync(descriptor) == 0;
  ::close(descriptor);
  if (!written) return not_written(fresh, "cannot be written");
  if (::rename(fresh.c_str(), file.c_str()) != 0) return not_written(file, "cannot be replaced");
  return {};
}

/// Somebody reads along, and nothing else does.
bool is_shown_to_a_person() {
  return ::isatty(STDOUT_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0 &&
         std::getenv("JOURNAL_STREAM") == nullptr;
}

ShownToken shown(const std::string& token, const wiring::Config& config) {
  ShownToken said;
  if (is_shown_to_a_person()) {
    said.text = "operator token, shown this once: " + token;
    return said;
  }
  const fs::path file = fs::absolute(config.data_directory / "operator.token");
  expect(write_private(file, token + "\n"));
  log::info("token.written", {{"file", file.string()}});
  said.file = file.string();
  said.text = fmt::format("operator token: in {} (its owner alone may read it)", file.string());
  return said;
}

Task<ShownToken> new_token(pg::Transaction& transaction, const wiring::Config& config,
                           std::string name) {
  const Workspace workspace = co_await first_workspace(transaction, config);
  const std::string token = co_await api::create_token(transaction.connection(), workspace.id, name,
                                                       api::Role::operator_);
  nlohmann::json detail;
  detail["role"] = api::to_string(api::Role::operator_);
  co_await sync::audit(transaction, workspace.id, "sluiced", "token.create", name,
                       std::move(detail));
  co_return shown(token, config);
}

Task<ShownToken> replace_token(pg::ConnectOptions options, const wiring::Config& config) {
  const auto executor = co_await asio::this_coro::executor;
  const auto connection = co_await pg::Connection::connect(executor, std::move(options));
  auto transaction = co_await pg::Transaction::begin(*connection);
  co_await transaction.query(kOneBegins);
  const auto revoked = co_await transaction.query(kOursToRevoke);
  for (int row = 0; row < revoked.rows(); ++row) {
    nlohmann::json detail;
    detail["name"] = revoked.get<std::string>(row, 2);
    std::string subject = std::to_string(revoked.get<std::int64_t>(row, 1));
    const auto workspace = revoked.get<WorkspaceId>(row, 0);
    co_await sync::audit(transaction, workspace, "sluiced", "token.revoke", std::move(subject),
                         std::move(detail));
  }
  std::string name = kReset;
  ShownToken said = co_await new_token(transaction, config, std::move(name));
  co_await transaction.commit();
  co_return said;
}

}  // namespace

/// The oldest workspace; the first start makes it.
Task<Workspace> first_workspace(pg::Transaction& transaction, const wiring::Config& config) {
  const auto existing = co_await transaction.query(
      "select workspace_id, name from sluice.workspace order by 1 limit 1");
  Workspace first;
  if (!existing.empty()) {
    first.id = existing.get<WorkspaceId>(0, 0);
    first.name = existing.get<std::string>(0, 1);
    co_return first;
  }
  const auto made = co_await transaction.query(
      "insert into sluice.workspace (name) values ($1) returning workspace_id",
      pg::Params(config.default_workspace));
  first.id = made.get<WorkspaceId>(0, 0);
  first.name = config.default_workspace;
  co_return first;
}

Task<std::optional<ShownToken>> first_token(pg::Pool& pool, const wiring::Config& config) {
  auto connection = co_await pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  co_await transaction.query(kOneBegins);
  const auto any = co_await transaction.query("select exists (select 1 from sluice.token)");
  if (any.get<bool>(0, 0)) {
    co_await transaction.rollback();
    co_return std::nullopt;
  }
  std::string name = kFirst;
  ShownToken said = co_await new_token(transaction, config, std::move(name));
  co_await transaction.commit();
  co_return said;
}

std::string what_comes_next(const wiring::Config& config, const std::string& url,
                            const ShownToken& token) {
  const std::string data = fs::absolute(config.data_directory).string();
  const std::string key = fs::absolute(config.root_key_file).string();
  // All addresses of this machine are none that anybody can go to.
  const auto any = url.find("://0.0.0.0:");
  const std::string there =
      any == std::string::npos ? url : url.substr(0, any) + "://127.0.0.1:" + url.substr(any + 11);
  std::string text = "\nnext, in another terminal:\n";
  text += fmt::format("  sluice login {}{}\n", there,
                      token.file.empty() ? "        # asks for the token" : " < " + token.file);
  text +=
      "  sluice connector install stripe                  # sluice connector list: what there is\n"
      "  sluice connection create billing --connector stripe              # asks for its key\n"
      "  sluice status\n";
  if (config.database_url.empty()) {
    text += fmt::format("everything lies in {}: the private PostgreSQL, the root key, connectors\n",
                        data);
  } else {
    text += fmt::format("the rows lie in your database, the rest in {}\n", data);
  }
  if (config.root_key_command.empty()) {
    text += fmt::format(
        "keep a copy of {} apart from the database:\n  without it no stored key opens again\n",
        key);
  }
  text += "a lost operator token is replaced here: sluiced --data " + data +
          " --reset-operator-token\n";
  return text;
}

int reset_operator_token(const wiring::Config& config) {
  if (config.database_url.empty() && !fs::exists(config.data_directory / "postgres")) {
    throw Failure(Error(ErrorKind::bad_input, "data_directory.unusable",
                        fmt::format("{} is no data directory of a host that has started",
                                    config.data_directory.string()),
                        "Name the host's own with --data"));
  }
  leave_root(config, Listening::not_now);
  expect(vault::harden_process());
  pg::ConnectOptions options;
  options.application_name = "sluiced";
  options.conninfo = config.database_url;
  std::optional<pg::Cluster> cluster;
  if (config.database_url.empty()) {
    const pg::ClusterOptions private_one = private_cluster(config);
    Result<pg::Cluster> started = pg::Cluster::start(private_one);
    if (started) {
      cluster.emplace(std::move(*started));
      options.conninfo = cluster->conninfo();
    } else if (started.error().code == "cluster.in_use") {
      options.conninfo = pg::Cluster::conninfo_of(private_one);  // beside the host that runs it
    } else {
      throw Failure(started.error());
    }
  }
  asio::io_context loop;
  auto replaced = asio::co_spawn(loop, replace_token(std::move(options), config), asio::use_future);
  loop.run();
  fmt::print("{}\n", replaced.get().text);
  return kExitOk;
}

}  // namespace sluice
