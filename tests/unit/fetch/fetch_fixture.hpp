// One client on one loop, with what a connector's request needs around it.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "fakes.hpp"
#include "fetch/client.hpp"

namespace sluice::fetch_test {

/// Real time. The vendor's host is called "api"; a test says where it is (allowance_.base_urls),
/// and may change options_ until the first request. Nothing is held back by a budget.
class FetchTest : public testing::Test {
 protected:
  FetchTest() {
    contract::Host host;
    host.name = "api";
    hosts_.push_back(host);
    allowance_.addresses.loopback = true;
    options_.retry.backoff_first = std::chrono::milliseconds(2);
    options_.retry.backoff_max = std::chrono::milliseconds(8);
    fetch::BudgetOptions free;
    free.requests_per_second = 0;
    free.concurrency = 1000;
    budget_.emplace(free, clock_, delay_);
  }

  /// Made by the first request, with the options of that moment.
  fetch::Client& client() {
    if (!client_) client_.emplace(loop_.get_executor(), options_, clock_, entropy_, delay_);
    return *client_;
  }

  fetch::SendContext context() {
    return {hosts_, auth_, config_, allowance_, credentials_, *budget_, stats_};
  }

  static contract::Request get(std::string target) {
    contract::Request request;
    request.id = 7;
    request.target = std::move(target);
    return request;
  }

  Task<> send_into(contract::Request request, std::optional<Result<contract::Response>>& out) {
    const fetch::SendContext where = context();
    auto result = co_await client().send(std::move(request), where);
    out.emplace(std::move(result));
  }

  /// Runs the loop until `done`, at most 60 s.
  template <class Condition>
  bool run_until(Condition done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    loop_.restart();
    while (!done() && std::chrono::steady_clock::now() < end)
      loop_.run_one_for(std::chrono::milliseconds(100));
    return done();
  }

  Result<contract::Response> send(contract::Request request) {
    std::optional<Result<contract::Response>> out;
    asio::co_spawn(loop_, send_into(std::move(request), out), asio::detached);
    if (!run_until([&] { return out.has_value(); }))
      return fail(ErrorKind::internal, "test.hung", "no answer in 60 s");
    return std::move(*out);
  }

  contract::Response answer(contract::Request request) {
    auto result = send(std::move(request));
    EXPECT_TRUE(result) << result.error().describe();
    return result ? std::move(*result) : contract::Response{};
  }

  asio::io_context loop_;
  SystemClock clock_;
  fetch::TimerDelay delay_;
  HighEntropy entropy_;
  fetch::ClientOptions options_;
  std::vector<contract::Host> hosts_;
  std::vector<contract::AuthSlot> auth_;
  nlohmann::json config_ = nlohmann::json::object();
  fetch::EgressAllowance allowance_;
  TableCredentials credentials_;
  std::optional<fetch::Budget> budget_;
  fetch::FetchStats stats_;
  std::optional<fetch::Client> client_;
};

}  // namespace sluice::fetch_test
