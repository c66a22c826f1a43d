#include "base/failpoint.hpp"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <list>
#include <string>
#include <string_view>

#include "base/check.hpp"
#include "base/error.hpp"

#include <cstdio>

namespace sluice {

void invariant_broken(const char* condition, const char* file, int line, const char* function) {
  std::fprintf(stderr,
               "invariant broken: %s at %s:%d in %s; stopping before anything wrong is stored\n",
               condition, file, line, function);
  std::abort();
}

namespace failpoint {
namespace {

struct Armed {
  std::string name;
  int signal = 0;  ///< to ourselves; 0: a Failure
  int at = 1;
  std::atomic<int> passed{0};
};

#ifndef SLUICE_NO_FAILPOINTS
const char* from_environment() { return std::getenv("SLUICE_FAILPOINTS"); }
#else
const char* from_environment() { return nullptr; }
#endif

std::list<Armed> read_environment() {
  std::list<Armed> points;
  const char* text = from_environment();
  if (text == nullptr) return points;
  std::string_view rest(text);
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const std::string_view entry = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    auto& point = points.emplace_back();
    point.name = entry.substr(0, equals);
    const std::string_view action = entry.substr(equals + 1);
    point.signal = action.starts_with("kill") ? SIGKILL : action.starts_with("stop") ? SIGSTOP : 0;
    if (const auto at = action.find('@'); at != std::string_view::npos) {
      std::from_chars(action.data() + at + 1, action.data() + action.size(), point.at);
    }
  }
  return points;
}

std::list<Armed>& points() {
  static std::list<Armed> all = read_environment();
  return all;
}

std::function<void(std::string_view)>& observer() {
  static std::function<void(std::string_view)> current;
  return current;
}

bool armed_by_environment() { return from_environment() != nullptr; }

}  // namespace

std::atomic<bool> armed = armed_by_environment();

Observer::Observer(std::function<void(std::string_view)> passed) {
  observer() = std::move(passed);
  armed = true;
}

Observer::~Observer() {
  observer() = nullptr;
  armed = armed_by_environment();
}

void pass(std::string_view name) {
  if (observer()) observer()(name);
  for (Armed& point : points()) {
    if (point.name != name || ++point.passed != point.at) continue;
    if (point.signal == 0) {
      throw Failure(Error(ErrorKind::internal, "failpoint", "failpoint " + std::string(name)));
    }
    std::raise(point.signal);
  }
}

}  // namespace failpoint
}  // namespace sluice
