#include "sync/secret_purpose.hpp"

#include "base/printable.hpp"
#include "fetch/auth.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

namespace sluice::sync {

vault::Purpose purpose_of(const contract::Manifest& manifest, const nlohmann::json& config,
                          const fetch::EgressAllowance& allowance, std::string_view secret) {
  vault::Purpose purpose = vault::Purpose::of_connector(manifest.id);
  bool is_named = false;
  for (const contract::AuthSlot& slot : manifest.auth) {
    if (slot.secret != secret) continue;
    is_named = true;
    purpose.may_be_put_on_as(fetch::put_on_as(slot));
  }
  if (!is_named) return purpose;
  for (const contract::Host& host : manifest.hosts) {
    const Result<fetch::Destination> to = fetch::destination(host, config, allowance);
    if (to) purpose.may_go_to(to->url());
  }
  purpose.over_loopback(allowance.addresses.loopback);
  purpose.over_private_networks(allowance.addresses.private_networks);
  return purpose;
}

Result<void> check_declared(const contract::Manifest& manifest, std::string_view secret) {
  std::vector<std::string_view> declared;
  for (const contract::AuthSlot& slot : manifest.auth) {
    if (slot.secret == secret) return {};
    declared.push_back(slot.secret);
  }
  return fail(ErrorKind::not_found, "connection.unknown_secret",
              fmt::format("connector '{}' has no secret '{}'", manifest.id, printable(secret)),
              fmt::format("It has: {}", fmt::join(declared, ", ")));
}

}  // namespace sluice::sync
