// A workspace with the connector "acme", pages of its records, and a writer for them.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ingest/shape.hpp"
#include "ingest/tail.hpp"
#include "ingest/writer.hpp"
#include "model/storage.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::ingest {

using contract::AttributeType;
using contract::Kind;
using contract::Value;

inline contract::Attribute attribute(std::string name, AttributeType type, bool required = false) {
  contract::Attribute made;
  made.name = std::move(name);
  made.type = type;
  made.required = required;
  return made;
}

/// acme.person (name required, email a link key, age, score, born, data, blob, price) and
/// acme.line (person: a relationship).
inline contract::Manifest acme() {
  contract::Manifest manifest;
  manifest.id = "acme";
  manifest.version = "1.0.0";
  manifest.document = nlohmann::json::object();
  contract::EntityType person;
  person.name = "person";
  person.display_name = "Person";
  person.display_attribute = "name";
  person.attributes = {
      attribute("name", AttributeType::text, true), attribute("email", AttributeType::text),
      attribute("age", AttributeType::integer),     attribute("score", AttributeType::number),
      attribute("born", AttributeType::date),       attribute("data", AttributeType::json),
      attribute("blob", AttributeType::bytes),      attribute("price", AttributeType::decimal),
      attribute("seen", AttributeType::timestamp),  attribute("active", AttributeType::boolean)};
  contract::LinkKey key;
  key.attribute = "email";
  key.kind = contract::KeyKind::email;
  person.link_keys.push_back(key);
  contract::EntityType line;
  line.name = "line";
  line.display_name = "Line";
  line.display_attribute = "person";
  line.attributes = {attribute("person", AttributeType::text),
                     attribute("amount", AttributeType::integer)};
  contract::Relationship relationship;
  relationship.name = "person";
  relationship.attribute = "person";
  relationship.target = "person";
  line.relationships.push_back(relationship);
  manifest.entity_types = {person, line};
  return manifest;
}

/// Builds a page: one call a record.
class PageBuilder {
 public:
  explicit PageBuilder(const contract::Manifest& manifest) : manifest_(manifest) {}

  PageBuilder& record(std::string_view type, std::string_view id, const nlohmann::json& values,
                      std::int64_t version = 0) {
    const auto index = *manifest_.type_index(type);
    contract::Record made;
    made.type = index;
    made.external_id = page.keep(id);
    made.source_version = version;
    std::vector<Value> list;
    for (const auto& [name, content] : values.items()) {
      const auto attribute = *manifest_.entity_types[index].attribute_index(name);
      list.push_back(
          value(attribute, manifest_.entity_types[index].attributes[attribute].type, content));
    }
    const auto kept = page.allocate<Value>(list.size());
    std::copy(list.begin(), list.end(), kept.begin());
    made.values = kept;
    page.records.push_back(made);
    return *this;
  }
  PageBuilder& deleted(std::string_view type, std::string_view id, std::int64_t version = 0) {
    record(type, id, nlohmann::json::object(), version);
    page.records.back().deleted = true;
    return *this;
  }
  PageBuilder& notice(std::string_view type, std::string_view id, contract::NoticeKind kind,
                      std::string_view into = {}) {
    contract::Notice made;
    made.type = *manifest_.type_index(type);
    made.external_id = page.keep(id);
    made.kind = kind;
    made.merged_into = page.keep(into);
    page.notices.push_back(made);
    return *this;
  }

  contract::Page page;

 private:
  Value value(std::uint32_t attribute, AttributeType type, const nlohmann::json& content) {
    Value made;
    made.attribute = attribute;
    if (content.is_null()) return made;
    switch (type) {
      case AttributeType::text:
        made.kind = Kind::string;
        break;
      case AttributeType::decimal:
        made.kind = Kind::decimal;
        break;
      case AttributeType::json:
        made.kind = Kind::json;
        break;
      case AttributeType::bytes:
        made.kind = Kind::raw;
        break;
      case AttributeType::number:
        made.kind = Kind::real;
        made.real = content.get<double>();
        return made;
      case AttributeType::boolean:
        made.kind = Kind::boolean;
        made.number = content.get<bool>();
        return made;
      case AttributeType::integer:
        made.kind = Kind::int64;
        made.number = content.get<std::int64_t>();
        return made;
      case AttributeType::date:
        made.kind = Kind::date;
        made.number = content.get<std::int64_t>();
        return made;
      case AttributeType::timestamp:
        made.kind = Kind::timestamp;
        made.number = content.get<std::int64_t>();
        return made;
    }
    made.text = page.keep(content.get<std::string>());
    return made;
  }
  const contract::Manifest& manifest_;
};

class WriterTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    install(acme());
  }

  void install(contract::Manifest manifest) {
    manifest_ = std::move(manifest);
    run(prepare());
    writer_ = std::make_unique<Writer>(pool());
  }

  Task<void> prepare() {
    auto connection = co_await pool().acquire();
    std::string world = sluice::testing::kOneStream;
    world +=
        "insert into sluice.sync_run (workspace_id, connection_id, stream, kind) values (1, 1, "
        "'people', 'full');"
        "insert into sluice.lease_epoch values (1, 'account', 7);";
    co_await connection->script(std::move(world));
    co_await model::install_types(*connection, WorkspaceId(1), manifest_);
    context_.workspace = WorkspaceId(1);
    context_.connection = ConnectionId(1);
    context_.run = RunId(1);
    context_.stream = "people";
    context_.lease_name = "account";
    context_.epoch = Epoch(7);
    context_.manifest = &manifest_;
    context_.catalog = co_await model::load_catalog(*connection, WorkspaceId(1));
  }

  Task<void> reload() {
    auto connection = co_await pool().acquire();
    co_await model::install_types(*connection, WorkspaceId(1), manifest_);
    context_.catalog = co_await model::load_catalog(*connection, WorkspaceId(1));
  }
  Task<void> explain_generic(std::string sql, std::string types, int nulls,
                             std::vector<std::string>& plans) {
    auto connection = co_await pool().acquire();
    co_await connection->query("set enable_seqscan = off");  // as the role of the write path has it
    co_await connection->query("set plan_cache_mode = force_generic_plan");
    const std::string prepare = "prepare hot (" + types + ") as " + sql;
    co_await connection->query(prepare);
    std::string arguments = "null";
    for (int i = 1; i < nulls; ++i) arguments += ", null";
    const std::string explain = "explain execute hot (" + arguments + ")";
    const pg::QueryResult rows = co_await connection->query(explain);
    std::string text;
    for (int r = 0; r < rows.rows(); ++r) text += rows.get<std::string>(r, 0) + "\n";
    plans.push_back(text);
    co_await connection->query("deallocate hot");
    co_await connection->query("reset all");
  }

  PageCounts write(const contract::Page& page, PageEffects effects = PageEffects()) {
    return run(writer_->write(context_, page, std::move(effects)));
  }
  /// The first column of each row, joined with spaces.
  std::string ask(const std::string& sql) {
    const pg::QueryResult rows = run(pool().query(sql));
    std::string out;
    for (int r = 0; r < rows.rows(); ++r) {
      out += r > 0 ? " " : "";
      out += rows.is_null(r, 0) ? "null" : rows.get<std::string>(r, 0);
    }
    return out;
  }
  PageBuilder page() { return PageBuilder(manifest_); }

  contract::Manifest manifest_;
  PageContext context_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace sluice::ingest
