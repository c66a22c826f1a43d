#include "vault/root_key.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "base/ascii.hpp"
#include "base/check.hpp"
#include "base/log.hpp"
#include "vault/sodium.hpp"

namespace sluice::vault {
namespace {

namespace fs = std::filesystem;
using Steady = std::chrono::steady_clock;

constexpr std::string_view kCredentialName = "sluice-root-key";
constexpr std::string_view kPrefix = "slrk1:";
constexpr std::size_t kTextBytesMax = 4096;
constexpr const char* kEnvironmentName = "SLUICE_ROOT_KEY";

/// Closes what it was given.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::string system_reason() { return std::strerror(errno); }

std::unexpected<Error> malformed(const std::string& where, const std::string& what) {
  return fail(
      ErrorKind::bad_input, "vault.root_key.malformed", where + ": " + what,
      "A line is slrk1:<id, 8 hex digits>:<key, 32 bytes in base64url>. Put the saved copy back; "
      "a new key does not open what the old one sealed");
}

std::unexpected<Error> not_permitted(const std::string& where, const std::string& what,
                                     const std::string& hint) {
  return fail(ErrorKind::denied, "vault.root_key.permissions", where + " " + what, hint);
}

/// Text that may hold keys; wiped when it goes.
struct Buffer {
  std::array<std::uint8_t, kTextBytesMax + 1> bytes;
  std::size_t size = 0;
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { sodium_memzero(bytes.data(), bytes.size()); }
  [[nodiscard]] bool full() const { return size == bytes.size(); }
  /// The read's outcome: bytes read, 0 at the end, -1 with errno.
  ssize_t read_some(int fd) {
    const ssize_t n = ::read(fd, bytes.data() + size, bytes.size() - size);
    if (n > 0) size += static_cast<std::size_t>(n);
    return n;
  }
  [[nodiscard]] Secret text() const { return Secret::copy_of({bytes.data(), size}); }
};

// ---- text form -------------------------------------------------------------------------------

/// 32 bytes out of `text`, or an empty Secret.
Secret key_from_base64(std::string_view text, int variant) {
  bool ok = false;
  Secret key = Secret::make(kKeyBytes, [&](std::span<std::uint8_t> out) {
    std::size_t length = 0;
    const char* end = nullptr;
    ok = sodium_base642bin(out.data(), out.size(), text.data(), text.size(), nullptr, &length, &end,
                           variant) == 0 &&
         length == kKeyBytes && end == text.data() + text.size();
  });
  return ok ? std::move(key) : Secret();
}

Secret key_from_hex(std::string_view text) {
  bool ok = false;
  Secret key = Secret::make(kKeyBytes, [&](std::span<std::uint8_t> out) {
    std::size_t length = 0;
    const char* end = nullptr;
    ok = sodium_hex2bin(out.data(), out.size(), text.data(), text.size(), nullptr, &length, &end) ==
             0 &&
         length == kKeyBytes && end == text.data() + text.size();
  });
  return ok ? std::move(key) : Secret();
}

Secret bare_key(std::string_view text) {
  if (text.size() == 2 * kKeyBytes) return key_from_hex(text);
  for (const int variant :
       {sodium_base64_VARIANT_URLSAFE_NO_PADDING, sodium_base64_VARIANT_ORIGINAL,
        sodium_base64_VARIANT_ORIGINAL_NO_PADDING, sodium_base64_VARIANT_URLSAFE}) {
    Secret key = key_from_base64(text, variant);
    if (!key.empty()) return key;
  }
  return {};
}

Result<RootKeyring::Key> parse_line(std::string_view line, const std::string& where) {
  if (!line.starts_with(kPrefix)) return malformed(where, "the line does not begin with slrk1:");
  const auto rest = line.substr(kPrefix.size());
  const auto colon = rest.find(':');
  const auto id = RootKeyId::from_hex(rest.substr(0, colon));
  if (!id || colon == std::string_view::npos) {
    return malformed(where, "after slrk1: come 8 lower-case hex digits and a colon");
  }
  Secret key = key_from_base64(rest.substr(colon + 1), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
  if (key.empty()) {
    return malformed(
        where,
        fmt::format("the key of {} is not 32 bytes in base64url without padding", id->to_string()));
  }
  if (RootKeyId::of(key) != *id) {
    return malformed(where,
                     fmt::format("the key does not belong to the id {}: a character of one of "
                                 "them was changed",
                                 id->to_string()));
  }
  return RootKeyring::Key{*id, std::move(key)};
}

// ---- sources ---------------------------------------------------------------------------------

/// Who may see a key file besides us.
enum class Sharing {
  owner_only,   ///< our own file
  group_shown,  ///< systemd's: the access list for the service user appears as group bits
};

Result<Secret> read_key_file(const fs::path& path, Sharing sharing) {
  const std::string where = "file " + path.string();
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) {
      return fail(ErrorKind::not_found, "vault.root_key.missing", where + " is not there");
    }
    if (errno == ELOOP) {
      return not_permitted(where, "is a symbolic link", "Put the key file itself there, mode 0600");
    }
    return not_permitted(where, "cannot be opened: " + system_reason(),
                         "It must be readable by the user that Sluice runs as, and by nobody else");
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return not_permitted(where, system_reason(), "");
  if (!S_ISREG(status.st_mode)) {
    return not_permitted(where, "is not a regular file",
                         "Put the key file itself there, mode 0600");
  }
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return not_permitted(
        where, fmt::format("belongs to user id {}; Sluice runs as {}", status.st_uid, ::geteuid()),
        "chown it to the user that Sluice runs as");
  }
  const mode_t forbidden = sharing == Sharing::owner_only ? 0077 : 0027;
  if ((status.st_mode & forbidden) != 0) {
    return not_permitted(
        where,
        fmt::format("has mode {:04o}: others than its owner can reach it", status.st_mode & 07777),
        fmt::format("chmod 600 {}; if others may have read it, rotate the root key",
                    path.string()));
  }
  Buffer buffer;
  while (!buffer.full()) {
    const ssize_t n = buffer.read_some(fd.get());
    if (n == 0) return buffer.text();
    if (n < 0 && errno != EINTR)
      return not_permitted(where, "cannot be read: " + system_reason(), "");
  }
  return malformed(where, fmt::format("more than {} bytes", kTextBytesMax));
}

std::unexpected<Error> command_failed(const std::string& where, const std::string& what) {
  return fail(
      ErrorKind::internal, "vault.root_key.command", where + " " + what,
      "Run it by hand as the user that Sluice runs as: it must print the key and exit with 0");
}

/// A child of ours; killed and reaped when still there at the end.
class Child {
 public:
  explicit Child(pid_t pid)
      : pid_(pid), exit_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    (void)reap();
  }
  /// Readable once the child has ended.
  [[nodiscard]] int exit_descriptor() const { return exit_.get(); }
  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

 private:
  pid_t pid_;
  Descriptor exit_;
};

/// True when `fd` became readable (or hung up) before the deadline.
bool readable_before(int fd, Steady::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Steady::now()).count();
    if (left <= 0) return false;
    pollfd wanted{fd, POLLIN, 0};
    const int n = ::poll(&wanted, 1, static_cast<int>(left));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
}

/// Starts the command with nothing of ours but a pipe for its output. 0 when it could not start
/// (errno).
pid_t spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path, nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environment);
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return pid;
  errno = error;
  return 0;
}

Result<Secret> run_key_command(const std::vector<std::string>& command) {
  const std::string where = "command " + command.front();
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return command_failed(where, "got no pipe: " + system_reason());
  const Descriptor out(ends[0]);
  Descriptor in(ends[1]);
  const auto deadline = Steady::now() + std::chrono::seconds(kRootKeyCommandSeconds);
  const pid_t pid = spawn(command, in.get());
  if (pid == 0) return command_failed(where, "could not be started: " + system_reason());
  Child child(pid);
  in.close();
  const auto too_slow = [&] {
    return command_failed(where, fmt::format("did not end within {} s", kRootKeyCommandSeconds));
  };
  Buffer buffer;
  for (bool end = false; !end;) {
    if (buffer.full())
      return command_failed(where, fmt::format("printed more than {} bytes", kTextBytesMax));
    if (!readable_before(out.get(), deadline)) return too_slow();
    const ssize_t n = buffer.read_some(out.get());
    if (n < 0 && errno != EINTR) return command_failed(where, "cannot be read: " + system_reason());
    end = n == 0;
  }
  if (!readable_before(child.exit_descriptor(), deadline)) return too_slow();
  const int status = child.reap();
  if (WIFSIGNALED(status)) {
    return command_failed(where, fmt::format("ended by signal {}", WTERMSIG(status)));
  }
  if (WEXITSTATUS(status) != 0) {
    return command_failed(where, fmt::format("exited with {}", WEXITSTATUS(status)));
  }
  return buffer.text();
}

bool is_missing(const Error& error) { return error.code == "vault.root_key.missing"; }

}  // namespace

RootKeySources RootKeySources::from_environment(fs::path file, std::vector<std::string> command) {
  RootKeySources sources;
  sources.file = std::move(file);
  sources.command = std::move(command);
  if (const char* directory = std::getenv("CREDENTIALS_DIRECTORY")) {
    sources.credentials_directory = directory;
  }
  if (char* text = std::getenv(kEnvironmentName); text != nullptr) {
    const std::size_t length = std::strlen(text);
    if (length != 0)
      sources.environment = Secret::copy_of({reinterpret_cast<std::uint8_t*>(text), length});
    sodium_memzero(text, length);
    ::unsetenv(kEnvironmentName);
  }
  return sources;
}

Result<RootKeyring> RootKeyring::load(RootKeySources sources) {
  require_sodium();
  const auto from_text = [](Result<Secret> text, const std::string& where, bool bare) {
    return text ? parse(*text, where, bare) : Result<RootKeyring>(std::unexpected(text.error()));
  };
  if (!sources.credentials_directory.empty()) {
    const fs::path path = sources.credentials_directory / kCredentialName;
    auto text = read_key_file(path, Sharing::group_shown);
    if (text || !is_missing(text.error())) {
      return from_text(std::move(text), "credential " + path.string(), false);
    }
  }
  if (!sources.file.empty()) {
    auto text = read_key_file(sources.file, Sharing::owner_only);
    if (text || !is_missing(text.error())) {
      return from_text(std::move(text), "file " + sources.file.string(), false);
    }
  }
  if (!sources.command.empty()) {
    return from_text(run_key_command(sources.command), "command " + sources.command.front(), true);
  }
  if (sources.environment) {
    log::warning(
        "vault.root_key_from_environment",
        {{"what", "the root key came from SLUICE_ROOT_KEY, which other processes may see"},
         {"do", "for anything but development use a file with mode 0600 or a systemd credential"}});
    return parse(*sources.environment, std::string("environment ") + kEnvironmentName, true);
  }
  return fail(
      ErrorKind::not_found, "vault.root_key.missing",
      fmt::format("no root key: neither the systemd credential {}, nor the file {}, nor a command, "
                  "nor {} in the environment",
                  kCredentialName, sources.file.empty() ? "(none set)" : sources.file.string(),
                  kEnvironmentName),
      "If this database was used before, put its key file back; for a new one, create a root key");
}

Result<RootKeyring> RootKeyring::parse(const Secret& text, const std::string& where,
                                       bool bare_key_allowed) {
  require_sodium();
  RootKeyring ring;
  ring.source_ = where;
  std::string_view rest = text.expose_text();
  if (bare_key_allowed && !trimmed(rest).starts_with(kPrefix)) {
    Secret key = bare_key(trimmed(rest));
    if (key.empty()) return malformed(where, "neither 64 hex digits nor 32 bytes in base64");
    const RootKeyId id = RootKeyId::of(key);
    ring.keys_.push_back(Key{id, std::move(key)});
    return ring;
  }
  for (int number = 1; !rest.empty(); ++number) {
    const auto end = rest.find('\n');
    const std::string_view line = trimmed(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (line.empty() || line.starts_with('#')) continue;
    const std::string line_name = fmt::format("{} line {}", where, number);
    auto key = parse_line(line, line_name);
    if (!key) return std::unexpected(key.error());
    if (ring.find(key->id) != nullptr) {
      return malformed(line_name, fmt::format("the key {} is there twice", key->id.to_string()));
    }
    if (ring.keys_.size() == kRootKeysMax) {
      return malformed(line_name, fmt::format("more than {} keys", kRootKeysMax));
    }
    ring.keys_.push_back(std::move(*key));
  }
  if (ring.keys_.empty()) return malformed(where, "there is no key in it");
  return ring;
}

RootKeyring RootKeyring::of(std::vector<Secret> keys) {
  SLUICE_INVARIANT(!keys.empty() && keys.size() <= kRootKeysMax);
  RootKeyring ring;
  ring.source_ = "memory";
  for (Secret& key : keys) {
    const RootKeyId id = RootKeyId::of(key);
    SLUICE_INVARIANT(ring.find(id) == nullptr);
    ring.keys_.push_back(Key{id, std::move(key)});
  }
  return ring;
}

const RootKeyring::Key* RootKeyring::find(RootKeyId id) const {
  for (const Key& key : keys_) {
    if (key.id == id) return &key;
  }
  return nullptr;
}

std::string RootKeyring::ids() const {
  std::string text;
  for (const Key& key : keys_) text += (text.empty() ? "" : ", ") + key.id.to_string();
  return text;
}

namespace {

/// The file's text: a comment and one line.
Secret key_file_text(const RootKeyId id, const Secret& key) {
  constexpr std::string_view kComment =
      "# Root key of a Sluice vault. Keep a copy elsewhere: without it the stored secrets are "
      "lost.\n";
  constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  const std::string head = fmt::format("{}{}{}:", kComment, kPrefix, id.to_string());
  const std::size_t encoded = sodium_base64_encoded_len(kKeyBytes, kVariant);  // with the final NUL
  return Secret::make(head.size() + encoded, [&](std::span<std::uint8_t> out) {
    std::ranges::copy(as_bytes(head), out.begin());
    sodium_bin2base64(reinterpret_cast<char*>(out.data()) + head.size(), encoded,
                      key.expose().data(), key.size(), kVariant);
    out.back() = '\n';
  });
}

/// Writes and makes durable. False with errno.
bool write_durably(int fd, ByteView bytes) {
  if (::fchmod(fd, 0600) != 0) return false;
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return ::fsync(fd) == 0;
}

}  // namespace

Result<RootKeyId> create_root_key_file(const fs::path& path) {
  require_sodium();
  const auto failed = [&](const char* what) {
    return fail(ErrorKind::internal, "vault.root_key.not_created",
                fmt::format("file {}: {}: {}", path.string(), what, system_reason()),
                "The directory must exist and be writable for the user that Sluice runs as");
  };
  const Secret key = Secret::random(kKeyBytes);
  const RootKeyId id = RootKeyId::of(key);
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  // Written under another name and then linked: the name appears with its whole content, or not at
  // all.
  const fs::path draft =
      directory / fmt::format(".{}.{:08x}", path.filename().string(), randombytes_random());
  const Descriptor file(
      ::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return failed("could not be made");
  const bool written = write_durably(file.get(), key_file_text(id, key).expose());
  const bool linked = written && ::link(draft.c_str(), path.c_str()) == 0;
  const int error = errno;
  ::unlink(draft.c_str());
  errno = error;
  if (!written) return failed("could not be written");
  if (!linked && error == EEXIST) {
    return fail(ErrorKind::conflict, "vault.root_key.exists", "file " + path.string() + " exists",
                "It is left as it is: another key would not open what it sealed");
  }
  if (!linked) return failed("could not be named");
  const Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) return failed("its directory could not be synced");
  return id;
}

}  // namespace sluice::vault
