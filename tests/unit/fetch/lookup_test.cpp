// Whose trouble it is that a name has no address, against a name server of our own.
#include "fetch/lookup.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <thread>
#include <vector>

namespace sluice::fetch {
namespace {

constexpr int kNoError = 0, kServFail = 2, kNameError = 3, kRefused = 5;

/// Answers questions on 127.0.0.1 with a code and no address; those of a name that it was not given
/// with NXDOMAIN.
class NameServer {
 public:
  explicit NameServer(std::map<std::string, int> codes, int otherwise = kNameError)
      : codes_(std::move(codes)), otherwise_(otherwise), socket_(::socket(AF_INET, SOCK_DGRAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    socklen_t size = sizeof(address);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~NameServer() {
    ::shutdown(socket_, SHUT_RDWR);
    const std::array<char, 1> end = {};
    sockaddr_in self = {};
    self.sin_family = AF_INET;
    self.sin_port = htons(port_);
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int other = ::socket(AF_INET, SOCK_DGRAM, 0);
    ::sendto(other, end.data(), end.size(), 0, reinterpret_cast<sockaddr*>(&self), sizeof(self));
    thread_.join();
    ::close(other);
    ::close(socket_);
  }
  NameServer(const NameServer&) = delete;
  NameServer& operator=(const NameServer&) = delete;

  [[nodiscard]] NameAnswer ask(const std::string& name) const {
    return ask_name_servers(name, port_);
  }
  [[nodiscard]] bool says_wrong(const std::string& host) const {
    return is_no_such_name(host, [this](const std::string& name) { return ask(name); });
  }

 private:
  void serve() {
    std::array<unsigned char, 512> packet;
    for (;;) {
      sockaddr_in from = {};
      socklen_t size = sizeof(from);
      const auto got = ::recvfrom(socket_, packet.data(), packet.size(), 0,
                                  reinterpret_cast<sockaddr*>(&from), &size);
      if (got < 13) return;  // ended
      std::string name;
      for (std::size_t at = 12; packet.at(at) != 0; at += packet.at(at) + 1U) {
        if (!name.empty()) name += '.';
        name.append(reinterpret_cast<const char*>(&packet.at(at + 1)), packet.at(at));
      }
      const auto known = codes_.find(name);
      packet[2] |= 0x80;  // an answer
      packet[3] =
          static_cast<unsigned char>(0x80 | (known == codes_.end() ? otherwise_ : known->second));
      ::sendto(socket_, packet.data(), static_cast<std::size_t>(got), 0,
               reinterpret_cast<sockaddr*>(&from), size);
    }
  }

  std::map<std::string, int> codes_;
  int otherwise_;
  int socket_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST(Lookup, AnswersAreToldApart) {
  const NameServer server(
      {{"vendor.com", kNoError}, {"ill.com", kServFail}, {"shut.com", kRefused}});
  EXPECT_EQ(server.ask("vendor.com"), NameAnswer::there);
  EXPECT_EQ(server.ask("acme.vendor.com"), NameAnswer::absent);
  EXPECT_EQ(server.ask("ill.com"), NameAnswer::silent);
  EXPECT_EQ(server.ask("shut.com"), NameAnswer::silent);
  EXPECT_EQ(ask_name_servers("vendor.com", 1), NameAnswer::silent) << "nobody is there";
}

TEST(Lookup, ANameIsWrongWhenADomainAboveItIsKnown) {
  const NameServer server({{"vendor.com", kNoError}, {"com", kNoError}});
  EXPECT_TRUE(server.says_wrong("acmee.vendor.com"));
  EXPECT_TRUE(server.says_wrong("a.b.vendor.com"));
  EXPECT_TRUE(server.says_wrong("vendorr.com")) << "the whole of com is there";
  EXPECT_FALSE(server.says_wrong("vendor.com")) << "it is there; what it lacks may come";
  EXPECT_FALSE(server.says_wrong("vendor.example")) << "nothing above it is known here";
}

TEST(Lookup, AServerThatKnowsNothingOrAnswersNothingIsTheHostsTrouble) {
  const NameServer empty({});
  EXPECT_FALSE(empty.says_wrong("acme.vendor.com"));
  const NameServer ill({}, kServFail);
  EXPECT_FALSE(ill.says_wrong("acme.vendor.com"));
  const NameServer half({{"vendor.com", kServFail}, {"com", kNoError}});
  EXPECT_FALSE(half.says_wrong("acme.vendor.com")) << "the one who would know does not answer";
  EXPECT_FALSE(is_no_such_name("acme.vendor.com",
                               [](const std::string& name) { return ask_name_servers(name, 1); }));
}

}  // namespace
}  // namespace sluice::fetch
