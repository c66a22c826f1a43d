// Vendor HTTP out: what sync/ sends a connector's requests through.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/at_work.hpp"
#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "base/error.hpp"
#include "contract/exchange.hpp"
#include "contract/manifest.hpp"
#include "fetch/budget.hpp"
#include "fetch/credential.hpp"
#include "fetch/curl_multi.hpp"
#include "fetch/delay.hpp"
#include "fetch/policy.hpp"
#include "fetch/request_shares.hpp"
#include "fetch/retry.hpp"
#include "fetch/stats.hpp"

namespace sluice::fetch {

struct ClientOptions {
  Deadlines deadlines;
  TransferLimits limits;
  RetryOptions retry;
  CurlOptions curl;
  /// A request whose not_before_ms is further away is refused: the connector should SLEEP instead.
  std::chrono::milliseconds not_before_max{15 * 60'000};
  std::size_t requests_max = RequestShares::kRequestsMaxDefault;  ///< at vendors at once
};

/// For a person who waits, such as one who has a key checked: rather no answer than a late one.
struct Patience {
  std::chrono::milliseconds headers{60'000};
  int tries = 5;
  std::chrono::milliseconds rate{60'000};  ///< for what the vendor says of its rate
};

/// Whose request it is. Everything in it outlives the send.
struct SendContext {
  const std::vector<contract::Host>& hosts;     ///< Manifest::hosts
  const std::vector<contract::AuthSlot>& auth;  ///< Manifest::auth
  const nlohmann::json& config;                 ///< the connection's configuration
  const EgressAllowance& allowance;
  CredentialSource& credentials;
  Budget& budget;  ///< the vendor account's
  FetchStats& stats;
  Priority priority = Priority::snapshot;  ///< who goes first when several wait for the budget
  Asker asker = {};                        ///< what hangs holds up nobody else
  bool each_path_apart = false;            ///< each path is an asker of its own
  std::optional<Patience> patience = {};   ///< nullopt: that of ClientOptions
  AtWork* at_work = nullptr;               ///< busy while a request is at the vendor
};

/// The facade: policy, credential, budget, transfer, retry, redaction. One per loop, owned by main,
/// loop thread only; any number of sends at once, each of them bounded by its Budget. Executor,
/// clock, entropy and delay outlive it. Destroying it ends what is under way with
/// "fetch.cancelled".
///
///   SendContext context{manifest.hosts, manifest.auth, config, allowance, credentials,
///                       budget, stats};
///   auto response = co_await client.send(std::move(request), context);
///   if (!response) …                // "fetch.policy.*", "fetch.auth.*": the request is wrong;
///                                   // "fetch.cancelled"
///   else step(session, *response);  // its status, or transport_error in words
///
/// Never throws for vendor trouble. Statuses are the connector's business: a 404, a 3xx (not
/// followed) and a 429 or 500 that outlived the retries come back as they are. Limits and lost
/// connections come back as transport_error ("fetch.limit.response_bytes_max: …",
/// "fetch.transport.cut: …"). While the vendor wants the account left alone, or its window lets the
/// next request go, for longer than RetryOptions::retry_after_max (or Patience), nothing is sent:
/// the answer is its own 429 again, with Retry-After as it stands now and no body.
///
/// Response::body has 64 readable zero bytes behind its end. They are capacity of that very string:
/// move it, do not copy it, where a parser relies on them.
class Client {
 public:
  Client(Executor executor, ClientOptions options, const Clock& clock, Entropy& entropy,
         Delay& delay);
  /// With another way to the vendor than libcurl; ClientOptions::curl is not used.
  Client(std::unique_ptr<Transport> transport, ClientOptions options, const Clock& clock,
         Entropy& entropy, Delay& delay);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Task<Result<contract::Response>> send(contract::Request request, const SendContext& context);

  [[nodiscard]] std::size_t in_flight() const;
  /// Of all sends of this client, for metrics; what SendContext::stats got counts here too.
  [[nodiscard]] const FetchStats& totals() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::fetch
