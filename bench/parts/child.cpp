#include "bench/parts/child.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace sluice::bench {
namespace {

/// The child's end of the pipe is its standard output.
pid_t start(const std::string& role, const std::string& arguments, int& read_end) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("no fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execl("/proc/self/exe", "bench", "--role", role.c_str(), arguments.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  read_end = ends[0];
  return pid;
}

double field_mb(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name)) return std::stod(line.substr(name.size())) / 1024;
  }
  return 0;
}

}  // namespace

nlohmann::json run_role(const std::string& role, const nlohmann::json& arguments) {
  int read_end = -1;
  const pid_t pid = start(role, arguments.dump(), read_end);
  std::string out;
  char buffer[4096];
  for (ssize_t size = 0; (size = ::read(read_end, buffer, sizeof(buffer))) > 0;)
    out.append(buffer, static_cast<std::size_t>(size));
  ::close(read_end);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error(fmt::format("the part '{}' failed: {}", role, out));
  while (!out.empty() && out.back() == '\n') out.pop_back();
  const std::size_t line = out.rfind('\n');
  return nlohmann::json::parse(line == std::string::npos ? out : out.substr(line + 1));
}

Background::Background(const std::string& role) {
  int read_end = -1;
  pid_ = start(role, "{}", read_end);
  for (char c = 0; ::read(read_end, &c, 1) == 1 && c != '\n';) first_line_.push_back(c);
  ::close(read_end);
  if (first_line_.empty()) throw std::runtime_error(fmt::format("'{}' did not start", role));
}

Background::~Background() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

double peak_rss_mb() { return field_mb("VmHWM:"); }
double rss_mb() { return field_mb("VmRSS:"); }

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double children_cpu_seconds(pid_t pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 16; ++field) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

std::vector<pid_t> children_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", pid));
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

}  // namespace sluice::bench
