#include "sync/secret_purpose.hpp"

#include "fetch/auth.hpp"

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

}  // namespace sluice::sync
