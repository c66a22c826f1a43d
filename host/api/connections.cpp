// Connections: make, check, change, turn off and on, sync, delete.
#include "api/api.hpp"

#include <array>

namespace sluice::api {
namespace {

using nlohmann::json;

constexpr std::size_t kSecretBytesMax = 65'536;

json check_json(const sync::CheckOutcome& outcome) {
  json document;
  document["account"] = {{"id", outcome.account_id}, {"name", outcome.account_name}};
  document["mode"] = outcome.mode;
  document["notes"] = outcome.notes;
  return document;
}

/// An allowance opens this host's own network to whoever has it.
void require_operator_for_egress(const Principal& principal) {
  if (principal.role >= Role::operator_) return;
  throw Failure(
      Error(ErrorKind::denied, "egress.operator",
            "only an operator may send a connection elsewhere than to its vendor, or open "
            "loopback and private networks to it",
            "Leave \"egress\" out, or ask an operator to make this connection"));
}

/// Each was a string: take_secrets() has taken it.
void require_taken(const json& body, const sync::SecretValues& taken) {
  if (!body.contains("secrets")) return;
  if (!body["secrets"].is_object()) bad_request("request.bad_field", "secrets must be an object");
  for (const auto& [name, value] : body["secrets"].items()) {
    if (!taken.contains(name))
      bad_request("request.bad_field", "secrets." + name + " must be a string");
  }
}

Task<HttpResponse> create(Call& call) {
  sync::NewConnection wanted;
  json body = co_await call.body_with_secrets(SecretsAt::members_of_secrets, wanted.secrets);
  only_fields(
      body, {"connector", "name", "config", "egress", "intervals", "secrets", "second_connection"});
  wanted.connector = required_text(body, "connector");
  wanted.name = required_text(body, "name");
  for (const char* member : {"config", "egress", "intervals", "secrets"}) {
    if (body.contains(member) && !body[member].is_object()) {
      bad_request("request.bad_field", std::string(member) + " must be an object");
    }
  }
  if (body.contains("config")) wanted.config = body["config"];
  if (body.contains("egress")) wanted.egress = body["egress"];
  if (!wanted.egress.empty()) require_operator_for_egress(call.principal);
  if (body.contains("second_connection")) {
    if (!body["second_connection"].is_boolean())
      bad_request("request.bad_field", "second_connection must be true or false");
    if (body["second_connection"].get<bool>()) wanted.account_use = sync::AccountUse::also;
  }
  if (body.contains("intervals")) {
    for (const auto& [stream, seconds] : body["intervals"].items()) {
      wanted.intervals.emplace(stream, whole_number(seconds, "intervals." + stream));
    }
  }
  require_taken(body, wanted.secrets);
  const std::string name = wanted.name;
  const sync::CheckOutcome outcome = expect(
      co_await call.services.connections.create(call.workspace, std::move(wanted), call.actor()));
  json document = check_json(outcome);
  document["name"] = name;
  co_return HttpResponse::json(document, 201);
}

Task<HttpResponse> check(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {});
  sync::Actor actor = call.actor();
  auto outcome =
      co_await call.services.connections.check(call.workspace, call.part("name"), std::move(actor));
  co_return HttpResponse::json(check_json(expect(std::move(outcome))));
}

Task<HttpResponse> set_secret(Call& call) {
  sync::SecretValues taken;
  const json body = co_await call.body_with_secrets(SecretsAt::value, taken);
  only_fields(body, {"value", "to_new_destination"});
  (void)required_text(body, "value");  // refuses a body without it
  vault::Secret value = std::move(taken.at("value"));
  if (value.size() > kSecretBytesMax)
    bad_request("request.bad_field", "value is longer than 64 KiB");
  auto stated_by = sync::NewDestination::nobody;
  if (body.contains("to_new_destination")) {
    if (!body["to_new_destination"].is_boolean())
      bad_request("request.bad_field", "to_new_destination must be true or false");
    const bool is_operator = call.principal.role >= Role::operator_;
    if (body["to_new_destination"].get<bool>())
      stated_by = is_operator ? sync::NewDestination::operator_ : sync::NewDestination::admin;
  }
  const sync::CheckOutcome outcome = expect(co_await call.services.connections.set_secret(
      call.workspace, call.part("name"), call.part("secret"), std::move(value), stated_by,
      call.actor()));
  co_return HttpResponse::json(check_json(outcome));
}

Task<HttpResponse> sync_now(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"streams", "full", "trust_vendor"});
  std::vector<std::string> streams;
  if (body.contains("streams")) {
    if (!body["streams"].is_array())
      bad_request("request.bad_field", "streams must be a list of names");
    for (const json& stream : body["streams"]) {
      if (!stream.is_string()) bad_request("request.bad_field", "streams must be a list of names");
      streams.push_back(stream.get<std::string>());
    }
  }
  if (body.contains("full") && !body["full"].is_boolean())
    bad_request("request.bad_field", "full must be true or false");
  if (body.contains("trust_vendor") && !body["trust_vendor"].is_boolean())
    bad_request("request.bad_field", "trust_vendor must be true or false");
  const bool full = body.value("full", false);
  const bool trusts = body.value("trust_vendor", false);
  if (trusts && !full)
    bad_request("request.bad_field", "trust_vendor is for a full read: give \"full\": true too");
  const sync::ReadAgain again = trusts ? sync::ReadAgain::trusting_vendor
                                : full ? sync::ReadAgain::full
                                       : sync::ReadAgain::no;
  const auto asked = expect(co_await call.services.connections.request_sync(
      call.workspace, call.part("name"), std::move(streams), again, call.actor()));
  json document;
  document["streams"] = asked;
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> set_stream(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"interval_seconds", "enabled"});
  if (body.empty()) {
    bad_request("request.missing_field",
                "the body needs \"interval_seconds\", a whole number, or \"enabled\"");
  }
  if (body.contains("enabled") && !body["enabled"].is_boolean())
    bad_request("request.bad_field", "enabled must be true or false");
  if (body.contains("interval_seconds")) {
    const std::int64_t seconds = whole_number(body["interval_seconds"], "interval_seconds");
    expect(co_await call.services.connections.set_interval(
        call.workspace, call.part("name"), call.part("stream"), seconds, call.actor()));
  }
  if (body.contains("enabled")) {
    expect(co_await call.services.connections.set_stream_enabled(
        call.workspace, call.part("name"), call.part("stream"), body["enabled"].get<bool>(),
        call.actor()));
  }
  co_return HttpResponse::json(body);
}

Task<HttpResponse> set_config(Call& call) {
  sync::SecretValues secrets;
  json body = co_await call.body_with_secrets(SecretsAt::members_of_secrets, secrets);
  only_fields(body, {"config", "secrets"});
  if (!body.contains("config") || !body["config"].is_object() || body["config"].empty()) {
    bad_request("request.missing_field", "the body needs \"config\", an object of what changes",
                "null takes a member away");
  }
  require_taken(body, secrets);
  const sync::CheckOutcome outcome = expect(co_await call.services.connections.set_config(
      call.workspace, call.part("name"), std::move(body["config"]), std::move(secrets),
      call.actor()));
  co_return HttpResponse::json(check_json(outcome));
}

Task<HttpResponse> disable(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {});
  expect(co_await call.services.connections.disable_connection(call.workspace, call.part("name"),
                                                               call.actor()));
  json document;
  document["name"] = call.part("name");
  document["state"] = "DISCONNECTING";
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> enable(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {});
  expect(co_await call.services.connections.enable_connection(call.workspace, call.part("name"),
                                                              call.actor()));
  json document;
  document["name"] = call.part("name");
  document["state"] = "CONNECTED";
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> remove(Call& call) {
  const work::WorkId work = expect(co_await call.services.connections.delete_connection(
      call.workspace, call.part("name"), call.actor()));
  json document;
  document["name"] = call.part("name");
  document["work"] = id_text(work);
  co_return HttpResponse::json(document, 202);
}

constexpr std::array<Route, 9> kRoutes = {{
    {"POST", "/v1/workspaces/{workspace}/connections", Access::admin,
     "Makes a connection {connector, name, config, secrets, intervals, second_connection, egress} "
     "after checking it with the vendor; egress is an operator's, second_connection lets one "
     "account be connected twice",
     create},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/check", Access::admin,
     "Asks the vendor again whether the key works", check},
    {"PUT", "/v1/workspaces/{workspace}/connections/{name}/secrets/{secret}", Access::admin,
     "A new value {value} of a secret; checked with the vendor", set_secret},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/sync", Access::admin,
     "Runs streams now {streams, full, trust_vendor}; full reads everything again, with "
     "trust_vendor over rows of a higher version too",
     sync_now},
    {"PATCH", "/v1/workspaces/{workspace}/connections/{name}/streams/{stream}", Access::admin,
     "Changes {interval_seconds, enabled}; a stream that is paused and goes on loses nothing",
     set_stream},
    {"PATCH", "/v1/workspaces/{workspace}/connections/{name}", Access::admin,
     "Changes members of {config}; checked with the vendor. A change that leads a secret elsewhere "
     "needs its value again, in {secrets}",
     set_config},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/disable", Access::admin,
     "Turns a connection off: what it stored is soft-deleted", disable},
    {"POST", "/v1/workspaces/{workspace}/connections/{name}/enable", Access::admin,
     "Turns it on again: everything is read again, under the same ids", enable},
    {"DELETE", "/v1/workspaces/{workspace}/connections/{name}", Access::admin,
     "Removes a connection that is off, with its entities, by the work that it answers with",
     remove},
}};

}  // namespace

std::span<const Route> connection_routes() { return kRoutes; }

}  // namespace sluice::api
