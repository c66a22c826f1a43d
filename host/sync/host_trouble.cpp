#include "sync/host_trouble.hpp"

#include <algorithm>
#include <string_view>

#include "fetch/lookup.hpp"
#include "pg/error.hpp"
#include "sync/step_pool.hpp"

namespace sluice::sync {
namespace {

/// Codes of errors, or what they begin with.
constexpr std::string_view kOwn[] = {
    "vault.root_key.",             // no key, or another one than the data was sealed with
    "vault.memory",                // no locked memory left
    "connector.load_failed",       // a library is missing here
    "connector.not_on_this_host",  //
    "connector.loading_stands",    // another one's, which does not return
    "connector.not_readable",      //
    "connector.store",             // the host's own copies: damaged, or the disk is full
    kStepsLost,                    // its threads are kept by steps that do not come back
    kStepNotBegun,                 //
};

bool gave_up(const contract::ConnectorFailure& failure) {
  return failure.failure_class == contract::FailureClass::upstream_transient ||
         failure.failure_class == contract::FailureClass::upstream_permanent;
}

}  // namespace

void say_wrong_name(SessionEnd& end) {
  if (end.done() || !gave_up(*end.failure) || !end.transport_error.starts_with(fetch::kNoSuchName))
    return;
  end.failure->failure_class = contract::FailureClass::config;
  end.failure->vendor_code = fetch::kNoSuchName;
  end.failure->message =
      end.transport_error.substr(fetch::kNoSuchName.size() + 2) +
      ": the connection's configuration names the wrong one (sluice connection config)";
}

std::optional<Error> host_trouble(const SessionEnd& end) {
  if (end.done()) return std::nullopt;
  const contract::ConnectorFailure& failure = *end.failure;
  const std::string_view code = failure.vendor_code;
  if (failure.failure_class == contract::FailureClass::internal &&
      std::ranges::any_of(kOwn, [&](std::string_view own) { return code.starts_with(own); })) {
    return Error(ErrorKind::internal, failure.vendor_code, failure.message,
                 "this is wrong on this host only; others go on with the connection");
  }
  if (failure.failure_class == contract::FailureClass::internal && code == pg::kDiskFull) {
    // Of the database, which is everybody's: no stream's and no connector's fault either.
    return Error(ErrorKind::retry_later, failure.vendor_code, failure.message,
                 std::string(pg::kDiskFullHint));
  }
  if (gave_up(failure) && end.transport_error.starts_with(fetch::kNoAddress)) {
    return Error(ErrorKind::retry_later, "host.no_dns", end.transport_error,
                 "check this host's DNS, and the name; other hosts may go on with the connection");
  }
  return std::nullopt;
}

}  // namespace sluice::sync
