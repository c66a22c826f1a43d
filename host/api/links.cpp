// Link rules and links.
#include "api/api.hpp"

#include "link/idle.hpp"
#include "link/listing.hpp"
#include "model/link_states.hpp"
#include "sync/link_rules.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <numeric>
#include <tuple>
#include <vector>

namespace sluice::api {
namespace {

using nlohmann::json;

/// "stripe.customer.email" -> type "stripe.customer", attribute "email".
std::pair<std::string, std::string> split_end(const std::string& text, const char* field) {
  const auto dot = text.rfind('.');
  if (dot == std::string::npos || dot == 0 || dot + 1 == text.size()) {
    bad_request("rule.bad_end", std::string(field) + " '" + text + "' must be type.attribute",
                "For example stripe.customer.email or customer.email");
  }
  return {text.substr(0, dot), text.substr(dot + 1)};
}

json describe(const model::Catalog& catalog, const model::StoredRule& rule) {
  json one;
  one["name"] = rule.name;
  one["source"] = rule.source_type_name + "." + rule.source_attribute;
  one["target"] = rule.target_type_name + "." + rule.target_attribute;
  one["source_type"] = rule.source_type_name;
  one["target_type"] = rule.target_type_name;
  one["kind"] = contract::to_string(rule.key_kind);
  one["enabled"] = rule.enabled;
  one["origin"] = rule.from_connector ? "connector" : "admin";
  if (!rule.connector.empty()) one["connector"] = rule.connector;
  // Until both ends exist and are keys a rule finds nothing; that is shown, with what to do.
  one["effective"] = rule.effective();
  one["idle"] = nullptr;
  if (const auto why = link::why_idle(catalog, rule))
    one["idle"] = {{"code", why->code}, {"reason", why->message}, {"action", why->hint}};
  for (const std::string_view state : model::kLivingLinkStates) one["counts"][state] = 0;
  one["counts"][model::kInactiveLink] = 0;
  return one;
}

Task<HttpResponse> list_rules(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  auto connection = co_await call.services.pool.acquire();
  const auto summary = co_await link::link_summary(*connection, call.workspace);
  json rules = json::array();
  std::map<EntityTypeId, std::optional<std::int64_t>> living;
  for (const model::StoredRule& rule : catalog->rules) {
    if (rule.going) continue;
    json one = describe(*catalog, rule);
    std::int64_t of_living = 0;
    for (const link::RuleSummary& counted : summary) {
      if (counted.rule != rule.id) continue;
      one["counts"][counted.state] = counted.count;
      if (counted.state != model::kInactiveLink) of_living += counted.count;
    }
    // Whoever has a key has a link, if only a pending one; of a rule that is off nobody has.
    one["counts"][model::kNoKey] = nullptr;
    const model::StoredType* type = catalog->find(rule.source_type);
    if (rule.effective() && type != nullptr) {
      if (!living.contains(type->id))
        living[type->id] = co_await link::count_living(*connection, call.workspace, *type);
      const std::optional<std::int64_t>& all = living[type->id];
      if (all) one["counts"][model::kNoKey] = std::max<std::int64_t>(0, *all - of_living);
    }
    rules.push_back(std::move(one));
  }
  json document;
  document["rules"] = std::move(rules);
  co_return HttpResponse::json(document);
}

/// The rule is stored with the work that makes its links and the views follow; the work begins now.
HttpResponse answer(Call& call, json body, Result<work::WorkId> stored, int status) {
  body["work"] = id_text(expect(std::move(stored)));
  call.services.catalogs.invalidate(call.workspace);
  call.services.engine.kick();
  return HttpResponse::json(body, status);
}

/// "stripe.customer.metadata.number" ends at no attribute: how it gets one.
Error with_way(const model::Catalog& catalog, const json& body, Error why) {
  for (const char* end : {"source", "target"}) {
    const auto text = body.at(end).get<std::string>();
    for (const model::StoredType& type : catalog.types) {
      const std::size_t at = type.name.size() + 1;
      if (type.own || !text.starts_with(type.name + ".") || text.find('.', at) == text.npos)
        continue;
      why.hint = fmt::format(
          "Give what stands there a name first: sluice entity add-attribute {} "
          "NAME:key={} --path {}",
          type.name, body.at("kind").get<std::string>(), text.substr(at));
    }
  }
  return why;
}

Task<HttpResponse> create_rule(Call& call) {
  const json body = co_await call.body();
  const std::string name = body.at("name").get<std::string>();
  const auto [source_type, source_attribute] =
      split_end(body.at("source").get<std::string>(), "source");
  const auto [target_type, target_attribute] =
      split_end(body.at("target").get<std::string>(), "target");
  const contract::KeyKind kind = contract::key_kind(body.at("kind").get<std::string>()).value();
  const model::CatalogPtr catalog = co_await call.services.catalogs.renewed(call.workspace);
  model::StoredRule wanted;
  wanted.source_type_name = source_type;
  wanted.source_attribute = source_attribute;
  wanted.target_type_name = target_type;
  wanted.target_attribute = target_attribute;
  wanted.key_kind = kind;
  // Otherwise it could never find anything.
  if (auto why = link::why_idle(*catalog, wanted)) throw Failure(with_way(*catalog, body, *why));
  sync::NewRule rule;
  rule.name = name;
  rule.source_type = source_type;
  rule.source_attribute = source_attribute;
  rule.target_type = target_type;
  rule.target_attribute = target_attribute;
  rule.kind = kind;
  auto made =
      co_await sync::make_rule(call.services.pool, call.workspace, std::move(rule), call.actor());
  co_return answer(call, body, std::move(made), 201);
}

Task<HttpResponse> change_rule(Call& call) {
  const json body = co_await call.body();
  auto changed = co_await sync::switch_rule(call.services.pool, call.workspace, call.part("rule"),
                                            body["enabled"].get<bool>(), call.actor());
  co_return answer(call, body, std::move(changed), 202);
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
  entity["id"] = id_text(id);
  return entity;
}

/// What an entity is called, and its value of the rule's attribute.
void show_face(json& entity, const link::Face& face) {
  if (!face.external_id.empty()) entity["external_id"] = face.external_id;
  entity["name"] = face.name.empty() ? json(nullptr) : json(face.name);
  entity["key"] = face.value ? json(*face.value) : json(nullptr);
}

json describe(const model::Catalog& catalog, const link::ListedLink& link) {
  json one;
  if (const model::StoredRule* const rule = catalog.find_rule(link.rule)) one["rule"] = rule->name;
  one["state"] = link.state;
  one["source"] = entity_of(catalog, link.source_type, link.source);
  show_face(one["source"], link.source_face);
  one["target"] = nullptr;
  if (link.target && link.target_type) {
    one["target"] = entity_of(catalog, *link.target_type, *link.target);
    show_face(one["target"], link.target_face);
  }
  one["candidates"] = json::array();
  for (const EntityId candidate : link.candidates) one["candidates"].push_back(id_text(candidate));
  one["candidate_names"] = json::array();
  for (const link::Face& face : link.candidate_faces) {
    json candidate;
    candidate["id"] = id_text(face.id);
    show_face(candidate, face);
    one["candidate_names"].push_back(std::move(candidate));
  }
  one["candidate_count"] = link.candidate_count;
  one["evidence"] = link.evidence;
  one["decided_by"] = link.decided_by;
  return one;
}

Task<HttpResponse> list_links(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  link::LinkQuery query;
  if (const auto name = call.http.parameter("rule")) {
    const model::StoredRule* found = catalog->find_rule(*name);
    if (found == nullptr)
      bad_request("rule.unknown", "there is no rule '" + *name + "'", "sluice link rules");
    query.rule = found->id;
  }
  query.state = call.http.parameter("state");
  if (const auto name = call.http.parameter("type")) {
    const model::StoredType* type = catalog->find(*name);
    if (type == nullptr)
      bad_request("type.not_found", "there is no entity type '" + *name + "'",
                  "sluice entity types");
    query.type = type->id;
  }
  query.limit = static_cast<int>(call.limit());
  std::tie(query.after_rule.value, query.after_source.value) =
      read_cursor(call.http.parameter("cursor").value_or(""));
  auto connection = co_await call.services.pool.acquire();
  json document;
  if (query.state == model::kNoKey) {
    const link::UnkeyedPage unkeyed =
        co_await link::list_unkeyed(*connection, call.workspace, catalog, query);
    document["links"] = json::array();
    for (const link::ListedLink& one : unkeyed.links)
      document["links"].push_back(describe(*catalog, one));
    document["next"] = nullptr;
    if (unkeyed.more)
      document["next"] = fmt::format("{}.{}", unkeyed.last_rule.value, unkeyed.last_source.value);
    co_return HttpResponse::json(document);
  }
  const auto page = co_await link::list_links(*connection, call.workspace, catalog, query);
  document["links"] = json::array();
  for (const link::ListedLink& one : page) document["links"].push_back(describe(*catalog, one));
  document["next"] = nullptr;
  if (page.size() == static_cast<std::size_t>(query.limit)) {
    document["next"] =
        std::to_string(page.back().rule.value) + "." + std::to_string(page.back().source.value);
  }
  co_return HttpResponse::json(document);
}

Task<HttpResponse> remove_rule(Call& call) {
  auto gone = co_await sync::remove_rule(call.services.pool, call.workspace, call.part("rule"),
                                         call.flag("with_decisions"), call.actor());
  json body;
  body["name"] = call.part("rule");
  co_return answer(call, std::move(body), std::move(gone), 202);
}

constexpr std::array kRemoveQuery = {
    Parameter{.name = "with_decisions",
              .says = "also when people decided something under it, which goes with it",
              .kind = ParameterKind::flag}};

/// "linked pending … no_key"
constexpr auto kStateChoices = [] {
  constexpr std::size_t kBytes = std::accumulate(
      model::kLinkStates.begin(), model::kLinkStates.end(), model::kNoKey.size(),
      [](std::size_t bytes, std::string_view state) { return bytes + state.size() + 1; });
  std::array<char, kBytes> text{};
  auto* at = text.data();
  for (const std::string_view state : model::kLinkStates) {
    at = std::copy(state.begin(), state.end(), at);
    *at++ = ' ';
  }
  std::copy(model::kNoKey.begin(), model::kNoKey.end(), at);
  return text;
}();

constexpr std::array kLinksQuery = {
    Parameter{.name = "rule", .says = "only of this rule"},
    Parameter{.name = "state",
              .says = "only in this state",
              .kind = ParameterKind::choice,
              .choices = {kStateChoices.data(), kStateChoices.size()}},
    Parameter{.name = "type", .says = "only of rules that begin or end at this type"},
    limit_of(50, link::kLinksPageMax),
    Parameter{.name = "cursor", .says = "where to go on: the next of the page before"}};

constexpr std::array<Route, 5> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/link-rules",
     .access = Access::reader,
     .operation = "listLinkRules",
     .summary = "Link rules, with how many links each has in which state",
     .handler = list_rules,
     .answer = "LinkRuleList"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/link-rules",
     .access = Access::admin,
     .operation = "createLinkRule",
     .summary = "Makes a rule; the work it answers with applies it to what is there",
     .handler = create_rule,
     .body = "LinkRuleNew",
     .answer = "LinkRuleMade",
     .status = "201",
     .problems = "400 rule.* type.* attribute.* 404 rule.* type.* 409 rule.*"},
    {.method = "PATCH",
     .pattern = "/v1/workspaces/{workspace}/link-rules/{rule}",
     .access = Access::admin,
     .operation = "changeLinkRule",
     .summary = "Switches a rule; its links follow by the work that it answers with",
     .handler = change_rule,
     .body = "LinkRuleChange",
     .answer = "LinkRuleChanged",
     .status = "202",
     .problems = "404 rule.unknown 409 rule.*"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/link-rules/{rule}",
     .access = Access::admin,
     .operation = "removeLinkRule",
     .summary = "Removes a rule of your own; its links go by the work that it answers with",
     .handler = remove_rule,
     .query = kRemoveQuery,
     .answer = "LinkRuleRemoved",
     .status = "202",
     .problems = "404 rule.unknown 409 rule.of_connector rule.has_decisions"},
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/links",
     .access = Access::reader,
     .operation = "listLinks",
     .summary = "Links with names and keys, by rule and then by what they begin at; in the state "
                "no_key: what has no key to be found by",
     .handler = list_links,
     .query = kLinksQuery,
     .answer = "LinkPage",
     .problems = "400 rule.unknown type.not_found link.bad_cursor"},
}};

}  // namespace

std::span<const Route> link_routes() { return kRoutes; }

}  // namespace sluice::api
