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

std::string external_ids_sql(const model::StoredType& type) {
  return fmt::format(
      "select v.id, v.external_id from unnest($2::bigint[]) as i(id) cross join lateral "
      "(select t.id, t.external_id from {} t where t.workspace_id = $1 and t.id = i.id offset 0) v",
      vendor_table(type));
}

std::string spelling_sql(const model::StoredType& type, const model::StoredAttribute& attribute) {
  const std::string value = type.own ? fmt::format("t.data->>{}", model::quote_text(attribute.name))
                                     : fmt::format("t.{}::text", model::quote_name(attribute.name));
  const std::string of_type =
      type.own ? fmt::format("and t.type_id = {} ", type.id.value) : std::string();
  return fmt::format(
      "select v.id, v.value from unnest($2::bigint[]) as i(id) cross join lateral "
      "(select t.id, {} as value from {} t where t.workspace_id = $1 {}and t.id = i.id offset 0) v",
      value, type.own ? std::string("sluice.own_entity") : vendor_table(type), of_type);
}

std::string rekey_look_sql(const model::StoredType& type, const model::StoredAttribute& attribute) {
  if (type.own) {
    return fmt::format(
        "select t.id, t.data->>{} from sluice.own_entity t where t.workspace_id = $1 "
        "and t.type_id = {} and t.id > $2 and t.deleted_at is null order by t.id limit $3 for "
        "share",
        model::quote_text(attribute.name), type.id.value);
  }
  return fmt::format(
      "select t.id, t.{}::text from {} t where t.workspace_id = $1 and t.id > $2 "
      "and t.deleted_at is null order by t.id limit $3 for share",
      model::quote_name(attribute.name), vendor_table(type));
}

}  // namespace sluice::link
