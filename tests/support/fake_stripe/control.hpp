#pragma once

#include <string>

#include "change.hpp"
#include "faults.hpp"
#include "http_server.hpp"
#include "keys.hpp"
#include "query.hpp"
#include "stats.hpp"
#include "world.hpp"

namespace fake_stripe {

/// The test's side: everything below /_control/. No authorisation. README.md lists the calls.
/// handle() is safe from any thread.
class Control {
 public:
  Control(World& world, Keys& keys, Faults& faults, Stats& stats)
      : world_(world), keys_(keys), faults_(faults), stats_(stats) {}

  HttpReply handle(const HttpRequest& request);

 private:
  HttpReply get(const std::string& what, const HttpRequest& request);
  Json post(const std::string& what, const Json& body);
  Json change(const std::string& what, const Json& body);
  Json churn(const Json& body, const Telling& telling);
  Json set_keys(const Json& body);
  Json set_event_lag(const Json& body);
  Json advance(const Json& body);
  Json add_faults(const Json& body);
  Json clear(const std::string& what);
  Json truth_counts();
  std::string truth(const std::string& type);
  Json about() const;

  World& world_;
  Keys& keys_;
  Faults& faults_;
  Stats& stats_;
};

}  // namespace fake_stripe
