// What connectors there are, which version of which a workspace has, and whether it is on.
#include "api/api.hpp"

#include "base/error_json.hpp"
#include "base/exact_json.hpp"
#include "connector/version.hpp"
#include "sync/deaths.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace sluice::api {
namespace {

using connector::FileState;
using connector::ShelfFile;
using nlohmann::json;

const pg::Statement kInstalled{"api_installed", R"(
  select i.connector, encode(i.sha256, 'hex'), i.state, v.version, coalesce(v.manifest->>'display_name', i.connector),
         exists (select 1 from sluice.work w where w.workspace_id = i.workspace_id and w.state = 'waiting'
                   and w.kind in ('keys.make', 'rule.apply')), v.manifest::text
  from sluice.installation i join sluice.connector_version v using (connector, sha256)
  where i.workspace_id = $1 and ($2::text is null or i.connector = $2) order by i.connector)"};

const pg::Statement kApproved{"api_connectors_approved", R"(
  select encode(a.sha256, 'hex') from sluice.connector_approval a
  join unnest($1::text[]) wanted (sha256) on a.sha256 = decode(wanted.sha256, 'hex'))"};

const pg::Statement kHeld{"api_connectors_held", R"(
  select encode(h.sha256, 'hex'), h.connector, h.version, h.code, h.reason from sluice.connector_hold h
  join unnest($1::text[]) wanted (sha256) on h.sha256 = decode(wanted.sha256, 'hex'))"};

json file_json(const ShelfFile& file) {
  json document;
  document["file"] = file.file.string();
  document["state"] = connector::to_string(file.state);
  document["size"] = file.size;
  document["sha256"] = file.sha256.empty() ? json(nullptr) : json(file.sha256);
  document["id"] = file.manifest ? json(file.manifest->id) : json(nullptr);
  document["version"] = file.manifest ? json(file.manifest->version) : json(nullptr);
  document["reason"] = file.reason ? error_json(*file.reason) : json(nullptr);
  document["warnings"] = file.warnings;
  document["conflict"] = file.conflict.empty()
                             ? json(nullptr)
                             : json(
                                   "the same id and version (or one that differs behind '+' "
                                   "alone), with other content, is in " +
                                   file.conflict);
  return document;
}

/// What this host has, whoever asks: one entry a file, and what is wrong with directories.
json shelf_json(const connector::Shelf& shelf) {
  const connector::ShelvedPtr shelved = shelf.shelved();
  json document;
  document["directories"] = json::array();
  for (const auto& directory : shelf.directories())
    document["directories"].push_back(directory.string());
  document["files"] = json::array();
  for (const ShelfFile& file : shelved->files) document["files"].push_back(file_json(file));
  document["errors"] = json::array();
  for (const Error& error : shelved->errors) document["errors"].push_back(error_json(error));
  return document;
}

void describe(json& one, const contract::Manifest& manifest) {
  one["id"] = manifest.id;
  one["version"] = manifest.version;
  one["display_name"] = manifest.display_name;
  one["streams"] = json::array();
  for (const auto& stream : manifest.streams) one["streams"].push_back(stream.name);
  one["entity_types"] = json::array();
  for (const auto& type : manifest.entity_types)
    one["entity_types"].push_back(manifest.id + "." + type.name);
}

bool newest_first(const json& a, const json& b) {
  if (a["id"] != b["id"]) return a["id"] < b["id"];
  const auto order = connector::compare_versions(b["version"].get_ref<const std::string&>(),
                                                 a["version"].get_ref<const std::string&>());
  return order != 0 ? order < 0 : a["sha256"] < b["sha256"];
}

/// One entry a version that is offered here or installed in the workspace, newest first.
Task<json> versions(Call& call, std::optional<std::string> id) {
  std::map<std::string, json> by_sha256;
  const connector::ShelvedPtr shelved = call.services.registry.shelf().shelved();
  for (const ShelfFile& file : shelved->files) {
    if (file.state != FileState::admitted || (id && file.manifest->id != *id)) continue;
    json& one = by_sha256[file.sha256];
    if (!one.is_null()) continue;
    describe(one, *file.manifest);
    one["sha256"] = file.sha256;
    one["installed"] = false;
    one["offered"] = true;
    one["conflict"] = !file.conflict.empty();
  }
  const auto rows = co_await call.services.pool.query(kInstalled, pg::Params(call.workspace, id));
  for (int row = 0; row < rows.rows(); ++row) {
    const auto sha256 = rows.get<std::string>(row, 1);
    json& one = by_sha256[sha256];
    if (one.is_null()) {
      auto manifest = contract::parse_manifest(rows.text(row, 6), contract::Admission::before);
      if (manifest) describe(one, *manifest);
      one["id"] = rows.get<std::string>(row, 0);
      one["version"] = rows.get<std::string>(row, 3);
      one["display_name"] = rows.get<std::string>(row, 4);
      one["sha256"] = sha256;
      one["offered"] = false;
      one["conflict"] = false;
    }
    one["installed"] = true;
    one["state"] = rows.get<std::string>(row, 2);
    one["applying"] = rows.get<bool>(row, 5);
    one["on_this_host"] = call.services.registry.has(sha256);
    if (!one["on_this_host"].get<bool>()) {
      one["problem"] =
          error_json(Error(ErrorKind::not_found, "connector.not_on_this_host",
                           "this host does not have the file of the installed version",
                           "Copy it into a directory of connectors.directories on this host"));
    }
  }
  pg::Array contents(pg::Oid::text);
  for (auto& [sha256, one] : by_sha256) {
    one["approved"] = false;
    contents.add(std::string_view(sha256));
  }
  const auto held = co_await call.services.pool.query(kHeld, pg::Params(contents));
  for (int row = 0; row < held.rows(); ++row) {
    const sync::ConnectorFile file(held.get<std::string>(row, 1), held.get<std::string>(row, 2),
                                   held.get<std::string>(row, 0));
    by_sha256[file.sha256]["problem"] = error_json(
        sync::held_file(file, held.get<std::string>(row, 3), held.get<std::string>(row, 4)));
  }
  const auto approved =
      co_await call.services.pool.query(kApproved, pg::Params(std::move(contents)));
  for (int row = 0; row < approved.rows(); ++row)
    by_sha256[approved.get<std::string>(row, 0)]["approved"] = true;
  json all = json::array();
  for (auto& [sha256, one] : by_sha256) all.push_back(std::move(one));
  std::sort(all.begin(), all.end(), newest_first);
  std::string previous;
  for (json& one : all) {  // the first that is offered of each id
    one["newest"] = one["offered"].get<bool>() && one["id"] != previous;
    if (one["newest"].get<bool>()) previous = one["id"].get<std::string>();
  }
  co_return all;
}

Task<HttpResponse> list(Call& call) {
  json all = co_await versions(call, std::nullopt);
  json document;
  document["connectors"] = std::move(all);
  if (call.principal.role >= Role::operator_) {
    json shelf = shelf_json(call.services.registry.shelf());
    document["files"] = std::move(shelf["files"]);
    document["errors"] = std::move(shelf["errors"]);
  }
  co_return HttpResponse::json(document);
}

Task<HttpResponse> show(Call& call) {
  const std::string id = call.part("connector");
  json all = co_await versions(call, id);
  if (all.empty()) {
    throw Failure(Error(ErrorKind::not_found, "connector.unknown",
                        "there is no connector '" + id + "'", "sluice connector list"));
  }
  // What is installed counts; else what would be.
  const auto installed = std::find_if(all.begin(), all.end(),
                                      [](const json& one) { return one["installed"].get<bool>(); });
  json one = installed != all.end() ? *installed : all.front();
  const auto sha256 = one["sha256"].get<std::string>();
  if (const ShelfFile* file = call.services.registry.shelf().shelved()->find(sha256)) {
    one["manifest"] = file->manifest->document;
  } else {
    const auto row = co_await call.services.pool.query(kInstalled, pg::Params(call.workspace, id));
    if (!row.empty()) one["manifest"] = ready_json(row.text(0, 6));
  }
  one["versions"] = std::move(all);
  co_return HttpResponse::json(one);
}

std::string optional_text(const json& body, const char* name) {
  if (!body.contains(name)) return {};
  return body[name].get<std::string>();
}

/// Which version of the connector in the path {version, sha256} name.
sync::InstallRequest wanted_version(const Call& call, const json& body) {
  sync::InstallRequest wanted;
  wanted.connector = call.part("connector");
  wanted.version = optional_text(body, "version");
  wanted.sha256 = optional_text(body, "sha256");
  return wanted;
}

Task<HttpResponse> install(Call& call) {
  const json body = co_await call.body();
  sync::InstallRequest wanted = wanted_version(call, body);
  wanted.accept_loss = body.value("accept_loss", false);
  if (call.principal.role == Role::operator_) wanted.approval = sync::Approval::given;
  const sync::InstallOutcome outcome = expect(
      co_await call.services.connections.install(call.workspace, std::move(wanted), call.actor()));
  json document;
  document["connector"] = outcome.connector;
  document["installed"] = true;
  document["version"] = outcome.version;
  document["sha256"] = outcome.sha256;
  document["replaced"] = outcome.replaced.empty() ? json(nullptr) : json(outcome.replaced);
  document["state"] = outcome.state;
  document["new_streams"] = outcome.new_streams;
  document["gone_streams"] = outcome.gone_streams;
  document["notes"] = outcome.notes;
  co_return HttpResponse::json(document, 201);
}

Task<HttpResponse> approve(Call& call) {
  const json body = co_await call.body();
  sync::InstallRequest wanted = wanted_version(call, body);
  const sync::ApprovedVersion approved = expect(co_await call.services.connections.approve(
      call.principal.workspace, std::move(wanted), call.actor()));
  json document;
  document["connector"] = approved.connector;
  document["version"] = approved.version;
  document["sha256"] = approved.sha256;
  co_return HttpResponse::json(document, 201);
}

Task<HttpResponse> revoke(Call& call) {
  const json body = co_await call.body();
  sync::InstallRequest wanted = wanted_version(call, body);
  const std::vector<sync::ApprovedVersion> revoked =
      expect(co_await call.services.connections.revoke(call.principal.workspace, std::move(wanted),
                                                       call.actor()));
  json document;
  document["connector"] = call.part("connector");
  document["revoked"] = json::array();
  for (const sync::ApprovedVersion& version : revoked) {
    json& one = document["revoked"].emplace_back();
    one["version"] = version.version;
    one["sha256"] = version.sha256;
  }
  co_return HttpResponse::json(document);
}

Task<HttpResponse> disable(Call& call) {
  const json body = co_await call.body();
  const std::vector<std::string> names =
      expect(co_await call.services.connections.disable_connector(
          call.workspace, call.part("connector"), call.actor()));
  json document;
  document["connector"] = call.part("connector");
  document["state"] = "disabled";
  document["disconnecting"] = names;
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> enable(Call& call) {
  const json body = co_await call.body();
  const std::vector<std::string> names = expect(co_await call.services.connections.enable_connector(
      call.workspace, call.part("connector"), call.actor()));
  json document;
  document["connector"] = call.part("connector");
  document["state"] = "enabled";
  document["connecting"] = names;
  co_return HttpResponse::json(document, 202);
}

Task<HttpResponse> host_files(Call& call) {
  co_return HttpResponse::json(shelf_json(call.services.registry.shelf()));
}

Task<HttpResponse> rescan(Call& call) {
  const json body = co_await call.body();
  const bool changed = co_await call.services.registry.rescan(call.services.clock.now(),
                                                              connector::Shelf::Haste::immediate);
  json document = shelf_json(call.services.registry.shelf());
  document["changed"] = changed;
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 9> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/connectors",
     .access = Access::operator_,
     .operation = "listConnectorFiles",
     .summary =
         "Connector files in this host's directories: admitted, incomplete, or refused and why",
     .handler = host_files,
     .answer = "ConnectorFiles"},
    {.method = "POST",
     .pattern = "/v1/connectors/rescan",
     .access = Access::operator_,
     .operation = "rescanConnectors",
     .summary = "Looks at the directories now, and answers what is there",
     .handler = rescan,
     .answer = "ConnectorFiles"},
    {.method = "POST",
     .pattern = "/v1/connectors/{connector}/approve",
     .access = Access::operator_,
     .operation = "approveConnector",
     .summary = "Lets the code of a version run: the newest when none is named; workspaces install "
                "only what is approved. A content that is held goes on",
     .handler = approve,
     .body = "ConnectorVersionWanted",
     .answer = "ConnectorApproved",
     .status = "201",
     .problems = "400 connector.* 403 connector.* 404 connector.* 409 connector.* 503 connector.*"},
    {.method = "POST",
     .pattern = "/v1/connectors/{connector}/revoke",
     .access = Access::operator_,
     .operation = "revokeConnector",
     .summary = "Takes the approval of a version back, of all when none is named: nobody installs "
                "it any more, and where it is installed nothing of it runs",
     .handler = revoke,
     .body = "ConnectorVersionWanted",
     .answer = "ConnectorRevoked",
     .problems = "400 connector.* 403 connector.* 404 connector.* 409 connector.* 503 connector.*"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connectors",
     .access = Access::reader,
     .operation = "listConnectors",
     .summary = "Versions that this host offers and that the workspace has installed; for "
                "operators the files too",
     .handler = list,
     .answer = "ConnectorList"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/connectors/{connector}",
     .access = Access::reader,
     .operation = "getConnector",
     .summary =
         "One connector with its versions, and the manifest of the installed or else newest one",
     .handler = show,
     .answer = "Connector",
     .problems = "404 connector.unknown"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connectors/{connector}/install",
     .access = Access::admin,
     .operation = "installConnector",
     .summary = "Brings a version into the workspace: the newest when none is named. An operator's "
                "install approves it, others need it approved",
     .handler = install,
     .body = "InstallWanted",
     .answer = "Installed",
     .status = "201",
     .problems = "400 connector.* type.* rule.* views.* 403 connector.* 404 connector.* "
                 "installation.missing 409 connector.* type.* views.* connection.* 501 connector.* "
                 "503 connector.* type.*"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connectors/{connector}/disable",
     .access = Access::admin,
     .operation = "disableConnector",
     .summary = "Turns a connector and all its connections off: what they stored is soft-deleted",
     .handler = disable,
     .answer = "ConnectorDisabled",
     .status = "202",
     .problems = "400 connector.* type.* rule.* views.* 403 connector.* 404 connector.* "
                 "installation.missing 409 connector.* type.* views.* connection.* 501 connector.* "
                 "503 connector.* type.*"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/connectors/{connector}/enable",
     .access = Access::admin,
     .operation = "enableConnector",
     .summary = "Turns it on again, with the connections that went off with it",
     .handler = enable,
     .answer = "ConnectorEnabled",
     .status = "202",
     .problems = "400 connector.* type.* rule.* views.* 403 connector.* 404 connector.* "
                 "installation.missing 409 connector.* type.* views.* connection.* 501 connector.* "
                 "503 connector.* type.*"},
}};

}  // namespace

std::span<const Route> connector_routes() { return kRoutes; }

}  // namespace sluice::api
