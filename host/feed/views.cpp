#include "feed/views.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "contract/reserved_names.hpp"
#include "feed/money.hpp"
#include "feed/reference.hpp"
#include "model/columns.hpp"
#include "model/indexed_text.hpp"

namespace sluice::feed {
namespace {

using model::Catalog;
using model::fitted_name;
using model::quote_name;
using model::quote_text;
using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;

constexpr std::string_view kSettled = "('linked', 'confirmed')";

/// Columns of one view, no name twice.
class Columns {
 public:
  bool take(const std::string& name) { return names_.insert(name).second; }
  void add(std::string expression, const std::string& name) {
    names_.insert(name);
    columns_.push_back({name, std::move(expression)});
  }
  /// Takes the name, or the next free one like it.
  std::string free_name(const std::string& wanted) {
    std::string name = fitted_name(wanted);
    for (int n = 2; !take(name); ++n) name = fitted_name(fmt::format("{}_{}", wanted, n));
    return name;
  }
  [[nodiscard]] std::vector<ViewColumn> all() && { return std::move(columns_); }

 private:
  std::set<std::string> names_;
  std::vector<ViewColumn> columns_;
};

std::string plain_name(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (!plain) c = '_';
  }
  return out;
}

std::string link_column(Columns& columns, const StoredRule& rule) {
  std::string name = fitted_name(plain_name(rule.target_type_name) + "_id");
  if (columns.take(name)) return name;
  return columns.free_name(plain_name(rule.name) + "_id");
}

/// A lookup by link's whole primary key, made only when the column is asked for; null while the
/// rule is off. A left join would let a filter on the column begin at the target (0.3 ms for 1.4 s
/// over 300,000 rows), but before the tables' first ANALYZE it was planned as a comparison of each
/// row with all links: 20,000 rows then take minutes. The view link is the way to filter by target.
std::string link_lookup(const Catalog& catalog, const StoredRule& rule) {
  return fmt::format(
      "(select l.target_id from sluice.link l where l.workspace_id = {0} and l.rule_id = {1}"
      " and l.source_id = e.id and l.state in {2} and (select r.enabled from sluice.link_rule r"
      " where r.workspace_id = {0} and r.rule_id = {1}))",
      catalog.workspace.value, rule.id.value, kSettled);
}

std::string of_workspace(const Catalog& catalog) {
  return fmt::format("workspace_id = {}", catalog.workspace.value);
}

/// As the attribute is indexed where it refers to an external id: in that one's collation. In two
/// collations, i.customer = s.external_id would find no index.
std::string column_of(const StoredType& type, const StoredAttribute& attribute) {
  std::string value = model::value_expression(type, attribute, "e");
  const bool refers = std::any_of(type.relationships.begin(), type.relationships.end(),
                                  [&](const auto& one) { return one.attribute == attribute.name; });
  return refers ? fmt::format("({}) collate \"C\"", value) : value;
}

/// Not as it is stored, so that it finds no index: a join of references would look rows up by the
/// workspace and this alone, since a planner without statistics takes that for as few rows as the
/// whole key has, and compare all of them. With the connections named in the view, the vendor's
/// ids are looked up by their whole key.
constexpr std::string_view kConnectionId =
    "case when e.connection_id is null then 0 else e.connection_id end";

std::string workspace_owner(const Catalog& catalog) {
  return std::to_string(catalog.workspace.value);
}

View preset_view(const Catalog& catalog, const StoredType& type) {
  Columns columns;
  for (const StoredAttribute& attribute : type.attributes) columns.take(attribute.name);
  for (const char* name : {"id", "external_id", "source_url", "first_synced_at", "last_synced_at"})
    columns.take(name);
  // An attribute may be called like one of our own columns; the attribute keeps its name.
  const std::string connection_name = type.find("connection_name")
                                          ? columns.free_name("sluice_connection_name")
                                          : columns.free_name("connection_name");
  // Before what came later: a link column that stands keeps its name, and so what it means.
  std::vector<ViewColumn> links;
  for (const StoredRule& rule : catalog.rules) {
    if (rule.source_type != type.id || rule.source_position < 0 || rule.target_position < 0)
      continue;
    if (rule.going) continue;
    links.push_back({link_column(columns, rule), link_lookup(catalog, rule)});
  }
  columns.add("e.id", "id");
  columns.add("e.external_id", "external_id");
  columns.add(std::string(kConnectionId), columns.take("connection_id")
                                              ? std::string("connection_id")
                                              : columns.free_name("sluice_connection_id"));
  columns.add("c.name", connection_name);
  columns.add("e.source_url", "source_url");
  columns.add("e.first_synced_at", "first_synced_at");
  columns.add("e.last_synced_at", "last_synced_at");
  for (const StoredAttribute& attribute : type.attributes) {
    columns.add(column_of(type, attribute), attribute.name);
  }
  for (ViewColumn& link : links) columns.add(std::move(link.expression), link.name);
  std::vector<ViewRead> targets;
  for (const Reference& reference : references_of(type)) {
    columns.add(reference_lookup(catalog, type, reference),
                columns.free_name(contract::reference_column(reference.name)));
    targets.push_back({"vendor." + quote_name(catalog.find(reference.target)->table),
                       of_workspace(catalog) + " and " + alive("deleted_at")});
  }
  for (const MajorUnits& amount : major_units_of(type))
    columns.add(amount.expression, columns.free_name(amount.name));
  columns.add("e.extra", columns.free_name("extra"));
  View view;
  view.name = type.table;
  view.columns = std::move(columns).all();
  // Naming the connections gives a lookup by external id, whose index has the connection between
  // the workspace and it, the whole key: else it walks the workspace's index.
  view.rest = fmt::format(
      "from vendor.{0} e"
      " left join sluice.connection c on c.workspace_id = {1} and c.connection_id = e.connection_id"
      " where e.workspace_id = {1} and e.connection_id = any (array(select k.connection_id"
      " from sluice.connection k where k.workspace_id = {1})) and {2}",
      quote_name(type.table), catalog.workspace.value, alive("e.deleted_at"));
  view.owner = workspace_owner(catalog);
  view.reads = {
      {"vendor." + quote_name(type.table), of_workspace(catalog) + " and " + alive("deleted_at")},
      {"sluice.connection", of_workspace(catalog)},
      {"sluice.link", of_workspace(catalog)},
      {"sluice.link_rule", of_workspace(catalog)}};
  std::move(targets.begin(), targets.end(), std::back_inserter(view.reads));
  return view;
}

/// Of a text attribute: through a function that the database trusts with rows that a reader may not
/// see (migration 0007), so that an index on it serves behind row-level security, too. What is
/// looked for by itself as it is indexed: no longer than it may be (migration 0018).
std::string own_value(const StoredType& type, const StoredAttribute& attribute) {
  if (attribute.type != contract::AttributeType::text)
    return model::value_expression(type, attribute, "e");
  return fmt::format("sluice.{}(e.data, {})",
                     model::is_indexed_text(attribute) ? "short_text_of" : "text_of",
                     quote_text(attribute.name));
}

View own_view(const Catalog& catalog, const StoredType& type) {
  Columns columns;
  columns.add("e.id", "id");
  columns.add("e.created_at", "created_at");
  columns.add("e.updated_at", "updated_at");
  for (const StoredAttribute& attribute : type.attributes)
    columns.add(own_value(type, attribute), attribute.name);
  const std::string rows = fmt::format("workspace_id = {} and type_id = {} and {}",
                                       catalog.workspace.value, type.id.value, alive("deleted_at"));
  View view;
  view.name = type.name;
  view.columns = std::move(columns).all();
  // A view of one relation could be written through by its owner and whoever he lets: rows would
  // change past the change feed, links and what keeps values unique. Of what stands beside it here
  // the planner makes nothing.
  view.rest = fmt::format(
      "from sluice.own_entity e cross join (select) of_one_row"
      " where e.workspace_id = {} and e.type_id = {} and {}",
      catalog.workspace.value, type.id.value, alive("e.deleted_at"));
  view.owner = fmt::format("{}_t{}", workspace_owner(catalog), type.id.value);
  view.owner_type = type.id.value;
  view.reads = {{"sluice.own_entity", rows}};
  return view;
}

/// The sources' tables, each joined for the rows of its type; PostgreSQL leaves out those of which
/// nothing is asked. A lookup row by row instead could not be compared with an index.
struct Sources {
  std::string external_id = "null::text";
  std::string joins;
};

Sources sources_of(const Catalog& catalog) {
  std::set<EntityTypeId> used;
  for (const StoredRule& rule : catalog.rules) used.insert(rule.source_type);
  Sources sources;
  std::string cases;
  for (const StoredType& type : catalog.types) {
    if (type.own || !used.contains(type.id)) continue;
    const std::string alias = fmt::format("e{}", type.id.value);
    cases += fmt::format(" when {} then {}.external_id", type.id.value, alias);
    sources.joins += fmt::format(
        " left join vendor.{0} {1} on {1}.workspace_id = {2} and {1}.id = l.source_id"
        " and l.source_type_id = {3} and {4}",
        quote_name(type.table), alias, catalog.workspace.value, type.id.value,
        alive(alias + ".deleted_at"));
  }
  if (!cases.empty()) sources.external_id = fmt::format("case l.source_type_id{} end", cases);
  return sources;
}

/// A constant for each type: two relations less to put in an order, of which the planner takes
/// eight.
std::string type_name(const Catalog& catalog, std::string_view type_id) {
  std::string cases;
  for (const StoredType& type : catalog.types)
    cases += fmt::format(" when {} then {}", type.id.value, quote_text(type.name));
  if (cases.empty()) return "null::text collate \"C\"";
  return fmt::format("(case {}{} end) collate \"C\"", type_id, cases);
}

View link_view(const Catalog& catalog) {
  const Sources sources = sources_of(catalog);
  Columns columns;
  columns.add("r.name", "rule");
  columns.add("l.state", "state");
  columns.add(type_name(catalog, "l.source_type_id"), "source_type");
  columns.add("l.source_id", "source_id");
  columns.add(sources.external_id, "source_external_id");
  columns.add(type_name(catalog, "l.target_type_id"), "target_type");
  for (const char* name :
       {"target_id", "candidates", "candidate_count", "evidence", "decided_by", "updated_at"}) {
    columns.add(fmt::format("l.{}", name), name);
  }
  View view;
  view.name = "link";
  view.columns = std::move(columns).all();
  view.rest = fmt::format(
      "from sluice.link l"
      " join sluice.link_rule r on r.workspace_id = {0} and r.rule_id = l.rule_id and r.enabled{1}"
      " where l.workspace_id = {0}",
      catalog.workspace.value, sources.joins);
  view.owner = workspace_owner(catalog);
  view.reads = {{"sluice.link", of_workspace(catalog)},
                {"sluice.link_rule", of_workspace(catalog)}};
  for (const StoredType& type : catalog.types) {
    if (type.own) continue;
    view.reads.push_back({"vendor." + quote_name(type.table),
                          of_workspace(catalog) + " and " + alive("deleted_at")});
  }
  return view;
}

View change_view(const Catalog& catalog) {
  Columns columns;
  columns.add("null::xid8", "txid");  // its name of before, as change_id is of position
  columns.add("h.position", "change_id");
  columns.add("h.at", "at");
  columns.add("t.name", "type");
  for (const char* name : {"entity_id", "external_id", "op", "changed"})
    columns.add(fmt::format("h.{}", name), name);
  columns.add("c.name", "connection_name");
  columns.add("h.run_id", "run_id");
  columns.add("h.position", "position");
  columns.add("h.vendor_at", "vendor_at");
  View view;
  view.name = "change";
  view.columns = std::move(columns).all();
  view.rest = fmt::format(
      "from sluice.change h"
      " left join sluice.entity_type t on t.workspace_id = {0} and t.type_id = h.type_id"
      " left join sluice.connection c on c.workspace_id = {0} and c.connection_id = h.connection_id"
      " where h.workspace_id = {0}",
      catalog.workspace.value);
  view.owner = workspace_owner(catalog);
  view.reads = {{"sluice.change", of_workspace(catalog)},
                {"sluice.entity_type", of_workspace(catalog)},
                {"sluice.connection", of_workspace(catalog)}};
  return view;
}

}  // namespace

std::vector<View> views_of(const Catalog& catalog) {
  std::vector<View> views;
  for (const StoredType& type : catalog.types) {
    views.push_back(type.own ? own_view(catalog, type) : preset_view(catalog, type));
  }
  views.push_back(link_view(catalog));
  views.push_back(change_view(catalog));
  return views;
}

std::string View::sql() const {
  std::string list;
  for (const ViewColumn& column : columns) {
    if (!list.empty()) list += ", ";
    list += fmt::format("{} as {}", column.expression, quote_name(column.name));
  }
  return fmt::format("select {} {}", list, rest);
}

}  // namespace sluice::feed
