// Who shares a vendor account's rate.
#include <gtest/gtest.h>

#include "sync/send_scope.hpp"
#include "unit/fetch/fakes.hpp"

namespace sluice::sync {
namespace {

class Code final : public connector::ConnectorCode {
 public:
  explicit Code(const std::string& id) {
    manifest_.id = id;
    contract::Host host;
    host.name = "api";
    host.url = "https://api.example.com";
    manifest_.hosts.push_back(host);
    host.name = "tenant";
    host.url = "https://{subdomain}.example.com";
    manifest_.hosts.push_back(host);
    manifest_.budget.requests_per_second = 10;
    manifest_.budget.requests_per_second_test = 2;
  }
  [[nodiscard]] const contract::Manifest& manifest() const override { return manifest_; }
  [[nodiscard]] const std::string& sha256() const override { return sha256_; }
  [[nodiscard]] Result<std::unique_ptr<connector::Session>> open(
      const contract::SessionArgs&) const override {
    return fail(ErrorKind::unsupported, "test.none", "nothing runs here");
  }

 private:
  contract::Manifest manifest_;
  std::string sha256_ = "00";
};

class BudgetsTest : public ::testing::Test {
 protected:
  std::shared_ptr<fetch::Budget> of(const LoadedConnection& connection) {
    return budgets_.of(connection, expect(read_allowance(connection.egress)));
  }
  static LoadedConnection connection(std::int64_t workspace, std::int64_t id) {
    LoadedConnection one;
    one.workspace = WorkspaceId(workspace);
    one.id = ConnectionId(id);
    one.connector = "harbour";
    one.vendor_account = "acct_1";
    one.config = {{"subdomain", "acme"}};
    one.egress = nlohmann::json::object();
    one.code = std::make_shared<Code>("harbour");
    return one;
  }

  fetch_test::FakeClock clock_;
  fetch_test::FakeDelay delay_{clock_};
  Budgets budgets_{clock_, delay_};
};

TEST_F(BudgetsTest, connections_of_one_account_share_it_and_nobody_else_does) {
  const auto first = of(connection(1, 1));
  EXPECT_EQ(of(connection(1, 2)), first) << "a second connection of the account";
  using Change = void (*)(LoadedConnection&);
  const std::pair<const char*, Change> others[] = {
      {"another workspace, whose vendor says that it is this account",
       [](LoadedConnection& one) { one.workspace = WorkspaceId(2); }},
      {"another connector", [](LoadedConnection& one) { one.connector = "quay"; }},
      {"another account", [](LoadedConnection& one) { one.vendor_account = "acct_2"; }},
      {"another address of one host",
       [](LoadedConnection& one) {
         one.egress = {{"base_urls", {{"api", "https://elsewhere.example.org"}}}};
       }},
      {"another tenant by configuration",
       [](LoadedConnection& one) {
         one.config = {{"subdomain", "other"}};
       }},
      {"an account that is not known yet",
       [](LoadedConnection& one) { one.vendor_account.clear(); }},
  };
  for (const auto& [what, change] : others) {
    LoadedConnection other = connection(1, 2);
    change(other);
    EXPECT_NE(of(other), first) << what;
  }
}

TEST_F(BudgetsTest, an_account_that_is_called_as_a_connection_is_numbered_is_another) {
  LoadedConnection unknown = connection(1, 7);
  unknown.vendor_account.clear();
  LoadedConnection called = connection(1, 2);
  called.vendor_account = "/7";
  EXPECT_NE(of(unknown), of(called));
}

TEST_F(BudgetsTest, what_nobody_uses_is_forgotten_unless_its_vendor_asked_for_a_pause) {
  const auto used = of(connection(1, 1));
  of(connection(2, 1));
  of(connection(3, 1))->hold_until(clock_.steady() + std::chrono::hours(1));
  ASSERT_EQ(budgets_.size(), 3U);
  clock_.advance(Budgets::kKept - std::chrono::minutes(1));
  of(connection(4, 1));
  EXPECT_EQ(budgets_.size(), 4U);
  of(connection(3, 1))->hold_until(clock_.steady() + std::chrono::hours(1));
  clock_.advance(Budgets::kKept / 2);
  of(connection(4, 1));
  EXPECT_EQ(budgets_.size(), 3U) << "workspace 2's has gone";
  EXPECT_EQ(of(connection(1, 1)), used);
  EXPECT_GT(of(connection(3, 1))->stats().held_for.count(), 0);
}

TEST_F(BudgetsTest, an_account_is_asked_at_the_operators_share_of_the_declared_rate) {
  for (const double pace : {1.0, 0.25, 10.0}) {
    Budgets budgets(clock_, delay_, pace);
    LoadedConnection one = connection(1, 1);
    const auto allowance = expect(read_allowance(one.egress));
    EXPECT_EQ(budgets.of(one, allowance)->stats().rate, 10 * pace);
    one.mode = "test";  // as CHECK said meanwhile
    EXPECT_EQ(budgets.of(one, allowance)->stats().rate, 2 * pace);
  }
}

}  // namespace
}  // namespace sluice::sync
