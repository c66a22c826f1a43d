#include "sync/send_scope.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sync/run.hpp"
#include "sync/secret_purpose.hpp"

namespace sluice::sync {
namespace {

std::unexpected<Error> bad_allowance(std::string_view what, std::string_view wanted) {
  return fail(ErrorKind::bad_input, "egress.invalid",
              fmt::format("egress: {} must be {}", what, wanted),
              R"(For example {"base_urls":{"api":"http://127.0.0.1:4010"},"allow_loopback":true})");
}

/// What connections that share a rate have in common. Without a known account it is the connection
/// itself; without a destination, whatever it asks is refused before it is sent.
std::string shared_by(const LoadedConnection& connection, const fetch::EgressAllowance& allowance) {
  std::string key = fmt::format("{}\n{}\n", connection.workspace.value, connection.connector);
  for (const contract::Host& host : connection.manifest().hosts) {
    const auto to = fetch::destination(host, connection.config, allowance);
    key += (to ? to->url() : "none") + "\n";
  }
  return key + (connection.vendor_account.empty() ? fmt::format("/{}", connection.id.value)
                                                  : "=" + connection.vendor_account);
}

}  // namespace

Task<Result<fetch::Credential>> VaultCredentials::credential(fetch::SecretUse use,
                                                             fetch::CredentialVersion version) {
  vault::Wanted wanted = vault::Wanted::at(connection_.connector, use.to, use.as);
  wanted.over_loopback(addresses_.loopback);
  wanted.over_private_networks(addresses_.private_networks);
  const std::string secret_name = use.name;
  Result<vault::SecretValue> value =
      co_await vault_.use(connection_.workspace, connection_.id, secret_name, std::move(wanted));
  if (!value) co_return std::unexpected(value.error());
  if (staged_.contains(secret_name)) {
    if (version == fetch::CredentialVersion::current && value->pending) {
      co_return fetch::Credential(value->pending->expose_text());
    }
    co_return fail(ErrorKind::not_found, "vault.secret.not_found",
                   "no other version of " + secret_name + " is to be checked");
  }
  if (value->refused) co_return std::unexpected(*value->refused);
  if (version == fetch::CredentialVersion::current) {
    co_return fetch::Credential(value->current.expose_text());
  }
  if (value->previous.empty()) {
    co_return fail(ErrorKind::not_found, "vault.secret.not_found",
                   "no earlier version of " + secret_name + " is valid");
  }
  co_return fetch::Credential(value->previous.front().expose_text());
}

vault::Purpose leads_to(const LoadedConnection& connection, std::string_view secret) {
  return purpose_of(connection.manifest(), connection.config,
                    expect(read_allowance(connection.egress)), secret);
}

Result<fetch::EgressAllowance> read_allowance(const nlohmann::json& egress) {
  fetch::EgressAllowance allowance;
  if (egress.is_null()) return allowance;
  if (!egress.is_object()) return bad_allowance("it", "an object");
  for (const auto& [key, value] : egress.items()) {
    if (key == "base_urls") {
      if (!value.is_object()) return bad_allowance(key, "an object of host name to URL");
      for (const auto& [host, url] : value.items()) {
        if (!url.is_string()) return bad_allowance("base_urls." + host, "a URL");
        allowance.base_urls.emplace(host, url.get<std::string>());
      }
    } else if (key == "allow_loopback" || key == "allow_private") {
      if (!value.is_boolean()) return bad_allowance(key, "true or false");
      (key == "allow_loopback" ? allowance.addresses.loopback
                               : allowance.addresses.private_networks) = value.get<bool>();
    } else {
      return bad_allowance("'" + key + "'", "one of base_urls, allow_loopback, allow_private");
    }
  }
  return allowance;
}

SendScope::SendScope(vault::Vault& vault, Budgets& budgets, const LoadedConnection& connection,
                     SendOptions options)
    : allowance_(expect(read_allowance(connection.egress))),
      credentials_(vault, connection, allowance_.addresses, std::move(options.staged_secrets)),
      budget_(budgets.of(connection, allowance_)),
      context_{connection.manifest().hosts,
               connection.manifest().auth,
               connection.config,
               allowance_,
               credentials_,
               *budget_,
               stats_,
               options.priority,
               fetch::Asker(connection.workspace, connection.id, std::move(options.what)),
               options.each_path_apart,
               options.patience,
               options.at_work} {}

void SendScope::heed(const SessionEnd& end) {
  if (end.done() || end.failure->failure_class != contract::FailureClass::rate_limited ||
      stats_.held_back > 0)
    return;
  const std::chrono::milliseconds asked(end.failure->retry_after_ms);
  budget_->hold_for(asked.count() > 0 ? asked : kHoldUntold);
}

std::vector<fetch::HungRequest> Budgets::hung() const {
  std::vector<fetch::HungRequest> all;
  for (const auto& [key, kept] : budgets_) {
    for (fetch::HungRequest& one : kept.budget->hung()) all.push_back(std::move(one));
  }
  return all;
}

std::vector<fetch::HeldRequest> Budgets::held() const {
  std::vector<fetch::HeldRequest> all;
  for (const auto& [key, kept] : budgets_) {
    for (fetch::HeldRequest& one : kept.budget->held()) all.push_back(std::move(one));
  }
  return all;
}

void Budgets::forget_unused(std::chrono::steady_clock::time_point now) {
  if (now - looked_ < kKept / 4) return;
  looked_ = now;
  std::erase_if(budgets_, [now](const auto& entry) {
    const Kept& kept = entry.second;
    return kept.budget.use_count() == 1 && now - kept.asked_for >= kKept &&
           kept.budget->stats().held_for.count() == 0;
  });
}

std::shared_ptr<fetch::Budget> Budgets::of(const LoadedConnection& connection,
                                           const fetch::EgressAllowance& allowance) {
  const auto now = clock_.steady();
  forget_unused(now);
  const contract::RateBudget& declared = connection.manifest().budget;
  const double rate = pace_ * (connection.mode == "test" ? declared.requests_per_second_test
                                                         : declared.requests_per_second);
  Kept& kept = budgets_[shared_by(connection, allowance)];
  kept.asked_for = now;
  if (kept.budget) {
    kept.budget->set_requests_per_second(rate);
    return kept.budget;
  }
  fetch::BudgetOptions options;
  options.requests_per_second = rate;
  options.concurrency = declared.concurrency;
  options.headers = declared.headers;
  options.kept_for_changes = 1;
  options.of_one_max = std::max(1, declared.concurrency / 2);
  options.hung_after = kHungAfter;
  kept.budget = std::make_shared<fetch::Budget>(options, clock_, delay_);
  return kept.budget;
}

}  // namespace sluice::sync
