#include "feed/entity_query.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "feed/page_bytes.hpp"
#include "feed/relation.hpp"
#include "model/columns.hpp"
#include "model/own_values.hpp"

namespace sluice::feed {
namespace {

using contract::AttributeType;
using model::Catalog;
using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;

constexpr std::array<std::string_view, 9> kOps = {"eq",  "ne", "gt",      "gte",  "lt",
                                                  "lte", "in", "is_null", "state"};
/// What a link may be; no_key: there is none, because its source has no key.
constexpr std::array<std::string_view, 6> kLinkStates = {"pending",   "linked",   "contested",
                                                         "confirmed", "rejected", "no_key"};
/// What has no value is not equal to one either.
constexpr std::array<std::string_view, 6> kComparisons = {"=", "is distinct from", ">", ">=", "<",
                                                          "<="};

std::unexpected<Error> bad_filter(std::string code, const Filter& filter, std::string what,
                                  std::string hint) {
  return fail(ErrorKind::bad_input, std::move(code),
              fmt::format("filter {}[{}]: {}", filter.attribute,
                          kOps[static_cast<std::size_t>(filter.op)], what),
              std::move(hint));
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Builds the WHERE clause; $1 is the workspace.
class Conditions {
 public:
  Conditions(const Catalog& catalog, const StoredType& type)
      : catalog_(catalog), type_(type), params_(catalog.workspace), sql_(confined(type)) {}
  Conditions(const Conditions&) = delete;
  Conditions& operator=(const Conditions&) = delete;

  void require(std::string_view condition) { *into_ += fmt::format(" and {}", condition); }
  /// From here on conditions are about what is indexed behind the connection (the vendor's ids, and
  /// references), until unpin(): rows are then looked up in each of the workspace's few
  /// connections.
  void pin() { into_ = &pinned_; }
  void unpin() { into_ = &sql_; }
  /// What follows "from"; the row is called e.
  [[nodiscard]] std::string relation() const {
    if (!holders_.empty()) {
      // Begun at the holders: otherwise the type is walked in the order of its ids.
      return fmt::format(
          "({0}) k cross join lateral (select e.* from {1} e where e.workspace_id = $1 and "
          "e.type_id = {2} and e.id = k.id offset 0) e",
          holders_, relation_of(type_), type_.id.value);
    }
    if (pinned_.empty()) return relation_of(type_) + " e";
    // OFFSET 0 keeps the lookup whole: without statistics the index would be walked by its first
    // column alone.
    return fmt::format(
        "(select k.connection_id from sluice.connection k where k.workspace_id = $1) k "
        "cross join lateral (select e.* from {} e where e.workspace_id = $1 "
        "and e.connection_id = k.connection_id{} offset 0) e",
        relation_of(type_), pinned_);
  }
  template <class T>
  std::string parameter(T value) {
    params_.add(std::move(value));
    return fmt::format("${}", params_.size());
  }

  Result<void> add(const Filter& filter) {
    if (filter.values.empty() || (filter.op != FilterOp::in && filter.values.size() > 1)) {
      return bad_filter("filter.bad_value", filter, "it takes one value", "use [in] for several");
    }
    if (filter.values.size() > kFilterValuesMax) {
      return bad_filter("filter.too_many_values", filter,
                        fmt::format("{} values", filter.values.size()),
                        fmt::format("use at most {}", kFilterValuesMax));
    }
    if (filter.attribute == "id") return add_number(filter, "e.id");
    if (filter.attribute.starts_with("link.")) return add_link(filter);
    if (const StoredAttribute* attribute = type_.find(filter.attribute))
      return add_attribute(filter, *attribute);
    if (!type_.own && filter.attribute == "external_id") {
      pin();
      auto compared = compare(filter, text_attribute(), "e.external_id");
      unpin();
      return compared;
    }
    if (!type_.own && filter.attribute == "connection") {
      std::string named;  // looked up once, not for each row
      into_ = &named;
      auto compared = compare(filter, text_attribute(), "c.name");
      into_ = &sql_;
      require(
          fmt::format("e.connection_id = any(array(select c.connection_id from sluice.connection c"
                      " where c.workspace_id = $1{}))",
                      named));
      return compared;
    }
    return bad_filter("filter.unknown_attribute", filter,
                      fmt::format("{} has no such attribute", type_.name),
                      fmt::format("it has {}", names()));
  }

  void only_the_living() {
    of_the_living_ = true;
    require("e.deleted_at is null");
  }

  [[nodiscard]] const std::string& sql() const { return sql_; }
  [[nodiscard]] pg::Params take_params() { return std::move(params_); }

 private:
  static const StoredAttribute& text_attribute() {
    static const StoredAttribute kText;
    return kText;
  }

  [[nodiscard]] std::string names() const {
    std::string out = type_.own ? "id" : "id, external_id, connection";
    for (const StoredAttribute& attribute : type_.attributes) out += ", " + attribute.name;
    return out;
  }

  Result<void> add_attribute(const Filter& filter, const StoredAttribute& attribute) {
    const std::string expression =
        fmt::format("({})", model::value_expression(type_, attribute, "e"));
    if (filter.op == FilterOp::is_null) {
      if (filter.values[0] != "true" && filter.values[0] != "false") {
        return bad_filter("filter.bad_value", filter, "the value must be true or false", "");
      }
      require(expression + (filter.values[0] == "true" ? " is null" : " is not null"));
      return {};
    }
    if (attribute.type == AttributeType::json || attribute.type == AttributeType::bytes) {
      return bad_filter(
          "filter.unsupported", filter,
          fmt::format("{} attributes cannot be compared", contract::to_string(attribute.type)),
          "only [is_null] works on them");
    }
    const bool refers = std::any_of(type_.relationships.begin(), type_.relationships.end(),
                                    [&](const auto& r) { return r.attribute == attribute.name; });
    const bool exact = filter.op == FilterOp::eq || filter.op == FilterOp::in;
    if (refers && exact) {
      pin();
      // As its index has it.
      auto compared = compare(filter, attribute, expression + " collate \"C\"");
      unpin();
      return compared;
    }
    // A row that is deleted holds its unique values no more: it is found by reading.
    if (type_.own && attribute.unique && filter.op == FilterOp::eq && of_the_living_) {
      const auto value = model::stored_value_of_text(attribute, filter.values[0]);
      if (!value) return bad_value(filter, value.error());
      // By what makes it unique, and also as it is written: so rows have it whose form durable work
      // has not made yet.
      const std::string form = parameter(model::unique_form(attribute, *value));
      const std::string raw = parameter(model::raw_text(*value));
      // Each by the whole key of its index: of `value in (…)` the type's values are walked.
      const auto of = [&](const char* table, const std::string& wanted) {
        return fmt::format(
            "select h.id from sluice.{} h where h.workspace_id = $1 and h.type_id = {}"
            " and h.attribute = {} and h.value = {}",
            table, type_.id.value, model::quote_text(attribute.name), wanted);
      };
      const std::string holders = of("own_unique", form) + " union " + of("own_unique", raw) +
                                  " union " + of("own_shared", form);
      if (holders_.empty()) {
        holders_ = holders;
      } else {
        require(fmt::format("e.id = any(array({}))", holders));
      }
      return {};
    }
    return compare(filter, attribute, expression);
  }

  Result<void> add_number(const Filter& filter, std::string_view expression) {
    StoredAttribute integer;
    integer.name = filter.attribute;
    integer.type = AttributeType::integer;
    return compare(filter, integer, expression);
  }

  Result<void> add_link(const Filter& filter) {
    const std::string_view name = std::string_view(filter.attribute).substr(5);
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.name == name && rule.target_type == type_.id && filter.op == FilterOp::is_null)
        return add_linked(filter, rule);
      if (rule.name != name || rule.source_type != type_.id) continue;
      if (filter.op == FilterOp::is_null) return add_unlinked(filter, rule);
      if (filter.op == FilterOp::state) return add_link_state(filter, rule);
      if (filter.op != FilterOp::eq && filter.op != FilterOp::in) {
        return bad_filter("filter.bad_operator", filter, "a link is compared with ids",
                          "use eq or [in] for ids, [state] for its state, or [is_null]");
      }
      pg::Array ids(pg::Oid::int8);
      for (const std::string& value : filter.values) {
        const auto id = whole_number(value);
        if (!id)
          return bad_filter("filter.bad_value", filter, "the value is no id",
                            "use the target's id");
        ids.add(*id);
      }
      const std::string wanted = parameter(std::move(ids));
      require(fmt::format(
          "e.id in (select l.source_id from unnest({1}::bigint[]) as w(id)"
          " cross join lateral (select x.source_id, x.rule_id, x.state"
          "   from sluice.link x where x.workspace_id = $1 and x.target_id = w.id offset 0) l"
          " where l.rule_id = {0} and l.state in ('linked', 'confirmed'))",
          rule.id.value, wanted));
      return {};
    }
    return bad_filter("filter.unknown_attribute", filter,
                      fmt::format("{} has no such link rule", type_.name),
                      "GET the workspace's link rules for their names");
  }

  /// Whether the value is "true"; nothing for what is neither.
  static std::optional<bool> yes_or_no(const Filter& filter) {
    if (filter.values[0] == "true") return true;
    if (filter.values[0] == "false") return false;
    return std::nullopt;
  }

  /// A lookup by the whole key for each row that comes by: never a table of links beside it.
  static std::string state_of(const StoredRule& rule) {
    return fmt::format(
        "(select l.state from sluice.link l where l.workspace_id = $1 and l.rule_id = {}"
        " and l.source_id = e.id)",
        rule.id.value);
  }

  Result<void> add_unlinked(const Filter& filter, const StoredRule& rule) {
    const auto yes = yes_or_no(filter);
    if (!yes) return bad_filter("filter.bad_value", filter, "the value must be true or false", "");
    require(fmt::format("coalesce({} in ('linked', 'confirmed'), false) = {}", state_of(rule),
                        *yes ? "false" : "true"));
    return {};
  }

  /// Of the type at the rule's end: whether anything is linked with it.
  Result<void> add_linked(const Filter& filter, const StoredRule& rule) {
    const auto yes = yes_or_no(filter);
    if (!yes) return bad_filter("filter.bad_value", filter, "the value must be true or false", "");
    require(fmt::format(
        "(select 1 from (select x.rule_id, x.state from sluice.link x"
        " where x.workspace_id = $1 and x.target_id = e.id offset 0) l"
        " where l.rule_id = {} and l.state in ('linked', 'confirmed') limit 1) is {}null",
        rule.id.value, *yes ? "" : "not "));
    return {};
  }

  Result<void> add_link_state(const Filter& filter, const StoredRule& rule) {
    pg::Array states(pg::Oid::text);
    bool no_key = false;
    std::string_view rest = filter.values[0];
    while (true) {
      const std::string_view state = rest.substr(0, rest.find(','));
      if (std::find(kLinkStates.begin(), kLinkStates.end(), state) == kLinkStates.end()) {
        return bad_filter("filter.bad_value", filter,
                          fmt::format("'{}' is no state of a link", state.substr(0, 50)),
                          fmt::format("use one of {}", fmt::join(kLinkStates, ", ")));
      }
      no_key = no_key || state == "no_key";
      states.add(state);
      if (state.size() == rest.size()) break;
      rest.remove_prefix(state.size() + 1);
    }
    const std::string state = state_of(rule);
    const std::string in = fmt::format("{} = any({}::text[])", state, parameter(std::move(states)));
    if (!no_key) {
      require(in);
      return {};
    }
    require(fmt::format(
        "({} or (coalesce({}, 'inactive') = 'inactive' and (select 1 from (select x.type_id,"
        " x.attribute, x.kind from sluice.link_key x where x.workspace_id = $1"
        " and x.entity_id = e.id offset 0) k where k.type_id = {} and k.attribute = {}"
        " and k.kind = {} limit 1) is null))",
        in, state, type_.id.value, rule.source_position, static_cast<int>(rule.key_kind)));
    return {};
  }

  Result<void> compare(const Filter& filter, const StoredAttribute& attribute,
                       std::string_view expression) {
    if (filter.op == FilterOp::state) {
      return bad_filter("filter.bad_operator", filter, "only links have a state",
                        "use link.<rule>[state]; for an attribute called so, its name alone");
    }
    if (filter.op == FilterOp::is_null) {
      return bad_filter("filter.bad_operator", filter, "it is never null", "");
    }
    if (filter.op == FilterOp::in) {
      std::string list;
      for (const std::string& value : filter.values) {
        const auto bound = bind(filter, attribute, value);
        if (!bound) return std::unexpected(bound.error());
        list += (list.empty() ? "" : ", ") + *bound;
      }
      require(fmt::format("{} in ({})", expression, list));
      return {};
    }
    const auto bound = bind(filter, attribute, filter.values[0]);
    if (!bound) return std::unexpected(bound.error());
    require(fmt::format("{} {} {}", expression, kComparisons[static_cast<std::size_t>(filter.op)],
                        *bound));
    return {};
  }

  static std::unexpected<Error> bad_value(const Filter& filter, const model::FieldError& error) {
    return bad_filter("filter.bad_value", filter, error.reason, "");
  }

  /// The value as a parameter of the column's type.
  Result<std::string> bind(const Filter& filter, const StoredAttribute& attribute,
                           const std::string& text) {
    const auto value = model::stored_value_of_text(attribute, text);
    if (!value) return bad_value(filter, value.error());
    switch (attribute.type) {
      case AttributeType::integer:
        return parameter(value->get<std::int64_t>());
      case AttributeType::number:
        return parameter(value->get<double>());
      case AttributeType::boolean:
        return parameter(value->get<bool>());
      case AttributeType::timestamp:
        return parameter(*from_rfc3339(text));
      case AttributeType::decimal:
        return parameter(text) + "::text::numeric";
      case AttributeType::date:
        return parameter(text) + "::text::date";
      default:
        return parameter(text);
    }
  }

  const Catalog& catalog_;
  const StoredType& type_;
  pg::Params params_;
  std::string sql_;
  std::string pinned_;
  std::string holders_;  // a query for the ids of whoever has a unique value
  bool of_the_living_ = false;
  std::string* into_ = &sql_;
};

void add_tombstones(Conditions& conditions, Tombstones tombstones) {
  if (tombstones == Tombstones::exclude) conditions.only_the_living();
  if (tombstones == Tombstones::only) conditions.require("e.deleted_at is not null");
}

}  // namespace

std::optional<FilterOp> filter_op(std::string_view name) {
  const auto* found = std::find(kOps.begin(), kOps.end(), name);
  if (found == kOps.end()) return std::nullopt;
  return static_cast<FilterOp>(found - kOps.begin());
}

Result<Filter> parse_filter(std::string_view parameter, std::vector<std::string> values) {
  Filter filter;
  filter.values = std::move(values);
  const std::size_t open = parameter.find('[');
  filter.attribute = parameter.substr(0, open);
  if (open == std::string_view::npos) return filter;
  std::optional<FilterOp> op;
  if (parameter.ends_with(']'))
    op = filter_op(parameter.substr(open + 1, parameter.size() - open - 2));
  if (!op) {
    return fail(ErrorKind::bad_input, "filter.bad_operator",
                fmt::format("filter {}: unknown operator", parameter.substr(0, 100)),
                fmt::format("use one of {}", fmt::join(kOps, ", ")));
  }
  filter.op = *op;
  return filter;
}

Result<EntityQuery> list_query(const Catalog& catalog, const StoredType& type,
                               const ListQuery& query, EntityId after) {
  Conditions conditions(catalog, type);
  conditions.require(fmt::format("e.id > {}", conditions.parameter(after.value)));
  add_tombstones(conditions, query.tombstones);
  for (const Filter& filter : query.filters) {
    if (auto added = conditions.add(filter); !added) return std::unexpected(added.error());
  }
  EntityQuery out;
  Rows rows;
  rows.sql = fmt::format("select {} from {} where {} order by e.id limit {}",
                         named_columns_of(catalog, type), conditions.relation(), conditions.sql(),
                         query.limit + 1);
  rows.most = static_cast<std::size_t>(query.limit);
  out.sql = within_bytes(catalog, type, rows, kPageBytes);
  out.params = conditions.take_params();
  return out;
}

EntityQuery get_query(const Catalog& catalog, const StoredType& type, const EntityRef& reference,
                      Tombstones tombstones) {
  Conditions conditions(catalog, type);
  add_tombstones(conditions, tombstones);
  if (reference.id) {
    conditions.require(fmt::format("e.id = {}", conditions.parameter(reference.id->value)));
  } else {
    conditions.pin();
    conditions.require(
        fmt::format("e.external_id = {}", conditions.parameter(reference.external_id)));
    conditions.unpin();
  }
  if (!reference.connection.empty() && !type.own) {
    conditions.require(
        fmt::format("e.connection_id = (select c.connection_id from sluice.connection c"
                    " where c.workspace_id = $1 and c.name = {})",
                    conditions.parameter(reference.connection)));
  }
  EntityQuery out;
  out.sql = fmt::format("select {} from {} where {} limit 2", columns_of(catalog, type),
                        conditions.relation(), conditions.sql());
  out.params = conditions.take_params();
  return out;
}

}  // namespace sluice::feed
