// Request headers that are the host's own: one list for manifests, for what a connector asks for,
// and for what is sent.
#pragma once

#include <array>
#include <string_view>

namespace sluice::contract {

enum class HostHeader {
  none,
  credential,  ///< carries who asks; only an auth slot may name it
  transport,   ///< says where a request goes or where it ends; nobody but the host may
};

[[nodiscard]] constexpr HostHeader host_header(std::string_view name) {
  constexpr std::array<std::string_view, 3> kCredential = {"authorization", "cookie", "cookie2"};
  constexpr std::array<std::string_view, 16> kTransport = {"host",
                                                           "content-length",
                                                           "transfer-encoding",
                                                           "connection",
                                                           "keep-alive",
                                                           "te",
                                                           "trailer",
                                                           "upgrade",
                                                           "expect",
                                                           "http2-settings",
                                                           "accept-encoding",
                                                           "forwarded",
                                                           "via",
                                                           "x-forwarded-for",
                                                           "x-forwarded-host",
                                                           "set-cookie"};
  constexpr std::string_view kProxy = "proxy-";
  const auto begins_with = [&](std::string_view wanted) {
    if (wanted.size() > name.size()) return false;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const char c = name[i];
      if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c) != wanted[i])
        return false;
    }
    return true;
  };
  const auto is = [&](std::string_view wanted) {
    return wanted.size() == name.size() && begins_with(wanted);
  };
  if (begins_with(kProxy)) return HostHeader::transport;
  for (const std::string_view one : kCredential)
    if (is(one)) return HostHeader::credential;
  for (const std::string_view one : kTransport)
    if (is(one)) return HostHeader::transport;
  return HostHeader::none;
}

}  // namespace sluice::contract
