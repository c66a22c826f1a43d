#include "fetch/network.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sluice::fetch {
namespace {

class Network : public testing::Test {
 protected:
  std::string refusal() {
    const auto options = client_options(settings_);
    if (options) return "";
    EXPECT_EQ(options.error().code, "config.bad_value");
    return options.error().message;
  }
  std::string file(const std::string& text) {
    path_ = (std::filesystem::temp_directory_path() /
             ("sluice-ca-" + std::to_string(::getpid()) + ".pem"))
                .string();
    std::ofstream(path_) << text;
    return path_;
  }
  ~Network() override {
    if (!path_.empty()) std::filesystem::remove(path_);
  }

  NetworkSettings settings_;
  std::string path_;
};

TEST_F(Network, WithoutASettingItIsAsItAlwaysWas) {
  const auto options = client_options(settings_);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->deadlines.total, std::chrono::seconds(300));
  EXPECT_EQ(options->deadlines.idle, std::chrono::seconds(30));
  EXPECT_EQ(options->deadlines.headers, std::chrono::seconds(60));
  EXPECT_TRUE(options->curl.proxy.empty());
  EXPECT_EQ(options->curl.nat64.size(), 1u);
}

TEST_F(Network, TakesLimitsThatAgree) {
  settings_.total = std::chrono::seconds(20);
  settings_.idle = std::chrono::seconds(20);
  const auto options = client_options(settings_);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->deadlines.headers, std::chrono::seconds(20));
  settings_.idle = std::chrono::seconds(21);
  EXPECT_EQ(refusal(),
            "fetch.idle_seconds is 21, but must be at most fetch.total_seconds, which is 20");
}

TEST_F(Network, LooksIntoTheCaFile) {
  settings_.ca_file = "/does/not/exist.pem";
  EXPECT_NE(refusal().find("/does/not/exist.pem, which cannot be read"), std::string::npos);
  settings_.ca_file = file("no certificate here\n");
  EXPECT_NE(refusal().find("holds no certificate"), std::string::npos) << refusal();
  settings_.ca_file = file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_NE(refusal().find("holds no certificate"), std::string::npos) << refusal();
}

TEST_F(Network, TakesProxiesThatSayAllThereIsToSay) {
  for (const char* good : {"http://proxy.internal:3128", "https://proxy:443/",
                           "socks5h://[::1]:1080", "http://user:secret@10.0.0.5:8080"}) {
    settings_.proxy = good;
    EXPECT_EQ(refusal(), "") << good;
  }
  for (const char* wrong : {"proxy:3128", "socks5://proxy:1080", "http://proxy", "http://:3128",
                            "http://user:secret@proxy:99999", "http://proxy:3128/path",
                            "http://user:secret@proxy:3128?x", "ftp://user:secret@proxy:21"}) {
    settings_.proxy = wrong;
    EXPECT_NE(refusal().find("fetch.proxy"), std::string::npos) << wrong;
    EXPECT_EQ(refusal().find("secret"), std::string::npos) << refusal();
  }
}

TEST_F(Network, TakesPrefixesOfNat64) {
  settings_.nat64_prefixes = {"64:ff9b::/96", "2001:db8:64::/48"};
  EXPECT_EQ(refusal(), "");
  settings_.nat64_prefixes = {"64:ff9b::/95"};
  EXPECT_NE(refusal().find("'64:ff9b::/95'"), std::string::npos) << refusal();
  settings_.nat64_prefixes = {};
  const auto options = client_options(settings_);
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->curl.nat64.empty());
}

}  // namespace
}  // namespace sluice::fetch
