// Reading entities for REST: pages, single ones, filters, and other entities along the edges.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/error.hpp"
#include "model/catalog.hpp"
#include "pg/pool.hpp"

namespace sluice::feed {

inline constexpr int kEntityPageMax = 200;  ///< entities in one page; few large ones fill it, too
inline constexpr int kExpandDepthMax = 4;   ///< edges in one path
inline constexpr int kChildrenMax = 100;    ///< in one list; "has_more" says there are more
inline constexpr std::size_t kExpandPathsMax = 20;
inline constexpr std::size_t kExpandedEntitiesMax = 20'000;  ///< all that one request may reach
inline constexpr std::size_t kFiltersMax = 20;
inline constexpr std::size_t kFilterValuesMax = 100;  ///< of one "in"
inline constexpr std::size_t kSortKeysMax = 2;
inline constexpr std::int64_t kCountMax = 100'000;  ///< beyond that a count says "more than"

enum class FilterOp { eq, ne, gt, gte, lt, lte, in, is_null, state, like };
/// "eq", "gt", …; nullopt for anything else.
[[nodiscard]] std::optional<FilterOp> filter_op(std::string_view name);

/// `attribute` is one of the type's, "id", "external_id", "connection" (its name), or "link.<rule>"
/// (eq, in: the target's id; is_null: linked with nobody, also of the type at the rule's end;
/// state: pending, linked, contested, confirmed, rejected or no_key, several between commas).
/// Values are text, as in a URL: numbers as digits, RFC 3339 times, true/false. is_null takes
/// "true" or "false". json and bytes can only be asked is_null.
///
/// A timestamp is also compared with a date, which is that whole day in UTC (gte 2026-11-20: from
/// its beginning; lte: until its end; eq: on it), with "now", and with a time before now: "-7d"
/// ("s", "m", "h", "d", "w").
/// like: text in which '*' stands for anything, upper and lower case alike; "ann*" begins so,
/// "*ann*" has it somewhere.
/// An amount in minor units is also compared in its currency, as "<attribute>_major"
/// (feed/money.hpp): each row by its own currency's digits, none with another currency's worth.
/// A path before the attribute, with dots, follows edges as `expand` does: "customer.email",
/// "customer.link.<rule>.plan"; it holds when one of the living entities there is so.
struct Filter {
  std::string attribute;
  FilterOp op = FilterOp::eq;
  std::vector<std::string> values;  ///< one; several for `in`
};

/// "status" → eq, "created[gte]" → gte: the left side of a URL parameter. bad_input
/// "filter.bad_operator".
Result<Filter> parse_filter(std::string_view parameter, std::vector<std::string> values);

enum class Tombstones { exclude, include, only };

struct SortKey {
  std::string attribute;  ///< one of the type's, "id" or "external_id"
  bool descending = false;
};
/// "-created,number". bad_input "sort.*".
Result<std::vector<SortKey>> parse_sort(std::string_view text);

/// How a list finds rows by a filter across edges that few or none of them pass. Where no index
/// finds what is asked for at the other side, it first walks a bounded part of the type, which
/// fills the page where many pass; then it asks the other side.
struct ReachLimits {
  std::int64_t walked = 2'000;   ///< rows of the type that are looked at first
  std::int64_t reached = 5'000;  ///< rows at each step back; with more the whole type is walked
  /// Living rows of the other side that may be read to find those; with more of them, and no index
  /// for what is asked of them, the whole type is walked.
  std::int64_t scanned = 300'000;
};

struct ListQuery {
  std::vector<Filter> filters;      ///< all must hold
  std::string cursor;               ///< "" the first page; else EntityPage::cursor
  int limit = 50;                   ///< 1 to kEntityPageMax
  std::vector<std::string> expand;  ///< see below
  Tombstones tombstones = Tombstones::exclude;
  /// At most kSortKeysMax; then by id. What has no value comes last. Text is ordered by its first
  /// 200 characters. The database looks at all that the filters leave, for each page anew. The next
  /// page begins behind the values that the last row had: a row whose values change meanwhile may
  /// come twice or not at all, all others come once.
  std::vector<SortKey> sort;
  std::vector<std::string> fields;  ///< of "attributes" only these; none: all
  bool count = false;               ///< how many there are on all pages
  ReachLimits reach = {};
};

struct EntityCount {
  std::int64_t rows = 0;  ///< at most kCountMax
  bool exact = true;      ///< false: there are more than that
};

struct EntityPage {
  std::vector<nlohmann::json> entities;
  std::optional<EntityCount> count;
  std::string cursor;  ///< of the next page, also when it was full of bytes; "" after the last
  /// Of a first page without entities: what the filters name and no row has that was looked at
  /// (feed/empty_list.hpp).
  std::vector<std::string> hints;
};

struct EntityRef {
  std::optional<EntityId> id;
  std::string external_id;  ///< when there is no id; preset types only
  std::string connection;   ///< name; needed when several connections have the external id
};

/// An entity as JSON:
///   {"id": 17, "type": "stripe.invoice", "external_id": "in_1",
///    "attributes": {"total": 500, "customer": "cus_1", …},   each attribute, null when absent
///    "links": {"<rule>": {"state", "target_type", "target_id", "candidates"?}},
///    "provenance": {"source_type", "connection", "connection_id", "source_url", "first_synced_at",
///                   "last_synced_at", "sync_version", "deleted_at"},
///    "extra": {…},       of a vendor's type, what came beyond the attributes, null when nothing
///                        did; in a list only where `fields` names it
///    "expanded": {…}}                                         when something was to be expanded
/// decimals are strings, times RFC 3339 in UTC, bytes hex.
///
/// expand: paths of up to kExpandDepthMax edges, joined by dots; each edge costs one query, however
/// many rows. "expanded" has under the edge's name
///   customer         (a relationship) the entity, or null when it has not arrived or is deleted;
///                    the raw id stays in attributes
///   link.<rule>      the own entity it is linked to, or null; the target type's name alone works
///                    too when one rule leads there
///   invoice_line     (a type of the same connector that refers to this one) {"items",
///                    "has_more"}; when several relationships do, invoice_line:<relationship>
///   stripe.customer  (from an own type) what is linked to it: {"items", "has_more"}
///
/// Errors: not_found "type.not_found", "entity.not_found"; conflict "entity.ambiguous"; bad_input
/// "filter.*", "sort.*", "fields.*", "expand.*", "entity.bad_cursor", "entity.bad_limit". Throws
/// pg::QueryError.
Task<Result<EntityPage>> list_entities(pg::Pool& pool, model::CatalogPtr catalog, std::string type,
                                       ListQuery query);
Task<Result<nlohmann::json>> get_entity(pg::Pool& pool, model::CatalogPtr catalog, std::string type,
                                        EntityRef reference, std::vector<std::string> expand = {},
                                        Tombstones tombstones = Tombstones::exclude);

}  // namespace sluice::feed
