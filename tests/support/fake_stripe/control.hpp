#pragma once

#include <functional>
#include <string>

#include "api.hpp"
#include "change.hpp"
#include "traffic.hpp"

namespace fake_stripe {

/// What the control side can reach of the rest; everything outlives it.
struct Controlled {
  Platform& platform;
  Keys& keys;
  Faults& faults;
  Limiter& limiter;
  Stats& stats;
  Switches& switches;
  Traffic& traffic;
  std::function<void(std::int64_t ms)> go_away;  ///< closes the Stripe side's port
  std::function<void()> come_back;
};

/// The test's side: everything below /_control/. No authorisation. README.md lists the calls.
/// handle() is safe from any thread.
class Control {
 public:
  explicit Control(Controlled parts) : parts_(std::move(parts)) {}

  HttpReply handle(const HttpRequest& request);

 private:
  World& world_for(const HttpRequest& request);
  HttpReply get(const std::string& what, const HttpRequest& request);
  HttpReply get_of(World& world, const std::string& what, const HttpRequest& request);
  HttpReply post(const std::string& what, const HttpRequest& request);
  /// Calls that belong to no account; nullopt for all others.
  std::optional<HttpReply> post_switch(const std::string& what, const Json& body);
  Json post_to(World& world, const std::string& what, const Json& body);
  Json change(World& world, const std::string& what, const Json& body);
  Json churn(World& world, const Json& body, const Telling& telling);
  Json seed(World& world, const Json& body);
  Json generate(World& world, const Json& body);
  Json set_keys(const Json& body);
  Json set_identity(World& world, const Json& body);
  Json set_accounts(const Json& body);
  Json set_traffic(const Json& body);
  Json add_faults(const Json& body);
  HttpReply go_down(const Json& body);
  Json clear(World& world, const std::string& what);
  void reset_switches();
  Json about(const World& world);

  Controlled parts_;
};

}  // namespace fake_stripe
