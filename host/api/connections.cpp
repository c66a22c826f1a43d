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
  for (const auto& [name, value] : body["secrets"].items()) {
    if (!taken.contains(name))
      bad_request("request.bad_field", "secrets." + name + " must be a string");
  }
}

Task<HttpResponse> create(Call& call) {
  sync::NewConnection wanted;
  json body = co_await call.body_with_secrets(SecretsAt::members_of_secrets, wanted.secrets);
  wanted.connector = body.at("connector").get<std::string>();
  wanted.name = body.at("name").get<std::string>();
  if (body.contains("config")) wanted.config = body["config"];
  if (body.contains("egress")) wanted.egress = body["egress"];
  if (!wanted.egress.empty()) require_operator_for_egress(call.principal);
  if (body.value("second_connection", false)) wanted.account_use = sync::AccountUse::also;
  if (body.contains("intervals")) {
    for (const auto& [stream, seconds] : body["intervals"].items()) {
      wanted.intervals.emplace(stream, seconds.get<std::int64_t>());
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
  sync::Actor actor = call.actor();
  auto outcome =
      co_await call.services.connections.check(call.workspace, call.part("name"), std::move(actor));
  co_return HttpResponse::json(check_json(expect(std::move(outcome))));
}

Task<HttpResponse> set_secret(Call& call) {
  sync::SecretValues taken;
  const json body = co_await call.body_with_secrets(SecretsAt::value, taken);
  vault::Secret value = std::move(taken.at("value"));
  if (value.size() > kSecretBytesMax)
    bad_request("request.bad_field", "value is longer than 64 KiB");
  auto stated_by = sync::NewDestination::nobody;
  if (body.contains("to_new_destination")) {
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
  std::vector<std::string> streams;
  if (body.contains("streams")) streams = body["streams"].get<std::vector<std::string>>();
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
  if (body.contains("interval_seconds")) {
    const std::int64_t seconds = body["interval_seconds"].get<std::int64_t>();
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
  require_taken(body, secrets);
  const sync::CheckOutcome outcome = expect(co_await call.services.connections.set_config(
      call.workspace, call.part("name"), std::move(body["config"]), std::move(secrets),
      call.actor()));
  co_return HttpResponse::json(check_json(outcome));
}

Task<HttpResponse> disable(Call& call) {
  const json body = co_await call.body();
  expect(co_await call.services.connections.disable_connection(call.workspace, call.part("name"),
                                                               call.actor()));
  json document;
  document["name"] = call.part("name");
  document["state"] = "DISCONNECTING";
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> enable(Call& call) {
  const json body = co_await call.body();
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

/// Of what is checked with the vendor before it is stored.
constexpr std::string_view kAsksTheVendor =
    "400 connection.* egress.* fetch.* vault.* 403 egress.operator "
    "connection.* connector.* fetch.* vault.* 404 connection.* connector.* installation.missing "
    "stream.unknown vault.* 409 connection.* connector.* vault.* 422 check.failed config.invalid "
    "connection.missing_secret 500 check.failed connector.* fetch.* vault.* 501 fetch.* "
    "503 check.* connection.* connector.* fetch.* vault.*";

constexpr std::array<Route, 9> kRoutes = {{
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connections",
     .access = Access::admin,
     .operation = "createConnection",
     .summary = "Makes a connection after checking it with the vendor; egress is an operator's, "
                "second_connection lets one account be connected twice",
     .handler = create,
     .body = "ConnectionNew",
     .answer = "ConnectionMade",
     .status = "201",
     .problems = kAsksTheVendor},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/check",
     .access = Access::admin,
     .operation = "checkConnection",
     .summary = "Asks the vendor again whether the key works",
     .handler = check,
     .answer = "CheckOutcome",
     .problems = kAsksTheVendor},
    {.method = "PUT",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/secrets/{secret}",
     .access = Access::admin,
     .operation = "setSecret",
     .summary = "A new value of a secret; checked with the vendor",
     .handler = set_secret,
     .body = "SecretNew",
     .answer = "CheckOutcome",
     .problems = kAsksTheVendor},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/sync",
     .access = Access::admin,
     .operation = "syncNow",
     .summary = "Runs streams now; full reads everything again, with trust_vendor over rows of a "
                "higher version too",
     .handler = sync_now,
     .body = "SyncWanted",
     .answer = "SyncAsked",
     .status = "202",
     .problems = "404 connection.unknown stream.unknown connector.* 403 connector.held 409 "
                 "connection.* connector.* stream.*"},
    {.method = "PATCH",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/streams/{stream}",
     .access = Access::admin,
     .operation = "changeStream",
     .summary = "Changes a stream; one that is paused and goes on loses nothing",
     .handler = set_stream,
     .body = "StreamChange",
     .answer = "StreamChange",
     .problems = "404 connection.unknown stream.unknown connector.* 403 "
                 "connector.held 409 connection.* connector.* stream.*"},
    {.method = "PATCH",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}",
     .access = Access::admin,
     .operation = "changeConfig",
     .summary = "Changes members of the configuration; checked with the vendor. A change that "
                "leads a secret elsewhere needs its value again, in secrets",
     .handler = set_config,
     .body = "ConfigChange",
     .answer = "CheckOutcome",
     .problems = kAsksTheVendor},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/disable",
     .access = Access::admin,
     .operation = "disableConnection",
     .summary = "Turns a connection off: what it stored is soft-deleted",
     .handler = disable,
     .answer = "ConnectionState",
     .status = "202",
     .problems = "404 connection.unknown 409 connection.* connector.*"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}/enable",
     .access = Access::admin,
     .operation = "enableConnection",
     .summary = "Turns it on again: everything is read again, under the same ids",
     .handler = enable,
     .answer = "ConnectionState",
     .status = "202",
     .problems = kAsksTheVendor},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/connections/{name}",
     .access = Access::admin,
     .operation = "deleteConnection",
     .summary =
         "Removes a connection that is off, with its entities, by the work that it answers with",
     .handler = remove,
     .answer = "ConnectionGoing",
     .status = "202",
     .problems = "404 connection.unknown 409 connection.*"},
}};

}  // namespace

std::span<const Route> connection_routes() { return kRoutes; }

}  // namespace sluice::api
