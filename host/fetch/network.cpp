#include "fetch/network.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>

namespace sluice::fetch {
namespace {

using std::chrono::milliseconds;

std::unexpected<Error> bad(std::string_view key, std::string_view found, std::string_view wanted) {
  return fail(ErrorKind::bad_input, "config.bad_value",
              fmt::format("{} is {}, but must be {}", key, found, wanted),
              "Correct it and start again");
}

/// At least one certificate, and nothing in the place of one that is none.
Result<void> check_ca_file(const std::string& path) {
  constexpr std::string_view kWanted = "a file of certificates in PEM that this user may read";
  const std::unique_ptr<BIO, decltype(&BIO_free)> file(BIO_new_file(path.c_str(), "r"), &BIO_free);
  if (!file) {
    ERR_clear_error();
    return bad("fetch.ca_file", fmt::format("{}, which cannot be read", path), kWanted);
  }
  int certificates = 0;
  for (;;) {
    const std::unique_ptr<X509, decltype(&X509_free)> one(
        PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr), &X509_free);
    if (!one) break;
    ++certificates;
  }
  const unsigned long ended_with = ERR_peek_last_error();
  ERR_clear_error();
  const bool at_end =
      ERR_GET_LIB(ended_with) == ERR_LIB_PEM && ERR_GET_REASON(ended_with) == PEM_R_NO_START_LINE;
  if (certificates > 0 && at_end) return {};
  return bad("fetch.ca_file",
             certificates == 0
                 ? fmt::format("{}, which holds no certificate", path)
                 : fmt::format("{}, whose certificate {} is broken", path, certificates + 1),
             kWanted);
}

Result<void> check_proxy(std::string_view url) {
  constexpr std::string_view kWanted =
      "a URL with its port, such as http://proxy.internal:3128 (http, https or socks5h)";
  constexpr std::array<std::string_view, 3> kSchemes = {"http://", "https://", "socks5h://"};
  const auto scheme =
      std::ranges::find_if(kSchemes, [url](std::string_view one) { return url.starts_with(one); });
  if (scheme == kSchemes.end()) return bad("fetch.proxy", "of another kind", kWanted);
  std::string_view rest = url.substr(scheme->size());
  if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos)
    rest.remove_prefix(at + 1);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const std::size_t colon = rest.rfind(':');
  const std::string_view host = rest.substr(0, colon);
  const bool odd = rest.find_first_of("/?# \\\t\r\n") != std::string_view::npos;
  std::uint16_t port = 0;
  if (colon != std::string_view::npos) {
    const char* const end = rest.data() + rest.size();
    const auto [stopped, error] = std::from_chars(rest.data() + colon + 1, end, port);
    if (error != std::errc() || stopped != end) port = 0;
  }
  if (odd || host.empty() || port == 0)
    return bad("fetch.proxy", fmt::format("'{}{}'", *scheme, odd ? "…" : rest), kWanted);
  return {};
}

}  // namespace

Result<ClientOptions> client_options(const NetworkSettings& settings) {
  ClientOptions options;
  if (settings.idle > settings.total) {
    return bad("fetch.idle_seconds", std::to_string(settings.idle.count()),
               fmt::format("at most fetch.total_seconds, which is {}", settings.total.count()));
  }
  options.deadlines.total = settings.total;
  options.deadlines.idle = settings.idle;
  options.deadlines.headers = std::min(options.deadlines.headers, milliseconds(settings.total));
  if (!settings.ca_file.empty()) {
    if (auto checked = check_ca_file(settings.ca_file); !checked)
      return std::unexpected(std::move(checked.error()));
    options.curl.ca_file = settings.ca_file;
  }
  if (!settings.proxy.empty()) {
    if (auto checked = check_proxy(settings.proxy); !checked)
      return std::unexpected(std::move(checked.error()));
    options.curl.proxy = settings.proxy;
  }
  options.curl.nat64.clear();
  for (const std::string& text : settings.nat64_prefixes) {
    const auto prefix = Nat64Prefix::parse(text);
    if (!prefix) {
      return bad("fetch.nat64_prefixes", fmt::format("'{}'", text),
                 "a list of IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits, such as "
                 "[\"64:ff9b::/96\"]");
    }
    options.curl.nat64.push_back(*prefix);
  }
  return options;
}

}  // namespace sluice::fetch
