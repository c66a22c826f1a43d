// Link rules and links.
#include "api/api.hpp"

#include "feed/views.hpp"
#include "link/rules.hpp"
#include "model/catalog_version.hpp"

#include <array>
#include <charconv>
#include <tuple>

namespace sluice::api {
namespace {

using nlohmann::json;

const pg::Statement kInsertRule{"api_rule_insert", R"(
  insert into sluice.link_rule (workspace_id, name, source_type, source_attribute, target_type, target_attribute,
                                key_kind, origin)
  values ($1, $2, $3, $4, $5, $6, $7, 'admin') on conflict (workspace_id, name) do nothing returning rule_id)"};

const pg::Statement kEnableRule{"api_rule_enable", R"(
  update sluice.link_rule set enabled = $3 where workspace_id = $1 and name = $2 returning rule_id)"};

constexpr std::array<std::string_view, 7> kStates = {
    "pending", "linked", "contested", "suggested", "confirmed", "rejected", "inactive"};

/// "stripe.customer.email" -> type "stripe.customer", attribute "email".
std::pair<std::string, std::string> split_end(const std::string& text, const char* field) {
  const auto dot = text.rfind('.');
  if (dot == std::string::npos || dot == 0 || dot + 1 == text.size()) {
    bad_request("rule.bad_end", std::string(field) + " '" + text + "' must be type.attribute",
                "For example stripe.customer.email or customer.email");
  }
  return {text.substr(0, dot), text.substr(dot + 1)};
}

json describe(const model::StoredRule& rule) {
  json one;
  one["name"] = rule.name;
  one["source"] = rule.source_type_name + "." + rule.source_attribute;
  one["target"] = rule.target_type_name + "." + rule.target_attribute;
  one["kind"] = contract::to_string(rule.key_kind);
  one["enabled"] = rule.enabled;
  one["origin"] = rule.from_connector ? "connector" : "admin";
  // Until both ends exist a rule finds nothing; that is no error, but it is shown.
  one["effective"] = rule.effective();
  one["counts"] = {{"linked", 0}, {"pending", 0}, {"contested", 0}, {"inactive", 0}};
  return one;
}

Task<HttpResponse> list_rules(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  auto connection = co_await call.services.pool.acquire();
  const auto summary = co_await link::link_summary(*connection, call.workspace);
  json rules = json::array();
  for (const model::StoredRule& rule : catalog->rules) {
    json one = describe(rule);
    for (const link::RuleSummary& counted : summary) {
      if (counted.rule == rule.id) one["counts"][counted.state] = counted.count;
    }
    rules.push_back(std::move(one));
  }
  json document;
  document["rules"] = std::move(rules);
  co_return HttpResponse::json(document);
}

const model::StoredRule* find_rule(const model::Catalog& catalog, const std::string& name) {
  for (const model::StoredRule& rule : catalog.rules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

/// What has this end must exist and be a key of that kind: otherwise the rule could never find
/// anything.
void check_end(const model::Catalog& catalog, const std::string& type, const std::string& attribute,
               contract::KeyKind kind) {
  const model::StoredType* stored = catalog.find(type);
  if (stored == nullptr)
    bad_request("rule.unknown_type", "there is no entity type '" + type + "'",
                "sluice entity types");
  const model::StoredAttribute* found = stored->find(attribute);
  if (found == nullptr) {
    bad_request("rule.unknown_attribute", "'" + type + "' has no attribute '" + attribute + "'",
                "sluice entity type " + type);
  }
  if (found->key_kind != kind) {
    bad_request("rule.no_such_key",
                "'" + type + "." + attribute + "' is no link key of kind " +
                    std::string(contract::to_string(kind)),
                "Declare it as one when the attribute is made");
  }
}

/// The catalogue has changed: this host's memory, the views, and the links of the rule.
Task<void> apply_rule(Call& call, pg::Connection& connection, std::string name) {
  call.services.catalogs.invalidate(call.workspace);
  const model::CatalogPtr catalog = co_await model::load_catalog(connection, call.workspace);
  co_await feed::refresh_views(connection, *catalog, call.workspace_name);
  const model::StoredRule* rule = find_rule(*catalog, name);
  if (rule != nullptr && rule->enabled) {
    co_await link::rebuild_rule(connection, call.workspace, *rule);
  } else if (rule != nullptr) {
    co_await link::deactivate_rule(connection, call.workspace, rule->id);
  }
  call.services.engine.kick();
}

Task<HttpResponse> create_rule(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"name", "source", "target", "kind"});
  const std::string name = required_text(body, "name");
  const auto [source_type, source_attribute] = split_end(required_text(body, "source"), "source");
  const auto [target_type, target_attribute] = split_end(required_text(body, "target"), "target");
  const auto kind = contract::key_kind(required_text(body, "kind"));
  if (!kind)
    bad_request("rule.bad_kind",
                "kind must be one of email, phone, domain, username, external_id, exact");
  const model::CatalogPtr catalog = co_await catalog_of(call);
  check_end(*catalog, source_type, source_attribute, *kind);
  check_end(*catalog, target_type, target_attribute, *kind);
  pg::Params params(call.workspace, name, source_type, source_attribute, target_type,
                    target_attribute);
  params.add(static_cast<std::int32_t>(*kind));
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const auto made = co_await transaction.query(kInsertRule, std::move(params));
  if (made.empty())
    throw Failure(
        Error(ErrorKind::conflict, "rule.name_taken", "there is a rule '" + name + "' already"));
  co_await audit(transaction, call, "rule.create", name, body);
  co_await model::raise_catalog_version(transaction, call.workspace);
  co_await transaction.commit();
  co_await apply_rule(call, *connection, name);
  co_return HttpResponse::json(body, 201);
}

Task<HttpResponse> change_rule(Call& call) {
  const json body = co_await call.body();
  only_fields(body, {"enabled"});
  if (!body.contains("enabled") || !body["enabled"].is_boolean()) {
    bad_request("request.missing_field", "the body needs \"enabled\", true or false");
  }
  auto connection = co_await call.services.pool.acquire();
  auto transaction = co_await pg::Transaction::begin(*connection);
  const auto changed = co_await transaction.query(
      kEnableRule, pg::Params(call.workspace, call.part("rule"), body["enabled"].get<bool>()));
  if (changed.empty()) {
    throw Failure(Error(ErrorKind::not_found, "rule.unknown",
                        "there is no rule '" + call.part("rule") + "'", "sluice link rules"));
  }
  co_await audit(transaction, call, "rule.change", call.part("rule"), body);
  co_await model::raise_catalog_version(transaction, call.workspace);
  co_await transaction.commit();
  co_await apply_rule(call, *connection, call.part("rule"));
  co_return HttpResponse::json(body);
}

/// "<rule id>.<source id>", as the page before gave it.
std::pair<std::int64_t, std::int64_t> read_cursor(const std::string& text) {
  std::int64_t rule = 0;
  std::int64_t source = 0;
  if (text.empty()) return {rule, source};
  const auto* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, rule);
  if (first.ec == std::errc{} && first.ptr != end && *first.ptr == '.') {
    const auto second = std::from_chars(first.ptr + 1, end, source);
    if (second.ec == std::errc{} && second.ptr == end) return {rule, source};
  }
  bad_request("link.bad_cursor", "the cursor is none that this route gave");
}

json entity_of(const model::Catalog& catalog, EntityTypeId type, EntityId id) {
  const model::StoredType* stored = catalog.find(type);
  json entity;
  entity["type"] = stored == nullptr ? "" : stored->name;
  entity["id"] = id.value;
  return entity;
}

json describe(const model::Catalog& catalog, const link::ListedLink& link) {
  json one;
  for (const model::StoredRule& known : catalog.rules) {
    if (known.id == link.rule) one["rule"] = known.name;
  }
  one["state"] = link.state;
  one["source"] = entity_of(catalog, link.source_type, link.source);
  if (!link.source_external_id.empty()) one["source"]["external_id"] = link.source_external_id;
  one["target"] = nullptr;
  if (link.target && link.target_type)
    one["target"] = entity_of(catalog, *link.target_type, *link.target);
  one["candidates"] = json::array();
  for (const EntityId candidate : link.candidates) one["candidates"].push_back(candidate.value);
  one["candidate_count"] = link.candidate_count;
  one["evidence"] = link.evidence;
  one["decided_by"] = link.decided_by;
  return one;
}

Task<HttpResponse> list_links(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  link::LinkQuery query;
  if (const auto name = call.http.parameter("rule")) {
    const model::StoredRule* found = find_rule(*catalog, *name);
    if (found == nullptr)
      bad_request("rule.unknown", "there is no rule '" + *name + "'", "sluice link rules");
    query.rule = found->id;
  }
  query.state = call.http.parameter("state");
  if (query.state && std::find(kStates.begin(), kStates.end(), *query.state) == kStates.end()) {
    bad_request(
        "request.bad_parameter",
        "state must be linked, pending, contested, suggested, confirmed, rejected or inactive");
  }
  query.limit = static_cast<int>(call.limit(50, link::kLinksPageMax));
  std::tie(query.after_rule.value, query.after_source.value) =
      read_cursor(call.http.parameter("cursor").value_or(""));
  auto connection = co_await call.services.pool.acquire();
  const auto page = co_await link::list_links(*connection, call.workspace, catalog, query);
  json document;
  document["links"] = json::array();
  for (const link::ListedLink& one : page) document["links"].push_back(describe(*catalog, one));
  document["next"] = nullptr;
  if (page.size() == static_cast<std::size_t>(query.limit)) {
    document["next"] =
        std::to_string(page.back().rule.value) + "." + std::to_string(page.back().source.value);
  }
  co_return HttpResponse::json(document);
}

constexpr std::array<Route, 4> kRoutes = {{
    {"GET", "/v1/workspaces/{workspace}/link-rules", Access::reader,
     "Link rules, with how many links each has in which state", list_rules},
    {"POST", "/v1/workspaces/{workspace}/link-rules", Access::admin,
     "A rule {name, source: \"type.attribute\", target: \"type.attribute\", kind}; applied to what "
     "is there",
     create_rule},
    {"PATCH", "/v1/workspaces/{workspace}/link-rules/{rule}", Access::admin,
     "Switches a rule {enabled}", change_rule},
    {"GET", "/v1/workspaces/{workspace}/links", Access::reader,
     "Links; ?rule=&state=&limit=&cursor=", list_links, "rule state limit cursor"},
}};

}  // namespace

std::span<const Route> link_routes() { return kRoutes; }

}  // namespace sluice::api
