#include "pg/process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <utility>

namespace sluice::pg {
namespace {

constexpr int kExecFailed = 127;
constexpr const char* kEnvironment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                                        "LC_ALL=C.UTF-8", "TZ=UTC", nullptr};

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

std::string system_message(const std::string& what) { return what + ": " + std::strerror(errno); }

// Between fork and exec only async-signal-safe calls: other threads of ours may hold any lock.
[[noreturn]] void become(const Command& command, char* const* arguments) {
  const int nothing = ::open("/dev/null", O_RDWR);
  const int output = command.output >= 0 ? command.output : nothing;
  if (::dup2(nothing, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0)
    ::_exit(kExecFailed);
  ::syscall(SYS_close_range, 3U, ~0U, 0U);
  if (command.own_session) ::setsid();
  if (::chdir("/") != 0) ::_exit(kExecFailed);
  if (command.identity) {
    const auto [uid, gid] = *command.identity;
    if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0)
      ::_exit(kExecFailed);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGCHLD})
    ::signal(number, SIG_DFL);
  ::execve(arguments[0], arguments, const_cast<char* const*>(kEnvironment));
  ::_exit(kExecFailed);
}

}  // namespace

Result<Process> Process::spawn(const Command& command) {
  const std::string binary = command.binary.string();
  std::vector<char*> arguments = {const_cast<char*>(binary.c_str())};
  for (const auto& argument : command.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  const pid_t pid = ::fork();
  if (pid < 0)
    return fail(ErrorKind::internal, "process.spawn_failed",
                system_message("cannot start " + binary));
  if (pid == 0) become(command, arguments.data());
  const int pidfd = open_pidfd(pid);
  if (pidfd < 0) {
    const std::string message = system_message("cannot watch " + binary);
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return fail(ErrorKind::internal, "process.spawn_failed", message,
                "Linux 5.3 or newer is needed");
  }
  return Process(pid, pidfd);
}

Result<Process> Process::adopt(pid_t pid) {
  const int pidfd = pid > 0 ? open_pidfd(pid) : -1;
  if (pidfd < 0)
    return fail(ErrorKind::not_found, "process.gone", "no process " + std::to_string(pid));
  return Process(pid, pidfd);
}

Process::Process(Process&& other) noexcept
    : pid_(other.pid_),
      pidfd_(std::exchange(other.pidfd_, -1)),
      exit_code_(other.exit_code_),
      ended_(other.ended_) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(exit_code_, other.exit_code_);
  std::swap(ended_, other.ended_);
  return *this;
}

Process::~Process() {
  if (pidfd_ >= 0) ::close(pidfd_);
}

void Process::signal(int number) const {
  if (!ended_) ::syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0);
}

bool Process::ended_within(std::chrono::milliseconds wait) {
  if (ended_) return true;
  const auto until = std::chrono::steady_clock::now() + wait;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd watched = {pidfd_, POLLIN, 0};
    const int found =
        ::poll(&watched, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (found > 0) break;
    if (found == 0) return false;
    if (errno != EINTR) return false;
  }
  ended_ = true;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == pid_) {
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return true;
}

Result<int> run_to_end(const Command& command, std::chrono::seconds wait) {
  auto process = Process::spawn(command);
  if (!process) return std::unexpected(process.error());
  if (!process->ended_within(wait)) {
    process->signal(SIGKILL);
    process->ended_within(std::chrono::seconds(5));
    return fail(
        ErrorKind::retry_later, "process.too_slow",
        command.binary.string() + " did not end within " + std::to_string(wait.count()) + " s");
  }
  return process->exit_code();
}

}  // namespace sluice::pg
