// Clients that mean no good, many of them on a few threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sluice::e2e {

/// Sockets to the host at "http://address:port" that one thread keeps open: each sends what it is
/// given when it is connected, and takes `bytes_a_turn` of what comes, ten times a second. One that
/// the host closes is opened again.
class Sockets {
 public:
  struct Behaviour {
    std::string request;           ///< empty: says nothing
    std::size_t bytes_a_turn = 0;  ///< 0: takes nothing
  };
  Sockets(const std::string& url, int count, Behaviour behaviour);
  ~Sockets();
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;

  [[nodiscard]] std::int64_t opened() const { return opened_; }
  [[nodiscard]] std::int64_t closed_by_host() const { return closed_; }
  /// So many are open now.
  [[nodiscard]] std::int64_t open() const { return open_; }

 private:
  void turn(std::vector<int>& sockets);
  int connect_one();
  bool look(int socket);

  std::string address_;
  std::uint16_t port_ = 0;
  std::size_t count_;
  Behaviour behaviour_;
  std::atomic<std::int64_t> opened_ = 0, closed_ = 0, open_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// Requests by several threads, so many a second all together or as fast as they are answered; what
/// the answers were.
class Askers {
 public:
  /// `ask` makes the n-th request and returns how it was answered, in a word. `a_second` 0: as fast
  /// as they are answered.
  Askers(int threads, int a_second, std::function<std::string(std::int64_t n)> ask);
  ~Askers();
  Askers(const Askers&) = delete;
  Askers& operator=(const Askers&) = delete;
  /// How many were answered in which way; call once.
  std::map<std::string, std::int64_t> stop();

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<std::int64_t> asked_ = 0;
  std::mutex mutex_;
  std::map<std::string, std::int64_t> answers_;
  std::vector<std::thread> threads_;
};

}  // namespace sluice::e2e
