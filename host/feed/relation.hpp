// One entity type as something to read: its columns as SQL, its rows as JSON. Internal to feed/.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "model/catalog.hpp"
#include "pg/result.hpp"

namespace sluice::feed {

/// A row that was read: the object for REST, and what edges to other rows start from.
struct Entity {
  nlohmann::json object;
  EntityId id;
  ConnectionId connection;  ///< of a preset type
  std::string external_id;  ///< of a preset type
  std::size_t bytes = 0;    ///< about what `object` takes as text, what it reaches included
};

/// "vendor.\"stripe_customer\"" or "sluice.own_entity".
[[nodiscard]] std::string relation_of(const model::StoredType& type);
/// Conditions that confine row `e` to the workspace $1 and the type; tombstones included.
[[nodiscard]] std::string confined(const model::StoredType& type);
/// What the vendor sent beyond the attributes; no attribute of a vendor's type is called so.
inline constexpr std::string_view kExtra = "extra";
/// Has the columns below hold that, too, and read_entity() give it as "extra" (null: nothing). An
/// own type has none.
void show_extra(model::StoredType& type);
/// The select list that read_entity() reads, of a row called `e`.
[[nodiscard]] std::string columns_of(const model::Catalog& catalog, const model::StoredType& type);
/// The same as c0, c1, …: what within_bytes() takes.
[[nodiscard]] std::string named_columns_of(const model::Catalog& catalog,
                                           const model::StoredType& type);

/// Rows that are selected to be a page, or a part of one.
struct Rows {
  std::string sql;         ///< selects named_columns_of() in the order of c0, the entity's id
  bool by_parent = false;  ///< selects n before them, in no order; they are given by n and c0
  std::size_t most = 0;    ///< how many of them are given
};
/// As SQL, those of the rows before which there are not more than `bytes`: so the first is always
/// given, and one row at most goes beyond. The database weighs them and sends no others; what it
/// has stored compressed or apart it reads for those only whose turn may come. Selects n where
/// there is one, read_entity()'s columns, `bytes`, which the row takes as JSON (escapes in text not
/// counted), and `more`: whether a row stands behind it.
[[nodiscard]] std::string within_bytes(const model::Catalog& catalog, const model::StoredType& type,
                                       const Rows& rows, std::size_t bytes);

/// Reads those columns, beginning at `column`. "references" says by Sluice id what the row refers
/// to, null while that is not there. Numbers keep their digits: decimals are strings in
/// their one form, JSON goes out as jsonb prints it (the object is one of base/exact_json.hpp). A
/// row that cannot be read has attributes null, and under "problem" code, message and hint.
[[nodiscard]] Entity read_entity(const model::StoredType& type, const pg::QueryResult& rows,
                                 int row, int column);

}  // namespace sluice::feed
