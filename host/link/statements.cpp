#include "link/statements.hpp"

#include <fmt/format.h>

#include "model/columns.hpp"

namespace sluice::link {
namespace {

std::string vendor_table(const model::StoredType& type) {
  return "vendor." + model::quote_name(type.table);
}

}  // namespace

std::string alive_sql(const model::StoredType& type) {
  const std::string of_type =
      type.own ? fmt::format("and t.type_id = {} ", type.id.value) : std::string();
  return fmt::format(
      "select i.id from unnest($2::bigint[]) as i(id) cross join lateral (select from {} t "
      "where t.workspace_id = $1 {}and t.id = i.id and t.deleted_at is null offset 0) t",
      type.own ? std::string("sluice.own_entity") : vendor_table(type), of_type);
}

std::string made_after_sql(const model::StoredType& type) {
  const std::string table = type.own ? std::string("sluice.own_entity") : vendor_table(type);
  const auto of_type = [&](char alias) {
    return type.own ? fmt::format("and {}.type_id = {} ", alias, type.id.value) : std::string();
  };
  return fmt::format(
      "select i.n from unnest($2::bigint[], $3::bigint[]) with ordinality as i(gone, made, n) "
      "cross "
      "join lateral (select d.deleted_at from {0} d where d.workspace_id = $1 {1}and d.id = i.gone "
      "and d.deleted_at is not null offset 0) d cross join lateral (select from {0} m where "
      "m.workspace_id = $1 {2}and m.id = i.made and m.{3} >= d.deleted_at offset 0) m",
      table, of_type('d'), of_type('m'), type.own ? "created_at" : "first_synced_at");
}

std::string unkeyed_sql(const model::StoredType& type) {
  const std::string of_type =
      type.own ? fmt::format("and t.type_id = {} ", type.id.value) : std::string();
  return fmt::format(
      "with looked as materialized (select t.id from {} t where t.workspace_id = $1 {}and t.id > "
      "$2 and t.deleted_at is null order by t.id limit $3) "
      "select n.id, s.last, s.looked from (select max(id) as last, count(*) as looked from looked) "
      "s left join lateral (select p.id from looked p where (select 1 from (select x.type_id, "
      "x.attribute, x.kind from sluice.link_key x where x.workspace_id = $1 and x.entity_id = p.id "
      "offset 0) k where k.type_id = $4 and k.attribute = $5::int and k.kind = $6::int limit 1) is "
      "null and (select 1 from sluice.link l where l.workspace_id = $1 and l.rule_id = $7 and "
      "l.source_id = p.id) is null order by p.id limit $8) n on true order by n.id",
      type.own ? std::string("sluice.own_entity") : vendor_table(type), of_type);
}

std::string living_sql(const model::StoredType& type) {
  const std::string of_type =
      type.own ? fmt::format("and t.type_id = {} ", type.id.value) : std::string();
  return fmt::format(
      "select count(*) from (select 1 from {} t where t.workspace_id = $1 {}and t.deleted_at is "
      "null limit $2) t",
      type.own ? std::string("sluice.own_entity") : vendor_table(type), of_type);
}

std::string spelling_sql(const model::StoredType& type, const model::StoredAttribute& attribute) {
  std::string value = fmt::format("t.{}::text", model::quote_name(attribute.name));
  if (type.own) value = fmt::format("t.data->>{}", model::quote_text(attribute.name));
  if (!attribute.path.empty())
    value = fmt::format("({}) #>> '{{}}'", model::json_at_path(attribute, "t"));
  const std::string of_type =
      type.own ? fmt::format("and t.type_id = {} ", type.id.value) : std::string();
  return fmt::format(
      "select v.id, v.value from unnest($2::bigint[]) as i(id) cross join lateral "
      "(select t.id, {} as value from {} t where t.workspace_id = $1 {}and t.id = i.id offset 0) v",
      value, type.own ? std::string("sluice.own_entity") : vendor_table(type), of_type);
}

namespace {

/// What an entity is called: as its type says, else by the names that people use.
const model::StoredAttribute* name_of(const model::StoredType& type) {
  for (const std::string_view name :
       {std::string_view(type.display_attribute), std::string_view("name"),
        std::string_view("title"), std::string_view("number"), std::string_view("description")}) {
    const model::StoredAttribute* found = name.empty() ? nullptr : type.find(name);
    if (found != nullptr && found->type == contract::AttributeType::text) return found;
  }
  for (const model::StoredAttribute& attribute : type.attributes) {
    if (attribute.unique && attribute.type == contract::AttributeType::text) return &attribute;
  }
  return nullptr;
}

std::string short_text(const model::StoredType& type, const model::StoredAttribute* attribute) {
  if (attribute == nullptr) return "null::text";
  return fmt::format("left(({})::text, 200)", model::value_expression(type, *attribute, "t"));
}

}  // namespace

std::string face_sql(const model::StoredType& type, const model::StoredAttribute* key) {
  const std::string of_type =
      type.own ? fmt::format("and t.type_id = {} ", type.id.value) : std::string();
  return fmt::format(
      "select v.* from unnest($2::bigint[]) as i(id) cross join lateral (select t.id, {} as "
      "external_id, {} as name, {} as value, t.deleted_at is not null as gone from {} t "
      "where t.workspace_id = $1 {}and t.id = i.id offset 0) v",
      type.own ? "null::text" : "t.external_id", short_text(type, name_of(type)),
      short_text(type, key), type.own ? std::string("sluice.own_entity") : vendor_table(type),
      of_type);
}

std::string rekey_look_sql(const model::StoredType& type, const model::StoredAttribute& attribute) {
  if (type.own) {
    return fmt::format(
        "select t.id, t.data->>{} from sluice.own_entity t where t.workspace_id = $1 "
        "and t.type_id = {} and t.id > $2 and t.deleted_at is null order by t.id limit $3 for "
        "share",
        model::quote_text(attribute.name), type.id.value);
  }
  std::string value = "null";  // of what is no key, or was taken away, and so may have no column
  if (attribute.key_kind) {
    value = attribute.path.empty() ? "t." + model::quote_name(attribute.name)
                                   : fmt::format("({})", model::json_at_path(attribute, "t"));
  }
  return fmt::format(
      "select t.id, {}::text from {} t where t.workspace_id = $1 and t.id > $2 "
      "and t.deleted_at is null order by t.id limit $3 for share",
      value, vendor_table(type));
}

}  // namespace sluice::link
