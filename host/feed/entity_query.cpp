#include "feed/entity_query.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <utility>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/moment.hpp"
#include "base/nearest.hpp"
#include "base/numbers.hpp"
#include "feed/expansion.hpp"
#include "feed/money.hpp"
#include "feed/page_bytes.hpp"
#include "feed/relation.hpp"
#include "model/columns.hpp"
#include "model/indexed_text.hpp"
#include "model/key_digest.hpp"
#include "model/link_states.hpp"
#include "model/own_values.hpp"

namespace sluice::feed {
namespace {

using contract::AttributeType;
using model::Catalog;
using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;

constexpr std::array<std::string_view, 10> kOps = {"eq",  "ne", "gt",      "gte",   "lt",
                                                   "lte", "in", "is_null", "state", "like"};
/// What a link may be asked to be.
constexpr auto kLinkStates = [] {
  std::array<std::string_view, model::kLivingLinkStates.size() + 1> all{};
  std::copy(model::kLivingLinkStates.begin(), model::kLivingLinkStates.end(), all.begin());
  all.back() = model::kNoKey;
  return all;
}();
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

/// "-7d": so many seconds before now, none of "now".
std::optional<std::int64_t> seconds_ago(std::string_view text) {
  if (text == "now") return 0;
  if (!text.starts_with('-')) return std::nullopt;
  const auto span = span_of(text.substr(1));
  if (!span) return std::nullopt;
  return span->count();
}

/// "-400000w": meant as a time ago, whatever the number.
bool is_time_ago(std::string_view text) {
  if (text.size() < 3 || text.front() != '-') return false;
  const std::string_view digits = text.substr(1, text.size() - 2);
  return std::string_view("smhdw").find(text.back()) != std::string_view::npos &&
         digits.find_first_not_of("0123456789") == std::string_view::npos;
}

/// For LIKE, whose own wildcards are plain characters here.
std::string like_pattern(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '%' || c == '_' || c == '\\') out += '\\';
    out += c == '*' ? '%' : c;
  }
  return out;
}

/// Builds the WHERE clause; $1 is the workspace.
class Conditions {
 public:
  Conditions(const Catalog& catalog, const StoredType& type)
      : catalog_(catalog), type_(&type), params_(catalog.workspace), sql_(confined(type)) {}
  Conditions(const Conditions&) = delete;
  Conditions& operator=(const Conditions&) = delete;

  void require(std::string_view condition) { *into_ += fmt::format(" and {}", condition); }
  /// From here on conditions are about what is indexed behind the connection (the vendor's ids, and
  /// references), until unpin(): rows are then looked up in each of the workspace's few
  /// connections. Or, of own types, about what has an index of its own.
  void pin() {
    if (!across_) into_ = &pinned_;
  }
  void unpin() {
    if (!across_) into_ = &sql_;
  }
  /// Only those of these rows are looked at that come behind `after`, in order of id.
  void keep_among(const std::vector<EntityId>& ids, EntityId after = EntityId()) {
    pg::Array wanted(pg::Oid::int8);
    for (const EntityId id : ids)
      if (id.value > after.value) wanted.add(id.value);
    holders_ =
        fmt::format("select w.id from unnest({}::bigint[]) w(id)", parameter(std::move(wanted)));
  }
  /// Only so many rows from there on are looked at.
  void walk(EntityId after, std::int64_t most) {
    walked_ = fmt::format("(select e.* from {} e where {} and e.id > {} order by e.id limit {}) e",
                          relation_of(*type_), confined(*type_), parameter(after.value), most);
  }
  /// Whether an index finds the rows.
  [[nodiscard]] bool finds_by_index() const { return !holders_.empty() || !pinned_.empty(); }

  /// What follows "from"; the row is called e.
  [[nodiscard]] std::string relation() const {
    if (!holders_.empty()) {
      // Begun at the holders: otherwise the type is walked in the order of its ids.
      return fmt::format(
          "({0}) k cross join lateral (select e.* from {1} e where {2} and e.id = k.id{3} offset "
          "0) e",
          holders_, relation_of(*type_), confined(*type_), pinned_);
    }
    if (!walked_.empty()) return walked_;
    if (pinned_.empty()) return relation_of(*type_) + " e";
    // OFFSET 0 keeps the lookup whole: without statistics the index would be walked by its first
    // column alone, or the type in the order of its ids.
    if (type_->own) {
      return fmt::format(
          "(select e.* from {} e where e.workspace_id = $1 and e.type_id = {}{} offset 0) e",
          relation_of(*type_), type_->id.value, pinned_);
    }
    return fmt::format(
        "(select k.connection_id from sluice.connection k where k.workspace_id = $1) k "
        "cross join lateral (select e.* from {} e where e.workspace_id = $1 "
        "and e.connection_id = k.connection_id{} offset 0) e",
        relation_of(*type_), pinned_);
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
    if (is_own_link(filter.attribute)) return add_link(filter);
    if (filter.attribute.find('.') != std::string::npos) {
      const auto document = document_of(filter.attribute);
      return document ? add_inside(filter, *document) : add_across({filter});
    }
    if (const StoredAttribute* attribute = type_->find(filter.attribute))
      return add_attribute(filter, *attribute);
    if (const auto amount = amount_of(filter.attribute)) return add_amount(filter, *amount);
    if (!type_->own && filter.attribute == "external_id") {
      pin();
      auto compared = compare(filter, text_attribute(), "e.external_id");
      unpin();
      return compared;
    }
    if (!type_->own && filter.attribute == "connection") {
      std::string named;  // looked up once, not for each row
      std::string* const into = std::exchange(into_, &named);
      auto compared = compare(filter, text_attribute(), "c.name");
      into_ = into;
      require(
          fmt::format("e.connection_id = any(array(select c.connection_id from sluice.connection c"
                      " where c.workspace_id = $1{}))",
                      named));
      return compared;
    }
    return bad_filter("filter.unknown_attribute", filter,
                      fmt::format("{} has no such attribute", type_->name),
                      fmt::format("it has {}", names()));
  }

  /// All of them; those of one path across edges are about one and the same row there.
  Result<void> add_all(const std::vector<Filter>& filters) {
    std::set<std::string> paths;
    for (const Filter& filter : filters) {
      if (!is_across(filter)) {
        if (auto added = add(filter); !added) return added;
        continue;
      }
      const std::string path = path_of(filter);
      if (!paths.insert(path).second) continue;
      std::vector<Filter> together;
      for (const Filter& other : filters)
        if (is_across(other) && path_of(other) == path) together.push_back(other);
      if (auto added = add_across(together); !added) return added;
    }
    return {};
  }

  [[nodiscard]] bool is_across(const Filter& filter) const {
    return filter.attribute != "id" && !is_own_link(filter.attribute) &&
           filter.attribute.find('.') != std::string::npos && !document_of(filter.attribute);
  }

  /// Of a filter that is across edges: a question of its own, from its other side.
  Result<FarEnd> far_end(const Filter& filter, std::int64_t most) const {
    const auto way = way_of(filter);
    if (!way) return std::unexpected(way.error());
    const Edge* last = way->edges.back();
    Conditions there(catalog_, *last->target);
    there.only_the_living();
    const Filter asked = behind_dot(filter);
    if (auto added = there.add(asked); !added) return std::unexpected(added.error());
    FarEnd end;
    end.type = last->target;
    const bool exact = asked.op == FilterOp::eq || asked.op == FilterOp::in;
    end.indexed = exact && (there.finds_by_index() || asked.attribute == "id" ||
                            (asked.attribute.starts_with("link.") && !there.is_across(asked)));
    // Each step is whole before the next begins, and bounded: where one finds more, the next must
    // not.
    std::string steps = fmt::format("f0 as materialized (select {} from {} where {} limit {})",
                                    step_columns(*last), there.relation(), there.sql(), most + 1);
    std::string greatest = "(select count(*) from f0)";
    for (std::size_t n = way->edges.size(); n-- > 0;) {
      const std::size_t step = way->edges.size() - n;
      const Edge* const before = n > 0 ? way->edges[n - 1] : nullptr;
      const StoredType& source = before != nullptr ? *before->target : *type_;
      const std::string columns = before != nullptr ? step_columns(*before) : "e.id";
      steps += fmt::format(", f{} as materialized (select {} from f{} o {}{} limit {})", step,
                           columns, step - 1, back_over(*way->edges[n], source),
                           before != nullptr ? " where e.deleted_at is null" : "", most + 1);
      greatest += fmt::format(", (select count(*) from f{})", step);
    }
    end.query.sql = fmt::format(
        "with {} select m.most, k.id from (select greatest({}) as most) m left join lateral "
        "(select distinct f.id from f{} f where m.most <= {}) k on true",
        steps, greatest, way->edges.size(), most);
    end.query.params = there.take_params();
    return end;
  }

  /// What rows of the type hold of what the filter is about; $1 is the workspace.
  std::optional<SampleQuery> sample(const Filter& filter) {
    SampleQuery sample;
    sample.type = type_;
    const std::size_t dot = filter.attribute.find('.');
    sample.name = filter.attribute.substr(0, dot);
    // A value that takes more as it is stored is not looked into: so of no row much is read.
    const auto rows = [&](const std::string& value) {
      return fmt::format(
          "with s as materialized (select case when r.small then r.v end as v, r.small from (select"
          " r.v, coalesce(pg_column_size(r.v), 0) <= {} as small from (select {} as v from {} e"
          " where {} and e.deleted_at is null and e.id is not null order by e.id limit {}) r) r), c"
          " as materialized"
          " (select count(*) filter (where s.small) as looked, count(*) as n from s)",
          kSampledBytesMax, value, relation_of(*type_), confined(*type_), kSampledRowsMax);
    };
    if (dot != std::string::npos) {
      const auto document = document_of(filter.attribute);
      const StoredAttribute* const of = type_->find(sample.name);
      if (!document || (of != nullptr && of->personal)) return std::nullopt;
      for (std::string_view rest = std::string_view(filter.attribute).substr(dot + 1);;) {
        const std::size_t end = std::min(rest.find('.'), rest.size());
        sample.path.emplace_back(rest.substr(0, end));
        if (end == rest.size()) break;
        rest.remove_prefix(end + 1);
      }
      const auto is_long = [](const std::string& part) { return part.size() > kSampledNameMax; };
      if (sample.path.size() > kSampledPartsMax || std::ranges::any_of(sample.path, is_long))
        return std::nullopt;
      pg::Array path(pg::Oid::text);
      for (const std::string& part : sample.path) path.add(std::string_view(part));
      // Of each part whether it is there, and some names of those beside which it would stand.
      const std::string parts = parameter(std::move(path));
      sample.query.sql = fmt::format(
          "{0} select (select coalesce(jsonb_agg(k.name), '[]') from (select distinct"
          " left(k.name, {2}) as name from s, lateral jsonb_object_keys(case when"
          " jsonb_typeof(s.v #> ({1}::text[])[1:p.n]) = 'object' then s.v #> ({1}::text[])[1:p.n]"
          " else '{{}}'::jsonb end) k(name) order by 1 limit {3}) k), c.looked, c.n,"
          " exists (select from s where jsonb_typeof(s.v #> ({1}::text[])[1:p.n]) = 'object' and"
          " (s.v #> ({1}::text[])[1:p.n]) ? ({1}::text[])[p.n + 1])"
          " from c, generate_series(0, {4}) p(n) order by p.n",
          rows("(" + *document + ")"), parts, kSampledNameMax, kSampledNamesMax,
          sample.path.size() - 1);
    } else {
      const StoredAttribute* const attribute = type_->find(filter.attribute);
      const bool named = filter.op == FilterOp::eq || filter.op == FilterOp::in;
      if (!named || attribute == nullptr || attribute->type != AttributeType::text ||
          attribute->key_kind || attribute->unique || attribute->personal)
        return std::nullopt;
      sample.query.sql = fmt::format(
          "{} select g.v, c.looked, c.n from c left join lateral (select left(s.v, {}) as v,"
          " count(*) as n from s where s.v is not null group by 1 order by 2 desc, 1 limit {}) g"
          " on true order by g.n desc, g.v",
          rows(fmt::format("({})", model::value_expression(*type_, *attribute, "e"))),
          kSampledTextMax, kSampledValuesMax + 1);
    }
    sample.query.params = take_params();
    return sample;
  }

  /// Of a filter across edges, what it asks of what lies at its other side, …
  static Filter behind_dot(const Filter& filter) {
    Filter there = filter;
    there.attribute = filter.attribute.substr(filter.attribute.rfind('.') + 1);
    return there;
  }
  /// … and the type of that; nullptr where its path leads nowhere.
  [[nodiscard]] const StoredType* far_type(const Filter& filter) const {
    const auto way = way_of(filter);
    return way ? way->edges.back()->target : nullptr;
  }

  void only_the_living() {
    of_the_living_ = true;
    require("e.deleted_at is null");
  }

  /// SQL that orders by the key, and whose values a cursor keeps.
  Result<std::string> sort_expression(const SortKey& key) const {
    const auto refuse = [&](std::string code, std::string what) {
      return fail(ErrorKind::bad_input, std::move(code),
                  fmt::format("sort={}: {}", key.attribute, what),
                  fmt::format("it has {}", names()));
    };
    if (key.attribute == "id") return std::string("e.id");
    if (!type_->own && key.attribute == "external_id") return std::string("e.external_id");
    const StoredAttribute* const attribute = type_->find(key.attribute);
    const auto amount = attribute == nullptr ? amount_of(key.attribute) : std::nullopt;
    if (amount) return fmt::format("({})", amount->expression);
    if (attribute == nullptr)
      return refuse("sort.unknown_attribute", fmt::format("{} has no such attribute", type_->name));
    if (attribute->type == AttributeType::json || attribute->type == AttributeType::bytes)
      return refuse("sort.unsupported", fmt::format("{} attributes have no order",
                                                    contract::to_string(attribute->type)));
    const std::string value = model::value_expression(*type_, *attribute, "e");
    if (attribute->type == AttributeType::text)
      return fmt::format("left({}, {})", value, kSortedTextMax);
    return fmt::format("({})", value);
  }

  /// Rows that come behind the place, in the order of the keys and then of the id.
  Result<std::string> behind(const std::vector<SortKey>& keys, const PagePlace& place) {
    std::string behind = fmt::format("e.id > {}", parameter(place.id.value));
    for (std::size_t i = keys.size(); i-- > 0;) {
      const auto expression = sort_expression(keys[i]);
      if (!expression) return std::unexpected(expression.error());
      const std::optional<std::string>& value = place.values[i];
      if (!value) {  // without a value: those with one are all before it
        behind = fmt::format("({0} is null and {1})", *expression, behind);
        continue;
      }
      const auto bound = bind_sorted(keys[i], *value);
      if (!bound) return std::unexpected(bound.error());
      behind = fmt::format("({0} {1} {2} or {0} is null or ({0} = {2} and {3}))", *expression,
                           keys[i].descending ? "<" : ">", *bound, behind);
    }
    return behind;
  }

  [[nodiscard]] const std::string& sql() const { return sql_; }
  [[nodiscard]] pg::Params take_params() { return std::move(params_); }

 private:
  static const StoredAttribute& text_attribute() {
    static const StoredAttribute kText;
    return kText;
  }

  /// A value of a cursor, which anybody may have written.
  Result<std::string> bind_sorted(const SortKey& key, const std::string& text) {
    Filter as_filter;
    as_filter.attribute = key.attribute;
    StoredAttribute attribute;
    if (key.attribute == "id") attribute.type = AttributeType::integer;
    if (const StoredAttribute* const found = type_->find(key.attribute)) {
      attribute.type = found->type;
    } else if (amount_of(key.attribute)) {
      attribute.type = AttributeType::decimal;
    }
    if (attribute.type == AttributeType::text) {
      if (is_utf8(text) && text.find('\0') == std::string::npos) return parameter(text);
    } else if (auto bound = bind(as_filter, attribute, text)) {
      return bound;
    }
    return fail(ErrorKind::bad_input, "entity.bad_cursor", "this is no cursor of this list",
                "send a cursor exactly as a page gave it, or none for the first page");
  }

  /// About a link itself, and not about what it leads to ("link.<rule>.plan"); also of a rule that
  /// is not there.
  [[nodiscard]] bool is_own_link(std::string_view name) const {
    if (!name.starts_with("link.")) return false;
    const std::string_view rest = name.substr(5);
    const auto any_rule = [&](const auto& is_it) {
      return std::any_of(catalog_.rules.begin(), catalog_.rules.end(), [&](const StoredRule& rule) {
        return (rule.source_type == type_->id || rule.target_type == type_->id) && is_it(rule.name);
      });
    };
    if (any_rule([&](std::string_view rule) { return rest == rule; })) return true;
    return !any_rule([&](std::string_view rule) {
      return rest.size() > rule.size() && rest.starts_with(rule) && rest[rule.size()] == '.';
    });
  }

  /// Of the row that an edge leads to. Looked up for each row, by a whole key: a join would be
  /// planned as a comparison of all rows with all of the other table's, as long as nobody has
  /// gathered statistics. OFFSET 0 keeps it so.
  static std::string across(const Edge& edge, const std::string& condition) {
    const auto target = [&](std::string_view key) {
      return fmt::format(
          "cross join lateral (select e.* from {} e where {} and e.deleted_at is "
          "null and {} offset 0) e where true{} offset 0",
          relation_of(*edge.target), confined(*edge.target), key, condition);
    };
    const std::string rules =
        fmt::format("x.rule_id = any (array[{}]::bigint[]) and x.state in ('linked', 'confirmed')",
                    fmt::join(numbers_of(edge.rules), ","));
    switch (edge.kind) {
      case EdgeKind::reference:
        return fmt::format(
            "exists (select from (select e.connection_id, {} collate \"C\" as wanted offset 0) o "
            "{})",
            edge.from, target("e.connection_id = o.connection_id and e.external_id = o.wanted"));
      case EdgeKind::children:
        return fmt::format(
            "exists (select from (select e.connection_id, e.external_id offset 0) o {})",
            target(fmt::format("e.connection_id = o.connection_id and e.{} collate \"C\" = "
                               "o.external_id",
                               model::quote_name(edge.attribute))));
      case EdgeKind::link:
        return fmt::format(
            "exists (select from (select e.id offset 0) o cross join lateral (select x.target_id "
            "from sluice.link x where x.workspace_id = $1 and x.source_id = o.id and {} offset 0) "
            "l "
            "{})",
            rules, target("e.id = l.target_id"));
      case EdgeKind::linked:
        return fmt::format(
            "exists (select from (select e.id offset 0) o cross join lateral (select x.source_id "
            "from sluice.link x where x.workspace_id = $1 and x.target_id = o.id and {} offset 0) "
            "l "
            "{})",
            rules, target("e.id = l.source_id"));
    }
    return {};
  }

  static std::vector<std::int64_t> numbers_of(const std::vector<RuleId>& rules) {
    std::vector<std::int64_t> numbers;
    for (const RuleId rule : rules) numbers.push_back(rule.value);
    return numbers;
  }

  /// What "extra" or "metadata" before the first dot is as SQL, where that is JSON of this type's
  /// rows and no edge.
  [[nodiscard]] std::optional<std::string> document_of(std::string_view path) const {
    const std::string name(path.substr(0, path.find('.')));
    const std::vector<std::string> edge = {name};
    if (plan_expansion(catalog_, *type_, edge)) return std::nullopt;
    if (name == kExtra && !type_->own) return "e.extra";
    const StoredAttribute* const attribute = type_->find(name);
    if (attribute == nullptr || attribute->type != AttributeType::json) return std::nullopt;
    return model::value_expression(*type_, *attribute, "e");
  }

  /// "extra.metadata.order_id": what stands there in a JSON document, as text.
  Result<void> add_inside(const Filter& filter, const std::string& document) {
    pg::Array path(pg::Oid::text);
    std::string_view rest = filter.attribute;
    while (rest.find('.') != std::string_view::npos) {
      rest.remove_prefix(rest.find('.') + 1);
      const std::string_view part = rest.substr(0, rest.find('.'));
      if (part.empty())
        return bad_filter("filter.unknown_path", filter, "a part of the path is empty",
                          "as in extra.shipping.carrier");
      path.add(part);
    }
    const std::string value =
        fmt::format("(({}) #>> {}::text[])", document, parameter(std::move(path)));
    switch (filter.op) {
      case FilterOp::eq:
      case FilterOp::ne:
      case FilterOp::in:
      case FilterOp::like:
        return compare(filter, text_attribute(), value);
      case FilterOp::is_null:
        return add_null(filter, value);
      default:
        return bad_filter("filter.unsupported", filter,
                          "what is inside of JSON is compared as text",
                          "use eq, ne, in, like or is_null");
    }
  }

  /// Of what a step back has found, what the one before it asks for: that over `edge`, whose target
  /// it is.
  static std::string step_columns(const Edge& edge) {
    std::string columns = "e.id";
    if (!edge.target->own) columns += ", e.connection_id, e.external_id";
    if (edge.kind == EdgeKind::children)
      columns += fmt::format(", e.{} as refers_to", model::quote_name(edge.attribute));
    return columns;
  }

  /// Rows e of `source` from which the edge leads to row o; each looked up by a whole key, as
  /// across() does it the other way.
  static std::string back_over(const Edge& edge, const StoredType& source) {
    const auto rows = [&](const std::string& key) {
      return fmt::format("cross join lateral (select e.* from {} e where {} and {} offset 0) e",
                         relation_of(source), confined(source), key);
    };
    const auto linked = [&](std::string_view from, std::string_view to) {
      return fmt::format(
          "cross join lateral (select x.{0} as id from sluice.link x where x.workspace_id = $1 and "
          "x.{1} = o.id and x.rule_id = any (array[{2}]::bigint[]) and x.state in ('linked', "
          "'confirmed') offset 0) l {3}",
          to, from, fmt::join(numbers_of(edge.rules), ","), rows("e.id = l.id"));
    };
    switch (edge.kind) {
      case EdgeKind::reference:
        return rows(fmt::format(
            "e.connection_id = o.connection_id and {} collate \"C\" = o.external_id", edge.from));
      case EdgeKind::children:
        return rows("e.connection_id = o.connection_id and e.external_id = o.refers_to");
      case EdgeKind::link:
        return linked("target_id", "source_id");
      case EdgeKind::linked:
        return linked("source_id", "target_id");
    }
    return {};
  }

  /// The edges of "customer.link.<rule>.plan", in order; at least one.
  struct Way {
    std::vector<Edge> planned;  ///< holds them
    std::vector<const Edge*> edges;
  };
  Result<Way> way_of(const Filter& filter) const {
    const std::vector<std::string> paths = {path_of(filter)};
    auto planned = plan_expansion(catalog_, *type_, paths);
    if (!planned) {
      return bad_filter("filter.unknown_path", filter, planned.error().message,
                        planned.error().hint);
    }
    Way way;
    way.planned = std::move(*planned);
    for (const std::vector<Edge>* level = &way.planned; !level->empty();
         level = &level->front().next)
      way.edges.push_back(&level->front());
    if (way.edges.empty())
      return bad_filter("filter.unknown_path", filter, "it names nothing before the dot", "");
    return way;
  }

  /// "customer.link.<rule>" of "customer.link.<rule>.plan".
  static std::string path_of(const Filter& filter) {
    return filter.attribute.substr(0, filter.attribute.rfind('.'));
  }

  /// "customer.plan": of what lies behind one or more edges; all of one path.
  Result<void> add_across(const std::vector<Filter>& filters) {
    auto planned = way_of(filters.front());
    if (!planned) return std::unexpected(planned.error());
    std::vector<const Edge*>& way = planned->edges;
    std::string condition;
    const StoredType* const here = std::exchange(type_, way.back()->target);
    std::string* const into = std::exchange(into_, &condition);
    const bool was_across = std::exchange(across_, true);
    Result<void> added;
    for (const Filter& filter : filters)
      if (added) added = add(behind_dot(filter));
    type_ = here;
    into_ = into;
    across_ = was_across;
    if (!added) return added;
    while (!way.empty()) {
      condition = " and " + across(*way.back(), condition);
      way.pop_back();
    }
    *into_ += condition;
    return {};
  }

  [[nodiscard]] std::string names() const {
    std::string out = type_->own ? "id" : "id, external_id, connection";
    for (const StoredAttribute& attribute : type_->attributes) out += ", " + attribute.name;
    for (const MajorUnits& amount : major_units_of(*type_)) out += ", " + amount.name;
    return out;
  }

  /// "amount_due_major", where that is an amount of the type in its currency.
  [[nodiscard]] std::optional<MajorUnits> amount_of(std::string_view name) const {
    for (MajorUnits& amount : major_units_of(*type_)) {
      if (amount.name == name) return std::move(amount);
    }
    return std::nullopt;
  }

  /// Each row by its own currency: what has none that is known is null, and compares with nothing.
  Result<void> add_amount(const Filter& filter, const MajorUnits& amount) {
    const std::string expression = fmt::format("({})", amount.expression);
    if (filter.op == FilterOp::is_null) return add_null(filter, expression);
    StoredAttribute decimal;
    decimal.name = amount.name;
    decimal.type = AttributeType::decimal;
    return compare(filter, decimal, expression);
  }

  /// Whether there is a value.
  Result<void> add_null(const Filter& filter, std::string_view expression) {
    const auto yes = yes_or_no(filter);
    if (!yes) return std::unexpected(yes.error());
    require(fmt::format("{} is {}null", expression, *yes ? "" : "not "));
    return {};
  }

  Result<void> add_attribute(const Filter& filter, const StoredAttribute& attribute) {
    const std::string expression =
        fmt::format("({})", model::value_expression(*type_, attribute, "e"));
    if (filter.op == FilterOp::is_null) return add_null(filter, expression);
    if (attribute.type == AttributeType::json || attribute.type == AttributeType::bytes) {
      return bad_filter(
          "filter.unsupported", filter,
          fmt::format("{} attributes cannot be compared", contract::to_string(attribute.type)),
          "only [is_null] works on them");
    }
    if (filter.op == FilterOp::like) {
      if (attribute.type == AttributeType::text) return compare(filter, attribute, expression);
      return bad_filter(
          "filter.unsupported", filter,
          fmt::format("{} attributes are no text", contract::to_string(attribute.type)),
          "use gte, lte or eq");
    }
    const bool refers = std::any_of(type_->relationships.begin(), type_->relationships.end(),
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
    if (type_->own && attribute.unique && filter.op == FilterOp::eq && of_the_living_) {
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
            table, type_->id.value, model::quote_text(attribute.name), wanted);
      };
      const std::string holders = of("own_unique", form) + " union " + of("own_unique", raw) +
                                  " union " + of("own_shared", form);
      if (holders_.empty() && !across_) {
        holders_ = holders;
      } else {
        require(fmt::format("e.id = any(array({}))", holders));
      }
      return {};
    }
    if (type_->own && attribute.unique && of_the_living_ && filter.op == FilterOp::in) {
      const auto holders = holders_of_any(filter, attribute);
      if (!holders) return std::unexpected(holders.error());
      if (holders_.empty() && !across_) {
        holders_ = *holders;
      } else {
        require(fmt::format("e.id = any(array({}))", *holders));
      }
      return {};
    }
    if (type_->own && attribute.unique && attribute.key_kind && of_the_living_ &&
        filter.op == FilterOp::ne) {
      const auto holders = holders_of_any(filter, attribute);
      if (!holders) return std::unexpected(holders.error());
      require(fmt::format("e.id <> all(array({}))", *holders));
      return {};
    }
    const bool by_key = exact || filter.op == FilterOp::ne;
    if (by_key && of_the_living_ && model::has_normal_form(attribute))
      return add_key(filter, attribute);
    // As the index for views has it. Of several values at once it is not used without statistics.
    if (type_->own && filter.op == FilterOp::eq && model::is_indexed_text(attribute)) {
      pin();
      auto compared = compare(
          filter, attribute,
          fmt::format("(sluice.short_text_of(e.data, {}))", model::quote_text(attribute.name)));
      unpin();
      return compared;
    }
    return compare(filter, attribute, expression);
  }

  /// By the key that the value makes, as links and unique attributes compare, and also as it is
  /// written: so rows have it that make no key, or whose key durable work has not made yet.
  Result<void> add_key(const Filter& filter, const StoredAttribute& attribute) {
    pg::Array digests(pg::Oid::uuid), texts(pg::Oid::text);
    const std::size_t compared = filter.op == FilterOp::in ? filter.values.size() : 1;
    for (const std::string& text : std::span(filter.values).first(compared)) {
      const auto value = model::stored_value_of_text(attribute, text);
      if (!value) return bad_value(filter, value.error());
      texts.add(std::string_view(text));
      if (const auto digest = model::key_digest(attribute, text)) digests.add(*digest);
    }
    // Each by the whole key of its index, as in holders_of_any().
    std::string ids = fmt::format(
        "select f.entity_id from unnest({}::uuid[]) w(digest) cross join lateral (select"
        " k.entity_id from sluice.link_key k where k.workspace_id = $1 and k.kind = {}"
        " and k.digest = w.digest and k.type_id = {} and k.attribute = {} offset 0) f",
        parameter(std::move(digests)), static_cast<int>(*attribute.key_kind), type_->id.value,
        attribute.position);
    const std::string written = parameter(std::move(texts));
    std::string as_written = "false";
    if (type_->own && model::is_indexed_text(attribute)) {
      const std::string text =
          fmt::format("sluice.short_text_of(o.data, {})", model::quote_text(attribute.name));
      ids += fmt::format(
          " union all select f.id from unnest({}::text[]) w(value) cross join lateral (select o.id"
          " from sluice.own_entity o where o.workspace_id = $1 and o.type_id = {} and {} = w.value"
          " offset 0) f",
          written, type_->id.value, text);
    } else {
      as_written = fmt::format("coalesce(({}) = any({}::text[]), false)",
                               model::value_expression(*type_, attribute, "e"), written);
    }
    require(fmt::format("{}(e.id = any(array({})) or {})", filter.op == FilterOp::ne ? "not " : "",
                        ids, as_written));
    return {};
  }

  /// Ids of those who have one of the filter's values, by what makes it unique or as it is written.
  Result<std::string> holders_of_any(const Filter& filter, const StoredAttribute& attribute) {
    pg::Array unique(pg::Oid::text), shared(pg::Oid::text);
    for (const std::string& text : filter.values) {
      const auto value = model::stored_value_of_text(attribute, text);
      if (!value) return bad_value(filter, value.error());
      const std::string form = model::unique_form(attribute, *value);
      const std::string raw = model::raw_text(*value);
      unique.add(std::string_view(form));
      if (raw != form) unique.add(std::string_view(raw));
      shared.add(std::string_view(form));
    }
    // Each by the whole key of its index.
    const auto of = [&](const char* table, pg::Array wanted) {
      return fmt::format(
          "select f.id from unnest({}::text[]) w(value) cross join lateral (select h.id"
          " from sluice.{} h where h.workspace_id = $1 and h.type_id = {} and h.attribute = {}"
          " and h.value = w.value offset 0) f",
          parameter(std::move(wanted)), table, type_->id.value, model::quote_text(attribute.name));
    };
    return of("own_unique", std::move(unique)) + " union " + of("own_shared", std::move(shared));
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
      if (rule.name == name && rule.target_type == type_->id && filter.op == FilterOp::is_null)
        return add_linked(filter, rule);
      if (rule.name != name || rule.source_type != type_->id) continue;
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
    std::vector<std::string> rules;
    for (const StoredRule& rule : catalog_.rules) {
      if (rule.source_type == type_->id || rule.target_type == type_->id)
        rules.push_back(rule.name);
    }
    return bad_filter("filter.unknown_attribute", filter,
                      fmt::format("{} has no such link rule", type_->name),
                      did_you_mean(name, rules) + "sluice link rules: their names");
  }

  /// Whether the value is "true", where it is that or "false".
  static Result<bool> yes_or_no(const Filter& filter) {
    if (filter.values[0] == "true") return true;
    if (filter.values[0] == "false") return false;
    return bad_filter("filter.bad_value", filter, "the value must be true or false", "");
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
    if (!yes) return std::unexpected(yes.error());
    require(fmt::format("coalesce({} in ('linked', 'confirmed'), false) = {}", state_of(rule),
                        *yes ? "false" : "true"));
    return {};
  }

  /// Of the type at the rule's end: whether anything is linked with it.
  Result<void> add_linked(const Filter& filter, const StoredRule& rule) {
    const auto yes = yes_or_no(filter);
    if (!yes) return std::unexpected(yes.error());
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
        const std::vector<std::string> states_that_are(kLinkStates.begin(), kLinkStates.end());
        return bad_filter("filter.bad_value", filter,
                          fmt::format("'{}' is no state of a link", state.substr(0, 50)),
                          did_you_mean(state, states_that_are) +
                              fmt::format("use one of {}", fmt::join(kLinkStates, ", ")));
      }
      no_key = no_key || state == model::kNoKey;
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
        in, state, type_->id.value, rule.source_position, static_cast<int>(rule.key_kind)));
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
    if (filter.op == FilterOp::like) {
      if (attribute.type != AttributeType::text)
        return bad_filter("filter.bad_operator", filter, "it is no text", "use gte, lte or eq");
      // By the database's own rules of case; as a name's collation has none.
      require(fmt::format("({}) collate \"default\" ilike {}", expression,
                          parameter(like_pattern(filter.values[0]))));
      return {};
    }
    if (attribute.type == AttributeType::timestamp) {
      if (const auto day = day_of(filter.values[0]))
        return compare_with_day(filter, expression, *day);
    }
    const auto bound = bind(filter, attribute, filter.values[0]);
    if (!bound) return std::unexpected(bound.error());
    require(fmt::format("{} {} {}", expression, kComparisons[static_cast<std::size_t>(filter.op)],
                        *bound));
    return {};
  }

  /// A day is all of its times.
  Result<void> compare_with_day(const Filter& filter, std::string_view expression, Micros day) {
    const std::string begin = parameter(day);
    const std::string end = parameter(day + std::chrono::days(1));
    switch (filter.op) {
      case FilterOp::gte:
        require(fmt::format("{} >= {}", expression, begin));
        break;
      case FilterOp::lt:
        require(fmt::format("{} < {}", expression, begin));
        break;
      case FilterOp::gt:
        require(fmt::format("{} >= {}", expression, end));
        break;
      case FilterOp::lte:
        require(fmt::format("{} < {}", expression, end));
        break;
      case FilterOp::ne:
        require(fmt::format("({0} >= {1} and {0} < {2}) is not true", expression, begin, end));
        break;
      default:
        require(fmt::format("{0} >= {1} and {0} < {2}", expression, begin, end));
    }
    return {};
  }

  static std::unexpected<Error> bad_value(const Filter& filter, const model::FieldError& error) {
    return bad_filter("filter.bad_value", filter, error.reason, "");
  }

  /// The value as a parameter of the column's type.
  Result<std::string> bind(const Filter& filter, const StoredAttribute& attribute,
                           const std::string& text) {
    if (attribute.type == AttributeType::timestamp) {
      if (const auto seconds = seconds_ago(text))
        return fmt::format("now() - {} * interval '1 second'", parameter(*seconds));
      if (is_time_ago(text)) {
        return bad_filter("filter.bad_value", filter,
                          fmt::format("'{}' is more than a thousand years ago", text.substr(0, 50)),
                          "a week ago is -7d, ten years ago -3650d; or name a day: 2016-11-23");
      }
    }
    const auto value = model::stored_value_of_text(attribute, text);
    if (!value) {
      if (attribute.type != AttributeType::timestamp) return bad_value(filter, value.error());
      return bad_filter("filter.bad_value", filter, value.error().reason,
                        "a time is 2026-11-23T05:16:54Z, a day 2026-11-23, a week ago -7d, or now");
    }
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
  const StoredType* type_;  ///< of row e; behind an edge the one there
  pg::Params params_;
  std::string sql_;
  std::string pinned_;
  std::string holders_;  // a query for the ids of whoever has a unique value, or is among some
  std::string walked_;   // instead of the whole type
  bool of_the_living_ = false;
  bool across_ = false;  ///< behind an edge
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

Result<std::vector<SortKey>> parse_sort(std::string_view text) {
  std::vector<SortKey> keys;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    SortKey& key = keys.emplace_back();
    key.descending = word.starts_with('-');
    if (key.descending) word.remove_prefix(1);
    key.attribute = word;
  }
  const bool unnamed = std::any_of(keys.begin(), keys.end(),
                                   [](const SortKey& key) { return key.attribute.empty(); });
  if (!keys.empty() && !unnamed && keys.size() <= kSortKeysMax) return keys;
  return fail(ErrorKind::bad_input, "sort.bad_keys",
              fmt::format("sort takes one or {} attributes", kSortKeysMax),
              "as in sort=status,-created: a minus for the greatest first");
}

namespace {

/// n, and the columns that are shown, of the rows that come first: these are found by what orders
/// them alone, and the rest of them is read afterwards.
Result<std::string> sorted_rows(const Catalog& catalog, const StoredType& shown,
                                const ListQuery& query, Conditions& conditions) {
  std::string keys, order;
  for (std::size_t i = 0; i < query.sort.size(); ++i) {
    const auto expression = conditions.sort_expression(query.sort[i]);
    if (!expression) return std::unexpected(expression.error());
    keys += fmt::format(", {} as s{}", *expression, i);
    order += fmt::format("s{}{} nulls last, ", i, query.sort[i].descending ? " desc" : "");
  }
  return fmt::format(
      "select k.n, {0} from (select i.id, row_number() over (order by {1}i.id) as n from (select "
      "e.id{2} from {3} where {4} order by {1}id limit {5}) i) k cross join lateral (select e.* "
      "from {6} e where {7} and e.id = k.id offset 0) e",
      named_columns_of(catalog, shown), order, keys, conditions.relation(), conditions.sql(),
      query.limit + 1, relation_of(shown), confined(shown));
}

}  // namespace

Result<std::vector<FarEnd>> far_ends(const Catalog& catalog, const StoredType& type,
                                     const ListQuery& query) {
  Conditions conditions(catalog, type);
  add_tombstones(conditions, query.tombstones);
  std::vector<FarEnd> ends;
  for (const Filter& filter : query.filters) {
    if (auto added = conditions.add(filter); !added) return std::unexpected(added.error());
    if (!conditions.is_across(filter)) continue;
    auto end = conditions.far_end(filter, query.reach.reached);
    if (!end) return std::unexpected(end.error());
    ends.push_back(std::move(*end));
  }
  const bool by_id =
      std::any_of(query.filters.begin(), query.filters.end(), [](const Filter& filter) {
        return filter.attribute == "id" && (filter.op == FilterOp::eq || filter.op == FilterOp::in);
      });
  if (by_id || conditions.finds_by_index()) ends.clear();
  return ends;
}

std::optional<SampleQuery> sample_query(const Catalog& catalog, const StoredType& type,
                                        const Filter& filter) {
  Conditions here(catalog, type);
  if (!here.is_across(filter)) {
    if (filter.attribute == "id" || filter.attribute.starts_with("link.")) return std::nullopt;
    return here.sample(filter);
  }
  const StoredType* const there = here.far_type(filter);
  return there == nullptr ? std::nullopt
                          : sample_query(catalog, *there, Conditions::behind_dot(filter));
}

Result<EntityQuery> count_query(const Catalog& catalog, const StoredType& type,
                                const ListQuery& query, const Scope& scope) {
  Conditions conditions(catalog, type);
  if (scope.among) conditions.keep_among(*scope.among);
  add_tombstones(conditions, query.tombstones);
  if (auto added = conditions.add_all(query.filters); !added) return std::unexpected(added.error());
  EntityQuery out;
  out.sql = fmt::format("select count(*) from (select from {} where {} limit {}) c",
                        conditions.relation(), conditions.sql(), kCountMax + 1);
  out.params = conditions.take_params();
  return out;
}

Result<EntityQuery> list_query(const Catalog& catalog, const StoredType& type,
                               const StoredType& shown, const ListQuery& query,
                               const PagePlace& after, const Scope& scope) {
  Conditions conditions(catalog, type);
  if (scope.among) conditions.keep_among(*scope.among, query.sort.empty() ? after.id : EntityId());
  if (scope.walked > 0) conditions.walk(after.id, scope.walked);
  const bool sorted = !query.sort.empty();
  if (sorted && after.id.has_value()) {
    const auto behind = conditions.behind(query.sort, after);
    if (!behind) return std::unexpected(behind.error());
    conditions.require(*behind);
  } else {
    conditions.require(fmt::format("e.id > {}", conditions.parameter(after.id.value)));
  }
  add_tombstones(conditions, query.tombstones);
  if (auto added = conditions.add_all(query.filters); !added) return std::unexpected(added.error());
  EntityQuery out;
  Rows rows;
  rows.by_parent = sorted;
  if (sorted) {
    auto found = sorted_rows(catalog, shown, query, conditions);
    if (!found) return std::unexpected(found.error());
    rows.sql = std::move(*found);
    rows.most = static_cast<std::size_t>(query.limit);
    out.sql = within_bytes(catalog, shown, rows, kPageBytes);
    out.params = conditions.take_params();
    return out;
  }
  rows.sql = fmt::format("select {} from {} where {} order by e.id limit {}",
                         named_columns_of(catalog, shown), conditions.relation(), conditions.sql(),
                         query.limit + 1);
  rows.most = static_cast<std::size_t>(query.limit);
  out.sql = within_bytes(catalog, shown, rows, kPageBytes);
  out.params = conditions.take_params();
  return out;
}

EntityQuery get_query(const Catalog& catalog, const StoredType& type, const StoredType& shown,
                      const EntityRef& reference, Tombstones tombstones) {
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
  out.sql = fmt::format("select {} from {} where {} limit 2", columns_of(catalog, shown),
                        conditions.relation(), conditions.sql());
  out.params = conditions.take_params();
  return out;
}

}  // namespace sluice::feed
