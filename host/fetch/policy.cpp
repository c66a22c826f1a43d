#include "fetch/policy.hpp"

#include <fmt/format.h>

#include <charconv>

#include "base/ascii.hpp"
#include "contract/host_headers.hpp"

namespace sluice::fetch {
namespace {

constexpr std::size_t kLabelBytesMax = 63;
constexpr std::size_t kHostBytesMax = 253;

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_label(std::string_view label) {
  if (label.empty() || label.size() > kLabelBytesMax) return false;
  if (label.front() == '-' || label.back() == '-') return false;
  return std::ranges::all_of(label, [](char c) { return is_alnum(c) || c == '-'; });
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(by);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) {
    out += (c >= 0x20 && c < 0x7f) ? c : '?';
  }
  return out;
}

std::unexpected<Error> bad_host(std::string_view name, std::string why, std::string hint) {
  return fail(ErrorKind::denied, "fetch.policy.host", fmt::format("host '{}': {}", name, why),
              std::move(hint));
}

struct UrlParts {
  std::string_view scheme, host, port, path;
};

/// scheme "://" host [":" port] [path]; no user, query or fragment.
std::optional<UrlParts> split_url(std::string_view url) {
  UrlParts parts;
  const std::size_t at = url.find("://");
  if (at == std::string_view::npos) return std::nullopt;
  parts.scheme = url.substr(0, at);
  std::string_view rest = url.substr(at + 3);
  if (rest.find_first_of("@?#\\ \t\r\n") != std::string_view::npos) return std::nullopt;
  const std::size_t slash = rest.find('/');
  if (slash != std::string_view::npos) {
    parts.path = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    parts.host = rest.substr(0, end + 1);
    rest = rest.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return std::nullopt;
    if (!rest.empty()) parts.port = rest.substr(1);
  } else {
    const std::size_t colon = rest.find(':');
    parts.host = rest.substr(0, colon);
    if (colon != std::string_view::npos) parts.port = rest.substr(colon + 1);
  }
  while (parts.path.ends_with('/')) parts.path.remove_suffix(1);
  return parts;
}

Result<void> set_port(Destination& out, std::string_view name, std::string_view text) {
  out.port = out.scheme == "http" ? 80 : 443;
  if (text.empty()) return {};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out.port);
  if (error != std::errc() || end != text.data() + text.size() || out.port == 0) {
    return bad_host(name, fmt::format("'{}' is not a port", shown(text)), "use 1 to 65535");
  }
  return {};
}

/// The value for "{key}": one label of the connection's config.
Result<std::string> label_from_config(std::string_view name, std::string_view key,
                                      const nlohmann::json& config) {
  const auto found = config.is_object() ? config.find(key) : config.end();
  if (!config.is_object() || found == config.end() || !found->is_string()) {
    return bad_host(name, fmt::format("needs the configuration value '{}'", key),
                    fmt::format("set '{}' in the connection's configuration", key));
  }
  const auto& value = found->get_ref<const std::string&>();
  if (!is_label(value)) {
    return bad_host(
        name,
        fmt::format("configuration value '{}' is '{}', which is not one host name label", key,
                    shown(value)),
        "give only the part before the first dot: letters, digits and hyphens, at most 63");
  }
  return in_lower_case(value);
}

Result<std::string> expand_host(const contract::Host& host, std::string_view text,
                                const nlohmann::json& config) {
  const auto labels = split(text, '.');
  std::string out;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string_view label = labels[i];
    if (i > 0) out += '.';
    if (label.starts_with('{') && label.ends_with('}')) {
      if (i + 2 >= labels.size()) {
        return bad_host(host.name,
                        fmt::format("'{}' lets the configuration choose the vendor's domain", text),
                        "a placeholder may stand only left of the last two labels");
      }
      auto value = label_from_config(host.name, label.substr(1, label.size() - 2), config);
      if (!value) return std::unexpected(std::move(value.error()));
      out += *value;
    } else if (is_label(label)) {
      out += in_lower_case(label);
    } else {
      return bad_host(host.name, fmt::format("'{}' is not a host name label", shown(label)),
                      "write the international form in Punycode and placeholders as a whole label");
    }
  }
  const std::string_view last = labels.back();
  const bool numeric =
      std::ranges::any_of(last.substr(0, 1), [](char c) { return c >= '0' && c <= '9'; });
  if (labels.size() < 2 || numeric || out.size() > kHostBytesMax) {
    return bad_host(
        host.name, fmt::format("'{}' is not a vendor's DNS name", shown(out)),
        "name the vendor's host in full; addresses need an allowance of the connection");
  }
  return out;
}

Result<Destination> overridden(const contract::Host& host, std::string_view url) {
  const auto parts = split_url(url);
  if (!parts || parts->host.empty() || (parts->scheme != "http" && parts->scheme != "https")) {
    return bad_host(host.name,
                    fmt::format("the allowance '{}' is not an http or https URL", shown(url)),
                    "write it like http://127.0.0.1:4010, without user, query or fragment");
  }
  const bool literal = parts->host.starts_with('[');
  for (const std::string_view label : split(parts->host, '.')) {
    if (!literal && !is_label(label)) {
      return bad_host(host.name,
                      fmt::format("the allowance's host '{}' is malformed", shown(parts->host)),
                      "use a host name, an IPv4 address or an IPv6 address in brackets");
    }
  }
  boost::system::error_code not_an_address;
  if (literal) {
    asio::ip::make_address_v6(std::string(parts->host.substr(1, parts->host.size() - 2)),
                              not_an_address);
    if (not_an_address) return bad_host(host.name, "the allowance's IPv6 address is malformed", "");
  }
  Destination out;
  out.scheme = parts->scheme;
  out.host = in_lower_case(parts->host);
  out.base_path = parts->path;
  out.opened_by_admin = true;
  if (auto set = set_port(out, host.name, parts->port); !set) return std::unexpected(set.error());
  return out;
}

bool is_token(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return is_alnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_header_value(std::string_view value) {
  return std::ranges::all_of(value, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

}  // namespace

std::string Destination::url() const {
  const bool usual = port == (scheme == "http" ? 80 : 443);
  return usual ? fmt::format("{}://{}{}", scheme, host, base_path)
               : fmt::format("{}://{}:{}{}", scheme, host, port, base_path);
}

Result<Destination> destination(const contract::Host& host, const nlohmann::json& config,
                                const EgressAllowance& allowance) {
  if (const auto found = allowance.base_urls.find(host.name); found != allowance.base_urls.end()) {
    return overridden(host, found->second);
  }
  const auto parts = split_url(host.url);
  if (!parts || parts->scheme != "https") {
    return bad_host(host.name, fmt::format("'{}' is not an https URL", shown(host.url)),
                    "vendors are reached over https only, unless the connection has an allowance");
  }
  auto name = expand_host(host, parts->host, config);
  if (!name) return std::unexpected(std::move(name.error()));
  Destination out;
  out.host = std::move(*name);
  out.base_path = parts->path;
  if (auto set = set_port(out, host.name, parts->port); !set) return std::unexpected(set.error());
  return out;
}

Result<void> check_target(std::string_view target) {
  const auto bad = [](std::string why) {
    return fail(ErrorKind::denied, "fetch.policy.target", "request target " + std::move(why),
                "a target is a path and a query, percent-encoded: /v1/customers?limit=100");
  };
  if (target.empty() || target.front() != '/')
    return bad(fmt::format("'{}' does not begin with '/'", shown(target)));
  if (target.size() > kTargetBytesMax) {
    return bad(
        fmt::format("has {} bytes, more than target_bytes_max {}", target.size(), kTargetBytesMax));
  }
  for (std::size_t i = 0; i < target.size(); ++i) {
    const auto byte = static_cast<unsigned char>(target[i]);
    if (byte > 0x20 && byte < 0x7f &&
        std::string_view("#\\\"<>").find(target[i]) == std::string_view::npos)
      continue;
    return bad(fmt::format("has the byte 0x{:02x} at {}, which must be percent-encoded", byte, i));
  }
  return {};
}

Result<void> check_headers(const contract::Headers& headers,
                           const std::vector<contract::AuthSlot>& auth) {
  const auto bad = [](std::string why, std::string hint) {
    return fail(ErrorKind::denied, "fetch.policy.header", "request header " + std::move(why),
                std::move(hint));
  };
  std::size_t bytes = 0;
  for (const auto& [name, value] : headers) {
    bytes += name.size() + value.size() + 4;
    if (!is_token(name))
      return bad(fmt::format("name '{}' is malformed", shown(name)), "use token characters only");
    if (!is_header_value(value)) {
      return bad(fmt::format("'{}' has a control character in its value", name),
                 "CR, LF, NUL and other control characters are refused");
    }
    const std::string plain = in_lower_case(name);
    bool reserved = contract::host_header(plain) != contract::HostHeader::none;
    for (const contract::AuthSlot& slot : auth) {
      reserved |=
          slot.scheme == contract::AuthScheme::header && in_lower_case(slot.parameter) == plain;
    }
    if (reserved) {
      return bad(fmt::format("'{}' is set by the host, never by a connector", name),
                 "name an auth slot of the manifest in the request instead");
    }
  }
  if (bytes > kRequestHeaderBytesMax) {
    return bad(fmt::format("fields have {} bytes, more than request_header_bytes_max {}", bytes,
                           kRequestHeaderBytesMax),
               "send fewer or shorter headers");
  }
  return {};
}

}  // namespace sluice::fetch
