// Who sends wrong tokens waits; who has a good one does not.
#include "api/refusals.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace sluice::api {
namespace {

using std::chrono::milliseconds;

class StoppedClock final : public Clock {
 public:
  Micros now() const override { return wall; }
  std::chrono::steady_clock::time_point steady() const override {
    return std::chrono::steady_clock::now() + ahead;
  }
  Micros wall = std::chrono::seconds(1'790'000'000);
  std::chrono::steady_clock::duration ahead{0};
};

class RefusalsTest : public ::testing::Test {
 protected:
  static RefusalLimits limits() {
    RefusalLimits some;
    some.free_a_minute = 3;
    some.pause = milliseconds(10);
    some.waiting_max = 2;
    some.peers_max = 4;
    return some;
  }
  void spoil(const std::string& peer, int times = 4) {
    for (int n = 0; n < times; ++n) refusals_.wrong(peer);
  }
  /// What becomes of so many that come at once: "in" or the code of the refusal, in the order in
  /// which they were answered.
  std::vector<std::string> admit(const std::string& peer, std::vector<std::string> tokens) {
    asio::io_context loop;
    std::vector<std::string> answers;
    const auto one = [](Refusals& refusals, std::string token, std::string from,
                        std::vector<std::string>& out) -> Task<void> {
      const std::string name = token;
      const auto admitted = co_await refusals.admit(std::move(token), std::move(from));
      out.push_back(name + (admitted ? " in" : " " + admitted.error().code));
    };
    for (const std::string& token : tokens)
      asio::co_spawn(loop, one(refusals_, token, peer, answers), asio::detached);
    loop.run();
    return answers;
  }
  void knows(const std::string& token) {
    Principal principal;
    principal.workspace = WorkspaceId(1);
    principal.token_id = 1;
    refusals_.accepted(token, principal);
  }

  StoppedClock clock_;
  Refusals refusals_{clock_, limits()};
};

TEST_F(RefusalsTest, a_peer_with_too_many_wrong_ones_waits_and_then_is_turned_away) {
  spoil("evil", 3);
  EXPECT_EQ(admit("evil", {"a", "b", "c"}), (std::vector<std::string>{"a in", "b in", "c in"}));
  spoil("evil", 1);
  EXPECT_EQ(admit("evil", {"a", "b", "c"}),
            (std::vector<std::string>{"c token.too_many", "a in", "b in"}));
  EXPECT_EQ(refusals_.turned_away_total(), 1);
  EXPECT_EQ(admit("other", {"a", "b", "c"}).size(), 3U);
  EXPECT_EQ(refusals_.turned_away_total(), 1) << "another peer has nothing to do with it";
}

TEST_F(RefusalsTest, a_token_that_was_good_does_not_wait_behind_wrong_ones_of_its_own_address) {
  spoil("proxy");
  knows("good");
  EXPECT_EQ(admit("proxy", {"a", "b", "c", "good"}),
            (std::vector<std::string>{"c token.too_many", "good in", "a in", "b in"}));
  clock_.ahead = Refusals::kKnownFor;
  EXPECT_EQ(admit("proxy", {"a", "b", "good"}).front(), "good token.too_many");
}

TEST_F(RefusalsTest, the_next_minute_is_a_new_one) {
  spoil("evil");
  clock_.wall += std::chrono::minutes(1);
  EXPECT_EQ(admit("evil", {"a", "b", "c"}), (std::vector<std::string>{"a in", "b in", "c in"}));
}

TEST_F(RefusalsTest, peers_beyond_the_bound_are_counted_together) {
  for (int n = 0; n < 4; ++n) spoil("peer" + std::to_string(n), 1);
  for (int n = 4; n < 8; ++n) spoil("peer" + std::to_string(n), 1);
  EXPECT_EQ(admit("peer99", {"a", "b", "c"}).front(), "c token.too_many");
  EXPECT_EQ(admit("peer0", {"a", "b", "c"}).front(), "a in");
  EXPECT_EQ(refusals_.wrong_total(), 8);
}

}  // namespace
}  // namespace sluice::api
