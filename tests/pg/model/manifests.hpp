// Manifests and a workspace for tests of what is stored.
#pragma once

#include <string>
#include <string_view>

#include "contract/manifest.hpp"
#include "pg/pool.hpp"

namespace sluice::testing {

inline contract::Attribute attribute(std::string name, contract::AttributeType type,
                                     bool is_protected = true) {
  contract::Attribute out;
  out.name = std::move(name);
  out.type = type;
  out.is_protected = is_protected;
  return out;
}

/// Connector "acme" with customer (every attribute type) and invoice (refers to customer).
inline contract::Manifest acme_manifest() {
  using contract::AttributeType;
  contract::Manifest manifest;
  manifest.id = "acme";
  manifest.version = "1.0.0";
  manifest.display_name = "Acme";
  contract::EntityType customer;
  customer.name = "customer";
  customer.display_name = "Customer";
  customer.display_attribute = "email";
  customer.attributes = {attribute("email", AttributeType::text),
                         attribute("created", AttributeType::timestamp),
                         attribute("balance", AttributeType::integer),
                         attribute("nickname", AttributeType::text, false)};
  customer.attributes[0].format = "email";
  customer.attributes[0].personal = true;
  customer.attributes[1].required = true;
  contract::LinkKey key;
  key.attribute = "email";
  key.kind = contract::KeyKind::email;
  customer.link_keys = {key};
  contract::EntityType invoice;
  invoice.name = "invoice";
  invoice.display_attribute = "number";
  invoice.attributes = {
      attribute("number", AttributeType::text),       attribute("customer", AttributeType::text),
      attribute("total", AttributeType::integer),     attribute("rate", AttributeType::decimal),
      attribute("score", AttributeType::number),      attribute("paid", AttributeType::boolean),
      attribute("created", AttributeType::timestamp), attribute("due", AttributeType::date),
      attribute("lines", AttributeType::json),        attribute("hash", AttributeType::bytes),
      attribute("memo", AttributeType::text, false)};
  contract::Relationship relationship;
  relationship.name = "customer";
  relationship.attribute = "customer";
  relationship.target = "customer";
  invoice.relationships = {relationship};
  manifest.entity_types = {customer, invoice};
  contract::LinkRule rule;
  rule.name = "acme.customer.email";
  rule.source_type = "customer";
  rule.source_attribute = "email";
  rule.target_type = "customer";
  rule.target_attribute = "email";
  rule.kind = contract::KeyKind::email;
  manifest.link_rules = {rule};
  return manifest;
}

inline Task<WorkspaceId> make_workspace(pg::Pool& pool, std::string name = "acme") {
  pg::Params params(name);
  const auto rows = co_await pool.query(
      "insert into sluice.workspace (name) values ($1) returning workspace_id", std::move(params));
  co_return rows.get<WorkspaceId>(0, 0);
}

}  // namespace sluice::testing
