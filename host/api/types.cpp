// Entity types: what there is, and the organisation's own.
#include "api/api.hpp"

#include "model/import.hpp"
#include "model/own_types.hpp"
#include "sync/audit.hpp"
#include "sync/link_rules.hpp"
#include "sync/view_work.hpp"

#include <array>
#include <optional>

namespace sluice::api {
namespace {

using nlohmann::json;

json describe(const model::StoredType& type) {
  json document;
  document["name"] = type.name;
  document["origin"] = type.own ? "own" : "preset";
  if (!type.own) document["connector"] = type.connector;
  document["display_attribute"] = type.display_attribute;
  document["attributes"] = json::array();
  for (const model::StoredAttribute& attribute : type.attributes) {
    json one;
    one["name"] = attribute.name;
    one["type"] = contract::to_string(attribute.type);
    if (!attribute.format.empty()) one["format"] = attribute.format;
    one["protected"] = attribute.is_protected;
    one["required"] = attribute.required;
    one["personal"] = attribute.personal;
    if (type.own) one["unique"] = attribute.unique;
    if (attribute.key_kind) one["link_key"] = contract::to_string(*attribute.key_kind);
    document["attributes"].push_back(std::move(one));
  }
  document["relationships"] = json::array();
  for (const model::StoredRelationship& relationship : type.relationships) {
    document["relationships"].push_back({{"name", relationship.name},
                                         {"attribute", relationship.attribute},
                                         {"target", relationship.target_name}});
  }
  return document;
}

Task<HttpResponse> list(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  json all = json::array();
  for (const model::StoredType& type : catalog->types) all.push_back(describe(type));
  json document;
  document["types"] = std::move(all);
  co_return HttpResponse::json(document);
}

Task<HttpResponse> show(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  const model::StoredType* type = catalog->find(call.part("type"));
  if (type == nullptr) {
    throw Failure(Error(ErrorKind::not_found, "type.not_found",
                        "there is no entity type '" + call.part("type") + "'",
                        "sluice entity types"));
  }
  co_return HttpResponse::json(describe(*type));
}

/// The views are those of the catalogue as it is now; what stays stale, in words.
Task<json> refresh(Call& call, pg::Connection& connection) {
  call.services.catalogs.invalidate(call.workspace);
  const std::vector<std::string> notes =
      co_await sync::renew_views_now(connection, call.workspace, call.workspace_name);
  call.services.engine.kick();
  co_return json(notes);
}

/// What new attributes of a type leave to durable work, in their own transaction.
Task<void> leave_work(Call& call, pg::Transaction& transaction, std::string type,
                      std::vector<std::string> attributes) {
  co_await sync::renew_views(transaction, call.workspace, call.actor().name());
  co_await sync::apply_rules_of(transaction, call.workspace, std::move(type), std::move(attributes),
                                call.actor().name());
}

json with_notes(json document, json notes) {
  if (!notes.empty()) document["notes"] = std::move(notes);
  return document;
}

Task<HttpResponse> create(Call& call) {
  const json body = co_await call.body();
  model::OwnType wanted = expect(model::own_type_from_json(body));
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const model::OwnType made =
      expect(co_await model::create_own_type(transaction, call.workspace, std::move(wanted)));
  co_await audit(transaction, call, "type.create", made.name, json::object());
  std::vector<std::string> attributes;
  for (const model::OwnAttribute& one : made.attributes) attributes.push_back(one.name);
  co_await leave_work(call, transaction, made.name, std::move(attributes));
  co_await transaction.commit();
  json notes = co_await refresh(call, *connection);
  co_return HttpResponse::json(with_notes(model::to_json(made), std::move(notes)), 201);
}

Task<HttpResponse> add_attribute(Call& call) {
  const json body = co_await call.body();
  model::OwnAttribute wanted = expect(model::own_attribute_from_json(body));
  const std::string subject = call.part("type") + "." + wanted.name;
  std::vector<std::string> attributes(1, wanted.name);
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const model::OwnType made = expect(co_await model::add_own_attribute(
      transaction, call.workspace, call.part("type"), std::move(wanted)));
  co_await audit(transaction, call, "type.add_attribute", subject, json::object());
  co_await leave_work(call, transaction, made.name, std::move(attributes));
  co_await transaction.commit();
  json notes = co_await refresh(call, *connection);
  co_return HttpResponse::json(with_notes(model::to_json(made), std::move(notes)), 201);
}

Task<HttpResponse> refresh_views(Call& call) {
  auto connection = co_await call.services.pool.acquire();
  json notes = co_await refresh(call, *connection);
  json document;
  document["ok"] = notes.empty();
  document["notes"] = std::move(notes);
  co_return HttpResponse::json(document);
}

model::ImportOptions import_options(const Call& call) {
  model::ImportOptions options;
  const std::string& sent_as = call.http.content_type;
  const bool says_ndjson = sent_as.starts_with("application/x-ndjson");
  if (!call.http.parameter("format") && !sent_as.empty() && !says_ndjson &&
      !sent_as.starts_with("text/csv")) {
    bad_request("request.unsupported_media_type", "an import is text/csv or application/x-ndjson",
                "Send that Content-Type, or say ?format=csv or ?format=ndjson");
  }
  const std::string format = call.http.parameter("format").value_or(says_ndjson ? "ndjson" : "csv");
  options.format = format == "csv" ? model::ImportFormat::csv : model::ImportFormat::ndjson;
  options.key = call.http.parameter("key").value_or("");
  const std::string empty = call.http.parameter("empty").value_or("absent");
  options.empty = empty == "null" ? model::EmptyField::null : model::EmptyField::absent;
  if (const auto separator = call.http.parameter("separator")) {
    if (separator->size() != 1)
      bad_request("request.bad_parameter", "separator must be one character");
    options.separator = (*separator)[0];
  }
  return options;
}

Task<HttpResponse> import(Call& call) {
  model::CatalogPtr catalog = co_await catalog_of(call);
  model::ImportOptions options = import_options(call);
  const sync::AuditId id = co_await sync::draw_audit_id(call.services.pool);
  options.beside = [&call, id](pg::Pipeline& pipeline, const model::ImportProgress& progress) {
    json detail;
    detail["inserted"] = progress.inserted;
    detail["updated"] = progress.updated;
    pg::Call line = sync::audit_so_far(call.workspace, id, call.actor(), "type.import",
                                       call.part("type"), detail);
    pipeline.add(*line.statement, std::move(line.params));
  };
  model::Importer importer = expect(model::Importer::make(call.services.pool, std::move(catalog),
                                                          call.part("type"), std::move(options)));
  for (;;) {
    const std::string piece = co_await call.http.body->next();
    if (piece.empty()) break;
    co_await importer.feed(piece);
  }
  const model::ImportResult result = co_await importer.finish();
  call.services.engine.kick();
  co_return HttpResponse::json(model::to_json(result));
}

constexpr std::array kImportQuery = {
    Parameter{.name = "format",
              .says = "when the Content-Type does not say it",
              .kind = ParameterKind::choice,
              .choices = "csv ndjson"},
    Parameter{.name = "key",
              .says = "the unique attribute by which a row is one that is there; the type's first, "
                      "when it is not there"},
    Parameter{.name = "empty",
              .says = "what an empty field of CSV does: leave what is stored, or clear it",
              .kind = ParameterKind::choice,
              .choices = "absent null"},
    Parameter{.name = "separator", .says = "of fields of CSV, one character; a comma"}};

constexpr std::array<Route, 6> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/types",
     .access = Access::reader,
     .operation = "listTypes",
     .summary = "All entity types with attributes and relationships",
     .handler = list,
     .answer = "TypeList"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/types",
     .access = Access::admin,
     .operation = "createType",
     .summary = "Makes an own type",
     .handler = create,
     .body = "TypeNew",
     .answer = "OwnType",
     .status = "201",
     .problems = "400 type.* attribute.* 409 type.name_taken"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/types/{type}",
     .access = Access::reader,
     .operation = "getType",
     .summary = "One entity type",
     .handler = show,
     .answer = "Type",
     .problems = "404 type.not_found"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/types/{type}/attributes",
     .access = Access::admin,
     .operation = "addAttribute",
     .summary = "Adds an attribute to an own type",
     .handler = add_attribute,
     .body = "AttributeNew",
     .answer = "OwnType",
     .status = "201",
     .problems = "400 type.* attribute.* 404 type.not_found"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/types/{type}/import",
     .access = Access::admin,
     .operation = "importEntities",
     .summary = "Imports CSV or NDJSON, streaming. Rows that are refused are listed",
     .handler = import,
     .query = kImportQuery,
     .answer = "ImportResult",
     .problems = "400 import.* entity.bad_key 404 type.not_found 408 request.cut 413 "
                 "request.too_large 415 request.unsupported_media_type 501 import.read_only",
     .takes = "text/csv application/x-ndjson"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/views/refresh",
     .access = Access::admin,
     .operation = "refreshViews",
     .summary = "Makes the SQL views those of the catalogue; notes say which could not be, and why",
     .handler = refresh_views,
     .answer = "ViewsRefreshed"},
}};

}  // namespace

std::span<const Route> type_routes() { return kRoutes; }

}  // namespace sluice::api
