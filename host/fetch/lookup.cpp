#include "fetch/lookup.hpp"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>

#include <array>

namespace sluice::fetch {
namespace {

/// A resolver's state of our own: the one that getaddrinfo has is the process's, and waits for as
/// long as resolv.conf says.
class Resolver {
 public:
  explicit Resolver(std::uint16_t port) {
    is_open_ = res_ninit(&state_) == 0;
    state_.retrans = 2;  // seconds
    state_.retry = 1;
    if (port == 0) return;
    state_.nscount = 1;
    state_.nsaddr_list[0] = {};
    state_.nsaddr_list[0].sin_family = AF_INET;
    state_.nsaddr_list[0].sin_port = htons(port);
    state_.nsaddr_list[0].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver() {
    if (is_open_) res_nclose(&state_);
  }

  NameAnswer ask(const std::string& name) {
    if (!is_open_) return NameAnswer::silent;
    std::array<unsigned char, NS_PACKETSZ> answer;
    if (res_nquery(&state_, name.c_str(), ns_c_in, ns_t_a, answer.data(), answer.size()) >= 0)
      return NameAnswer::there;
    if (state_.res_h_errno == NO_DATA) return NameAnswer::there;
    return state_.res_h_errno == HOST_NOT_FOUND ? NameAnswer::absent : NameAnswer::silent;
  }

 private:
  struct __res_state state_ = {};
  bool is_open_ = false;
};

}  // namespace

NameAnswer ask_name_servers(const std::string& name, std::uint16_t port) {
  return Resolver(port).ask(name);
}

bool is_no_such_name(const std::string& host,
                     const std::function<NameAnswer(const std::string&)>& ask) {
  if (ask(host) != NameAnswer::absent) return false;
  int asked = 0;
  for (auto dot = host.find('.'); dot != std::string::npos; dot = host.find('.', dot + 1)) {
    const std::string above = host.substr(dot + 1);
    if (above.empty() || ++asked > kDomainsAskedMax) break;
    const NameAnswer answer = ask(above);
    if (answer != NameAnswer::absent) return answer == NameAnswer::there;
  }
  return false;
}

}  // namespace sluice::fetch
