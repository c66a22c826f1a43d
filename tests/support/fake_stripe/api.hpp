#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "account_api.hpp"
#include "faults.hpp"
#include "http_server.hpp"
#include "keys.hpp"
#include "limiter.hpp"
#include "platform.hpp"
#include "stats.hpp"

namespace fake_stripe {

/// What is switched while it runs and belongs to no account. Safe from any thread.
struct Switches {
  std::atomic<std::int64_t> latency_ms{0};
  std::atomic<std::int64_t> date_skew_s{0};
};

/// The Stripe side: which account, which version, the rate, the faults, errors and headers.
/// handle() is safe from any thread.
class StripeApi {
 public:
  StripeApi(Platform& platform, Keys& keys, Faults& faults, Limiter& limiter, Stats& stats,
            Switches& switches, Stop& stop)
      : platform_(platform),
        keys_(keys),
        faults_(faults),
        limiter_(limiter),
        stats_(stats),
        switches_(switches),
        stop_(stop) {}

  HttpReply handle(const HttpRequest& request);

 private:
  HttpReply limited(const HttpRequest& request, Call& call);
  HttpReply answer(const HttpRequest& request, Call& call);
  std::string body_for(const HttpRequest& request, Call& call);
  World& world_for(const HttpRequest& request);
  std::string choose_version(const HttpRequest& request, const World& world) const;
  HttpReply error_reply(const ApiError& error, const Call& call) const;
  HttpReply faulty(const Fault& fault, const HttpRequest& request, Call& call);
  std::optional<HttpReply> error_fault(const Fault& fault, const HttpRequest& request,
                                       const Call& call) const;
  std::optional<HttpReply> nonsense_fault(const Fault& fault, const Call& call) const;
  HttpReply rate_limited(const std::string& reason, const Call& call, int status = 429) const;
  void add_headers(HttpReply& reply, const Call& call) const;
  std::string next_request_id();

  Platform& platform_;
  Keys& keys_;
  Faults& faults_;
  Limiter& limiter_;
  Stats& stats_;
  Switches& switches_;
  Stop& stop_;
  PageBook pages_;
  std::atomic<std::uint64_t> requests_{0};
};

/// Replaces every `"livemode":false`: what a key of the live mode is shown.
void go_live(std::string& body);

}  // namespace fake_stripe
