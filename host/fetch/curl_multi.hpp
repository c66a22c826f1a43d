// libcurl on the loop. The one place that knows curl.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "base/wiped.hpp"
#include "contract/exchange.hpp"
#include "fetch/address.hpp"
#include "fetch/own_endpoints.hpp"

namespace sluice::fetch {

/// How long each part of a transfer may take.
struct Deadlines {
  std::chrono::milliseconds connect{10'000};  ///< name resolution and TCP, to all addresses
  std::chrono::milliseconds tls{10'000};      ///< the handshake, counted from the end of `connect`
  std::chrono::milliseconds headers{
      60'000};  ///< from the request's last sent byte to the end of the headers
  std::chrono::milliseconds idle{30'000};  ///< without one more byte of the body
  std::chrono::milliseconds total{300'000};
};

struct TransferLimits {
  /// After inflation. A page of that size already is some 30 times what vendors send; a larger one
  /// would have to be held whole, beside its records.
  std::uint64_t response_bytes_max = 32ull << 20;
  std::size_t header_bytes_max = 64 << 10;
  std::uint64_t inflate_ratio_max = 100;  ///< inflated to received bytes, beyond the first 64 KiB
};

/// Where a transfer goes out.
enum class Route {
  outward,  ///< by the operator's proxy, where there is one
  direct,   ///< what an admin opened for one connection: never by the proxy
};

/// One transfer, ready to go: policy has been applied.
struct RawRequest {
  std::string method = "GET";
  std::string url;  ///< without the credential
  contract::Headers headers;
  WipedText secret_header;  ///< a whole line with the credential, "Name: value"; or empty
  WipedText secret_query;   ///< "name=value" with it, for the end of the URL; or empty
  std::string body;
  bool plain_http = false;  ///< http:// allowed
  bool fresh_connection =
      false;  ///< never on a reused one (curl repeats those on its own when they turn out dead)
  AddressAllowance addresses;
  Route route = Route::outward;
  Deadlines deadlines;
  TransferLimits limits;
};

struct RawResponse {
  int status = 0;
  contract::Headers headers;
  std::string body;  ///< 64 readable zero bytes follow its end; moving keeps them, copying does not
  std::uint64_t bytes_received = 0;  ///< of the body, before inflation
  std::uint64_t bytes_sent = 0;
  bool unframed = false;  ///< nothing said where it ends: it may have been cut
};

struct CurlOptions {
  std::string user_agent = "Sluice";
  std::string ca_file;  ///< vouches besides the system's; empty: none
  std::string proxy;    ///< "http://proxy.internal:3128"; empty: none
  std::vector<Nat64Prefix> nat64 = {Nat64Prefix::well_known()};
  const OwnEndpoints* own = nullptr;  ///< never dialled; outlives the transfers. nullptr: none
  std::vector<std::string> pins;      ///< "name:port:address[,address]": answers in place of DNS
  long idle_connections_max = 64;
};

/// What carries one request to a vendor and its answer back: CurlMulti, or a vendor in a test's own
/// time.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Errors by what the caller may conclude: reconnect: nothing was sent; unknown_outcome: sent,
  /// the answer was lost; unsupported: an answer beyond the limits, or a certificate that does not
  /// verify; denied ("fetch.policy.address"): refused; cancelled. Messages hold no URL and no
  /// header. Cancelling the coroutine (or destroying it) ends the transfer at once.
  virtual Task<Result<RawResponse>> perform(RawRequest request) = 0;
  [[nodiscard]] virtual std::size_t in_flight() const = 0;
};

/// Runs transfers with one connection pool. One loop thread; any number of transfers at once.
/// Redirects are not followed, proxies and .netrc of the environment are not read, only http and
/// https are spoken.
///
/// Each address is judged twice by OwnEndpoints and address_refusal(): when it is dialled, and
/// again before each request on the connection that carries it, so neither a name that changes its
/// answer nor a pooled connection of somebody with more rights gets past it. Behind a proxy only
/// the proxy is dialled, which resolves the vendors' names; then the addresses are its to judge.
///
/// An answer is whole, or there is none: one that is cut anywhere, in its headers, its body, its
/// trailer or its coding, is "fetch.transport.cut". One that says nowhere how long it is ends with
/// its connection: over TLS by close_notify, or it was cut; in clear nobody can say, and it is
/// RawResponse::unframed.
///
/// May be destroyed with transfers under way: they end with "fetch.cancelled". The execution
/// context must outlive it.
class CurlMulti final : public Transport {
 public:
  CurlMulti(Executor executor, CurlOptions options);
  ~CurlMulti() override;
  CurlMulti(const CurlMulti&) = delete;
  CurlMulti& operator=(const CurlMulti&) = delete;

  Task<Result<RawResponse>> perform(RawRequest request) override;

  [[nodiscard]] std::size_t in_flight() const override;

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace sluice::fetch
