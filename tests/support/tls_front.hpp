// Puts TLS in front of a server that speaks none.
#pragma once

#include <string>

#include "support/passing_server.hpp"

namespace sluice::testing {

/// Has a certificate for 127.0.0.1 or for `names`, and passes on what comes.
class TlsFront final : public PassingServer {
 public:
  explicit TlsFront(unsigned short port, const char* names = "IP:127.0.0.1")
      : PassingServer(port, names) {
    begin();
  }
  ~TlsFront() override { end(); }

  [[nodiscard]] std::string url() const { return "https://" + address(); }

 private:
  Task greet(Socket client) override {
    const auto stream = co_await by_tls(std::move(client));
    const Ear deaf = [](std::string_view) {};
    co_await pass_on(stream, deaf);
  }
};

}  // namespace sluice::testing
