// Time and dice that a test turns by hand, and credentials from a table.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>

#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "fetch/credential.hpp"
#include "fetch/delay.hpp"

namespace sluice::fetch_test {

class FakeClock final : public Clock {
 public:
  Micros now() const override { return wall; }
  std::chrono::steady_clock::time_point steady() const override {
    return std::chrono::steady_clock::time_point(elapsed);
  }

  void advance(std::chrono::nanoseconds span) {
    elapsed += span;
    wall += std::chrono::duration_cast<Micros>(span);
  }
  std::chrono::nanoseconds elapsed = std::chrono::hours(1);
  Micros wall = std::chrono::seconds(1'790'000'000);
};

/// Waiting turns the clock instead, and lets the other coroutines run.
class FakeDelay final : public fetch::Delay {
 public:
  explicit FakeDelay(FakeClock& clock) : clock_(clock) {}
  Task<> wait(std::chrono::nanoseconds span) override {
    const auto until = clock_.steady() + span;
    co_await asio::post(asio::use_awaitable);
    if (clock_.steady() < until) clock_.advance(until - clock_.steady());
    waits.push_back(span);
  }
  std::vector<std::chrono::nanoseconds> waits;

 private:
  FakeClock& clock_;
};

/// Many waits at once, in the order of their ends: when nothing else can go on, run() turns the
/// clock to the nearest. Hours of waiting take no time.
class VirtualTime final : public fetch::Delay {
 public:
  explicit VirtualTime(FakeClock& clock) : clock_(clock) {}
  Task<> wait(std::chrono::nanoseconds span) override {
    if (span <= std::chrono::nanoseconds::zero()) co_return;
    const auto executor = co_await asio::this_coro::executor;
    auto bell = std::make_shared<asio::steady_timer>(executor,
                                                     std::chrono::steady_clock::time_point::max());
    bool rung = false;
    const auto place = waits_.emplace(clock_.steady() + span, Sleeper{bell, &rung});
    boost::system::error_code ended;
    co_await bell->async_wait(asio::redirect_error(asio::use_awaitable, ended));
    if (rung) co_return;
    waits_.erase(place);
    throw boost::system::system_error(asio::error::operation_aborted);
  }
  /// Until `done()` or until nothing waits any more; true: done.
  template <class Done>
  bool run(asio::io_context& loop, Done done) {
    for (;;) {
      loop.restart();
      loop.poll();
      if (done()) return true;
      if (waits_.empty()) return false;
      const auto next = waits_.begin();
      if (next->first > clock_.steady()) clock_.advance(next->first - clock_.steady());
      *next->second.rung = true;
      next->second.bell->cancel();
      waits_.erase(next);
    }
  }

 private:
  struct Sleeper {
    std::shared_ptr<asio::steady_timer> bell;
    bool* rung;
  };
  FakeClock& clock_;
  std::multimap<std::chrono::steady_clock::time_point, Sleeper> waits_;
};

/// Dice with a seed, the same in every run.
class SeededEntropy final : public Entropy {
 public:
  explicit SeededEntropy(std::uint64_t seed) : state_(seed) {}
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) byte = static_cast<std::uint8_t>(next());
  }
  std::uint32_t below(std::uint32_t bound) override { return next() % bound; }

 private:
  std::uint32_t next() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<std::uint32_t>(state_ >> 33);
  }
  std::uint64_t state_;
};

/// Always the largest number asked for.
class HighEntropy final : public Entropy {
 public:
  void fill(std::span<std::uint8_t> out) override { std::ranges::fill(out, std::uint8_t{0xff}); }
  std::uint32_t below(std::uint32_t bound) override { return bound - 1; }
};

class TableCredentials final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(fetch::SecretUse use,
                                             fetch::CredentialVersion version) override {
    ++asked;
    const auto& table = version == fetch::CredentialVersion::current ? current : previous;
    const auto found = table.find(use.name);
    if (found == table.end())
      co_return fail(ErrorKind::not_found, "vault.no_secret", "no such secret");
    co_return fetch::Credential(found->second);
  }
  std::map<std::string, std::string> current, previous;
  int asked = 0;
};

}  // namespace sluice::fetch_test
