#include "pg/cluster.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "base/log.hpp"
#include "pg/process.hpp"
#include "pg/roles.hpp"
#include "pg/service_user.hpp"

namespace sluice::pg {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::size_t kSocketPathBytesMax = 107;  // sun_path
/// The server's own mode of a socket is 0700; people's is opened afterwards.
constexpr auto kStartTimeout = 60s;
constexpr auto kFastShutdownTimeout = 30s;
constexpr auto kImmediateShutdownTimeout = 10s;
constexpr auto kProbeEvery = 20ms;
constexpr std::chrono::duration<int, std::milli> kRelaunchAfter = 100ms;
/// Of all people's logins together.
constexpr int kPeoplesConnections = 200;
constexpr std::uintmax_t kLogBytesMax = 16u << 20;
constexpr std::size_t kLogTailBytes = 600;

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

std::unexpected<Error> bad_directory(const fs::path& path, const std::string& what) {
  return fail(ErrorKind::internal, "cluster.bad_directory",
              fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)),
              "check the owner, the mode and the free space of the data directory");
}

// "15" for /usr/lib/postgresql/15/bin.
int major_of(const fs::path& binaries) {
  const std::string name = binaries.parent_path().filename().string();
  int major = 0;
  std::from_chars(name.data(), name.data() + name.size(), major);
  return major;
}

bool has_server(const fs::path& binaries) {
  return fs::exists(binaries / "postgres") && fs::exists(binaries / "initdb");
}

// The newest installed server, or the one of `major` when that is not 0.
std::optional<fs::path> installed_binaries(int major) {
  std::optional<fs::path> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none)) {
    const fs::path candidate = entry.path() / "bin";
    if (!has_server(candidate) || (major != 0 && major_of(candidate) != major)) continue;
    if (!found || major_of(candidate) > major_of(*found)) found = candidate;
  }
  return found;
}

int major_of_data(const fs::path& directory) {
  std::ifstream file(directory / "PG_VERSION");
  int major = 0;
  file >> major;
  return major;
}

Result<fs::path> choose_binaries(const ClusterOptions& options) {
  const int wanted = major_of_data(options.directory);
  if (!options.binaries.empty()) {
    if (!has_server(options.binaries)) {
      return fail(ErrorKind::bad_input, "cluster.no_binaries",
                  "no initdb and postgres in " + options.binaries.string(),
                  "name the bin folder of a PostgreSQL server");
    }
    const int major = major_of(options.binaries);
    if (wanted == 0 || major == 0 || major == wanted) return options.binaries;
  } else if (auto found = installed_binaries(wanted)) {
    return *found;
  } else if (wanted == 0 || !installed_binaries(0)) {
    return fail(ErrorKind::bad_input, "cluster.no_binaries",
                "no PostgreSQL server under /usr/lib/postgresql",
                "install the package postgresql, or configure database.url");
  }
  return fail(ErrorKind::bad_input, "cluster.version_mismatch",
              fmt::format("{} was written by PostgreSQL {}, which is not installed",
                          options.directory.string(), wanted),
              fmt::format("install postgresql-{}, or move the data with pg_upgrade", wanted));
}

// PostgreSQL refuses to run as root.
Result<std::optional<Identity>> choose_identity(const std::string& name) {
  if (::geteuid() != 0) return std::nullopt;
  const auto user = name == kSharedServiceUser ? shared_service_user() : named_service_user(name);
  if (!user) return std::unexpected(user.error());
  Identity identity;
  identity.uid = user->uid;
  identity.gid = user->gid;
  return identity;
}

bool may_enter(const struct stat& info, const Identity& identity) {
  if (info.st_uid == identity.uid) return (info.st_mode & S_IXUSR) != 0;
  if (info.st_gid == identity.gid) return (info.st_mode & S_IXGRP) != 0;
  return (info.st_mode & S_IXOTH) != 0;
}

Result<void> require_traversable(const fs::path& path, const std::optional<Identity>& identity) {
  if (!identity) return {};
  for (fs::path parent = path.parent_path(); !parent.empty(); parent = parent.parent_path()) {
    struct stat info = {};
    if (::stat(parent.c_str(), &info) == 0 && !may_enter(info, *identity)) {
      return fail(
          ErrorKind::bad_input, "cluster.not_traversable",
          fmt::format("{} keeps user id {} out, as which PostgreSQL runs, of {}", parent.string(),
                      identity->uid, path.string()),
          fmt::format("chmod o+x {}, or put the data directory elsewhere", parent.string()));
    }
    if (parent == parent.root_path()) break;
  }
  return {};
}

std::string socket_name(const ClusterOptions& options) {
  return fmt::format(".s.PGSQL.{}", options.port);
}

Result<void> make_directory(const fs::path& path, const std::optional<Identity>& identity,
                            mode_t mode) {
  std::error_code failed;
  fs::create_directories(path.parent_path(), failed);
  if (auto open = require_traversable(path, identity); !open) return open;
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return bad_directory(path, "cannot make it");
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory.get() < 0) return bad_directory(path, "cannot open it");
  if (identity && ::fchown(directory.get(), identity->uid, identity->gid) != 0)
    return bad_directory(path, "cannot give it away");
  if (::fchmod(directory.get(), mode) != 0) return bad_directory(path, "cannot set its mode");
  return {};
}

Result<void> make_private_directory(const fs::path& path, const std::optional<Identity>& identity) {
  return make_directory(path, identity, 0700);
}

fs::path beside(const fs::path& directory, const char* ending) {
  fs::path path = directory;
  path += ending;
  return path;
}

Result<Descriptor> lock_out_others(const fs::path& directory) {
  const fs::path path = beside(directory, ".lock");
  Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock.get() < 0) return bad_directory(path, "cannot open it");
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorKind::conflict, "cluster.in_use",
                directory.string() + " is in use by another host on this machine",
                "stop it, or give this one another data directory");
  }
  return lock;
}

Result<Descriptor> open_log(const fs::path& path) {
  std::error_code none;
  if (const auto size = fs::file_size(path, none); !none && size > kLogBytesMax)
    fs::rename(path, beside(path, ".1"), none);
  Descriptor log(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (log.get() < 0) return bad_directory(path, "cannot open it");
  return log;
}

// What the server wrote last, for a person who reads why it did not start.
std::string tail_of(const fs::path& path, std::size_t from = 0) {
  std::ifstream file(path);
  file.seekg(0, std::ios::end);
  const auto size = static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0));
  file.seekg(
      static_cast<std::streamoff>(std::max(from, size > kLogTailBytes ? size - kLogTailBytes : 0)));
  std::string text(std::istreambuf_iterator<char>(file), {});
  std::ranges::replace(text, '\n', ' ');
  return text;
}

// Written beside and renamed, so that neither a crash nor a planted symbolic link does harm.
Result<void> write_file(const fs::path& path, const std::string& text,
                        const std::optional<Identity>& identity) {
  const fs::path fresh = beside(path, ".new");
  ::unlink(fresh.c_str());
  const Descriptor file(
      ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return bad_directory(fresh, "cannot make it");
  if (identity && ::fchown(file.get(), identity->uid, identity->gid) != 0)
    return bad_directory(fresh, "cannot give it away");
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(file.get()) != 0) {
    return bad_directory(fresh, "cannot write it");
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return bad_directory(path, "cannot replace it");
  return {};
}

std::string quoted(const std::string& value) {
  std::string out = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + "'";
}

/// For a list of directories: in double quotes, commas and blanks are of the name.
std::string listed(const fs::path& path) {
  std::string out = "\"";
  for (const char c : path.string()) {
    if (c == '"') out += c;
    out += c;
  }
  return out + '"';
}

std::string configuration(const ClusterOptions& options, bool lz4) {
  std::string text =
      "# Written by Sluice at every start. Your own settings belong into local.conf.\n"
      "unix_socket_permissions = 0700\n"
      // Who says nothing does not keep a place for a minute.
      "authentication_timeout = 15s\n"
      "shared_buffers = 256MB\n"
      "max_wal_size = 4GB\n"
      "jit = off\n"
      "timezone = 'UTC'\n"
      "log_timezone = 'UTC'\n"
      "log_destination = 'stderr'\n"
      "logging_collector = off\n"
      "log_checkpoints = off\n"
      // Details and parameters quote what vendors sent.
      "log_error_verbosity = terse\n"
      "log_parameter_max_length = 0\n"
      "log_parameter_max_length_on_error = 0\n";
  const bool people = !options.people_directory.empty();
  const std::string sockets =
      listed(options.socket_directory) + (people ? ", " + listed(options.people_directory) : "");
  text += "unix_socket_directories = " + quoted(sockets) + "\n";
  text += fmt::format("port = {}\n", options.port);
  text += "listen_addresses = " + quoted(options.tcp_address) + "\n";
  // People's connections come on top of the hosts' own, and are counted as their logins are made.
  text += fmt::format("max_connections = {}\n",
                      options.host_connections + (people ? kPeoplesConnections : 0));
  if (people) text += fmt::format("sluice.sql_connections = {}\n", kPeoplesConnections);
  if (!options.tcp_address.empty()) {
    text += "ssl = on\nssl_cert_file = " + quoted(options.tls_certificate.string()) +
            "\nssl_key_file = " + quoted(options.tls_key.string()) + "\n";
  }
  if (lz4) text += "wal_compression = lz4\ndefault_toast_compression = lz4\n";
  for (const auto& line : options.settings) text += line + "\n";
  return text;
}

std::string name_of_user(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}

std::string in_quotes(const std::string& name) { return '"' + name + '"'; }

constexpr const char* kMap = "sluice_superuser";

constexpr const char* kRulesBegin =
    "# Written by Sluice at every start, up to \"end of Sluice's\": your own belong below.";
constexpr const char* kRulesEnd = "# end of Sluice's";
/// What a version before wrote in their place, with two lines that name kMap.
constexpr const char* kRulesBefore = "# Written by Sluice: its superuser comes in as root";

/// Before what initdb and people wrote: the superuser and the host's role are whom the system says.
/// initdb's rule lets everybody who reaches a socket be anybody: where people reach one, nothing
/// behind ours is asked of it.
std::string our_rules(const ClusterOptions& options) {
  std::string text =
      fmt::format("{2}\nlocal all {0} peer map={1}\nlocal replication {0} peer map={1}\n",
                  in_quotes(options.superuser), kMap, kRulesBegin);
  if (!options.people_directory.empty()) {
    text += fmt::format("local all {0} peer map={1}\nlocal {2} +{3} scram-sha-256\n",
                        in_quotes(kAppRole), kMap, in_quotes(options.database), kPeopleRole);
    if (!options.tcp_address.empty()) {
      text += fmt::format("hostssl {} +{} all scram-sha-256\n", in_quotes(options.database),
                          kPeopleRole);
    }
    text += "local all all reject\nlocal replication all reject\n";
  }
  return text + kRulesEnd + "\n";
}

std::string without_our_rules(const std::string& text) {
  std::istringstream lines(text);
  std::string line, kept;
  bool inside = false;
  while (std::getline(lines, line)) {
    if (line == kRulesBegin) inside = true;
    const bool ours =
        inside || line.starts_with(kRulesBefore) || line.ends_with(fmt::format("map={}", kMap));
    if (line == kRulesEnd) inside = false;
    if (!ours) kept += line + "\n";
  }
  return kept;
}

/// Who in the system is the superuser, or the host's role: root, as whom PostgreSQL runs, and who
/// starts it.
std::string names_of_superuser(const std::string& superuser,
                               const std::optional<Identity>& identity) {
  std::set<std::string> users = {"root", name_of_user(::geteuid())};
  if (identity) users.insert(name_of_user(identity->uid));
  std::string text;
  for (const std::string& user : users) {
    text += fmt::format("{0} {1} {2}\n{0} {1} {3}\n", kMap, in_quotes(user), in_quotes(superuser),
                        in_quotes(kAppRole));
  }
  return text;
}

std::string text_of(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string without_lines_of(std::string_view first_word, const std::string& text) {
  std::istringstream lines(text);
  std::string line, kept;
  while (std::getline(lines, line))
    if (!line.starts_with(first_word)) kept += line + "\n";
  return kept;
}

std::string conninfo_at(const fs::path& socket, std::uint16_t port, const std::string& user,
                        const std::string& database) {
  return fmt::format("host={} port={} user={} dbname={}", quoted(socket.string()), port,
                     quoted(user), quoted(database));
}

struct Server {
  ClusterOptions options;
  fs::path binaries;
  std::optional<Identity> identity;
  fs::path log_path;
  Descriptor log;

  [[nodiscard]] std::unexpected<Error> failed(std::string code, const std::string& what) const {
    return fail(ErrorKind::internal, std::move(code),
                fmt::format("{} ({}). Its last words: {}", what, options.directory.string(),
                            tail_of(log_path)),
                "read " + log_path.string());
  }

  [[nodiscard]] Command command(const char* program, std::vector<std::string> arguments) const {
    Command command;
    command.binary = binaries / program;
    command.arguments = std::move(arguments);
    command.identity = identity;
    command.output = log.get();
    return command;
  }

  [[nodiscard]] std::string conninfo(const fs::path& socket, const std::string& database) const {
    return conninfo_at(socket, options.port, options.superuser, database);
  }

  // In a folder of its own that takes the right name when it is complete.
  Result<void> initialise() const {
    const fs::path fresh = beside(options.directory, ".new");
    std::error_code failure;
    fs::remove_all(fresh, failure);
    if (auto made = make_private_directory(fresh, identity); !made) return made;
    const auto code =
        run_to_end(command("initdb", {"-D", fresh.string(), "-U", options.superuser, "-E", "UTF8",
                                      "--locale=C.UTF-8", "--data-checksums", "--auth-local=trust",
                                      "--auth-host=reject", "--no-instructions"}),
                   120s);
    if (!code || *code != 0) return failed("cluster.initdb_failed", "initdb failed");
    std::ofstream main_file(fresh / "postgresql.conf", std::ios::app);
    main_file << "\ninclude_if_exists 'sluice.conf'\ninclude_if_exists 'local.conf'\n";
    main_file.close();
    if (!main_file || ::rename(fresh.c_str(), options.directory.c_str()) != 0) {
      return bad_directory(options.directory, "cannot put the new cluster there");
    }
    return {};
  }

  /// What people wrote into these files stays.
  Result<void> close_superuser() const {
    const fs::path names = options.directory / "pg_ident.conf";
    auto named = write_file(
        names,
        without_lines_of(kMap, text_of(names)) + names_of_superuser(options.superuser, identity),
        identity);
    if (!named) return named;
    const fs::path rules = options.directory / "pg_hba.conf";
    return write_file(rules, our_rules(options) + without_our_rules(text_of(rules)), identity);
  }

  // Not every build of PostgreSQL has it.
  [[nodiscard]] bool takes_lz4() const {
    const auto code =
        run_to_end(command("postgres", {"-D", options.directory.string(), "-c",
                                        "wal_compression=lz4", "-C", "wal_compression"}),
                   20s);
    return code && *code == 0;
  }

  Result<Process> launch() const {
    Command postgres = command("postgres", {"-D", options.directory.string()});
    postgres.own_session = true;
    return Process::spawn(postgres);
  }
};

struct PidFile {
  pid_t pid = 0;
  std::uint16_t port = 0;
  fs::path socket_directory;
  std::string tcp_address;
};

// postmaster.pid: the number, the data directory, the start time, the port, the socket directory, …
std::optional<PidFile> read_pid_file(const fs::path& directory) {
  std::ifstream file(directory / "postmaster.pid");
  PidFile found;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (number == 1) std::from_chars(line.data(), line.data() + line.size(), found.pid);
    if (number == 4) std::from_chars(line.data(), line.data() + line.size(), found.port);
    if (number == 5) found.socket_directory = line;
    if (number == 6) found.tcp_address = line;
  }
  if (found.pid <= 0) return std::nullopt;
  return found;
}

// A postmaster's working directory is its data directory; another process of that number is not
// one.
std::optional<Process> running_postmaster(const fs::path& directory, pid_t pid) {
  auto process = Process::adopt(pid);
  std::error_code failed;
  const fs::path where = fs::read_symlink(fmt::format("/proc/{}/cwd", pid), failed);
  if (!process || failed || where != fs::canonical(directory, failed)) return std::nullopt;
  return std::move(*process);
}

/// Ended, and nobody has asked for its exit code: its number is still taken, as if it were alive.
bool is_zombie(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto name_ends = text.rfind(')');  // the name may hold anything
  return name_ends != std::string::npos && text.substr(name_ends, 3) == ") Z";
}

// PostgreSQL takes a zombie's number in its lock files for a running postmaster. Its own parent's
// number it passes over, and then still looks whether children of the dead one hold the shared
// memory.
Result<void> disown_zombie(const Server& server, const fs::path& lock_file) {
  std::ifstream file(lock_file);
  std::string text(std::istreambuf_iterator<char>(file), {});
  pid_t pid = 0;
  const auto [end, malformed] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (malformed != std::errc() || pid <= 0 || !is_zombie(pid)) return {};
  text.replace(0, static_cast<std::size_t>(end - text.data()), std::to_string(::getpid()));
  log::info("pg.cluster.zombie", {{"pid", std::int64_t{pid}}, {"file", lock_file.string()}});
  return write_file(lock_file, text, server.identity);
}

Result<void> disown_zombies(const Server& server) {
  const ClusterOptions& options = server.options;
  std::vector<fs::path> lock_files = {options.directory / "postmaster.pid"};
  for (const fs::path& sockets : {options.socket_directory, options.people_directory})
    if (!sockets.empty()) lock_files.push_back(sockets / (socket_name(options) + ".lock"));
  for (const fs::path& lock_file : lock_files) {
    if (auto disowned = disown_zombie(server, lock_file); !disowned) return disowned;
  }
  return {};
}

struct Close {
  void operator()(PGconn* connection) const { PQfinish(connection); }
  void operator()(PGresult* result) const { PQclear(result); }
};

// Returns why not, or nothing.
std::string make_database(const std::string& conninfo, const std::string& database) {
  const std::unique_ptr<PGconn, Close> connection(PQconnectdb(conninfo.c_str()));
  if (PQstatus(connection.get()) != CONNECTION_OK) return PQerrorMessage(connection.get());
  const char* values[] = {database.c_str()};
  const std::unique_ptr<PGresult, Close> found(
      PQexecParams(connection.get(), "SELECT 1 FROM pg_database WHERE datname = $1", 1, nullptr,
                   values, nullptr, nullptr, 0));
  if (PQresultStatus(found.get()) != PGRES_TUPLES_OK) return PQerrorMessage(connection.get());
  if (PQntuples(found.get()) == 1) return {};
  char* name = PQescapeIdentifier(connection.get(), database.data(), database.size());
  const std::string sql = std::string("CREATE DATABASE ") + (name ? name : "");
  PQfreemem(name);
  const std::unique_ptr<PGresult, Close> made(PQexec(connection.get(), sql.c_str()));
  return PQresultStatus(made.get()) == PGRES_COMMAND_OK ? "" : PQerrorMessage(connection.get());
}

// The postmaster was killed, and its children have not noticed yet: they hold the old shared
// memory.
bool children_still_dying(const Server& server, std::size_t log_before) {
  return tail_of(server.log_path, log_before).find("shared memory block") != std::string::npos;
}

std::size_t size_of(const fs::path& path) {
  std::error_code none;
  const auto size = fs::file_size(path, none);
  return none ? 0 : size;
}

/// Whether one that runs listens where this host's settings say. What else they say it can read
/// again.
bool listens_as_asked(const ClusterOptions& options, const PidFile& file) {
  const bool people = options.people_directory.empty() ||
                      fs::exists(options.people_directory / socket_name(options));
  return file.port == options.port && people && file.tcp_address == options.tcp_address;
}

void end_quickly(Process& process) {
  process.signal(SIGINT);
  if (process.ended_within(kFastShutdownTimeout)) return;
  process.signal(SIGQUIT);
  process.ended_within(kImmediateShutdownTimeout);
}

Result<void> open_to_people(const ClusterOptions& options) {
  if (options.people_directory.empty()) return {};
  const fs::path socket = options.people_directory / socket_name(options);
  if (::chmod(socket.c_str(), options.people_socket_mode) != 0)
    return bad_directory(socket, "cannot open it to people");
  return {};
}

// Adopts the postmaster that runs, or starts one, and waits until it takes connections.
Result<Process> bring_up(const Server& server, fs::path& socket_directory) {
  const auto until = std::chrono::steady_clock::now() + kStartTimeout;
  std::optional<Process> process;
  if (const auto file = read_pid_file(server.options.directory)) {
    process = running_postmaster(server.options.directory, file->pid);
    if (process && !file->socket_directory.empty()) socket_directory = file->socket_directory;
    if (process && !listens_as_asked(server.options, *file)) {
      log::info("pg.cluster.restarted", {{"pid", std::int64_t{process->pid()}}});
      end_quickly(*process);
      process.reset();
    }
    if (process) log::info("pg.cluster.adopted", {{"pid", std::int64_t{process->pid()}}});
  }
  bool launched = false;
  std::size_t log_before = 0;
  while (std::chrono::steady_clock::now() < until) {
    if (!process) {
      if (launched) ::poll(nullptr, 0, kRelaunchAfter.count());
      if (auto disowned = disown_zombies(server); !disowned)
        return std::unexpected(disowned.error());
      socket_directory = server.options.socket_directory;
      log_before = size_of(server.log_path);
      auto started = server.launch();
      if (!started) return started;
      process = std::move(*started);
      launched = true;
    }
    const std::string conninfo =
        server.conninfo(socket_directory, "postgres") + " connect_timeout=5";
    if (PQping(conninfo.c_str()) == PQPING_OK) {
      if (auto opened = open_to_people(server.options); !opened)
        return std::unexpected(opened.error());
      return std::move(*process);
    }
    if (!process->ended_within(kProbeEvery)) continue;
    if (launched && !children_still_dying(server, log_before)) {
      return server.failed(
          "cluster.start_failed",
          fmt::format("PostgreSQL ended with {} while starting", process->exit_code()));
    }
    process.reset();  // or the adopted one was on its way out
  }
  if (launched && process) process->signal(SIGQUIT);
  return server.failed("cluster.start_failed", "PostgreSQL took no connections within 60 s");
}

}  // namespace

struct Cluster::State {
  State(Server s, Process p, Descriptor l)
      : server(std::move(s)), process(std::move(p)), lock(std::move(l)) {}
  Server server;
  Process process;
  Descriptor lock;
  std::string conninfo, app_conninfo;
  bool running = true;
};

Result<Cluster> Cluster::start(ClusterOptions options) {
  options.directory = fs::absolute(options.directory);
  options.socket_directory = fs::absolute(options.socket_directory);
  if (!options.people_directory.empty())
    options.people_directory = fs::absolute(options.people_directory);
  for (const fs::path& directory : {options.socket_directory, options.people_directory}) {
    const fs::path socket = directory / socket_name(options);
    if (socket.string().size() <= kSocketPathBytesMax) continue;
    return fail(ErrorKind::bad_input, "cluster.socket_path_too_long",
                fmt::format("{} is longer than the {} bytes of a Unix socket's path",
                            socket.string(), kSocketPathBytesMax),
                "choose a shorter socket directory, for example under /run");
  }
  auto binaries = choose_binaries(options);
  if (!binaries) return std::unexpected(binaries.error());
  auto identity = choose_identity(options.user);
  if (!identity) return std::unexpected(identity.error());
  if (auto made = make_private_directory(options.directory, *identity); !made)
    return std::unexpected(made.error());
  if (auto made = make_private_directory(options.socket_directory, *identity); !made)
    return std::unexpected(made.error());
  if (!options.people_directory.empty()) {
    if (auto made = make_directory(options.people_directory, *identity, 0755); !made)
      return std::unexpected(made.error());
  }
  auto lock = lock_out_others(options.directory);
  if (!lock) return std::unexpected(lock.error());
  const fs::path log_path = beside(options.directory, ".log");
  auto log = open_log(log_path);
  if (!log) return std::unexpected(log.error());

  Server server{options, *binaries, *identity, log_path, std::move(*log)};
  if (major_of_data(options.directory) == 0) {
    if (auto made = server.initialise(); !made) return std::unexpected(made.error());
  }
  auto written = write_file(options.directory / "sluice.conf",
                            configuration(options, server.takes_lz4()), *identity);
  if (!written) return std::unexpected(written.error());

  if (auto closed = server.close_superuser(); !closed) return std::unexpected(closed.error());

  fs::path socket_directory = options.socket_directory;
  auto process = bring_up(server, socket_directory);
  if (!process) return std::unexpected(process.error());
  process->signal(SIGHUP);  // one that ran already has read the older rules
  auto state = std::make_unique<State>(std::move(server), std::move(*process), std::move(*lock));
  state->conninfo = state->server.conninfo(socket_directory, options.database);
  state->app_conninfo = conninfo_at(socket_directory, options.port, kAppRole, options.database);
  const Server& kept = state->server;
  const std::string why =
      make_database(kept.conninfo(socket_directory, "postgres"), options.database);
  if (!why.empty()) {
    auto error = kept.failed("cluster.start_failed", "cannot make the database: " + why);
    const Cluster stops_it(std::move(state));
    return error;
  }
  return Cluster(std::move(state));
}

std::string Cluster::conninfo_of(const ClusterOptions& options) {
  return conninfo_at(fs::absolute(options.socket_directory), options.port, options.superuser,
                     options.database);
}

Result<void> Cluster::end_before_hand_over(const fs::path& directory, uid_t next_owner) {
  struct stat info = {};
  if (::lstat(directory.c_str(), &info) != 0 || info.st_uid == next_owner) return {};
  const auto lock = lock_out_others(directory);
  if (!lock) return std::unexpected(lock.error());
  const auto file = read_pid_file(directory);
  auto process = file ? running_postmaster(directory, file->pid) : std::nullopt;
  if (!process) return {};
  log::info("pg.cluster.ended_for_another_user", {{"pid", std::int64_t{process->pid()}}});
  process->signal(SIGINT);
  if (process->ended_within(kFastShutdownTimeout)) return {};
  process->signal(SIGQUIT);
  if (process->ended_within(kImmediateShutdownTimeout)) return {};
  return fail(ErrorKind::conflict, "cluster.in_use",
              fmt::format("a PostgreSQL of another user works in {} and does not end (process {})",
                          directory.string(), process->pid()),
              "end it, and start again");
}

Cluster::Cluster(std::unique_ptr<State> state) : state_(std::move(state)) {}

Cluster::Cluster(Cluster&&) noexcept = default;

Cluster::~Cluster() {
  if (state_) stop();
}

const std::string& Cluster::conninfo() const { return state_->conninfo; }

const std::string& Cluster::app_conninfo() const { return state_->app_conninfo; }

int Cluster::postmaster_pid() const { return state_->process.pid(); }

bool Cluster::alive() { return !state_->process.ended_within(0ms); }

Result<void> Cluster::revive() {
  if (alive()) return {};
  fs::path socket_directory = state_->server.options.socket_directory;
  auto process = bring_up(state_->server, socket_directory);
  if (!process) return std::unexpected(process.error());
  state_->process = std::move(*process);
  log::info("pg.cluster.revived", {{"pid", std::int64_t{state_->process.pid()}}});
  return {};
}

void Cluster::reload() { state_->process.signal(SIGHUP); }

void Cluster::stop() {
  if (!std::exchange(state_->running, false)) return;
  state_->process.signal(SIGINT);
  if (state_->process.ended_within(kFastShutdownTimeout)) return;
  log::warning("pg.cluster.slow_shutdown", {{"pid", std::int64_t{state_->process.pid()}}});
  state_->process.signal(SIGQUIT);
  if (!state_->process.ended_within(kImmediateShutdownTimeout)) {
    log::error("pg.cluster.still_running", {{"pid", std::int64_t{state_->process.pid()}}});
  }
}

void Cluster::leave_running() { state_->running = false; }

}  // namespace sluice::pg
