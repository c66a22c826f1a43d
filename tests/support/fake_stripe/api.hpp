#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

#include "faults.hpp"
#include "http_server.hpp"
#include "keys.hpp"
#include "list.hpp"
#include "query.hpp"
#include "render.hpp"
#include "stats.hpp"
#include "world.hpp"

namespace fake_stripe {

/// The Stripe side: authorisation, versions, routes, lists, retrieves, errors, faults.
/// handle() is safe from any thread.
class StripeApi {
 public:
  StripeApi(World& world, Keys& keys, Faults& faults, Stats& stats, Stop& stop)
      : world_(world), keys_(keys), faults_(faults), stats_(stats), stop_(stop) {}

  HttpReply handle(const HttpRequest& request);

 private:
  /// A request on its way through.
  struct Call {
    std::string request_id;
    std::string version;
    std::string route;  ///< for the statistics
    std::optional<Fault> fault;
  };

  HttpReply answer(const HttpRequest& request, Call& call);
  std::string body_for(const HttpRequest& request, Call& call);
  std::string account(const HttpRequest& request, Call& call);
  std::string list(const Resource& row, const HttpRequest& request, const Call& call);
  std::string list_children(const Object& parent, const HttpRequest& request, const Call& call,
                            std::string_view what);
  std::string list_events(const HttpRequest& request, const Call& call);
  std::string retrieve(const Resource& row, const std::string& id, const HttpRequest& request,
                       const Call& call);

  std::string render_page(const Page& page, const Resource& row, const Query& query,
                          const Call& call, std::string_view url) const;
  std::string render_one(const Object& object, const Query& query, const Call& call) const;
  [[nodiscard]] const Object* cursor_of(const Resource& row, const Query& query) const;
  [[nodiscard]] Object& require_live(const Resource& row, const std::string& id, int status,
                                     const std::string& param) const;
  /// What the reference filters leave; nullopt when none is given.
  [[nodiscard]] std::optional<Ordered> narrowed(const Resource& row, const Query& query) const;
  [[nodiscard]] Ordered intersected(const Resource& row, const Query& query) const;
  void check_key(const HttpRequest& request, std::string_view permission) const;
  std::string choose_version(const HttpRequest& request) const;
  HttpReply error_reply(const ApiError& error, const Call& call) const;
  HttpReply faulty(const Fault& fault, const HttpRequest& request, Call& call);
  std::optional<HttpReply> error_fault(const Fault& fault, const Call& call) const;
  std::optional<HttpReply> nonsense_fault(const Fault& fault, const Call& call) const;
  HttpReply rate_limited(const Fault& fault, const Call& call) const;
  void add_headers(HttpReply& reply, const Call& call) const;
  std::string next_request_id();

  World& world_;
  Keys& keys_;
  Faults& faults_;
  Stats& stats_;
  Stop& stop_;
  std::atomic<std::uint64_t> requests_{0};
};

}  // namespace fake_stripe
