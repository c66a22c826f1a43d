// One entity and its links: what keys it has, which rules looked, what they found, what would help;
// and what people decide of them.
#include "api/api.hpp"
#include "api/entity_of_path.hpp"
#include "base/numbers.hpp"

#include "feed/entities.hpp"
#include "link/faces.hpp"
#include "link/idle.hpp"
#include "link/normalise.hpp"
#include "link/resolver.hpp"
#include "link/standing.hpp"
#include "model/link_states.hpp"
#include "sync/link_decisions.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace sluice::api {
namespace {

using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;
using nlohmann::json;

/// The entity of the path, as REST shows it; deleted ones too.
Task<json> entity_of(Call& call, model::CatalogPtr catalog) {
  feed::EntityRef wanted = entity_of_path(call);
  std::vector<std::string> nothing;
  co_return expect(co_await feed::get_entity(call.services.pool, std::move(catalog),
                                             call.part("type"), std::move(wanted),
                                             std::move(nothing), feed::Tombstones::include));
}

std::int64_t id_in(const json& entity) {
  const json& id = entity.at("id");
  if (id.is_number_integer()) return id.get<std::int64_t>();
  return std::stoll(id.get<std::string>());
}

/// A key that the entity has, might have, or lacks.
struct Key {
  const StoredAttribute* attribute = nullptr;
  std::string value;  ///< "" without one
  bool has_value = false;
  bool usable = false;
};

Key key_of(const json& entity, const StoredAttribute& attribute) {
  Key key;
  key.attribute = &attribute;
  const json& attributes = entity.at("attributes");
  if (!attributes.is_object()) return key;  // of a row that cannot be read
  const auto found = attributes.find(attribute.name);
  if (found == attributes.end() || found->is_null()) return key;
  key.has_value = true;
  key.value = found->is_string() ? found->get<std::string>() : found->dump();
  key.usable = attribute.key_kind && link::normalise(*attribute.key_kind, key.value).has_value();
  return key;
}

json describe(const Key& key) {
  json one;
  one["attribute"] = key.attribute->name;
  one["kind"] = contract::to_string(*key.attribute->key_kind);
  one["value"] = key.has_value ? json(key.value) : json(nullptr);
  one["usable"] = key.usable;
  return one;
}

json describe(const std::string& type, EntityId id, const link::Faces& faces) {
  json one;
  one["type"] = type;
  one["id"] = std::to_string(id.value);
  const auto face = faces.find(id);
  one["external_id"] = nullptr;
  one["name"] = nullptr;
  one["key"] = nullptr;
  one["deleted"] = face == faces.end() || face->second.deleted;
  if (face == faces.end()) return one;
  if (!face->second.external_id.empty()) one["external_id"] = face->second.external_id;
  if (!face->second.name.empty()) one["name"] = face->second.name;
  if (face->second.value) one["key"] = *face->second.value;
  return one;
}

json describe(const link::StandingDecision& decision) {
  json one;
  one["decision"] = decision.confirmed ? "confirmed" : "rejected";
  one["source"] = std::to_string(decision.source.value);
  one["target"] =
      decision.target.value == 0 ? json(nullptr) : json(std::to_string(decision.target.value));
  one["at"] = to_rfc3339(decision.at);
  one["by"] = decision.by;
  one["why"] = decision.why;
  return one;
}

/// Everything that the answer is made of.
struct Facts {
  const model::Catalog& catalog;
  const StoredType& type;
  json entity;
  EntityId id;
  bool deleted = false;
  link::Standing standing;
};

struct Words {
  std::string why;
  std::string action;
};

std::string command(const Facts& facts, std::string_view verb, std::string_view rest) {
  return fmt::format("sluice link {} {} {}{}{}", verb, facts.type.name, facts.id.value,
                     rest.empty() ? "" : " ", rest);
}

std::string by_hand(const Facts& facts, const StoredRule& rule) {
  return command(facts, "confirm",
                 fmt::format("<{} id> --rule {}", rule.target_type_name, rule.name));
}

/// Why a rule does not look at all; empty words when it does.
Words why_not_looking(const Facts& facts, const StoredRule& rule) {
  Words words;
  if (!rule.enabled) {
    words.why = "the rule is off, so nothing is looked for";
    words.action = fmt::format("sluice link enable-rule {}", rule.name);
  } else if (const auto idle = link::why_idle(facts.catalog, rule)) {
    words.why = "the rule finds nothing: " + idle->message;
    words.action = idle->hint;
  }
  return words;
}

/// What somebody said, in words; empty when nobody did.
Words of_decision(const Facts& facts, const StoredRule& rule, std::string_view state) {
  Words words;
  const std::string withdraw = command(facts, "forget", "--rule " + rule.name);
  std::vector<std::string> others;  // that were rejected, beside the one that is told of
  for (const link::StandingDecision& said : facts.standing.decisions) {
    if (said.rule != rule.id || said.source != facts.id) continue;
    const std::string reason = said.why.empty() ? "" : fmt::format(" (\"{}\")", said.why);
    const std::string who =
        fmt::format("{} decided on {}{}", said.by, to_rfc3339(said.at).substr(0, 10), reason);
    if (said.confirmed && state == "pending") {
      words.why = fmt::format(
          "{} that it is {} {}, which is deleted; made again with the same {}, "
          "it is linked again",
          who, rule.target_type_name, said.target.value, rule.target_attribute);
    } else if (said.confirmed) {
      words.why = fmt::format("{} that it is {} {}; no key changes that", who,
                              rule.target_type_name, said.target.value);
    } else if (said.target.value == 0) {
      words.why = fmt::format("{} that it is no {} at all; no key changes that", who,
                              rule.target_type_name);
    } else if (state == "rejected" && !words.why.empty()) {
      others.push_back(std::to_string(said.target.value));
    } else if (state == "rejected") {
      words.why = fmt::format("{} that it is not {} {}, and nobody else who has its key is left", who,
                              rule.target_type_name, said.target.value);
    } else {
      continue;
    }
    words.action = withdraw + " takes that back";
    if (said.confirmed || said.target.value == 0) return words;
  }
  if (!others.empty()) {
    constexpr std::size_t kShownMax = 10;
    const std::size_t more = others.size() - std::min(others.size(), kShownMax);
    others.resize(others.size() - more);
    words.why += fmt::format("; it was also decided that it is not {}{}", fmt::join(others, ", "),
                             more > 0 ? fmt::format(" and {} more", more) : std::string());
  }
  return words;
}

Words without_key(const Facts& facts, const StoredRule& rule, const Key& key) {
  Words words;
  const std::string mend = facts.type.own
                               ? fmt::format("give it one: sluice entity update {} {} {}=VALUE",
                                             facts.type.name, facts.id.value, rule.source_attribute)
                               : fmt::format("set it at the vendor ({})", facts.type.connector);
  if (facts.deleted) {
    words.why = "it is deleted, so it has no key any more";
  } else if (!key.has_value) {
    words.why =
        fmt::format("it has no {}, so the rule has nothing to look for", rule.source_attribute);
    words.action = fmt::format("{}, or say who it is: {}", mend, by_hand(facts, rule));
  } else {
    words.why = fmt::format("its {} '{}' gives no key of kind {}", rule.source_attribute,
                            key.value.substr(0, 100), contract::to_string(rule.key_kind));
    words.action = fmt::format("{}, or say who it is: {}", mend, by_hand(facts, rule));
  }
  return words;
}

Words of_state(const Facts& facts, const StoredRule& rule, const Key& key,
               const link::StandingLink* link) {
  Words words = why_not_looking(facts, rule);
  if (!words.why.empty()) return words;
  const std::string state = link == nullptr ? "" : link->state;
  words = of_decision(facts, rule, state);
  if (!words.why.empty()) return words;
  if (!key.usable) return without_key(facts, rule, key);
  const std::string wanted =
      fmt::format("{} '{}'", rule.target_attribute, key.value.substr(0, 100));
  if (state == "linked" && link->target) {
    words.why = fmt::format("one {} has {}", rule.target_type_name, wanted);
    words.action = fmt::format(
        "nothing; if it is somebody else: {}",
        command(facts, "reject", fmt::format("{} --rule {}", link->target->value, rule.name)));
  } else if (state == "contested") {
    words.why = fmt::format("{} {} have {}; Sluice does not guess", link->candidate_count,
                            rule.target_type_name, wanted);
    words.action = fmt::format(
        "say which: {}",
        command(
            facts, "confirm",
            fmt::format("{} --rule {}",
                        link->candidates.empty() ? 0 : link->candidates.front().value, rule.name)));
  } else if (state == "pending") {
    words.why = fmt::format("no {} has {}", rule.target_type_name, wanted);
    words.action =
        fmt::format("create or import one that has it, or say who it is: {}", by_hand(facts, rule));
  } else if (facts.standing.queue || link != nullptr) {
    words.why = "its key waits to be looked at";
    words.action = "ask again in a moment (sluice status says whether a host works)";
  } else {
    words.why = "the rule has not looked at it";
    words.action = fmt::format("sluice link enable-rule {} looks at everything again", rule.name);
  }
  return words;
}

std::string state_of(const Key& key, const link::StandingLink* link) {
  if (link != nullptr) return link->state;
  return std::string(key.usable ? "waiting" : model::kNoKey);
}

std::vector<EntityId> targets_of(const Facts& facts, const StoredRule& rule,
                                 const link::StandingLink* link) {
  std::vector<EntityId> ids;
  if (link != nullptr) ids = link->candidates;
  if (link != nullptr && link->target) ids.push_back(*link->target);
  for (const link::StandingDecision& said : facts.standing.decisions) {
    if (said.rule == rule.id && said.source == facts.id && said.target.value != 0)
      ids.push_back(said.target);
  }
  return ids;
}

/// The entity as the source of a rule.
Task<json> as_source(pg::Connection& connection, const Facts& facts, const StoredRule& rule) {
  const auto found = std::ranges::find_if(facts.standing.links,
                                          [&](const auto& one) { return one.rule == rule.id; });
  const link::StandingLink* const link = found == facts.standing.links.end() ? nullptr : &*found;
  const StoredAttribute* const attribute = facts.type.find(rule.source_attribute);
  const Key key = attribute == nullptr ? Key() : key_of(facts.entity, *attribute);
  link::Faces faces;
  const StoredType* const target = facts.catalog.find(rule.target_type);
  if (target != nullptr) {
    std::vector<EntityId> ids = targets_of(facts, rule, link);
    faces = co_await link::faces_of(connection, facts.catalog.workspace, *target,
                                    target->find(rule.target_attribute), std::move(ids));
  }
  const Words words = of_state(facts, rule, key, link);
  json one;
  one["rule"] = rule.name;
  one["direction"] = "to";
  one["type"] = rule.target_type_name;
  one["attribute"] = rule.source_attribute;
  one["other_attribute"] = rule.target_attribute;
  one["kind"] = contract::to_string(rule.key_kind);
  one["state"] = state_of(key, link);
  one["target"] = nullptr;
  if (link != nullptr && link->target)
    one["target"] = describe(rule.target_type_name, *link->target, faces);
  one["candidates"] = json::array();
  if (link != nullptr) {
    for (const EntityId candidate : link->candidates)
      one["candidates"].push_back(describe(rule.target_type_name, candidate, faces));
  }
  one["candidate_count"] = link == nullptr ? 0 : link->candidate_count;
  one["decided_by"] = link == nullptr ? json(nullptr) : json(link->by_human ? "human" : "rule");
  one["since"] = link == nullptr ? json(nullptr) : json(to_rfc3339(link->since));
  one["decisions"] = json::array();
  for (const link::StandingDecision& said : facts.standing.decisions) {
    if (said.rule == rule.id && said.source == facts.id) one["decisions"].push_back(describe(said));
  }
  one["why"] = words.why;
  one["action"] = words.action;
  co_return one;
}

Words of_sources(const Facts& facts, const StoredRule& rule, const Key& key, std::size_t linked,
                 std::size_t others) {
  Words words = why_not_looking(facts, rule);
  if (!words.why.empty()) return words;
  const std::string say = fmt::format("sluice link confirm {} <its id> {} --rule {}",
                                      rule.source_type_name, facts.id.value, rule.name);
  if (!key.usable && linked == 0) {
    words.why =
        key.has_value
            ? fmt::format("its {} '{}' gives no key of kind {}", rule.target_attribute,
                          key.value.substr(0, 100), contract::to_string(rule.key_kind))
            : fmt::format("it has no {}, so nothing can be linked with it", rule.target_attribute);
    words.action = fmt::format("give it one, or say who it is: {}", say);
  } else if (linked > 0) {
    words.why =
        fmt::format("{} {} {} linked with it{}",
                    linked > link::kSourcesShown ? fmt::format("more than {}", link::kSourcesShown)
                                                 : std::to_string(linked),
                    rule.source_type_name, linked == 1 ? "is" : "are",
                    others > 0 ? ", and others have its key" : "");
    words.action = others > 0 ? fmt::format("sluice link why {} <id> says why they are not",
                                            rule.source_type_name)
                              : "nothing";
  } else if (others > 0) {
    words.why =
        fmt::format("{} {} with its {} {} not linked with it", others, rule.source_type_name,
                    rule.target_attribute, others == 1 ? "is" : "are");
    words.action = fmt::format("say which: {}", say);
  } else {
    words.why = fmt::format("no {} has {} '{}'", rule.source_type_name, rule.source_attribute,
                            key.value.substr(0, 100));
    words.action = fmt::format("nothing, if there is none; else say who it is: {}", say);
  }
  return words;
}

/// The entity as the target of a rule.
Task<json> as_target(pg::Connection& connection, const Facts& facts, const StoredRule& rule) {
  std::vector<const link::StandingSource*> linked, others;
  std::vector<EntityId> ids;
  for (const link::StandingSource& source : facts.standing.sources) {
    if (source.rule != rule.id) continue;
    (source.linked_here ? linked : others).push_back(&source);
    ids.push_back(source.source);
  }
  const std::size_t linked_count = linked.size();
  const std::size_t other_count = others.size();
  bool more = false;
  for (auto* list : {&linked, &others}) {
    more = more || list->size() > static_cast<std::size_t>(link::kSourcesShown);
    list->resize(std::min<std::size_t>(list->size(), link::kSourcesShown));
  }
  link::Faces faces;
  const StoredType* const source_type = facts.catalog.find(rule.source_type);
  if (source_type != nullptr) {
    faces = co_await link::faces_of(connection, facts.catalog.workspace, *source_type,
                                    source_type->find(rule.source_attribute), std::move(ids));
  }
  const StoredAttribute* const attribute = facts.type.find(rule.target_attribute);
  const Key key = attribute == nullptr ? Key() : key_of(facts.entity, *attribute);
  const Words words = of_sources(facts, rule, key, linked_count, other_count);
  json one;
  one["rule"] = rule.name;
  one["direction"] = "from";
  one["type"] = rule.source_type_name;
  one["attribute"] = rule.target_attribute;
  one["other_attribute"] = rule.source_attribute;
  one["kind"] = contract::to_string(rule.key_kind);
  one["state"] = linked_count > 0 ? "linked" : !key.usable ? model::kNoKey : "pending";
  one["sources"] = json::array();
  for (const auto* list : {&linked, &others}) {
    for (const link::StandingSource* source : *list) {
      json shown = describe(rule.source_type_name, source->source, faces);
      shown["state"] = source->state.empty() ? "waiting" : source->state;
      shown["linked_here"] = source->linked_here;
      one["sources"].push_back(std::move(shown));
    }
  }
  one["has_more"] = more;
  one["decisions"] = json::array();
  for (const link::StandingDecision& said : facts.standing.decisions) {
    if (said.rule == rule.id && said.target == facts.id) one["decisions"].push_back(describe(said));
  }
  one["why"] = words.why;
  one["action"] = words.action;
  co_return one;
}

Task<HttpResponse> why(Call& call) {
  const model::CatalogPtr catalog = co_await catalog_of(call);
  json entity = co_await entity_of(call, catalog);
  const StoredType& type = *catalog->find(call.part("type"));
  Facts facts{*catalog, type, std::move(entity), EntityId(0), false, link::Standing()};
  facts.id = EntityId(id_in(facts.entity));
  facts.deleted = !facts.entity.at("provenance").value("deleted_at", json(nullptr)).is_null();
  auto connection = co_await call.services.pool.acquire();
  facts.standing = co_await link::standing_of(*connection, catalog, type.id, facts.id);
  const EntityId id = facts.id;
  std::vector<EntityId> self(1, id);
  const link::Faces own =
      co_await link::faces_of(*connection, catalog->workspace, type, nullptr, std::move(self));
  json document;
  document["entity"] = describe(type.name, id, own);
  document["entity"].erase("key");
  document["keys"] = json::array();
  for (const StoredAttribute& attribute : type.attributes) {
    if (attribute.key_kind) document["keys"].push_back(describe(key_of(facts.entity, attribute)));
  }
  document["links"] = json::array();
  for (const StoredRule& rule : catalog->rules) {
    if (rule.going) continue;
    if (rule.source_type == type.id || rule.source_type_name == type.name) {
      json one = co_await as_source(*connection, facts, rule);
      document["links"].push_back(std::move(one));
    }
    if (rule.target_type == type.id || rule.target_type_name == type.name) {
      json one = co_await as_target(*connection, facts, rule);
      document["links"].push_back(std::move(one));
    }
  }
  co_return HttpResponse::json(document);
}

/// The rule of the path, which must begin at the path's type.
const StoredRule& rule_of(const Call& call, const model::Catalog& catalog) {
  std::string known;
  for (const StoredRule& rule : catalog.rules) {
    if (rule.going || rule.source_type_name != call.part("type")) continue;
    if (rule.name == call.part("rule")) return rule;
    known += (known.empty() ? "" : ", ") + rule.name;
  }
  throw Failure(Error(ErrorKind::not_found, "rule.unknown",
                      fmt::format("no rule '{}' begins at {}", call.part("rule").substr(0, 100),
                                  call.part("type").substr(0, 100)),
                      known.empty() ? "sluice link rules" : "there is " + known));
}

/// "20" or 20, as an id; nothing for null.
std::optional<EntityId> target_in(const json& body) {
  const auto found = body.find("target");
  if (found == body.end() || found->is_null()) return std::nullopt;
  const auto id = whole_number(found->is_string() ? found->get<std::string>() : found->dump());
  if (!id || *id <= 0)
    bad_request("request.bad_field", "target must be an id of Sluice, or null",
                "sluice link why TYPE ID shows those that the rule has found");
  return EntityId(*id);
}

json answer_of(const StoredRule& rule, EntityId source, const sync::DecidedLink& decided) {
  json document;
  document["rule"] = rule.name;
  document["source"] = {{"type", rule.source_type_name}, {"id", std::to_string(source.value)}};
  document["state"] = decided.state;
  document["target"] = nullptr;
  if (decided.target) {
    document["target"] = {{"type", rule.target_type_name},
                          {"id", std::to_string(decided.target->value)}};
  }
  if (decided.in_advance) {
    document["note"] = fmt::format(
        "the rule does not find it for {} {} now; the rejection is kept for when it does",
        rule.source_type_name, source.value);
  }
  return document;
}

Task<HttpResponse> decide(Call& call) {
  const json body = co_await call.body();
  const auto word = body.at("decision").get<std::string>();
  sync::LinkDecision decision;
  decision.verdict = word == "confirmed" ? sync::Verdict::confirmed : sync::Verdict::rejected;
  decision.target = target_in(body);
  decision.why = body.value("why", std::string());
  if (decision.verdict == sync::Verdict::confirmed && !decision.target) {
    bad_request("request.missing_field", "a confirmation needs \"target\": whom it is linked with",
                "sluice link why TYPE ID shows those that the rule has found");
  }
  const model::CatalogPtr catalog = co_await call.services.catalogs.renewed(call.workspace);
  decision.rule = rule_of(call, *catalog);
  const StoredRule rule = decision.rule;
  const json entity = co_await entity_of(call, catalog);
  decision.source = EntityId(id_in(entity));
  const EntityId source = decision.source;
  const sync::DecidedLink decided = expect(
      co_await sync::decide_link(call.services.pool, catalog, std::move(decision), call.actor()));
  call.services.engine.kick();
  co_return HttpResponse::json(answer_of(rule, source, decided));
}

Task<HttpResponse> withdraw(Call& call) {
  const auto of = call.number("target");
  std::optional<EntityId> target;
  if (of) target = EntityId(*of);
  const model::CatalogPtr catalog = co_await call.services.catalogs.renewed(call.workspace);
  const StoredRule rule = rule_of(call, *catalog);
  const json entity = co_await entity_of(call, catalog);
  const EntityId source(id_in(entity));
  const sync::DecidedLink decided = expect(co_await sync::withdraw_decision(
      call.services.pool, catalog, rule, source, target, call.actor()));
  call.services.engine.kick();
  co_return HttpResponse::json(answer_of(rule, source, decided));
}

constexpr Parameter kBy{.name = "by",
                        .says = "what the id in the path is, when it is all digits",
                        .kind = ParameterKind::choice,
                        .choices = "id external_id"};
constexpr Parameter kConnection{.name = "connection",
                                .says = "whose external id it is, when several have it"};
constexpr std::array kWhyQuery = {kBy, kConnection};
constexpr std::array kWithdrawQuery = {
    kBy, kConnection,
    Parameter{
        .name = "target", .says = "only what was decided of this one", .kind = ParameterKind::id}};

constexpr std::array<Route, 3> kRoutes = {{
    {.method = "GET",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}/{id}/links",
     .access = Access::reader,
     .operation = "explainLinks",
     .summary =
         "Why an entity is linked or not: its keys, and of each rule what it found, why, and "
         "what would help",
     .handler = why,
     .query = kWhyQuery,
     .answer = "EntityLinks",
     .problems = "404 type.not_found entity.not_found 409 entity.ambiguous"},
    {.method = "POST",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}/{id}/links/{rule}",
     .access = Access::admin,
     .operation = "decideLink",
     .summary = "Decides about the entity's link under a rule; outranks keys until it is withdrawn",
     .handler = decide,
     .query = kWhyQuery,
     .body = "LinkDecisionNew",
     .answer = "LinkDecided",
     .problems = "400 link.itself 404 rule.unknown type.not_found entity.not_found "
                 "link.unknown_source link.unknown_target 409 entity.ambiguous "
                 "link.too_many_decisions"},
    {.method = "DELETE",
     .pattern = "/v1/workspaces/{workspace}/entities/{type}/{id}/links/{rule}",
     .access = Access::admin,
     .operation = "withdrawLinkDecision",
     .summary = "Withdraws what was decided about the entity's link; the rule decides again",
     .handler = withdraw,
     .query = kWithdrawQuery,
     .answer = "LinkDecided",
     .problems = "404 rule.unknown type.not_found entity.not_found link.not_decided 409 "
                 "entity.ambiguous"},
}};

}  // namespace

std::span<const Route> entity_link_routes() { return kRoutes; }

}  // namespace sluice::api
