// Why a name has no address: because it is wrong, or because this host's DNS does not work.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace sluice::fetch {

/// Codes of a transfer that got no address: that nobody knows why, and that the name is wrong.
inline constexpr std::string_view kNoAddress = "fetch.transport.resolve";
inline constexpr std::string_view kNoSuchName = "fetch.transport.no_such_name";

enum class NameAnswer {
  there,   ///< the name exists, with an address or without
  absent,  ///< a name server says that it does not
  silent,  ///< none answered, or none could
};

/// Asks the system's name servers, with two seconds of patience for each; blocks so long. `port`:
/// of one on 127.0.0.1 instead, for tests.
[[nodiscard]] NameAnswer ask_name_servers(const std::string& name, std::uint16_t port = 0);

inline constexpr int kDomainsAskedMax = 4;  ///< above a name, from the nearest on

/// Of a host that the resolver gave no address for. True: DNS says that there is no such name, but
/// knows a domain above it ("acmee.vendor.com" is not there, "vendor.com" is), so that it works and
/// the name is wrong. False: it answers for nothing, or with an address after all; whoever meets
/// that has trouble of his own.
[[nodiscard]] bool is_no_such_name(const std::string& host,
                                   const std::function<NameAnswer(const std::string&)>& ask);

}  // namespace sluice::fetch
