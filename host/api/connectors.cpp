// What connectors there are, and which are turned on.
#include "api/api.hpp"

#include <array>
#include <set>

namespace sluice::api {
namespace {

using nlohmann::json;

json describe(const connector::ConnectorCode& code) {
  const contract::Manifest& manifest = code.manifest();
  json document;
  document["id"] = manifest.id;
  document["version"] = manifest.version;
  document["display_name"] = manifest.display_name;
  document["sha256"] = code.sha256();
  document["streams"] = json::array();
  for (const auto& stream : manifest.streams) document["streams"].push_back(stream.name);
  document["entity_types"] = json::array();
  for (const auto& type : manifest.entity_types)
    document["entity_types"].push_back(manifest.id + "." + type.name);
  return document;
}

Task<HttpResponse> list(Call& call) {
  const auto rows = co_await call.services.pool.query(
      "select connector, encode(sha256, 'hex'), state from sluice.installation where workspace_id "
      "= $1",
      pg::Params(call.workspace));
  json all = json::array();
  for (const auto& code : call.services.registry.list()) {
    json one = describe(*code);
    one["installed"] = false;
    for (int row = 0; row < rows.rows(); ++row) {
      if (rows.text(row, 1) == code->sha256()) one["installed"] = rows.text(row, 2) == "enabled";
    }
    all.push_back(std::move(one));
  }
  co_return HttpResponse::json({{"connectors", std::move(all)}});
}

Task<HttpResponse> show(Call& call) {
  for (const auto& code : call.services.registry.list()) {
    if (code->manifest().id != call.part("connector")) continue;
    json one = describe(*code);
    one["manifest"] = code->manifest().document;
    co_return HttpResponse::json(one);
  }
  throw Failure(Error(ErrorKind::not_found, "connector.unknown",
                      "there is no connector '" + call.part("connector") + "'",
                      "sluice connector list"));
}

Task<HttpResponse> install(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {});
  expect(co_await call.services.connections.install(call.workspace, call.part("connector")));
  co_return HttpResponse::json({{"connector", call.part("connector")}, {"installed", true}}, 201);
}

constexpr std::array<Route, 3> kRoutes = {{
    {"GET", "/v1/workspaces/{workspace}/connectors", Access::reader,
     "Connectors that this host has, and what is installed", list},
    {"GET", "/v1/workspaces/{workspace}/connectors/{connector}", Access::reader,
     "One connector with its manifest", show},
    {"POST", "/v1/workspaces/{workspace}/connectors/{connector}/install", Access::admin,
     "Turns a connector on in the workspace; brings its entity types", install},
}};

}  // namespace

std::span<const Route> connector_routes() { return kRoutes; }

}  // namespace sluice::api
