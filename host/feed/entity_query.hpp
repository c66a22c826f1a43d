// What is asked about entities, as SQL: filters, tombstones, pages. Internal to feed/, and for the
// test of its plans; entities.hpp says what filters mean.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "feed/entities.hpp"
#include "model/catalog.hpp"
#include "pg/params.hpp"

namespace sluice::feed {

struct EntityQuery {
  std::string sql;  ///< read_entity()'s columns first; $1 is the workspace
  pg::Params params;
};

inline constexpr int kSortedTextMax = 200;  ///< characters of a text that order it

/// Behind which row a page begins: its id, and its values of what is sorted by, as text; nullopt is
/// null. The first page: id 0 and no values.
struct PagePlace {
  EntityId id;
  std::vector<std::optional<std::string>> values;
};

/// Which rows of the type a question looks at; all of them, if nothing is said.
struct Scope {
  std::optional<std::vector<EntityId>> among = std::nullopt;  ///< these alone
  std::int64_t walked = 0;  ///< so many from where the page begins, in order of id
};

/// A filter across edges, asked from its other side: whom of its last type it finds there, and from
/// these back to the ids of those who lead to them.
struct FarEnd {
  /// Rows of two columns: how many the greatest step found, up to one more than
  /// ReachLimits::reached, and an id, null where there is none or where they were more than that.
  EntityQuery query;
  const model::StoredType* type = nullptr;  ///< of the catalogue; of the other side
  bool indexed = false;  ///< found there by an index; else all living rows of the type are read
};

/// Of each filter across edges; none where the rows are found by an index anyway. Errors: bad_input
/// "filter.*".
Result<std::vector<FarEnd>> far_ends(const model::Catalog& catalog, const model::StoredType& type,
                                     const ListQuery& query);

/// A page, as within_bytes() gives it: by id, or, where it is sorted, with n before the columns.
/// `shown` is `type` with those of its attributes that are read. Errors: bad_input "filter.*",
/// "sort.*", "entity.bad_cursor".
Result<EntityQuery> list_query(const model::Catalog& catalog, const model::StoredType& type,
                               const model::StoredType& shown, const ListQuery& query,
                               const PagePlace& after, const Scope& scope = {});

/// A bounded look at what rows hold, of one filter: at the living rows that came first.
struct SampleQuery {
  EntityQuery query;
  const model::StoredType* type = nullptr;  ///< of the catalogue; whose rows are looked at
  std::string name;                         ///< what is compared there: "status", "extra", …
  /// Of a path into JSON, its parts behind `name`: for each of them the answer has a row, a jsonb
  /// array of some names that stand where it would. Else it has the values, most frequent first, up
  /// to one more than kSampledValuesMax; a single null where there is none. Beside either, how many
  /// rows were looked into, and how many there were; and of a part, whether it is there.
  std::vector<std::string> path;
};
inline constexpr int kSampledRowsMax = 1000;
inline constexpr std::size_t kSampledTextMax = 200;   ///< characters of a value that are shown
inline constexpr std::size_t kSampledPartsMax = 20;   ///< of a path
inline constexpr std::size_t kSampledNameMax = 60;    ///< characters of a part, and of a name
inline constexpr std::size_t kSampledNamesMax = 100;  ///< for each part
inline constexpr int kSampledBytesMax = 16 * 1024;    ///< of a value, as it is stored
inline constexpr int kSampledValuesMax = 10;

/// Of a filter that names a value of text, or a path into JSON, also behind edges: nothing for
/// others, for what is personal, and for what is found by a key, as e-mail addresses are.
[[nodiscard]] std::optional<SampleQuery> sample_query(const model::Catalog& catalog,
                                                      const model::StoredType& type,
                                                      const Filter& filter);

/// How many the filters leave, up to one more than kCountMax.
Result<EntityQuery> count_query(const model::Catalog& catalog, const model::StoredType& type,
                                const ListQuery& query, const Scope& scope = {});

/// The entity; two rows when the reference is ambiguous. A preset type, or by id.
[[nodiscard]] EntityQuery get_query(const model::Catalog& catalog, const model::StoredType& type,
                                    const model::StoredType& shown, const EntityRef& reference,
                                    Tombstones tombstones);

}  // namespace sluice::feed
