#include "e2e/crowd.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <stdexcept>

namespace sluice::e2e {
namespace {

constexpr int kReceiveBuffer = 16 * 1024;  ///< so that answers stay with the host
constexpr std::size_t kOpenedATurn = 500;
constexpr std::chrono::milliseconds kTurn{100};

}  // namespace

Sockets::Sockets(const std::string& url, int count, Behaviour behaviour)
    : count_(static_cast<std::size_t>(count)), behaviour_(std::move(behaviour)) {
  const auto at = url.find("//") + 2;
  const auto colon = url.rfind(':');
  address_ = url.substr(at, colon - at);
  port_ = static_cast<std::uint16_t>(std::stoi(url.substr(colon + 1)));
  thread_ = std::thread([this] {
    std::vector<int> sockets;
    while (!stop_) {
      const auto begun = std::chrono::steady_clock::now();
      turn(sockets);
      std::this_thread::sleep_until(begun + kTurn);
    }
    for (const int socket : sockets) ::close(socket);
  });
}

Sockets::~Sockets() {
  stop_ = true;
  thread_.join();
}

void Sockets::turn(std::vector<int>& sockets) {
  for (int& socket : sockets) {
    if (look(socket)) continue;
    ++closed_;
    ::close(socket);
    socket = -1;
  }
  std::erase(sockets, -1);
  for (std::size_t n = 0; n < kOpenedATurn && sockets.size() < count_ && !stop_; ++n) {
    const int socket = connect_one();
    if (socket < 0) break;
    sockets.push_back(socket);
  }
  open_ = static_cast<std::int64_t>(sockets.size());
}

int Sockets::connect_one() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port_);
  ::inet_pton(AF_INET, address_.c_str(), &to.sin_addr);
  ::fcntl(socket, F_SETFL, O_NONBLOCK);
  const int connected = ::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  if (connected != 0 && errno != EINPROGRESS) {
    ::close(socket);
    return -1;
  }
  ++opened_;
  // On the loopback a connection stands at once, or waits in the kernel with what was sent.
  if (!behaviour_.request.empty()) {
    ::send(socket, behaviour_.request.data(), behaviour_.request.size(), MSG_NOSIGNAL);
  }
  return socket;
}

/// Whether it is open still; takes what it is to take.
bool Sockets::look(int socket) {
  char piece[16 * 1024];
  const bool takes = behaviour_.bytes_a_turn > 0;
  const std::size_t most = takes ? std::min(sizeof piece, behaviour_.bytes_a_turn) : 1;
  const ssize_t got = ::recv(socket, piece, most, takes ? 0 : MSG_PEEK);
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

Askers::Askers(int threads, int a_second, std::function<std::string(std::int64_t)> ask) {
  const auto begun = std::chrono::steady_clock::now();
  for (int n = 0; n < threads; ++n) {
    threads_.emplace_back([this, a_second, ask, begun] {
      std::map<std::string, std::int64_t> answers;
      while (!stop_) {
        const std::int64_t number = asked_++;
        if (a_second > 0) {
          std::this_thread::sleep_until(begun +
                                        std::chrono::microseconds(number * 1'000'000 / a_second));
        }
        ++answers[ask(number)];
      }
      const std::lock_guard lock(mutex_);
      for (const auto& [answer, count] : answers) answers_[answer] += count;
    });
  }
}

Askers::~Askers() { stop(); }

std::map<std::string, std::int64_t> Askers::stop() {
  stop_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  return answers_;
}

}  // namespace sluice::e2e
