// Who sends wrong tokens waits; who has a good one does not.
#include "api/refusals.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>

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
    some.pause = milliseconds(100);
    some.compare_pause = milliseconds(1);
    some.waiting_max = 2;
    some.peers_max = 4;
    return some;
  }
  void spoil(const std::string& peer, int times = 4) {
    for (int n = 0; n < times; ++n) refusals_.wrong(peer, header("x"));
  }
  /// Of the token 7 of workspace 1, with that secret.
  static std::string header(const std::string& secret) { return "Bearer slc_1_7_" + secret; }
  /// What becomes of so many that come at once: "in" or the code of the refusal, in the order in
  /// which they were answered.
  std::vector<std::string> admit(const std::string& peer, std::vector<std::string> tokens) {
    asio::io_context loop;
    std::vector<std::string> answers;
    const auto one = [](Refusals& refusals, std::string token, std::string from,
                        std::vector<std::string>& out) -> Task<void> {
      const std::string name = token;
      std::string authorization = header(token);
      const auto admitted = co_await refusals.admit(std::move(authorization), std::move(from));
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
    principal.token_id = 7;
    refusals_.accepted(header(token), principal);
  }
  Task<std::map<TokenKey, Bytes>> read(std::vector<TokenKey> tokens) {
    reads_.push_back(tokens.size());
    if (fails_) throw std::runtime_error("the database is away");
    std::map<TokenKey, Bytes> hashes;
    for (const TokenKey& token : tokens) {
      const auto found = stored_.find(token);
      if (found != stored_.end()) hashes.insert(*found);
    }
    co_return hashes;
  }
  void stores(const std::string& token) { stored_[TokenKey(1, 7)] = token_hash(token); }

  StoppedClock clock_;
  std::map<TokenKey, Bytes> stored_;
  std::vector<std::size_t> reads_;  ///< of so many tokens each
  bool fails_ = false;
  Refusals refusals_{clock_, limits(),
                     [this](std::vector<TokenKey> tokens) { return read(std::move(tokens)); }};
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
            (std::vector<std::string>{"good in", "c token.too_many", "a in", "b in"}));
  clock_.ahead = Refusals::kKnownFor;
  EXPECT_EQ(admit("proxy", {"a", "b", "good"}).front(), "good token.too_many");
}

// Behind a reverse proxy all callers are one peer.
TEST_F(RefusalsTest, a_valid_token_that_was_not_used_lately_does_not_wait_behind_them_either) {
  spoil("proxy");
  stores("good");
  EXPECT_EQ(admit("proxy", {"a", "b", "c", "good", "d"}),
            (std::vector<std::string>{"c token.too_many", "good in", "d token.too_many", "a in",
                                      "b in"}));
  EXPECT_EQ(refusals_.turned_away_total(), 2);
}

TEST_F(RefusalsTest, all_who_wait_are_compared_by_few_statements) {
  spoil("proxy");
  stores("good");
  std::vector<std::string> many(200, "guess");
  many.emplace_back("good");
  const auto answers = admit("proxy", many);
  EXPECT_EQ(std::count(answers.begin(), answers.end(), "good in"), 1);
  EXPECT_LE(reads_.size(), 2U);
}

TEST_F(RefusalsTest, a_token_that_was_revoked_since_waits_like_others) {
  spoil("proxy");
  knows("good");
  refusals_.wrong("proxy", header("guess"));
  EXPECT_TRUE(refusals_.workspace_of(header("good")).has_value()) << "a guess took it away";
  EXPECT_FALSE(refusals_.workspace_of(header("guess")).has_value());
  refusals_.wrong("proxy", header("good"));
  EXPECT_FALSE(refusals_.workspace_of(header("good")).has_value());
  EXPECT_EQ(admit("proxy", {"a", "b", "good"}).front(), "good token.too_many");
}

TEST_F(RefusalsTest, while_the_database_is_away_all_take_their_turn) {
  spoil("proxy");
  fails_ = true;
  EXPECT_EQ(admit("proxy", {"a", "b", "c"}),
            (std::vector<std::string>{"c token.too_many", "a in", "b in"}));
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
