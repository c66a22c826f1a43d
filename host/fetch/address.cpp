#include "fetch/address.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>

namespace sluice::fetch {
namespace {

enum class Opened { never, by_loopback, by_private };

struct RangeV4 {
  std::uint32_t base;
  int bits;
  std::string_view name;
  Opened opened = Opened::never;
};

constexpr std::uint32_t v4(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

constexpr std::string_view kMetadata = "cloud metadata";

// First the services that hand a machine its own credentials, wherever a cloud put them: some stand
// in networks that an admin may open, one is public. Then the IANA special-purpose registry, the
// parts a vendor can never live in.
constexpr std::array kRangesV4 = {
    RangeV4{v4(100, 100, 100, 200), 32, kMetadata},  // Alibaba
    RangeV4{v4(168, 63, 129, 16), 32, kMetadata},    // Azure
    RangeV4{v4(0, 0, 0, 0), 8, "this network"},
    RangeV4{v4(10, 0, 0, 0), 8, "private network", Opened::by_private},
    RangeV4{v4(100, 64, 0, 0), 10, "carrier-grade NAT", Opened::by_private},
    RangeV4{v4(127, 0, 0, 0), 8, "loopback", Opened::by_loopback},
    RangeV4{v4(169, 254, 0, 0), 16, "link-local (cloud metadata)"},
    RangeV4{v4(172, 16, 0, 0), 12, "private network", Opened::by_private},
    RangeV4{v4(192, 0, 0, 0), 24, "protocol assignments"},
    RangeV4{v4(192, 0, 2, 0), 24, "documentation"},
    RangeV4{v4(192, 88, 99, 0), 24, "6to4 relay"},
    RangeV4{v4(192, 168, 0, 0), 16, "private network", Opened::by_private},
    RangeV4{v4(198, 18, 0, 0), 15, "benchmarking"},
    RangeV4{v4(198, 51, 100, 0), 24, "documentation"},
    RangeV4{v4(203, 0, 113, 0), 24, "documentation"},
    RangeV4{v4(224, 0, 0, 0), 4, "multicast"},
    RangeV4{v4(240, 0, 0, 0), 4, "reserved"},
};

struct RangeV6 {
  std::array<std::uint8_t, 16> base;
  int bits;
  std::string_view name;
  Opened opened = Opened::never;
};

/// fd00:<second>:<third>::<last>
constexpr std::array<std::uint8_t, 16> metadata_v6(std::uint16_t second, std::uint16_t third,
                                                   std::uint16_t last) {
  std::array<std::uint8_t, 16> out{0xfd, 0x00};
  const auto put = [&out](std::size_t at, std::uint16_t part) {
    out[at] = static_cast<std::uint8_t>(part >> 8);
    out[at + 1] = static_cast<std::uint8_t>(part & 0xff);
  };
  put(2, second);
  put(4, third);
  put(14, last);
  return out;
}

// More specific ranges first: the first that matches names the reason.
constexpr std::array kRangesV6 = {
    RangeV6{metadata_v6(0x0ec2, 0, 0x0254), 128, kMetadata},       // Amazon
    RangeV6{metadata_v6(0x0ec2, 0, 0x0023), 128, kMetadata},       // Amazon, of a pod
    RangeV6{metadata_v6(0x0042, 0, 0x0042), 128, kMetadata},       // Scaleway
    RangeV6{metadata_v6(0xa9fe, 0xa9fe, 0x0001), 128, kMetadata},  // Akamai
    RangeV6{{0xfd, 0x20, 0x00, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54},
            128,
            kMetadata},  // Google
    RangeV6{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, "loopback", Opened::by_loopback},
    RangeV6{{0}, 128, "unspecified"},
    RangeV6{{0}, 96, "v4-compatible"},
    RangeV6{{0x00, 0x64, 0xff, 0x9b}, 96, "NAT64"},
    RangeV6{{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "NAT64"},
    RangeV6{{0x01, 0x00}, 64, "discard"},
    RangeV6{{0x20, 0x01, 0x00, 0x00}, 32, "Teredo"},
    RangeV6{{0x20, 0x01, 0x0d, 0xb8}, 32, "documentation"},
    RangeV6{{0x20, 0x01, 0x00, 0x00}, 23, "protocol assignments"},
    RangeV6{{0x20, 0x02}, 16, "6to4"},
    RangeV6{{0x3f, 0xff, 0x00}, 20, "documentation"},
    RangeV6{{0x5f, 0x00}, 16, "segment routing"},
    RangeV6{{0xfc}, 7, "private network", Opened::by_private},
    RangeV6{{0xfe, 0x80}, 10, "link-local"},
    RangeV6{{0xfe, 0xc0}, 10, "site-local"},
    RangeV6{{0xff}, 8, "multicast"},
};

bool is_open(Opened opened, AddressAllowance allowance) {
  return (opened == Opened::by_loopback && allowance.loopback) ||
         (opened == Opened::by_private && allowance.private_networks);
}

std::optional<std::string_view> refusal_v4(std::uint32_t address, AddressAllowance allowance) {
  for (const RangeV4& range : kRangesV4) {
    const std::uint32_t mask = ~0u << (32 - range.bits);
    if ((address & mask) != range.base) continue;
    if (is_open(range.opened, allowance)) return std::nullopt;
    return range.name;
  }
  return std::nullopt;
}

bool matches(const asio::ip::address_v6::bytes_type& address, const RangeV6& range) {
  for (int bit = 0; bit < range.bits; bit += 8) {
    const int left = std::min(8, range.bits - bit);
    const auto mask = static_cast<std::uint8_t>(0xff << (8 - left));
    const auto at = static_cast<std::size_t>(bit / 8);
    if ((address[at] & mask) != (range.base[at] & mask)) return false;
  }
  return true;
}

}  // namespace

Nat64Prefix Nat64Prefix::well_known() { return *parse("64:ff9b::/96"); }

std::optional<Nat64Prefix> Nat64Prefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  int bits = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data() + slash + 1, end, bits);
  constexpr std::array kLengths = {32, 40, 48, 56, 64, 96};
  if (error != std::errc() || stopped != end ||
      std::find(kLengths.begin(), kLengths.end(), bits) == kLengths.end())
    return std::nullopt;
  boost::system::error_code malformed;
  const auto address = asio::ip::make_address_v6(std::string(text.substr(0, slash)), malformed);
  if (malformed || address.scope_id() != 0) return std::nullopt;
  const auto bytes = address.to_bytes();
  const auto size = static_cast<std::size_t>(bits / 8);
  if (std::any_of(bytes.begin() + static_cast<std::ptrdiff_t>(size), bytes.end(),
                  [](std::uint8_t byte) { return byte != 0; }))
    return std::nullopt;
  return Nat64Prefix(bytes, size);
}

std::optional<asio::ip::address_v4> Nat64Prefix::within(const asio::ip::address_v6& address) const {
  constexpr std::size_t kReserved = 8;  // stands between the parts, and is no part of the address
  const auto bytes = address.to_bytes();
  if (!std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(bytes_),
                  base_.begin()))
    return std::nullopt;
  asio::ip::address_v4::bytes_type four;
  std::size_t at = bytes_;
  for (std::uint8_t& byte : four) {
    if (at == kReserved) ++at;
    byte = bytes[at++];
  }
  return asio::ip::address_v4(four);
}

std::optional<std::string_view> address_refusal(const asio::ip::address& address,
                                                AddressAllowance allowance,
                                                std::span<const Nat64Prefix> nat64) {
  if (address.is_v4()) return refusal_v4(address.to_v4().to_uint(), allowance);
  const asio::ip::address_v6 six = address.to_v6();
  if (six.is_v4_mapped()) {
    const auto four = asio::ip::make_address_v4(asio::ip::v4_mapped, six);
    return refusal_v4(four.to_uint(), allowance);
  }
  if (six.scope_id() != 0 && !six.is_link_local()) return "scoped address";
  for (const Nat64Prefix& prefix : nat64) {
    if (const auto four = prefix.within(six)) return refusal_v4(four->to_uint(), {});
  }
  const auto bytes = six.to_bytes();
  for (const RangeV6& range : kRangesV6) {
    if (!matches(bytes, range)) continue;
    if (is_open(range.opened, allowance)) return std::nullopt;
    return range.name;
  }
  // Only 2000::/3 is handed out for unicast on the internet.
  if ((bytes[0] & 0xe0) != 0x20) return "not global unicast";
  return std::nullopt;
}

}  // namespace sluice::fetch
