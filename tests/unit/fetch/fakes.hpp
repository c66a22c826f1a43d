// Time and dice that a test turns by hand, and credentials from a table.
#pragma once

#include <map>
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

/// Always the largest number asked for.
class HighEntropy final : public Entropy {
 public:
  void fill(std::span<std::uint8_t> out) override { std::ranges::fill(out, std::uint8_t{0xff}); }
  std::uint32_t below(std::uint32_t bound) override { return bound - 1; }
};

class TableCredentials final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(std::string secret_name,
                                             fetch::CredentialVersion version) override {
    ++asked;
    const auto& table = version == fetch::CredentialVersion::current ? current : previous;
    const auto found = table.find(secret_name);
    if (found == table.end())
      co_return fail(ErrorKind::not_found, "vault.no_secret", "no such secret");
    co_return fetch::Credential(found->second);
  }
  std::map<std::string, std::string> current, previous;
  int asked = 0;
};

}  // namespace sluice::fetch_test
