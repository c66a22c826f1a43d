#include "vault/purpose.hpp"

#include <gtest/gtest.h>

namespace sluice::vault {
namespace {

Purpose stripe() {
  Purpose purpose = Purpose::of_connector("stripe");
  purpose.may_go_to("https://api.stripe.com").may_go_to("https://files.stripe.com");
  purpose.may_be_put_on_as("bearer");
  return purpose;
}

struct Case {
  const char* what;
  Wanted wanted;
  bool allowed;
};

TEST(VaultPurpose, AllowsWhatItWasMadeForAndNothingElse) {
  const auto at = [](const char* to, const char* as) { return Wanted::at("stripe", to, as); };
  Wanted loopback = at("https://api.stripe.com", "bearer");
  loopback.over_loopback(true);
  Wanted private_networks = at("https://api.stripe.com", "bearer");
  private_networks.over_private_networks(true);
  const std::vector<Case> cases = {
      {"the first host", at("https://api.stripe.com", "bearer"), true},
      {"the other host", at("https://files.stripe.com", "bearer"), true},
      {"another connector", Wanted::at("strip", "https://api.stripe.com", "bearer"), false},
      {"another host", at("https://api.stripe.com.evil.example", "bearer"), false},
      {"in clear", at("http://api.stripe.com", "bearer"), false},
      {"another port", at("https://api.stripe.com:8443", "bearer"), false},
      {"another path", at("https://api.stripe.com/stolen", "bearer"), false},
      {"in the URL", at("https://api.stripe.com", "query key"), false},
      {"over loopback", loopback, false},
      {"over private networks", private_networks, false},
      {"a use here", Wanted::within("webhook.signature"), false},
      {"a use of no name", Wanted::within(""), false},
  };
  for (const Case& one : cases) EXPECT_EQ(stripe().allows(one.wanted), one.allowed) << one.what;
}

TEST(VaultPurpose, AnAllowanceIsNoDuty) {
  Purpose purpose = stripe();
  purpose.over_loopback(true);
  EXPECT_TRUE(purpose.allows(Wanted::at("stripe", "https://api.stripe.com", "bearer")));
}

TEST(VaultPurpose, AUseAllowsThatUseAndNoDestination) {
  const Purpose purpose = Purpose::of_use("webhook.signature");
  EXPECT_TRUE(purpose.allows(Wanted::within("webhook.signature")));
  EXPECT_FALSE(purpose.allows(Wanted::within("webhook.signatures")));
  EXPECT_FALSE(purpose.allows(Wanted::at("", "", "")));
  EXPECT_FALSE(purpose.allows(Wanted::at("stripe", "https://api.stripe.com", "bearer")));
}

TEST(VaultPurpose, HasOneTextAndReadsNoOther) {
  const std::string text = stripe().text();
  EXPECT_EQ(
      text,
      "connector stripe\nto https://api.stripe.com\nto https://files.stripe.com\nas bearer\n");
  EXPECT_EQ(Purpose::parse(text), stripe());
  for (const std::string other :
       {"", "connector stripe", "connector\n", "connector stripe\n\n",
        "to https://a\nconnector b\n", "connector stripe\nto https://b\nto https://a\n",
        "connector stripe\nover bridges\n", "connector stripe\nuse webhook.signature\n", "use \n",
        "use a\nuse b\n", "use %0\n", "use %0a\n", "use a%41\n", "connector stripe\nas b%\n"}) {
    EXPECT_EQ(Purpose::parse(other), std::nullopt) << other;
  }
}

TEST(VaultPurpose, NoNameCanWriteALine) {
  Purpose purpose = Purpose::of_connector("a\nto https://evil.example");
  purpose.may_be_put_on_as("basic {x}\nover loopback");
  const auto read = Purpose::parse(purpose.text());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, purpose);
  EXPECT_FALSE(read->allows(Wanted::at("a", "https://evil.example", "bearer")));
}

}  // namespace
}  // namespace sluice::vault
