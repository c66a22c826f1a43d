#include "sync/path_attributes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/printable.hpp"
#include "contract/reserved_names.hpp"
#include "feed/views.hpp"
#include "model/catalog.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"
#include "sync/link_rules.hpp"
#include "sync/view_work.hpp"
#include "sync/work_kinds.hpp"

namespace sluice::sync {
namespace {

using contract::AttributeType;
using model::Catalog;
using model::OwnAttribute;
using model::StoredAttribute;
using model::StoredRule;
using model::StoredType;
using nlohmann::json;

const pg::Statement kNextPosition{"path_next_position", R"(
  select coalesce(max(position) + 1, $3::int) from sluice.attribute
  where workspace_id = $1 and type_id = $2 and position >= $3::int)"};

// One that was taken away has kept its name and its position, which its keys go by.
const pg::Statement kPut{"path_put", R"(
  insert into sluice.attribute as a (workspace_id, type_id, name, position, type, format, description, protected,
                                     personal, key_kind, origin)
  values ($1, $2, $3, $4, 'text', $5, $6, true, $7, $8, 'user')
  on conflict (workspace_id, type_id, name) do update
  set type = 'text', format = excluded.format, description = excluded.description, personal = excluded.personal,
      key_kind = excluded.key_kind
  where a.origin = 'user' and a.format = '' returning a.position)"};

const pg::Statement kTakeAway{"path_take_away", R"(
  update sluice.attribute set format = '', key_kind = null
  where workspace_id = $1 and type_id = $2 and name = $3 and origin = 'user')"};

/// Filters of a list that no attribute may be called like.
constexpr std::string_view kFilters[] = {"connection", "link"};

std::unexpected<Error> bad_path(const std::string& path, std::string what, std::string hint) {
  return fail(ErrorKind::bad_input, "attribute.bad_path",
              fmt::format("the path '{}' {}", printable(path.substr(0, 100)), what),
              std::move(hint));
}

/// "metadata, address or extra": where a path may begin.
std::string documents_of(const StoredType& type) {
  std::string names;
  for (const StoredAttribute& attribute : type.attributes) {
    if (attribute.type == AttributeType::json) names += attribute.name + ", ";
  }
  return names + std::string(model::kExtraDocument);
}

/// A text of the connector's that is a key under the attribute's name: it need not be one there.
bool is_text(const StoredAttribute* document) {
  return document != nullptr && document->type == AttributeType::text && document->path.empty();
}

Result<void> check_path(const StoredType& type, const OwnAttribute& attribute) {
  const std::string& path = attribute.path;
  const std::string begins = fmt::format("it begins with one of {}", documents_of(type));
  const std::string example =
      "as in a filter: metadata.customer_number, or extra.NAME for what the vendor sent beyond its "
      "attributes";
  if (path.size() > kPathBytesMax)
    return bad_path(path, fmt::format("is longer than {} bytes", kPathBytesMax), example);
  const std::vector<std::string> parts = model::split_path(path);
  if (printable(path) != path) return bad_path(path, "has characters that are not seen", example);
  if (std::find(parts.begin(), parts.end(), "") != parts.end())
    return bad_path(path, "has an empty part", example);
  if (parts.size() > kPathPartsMax)
    return bad_path(path, fmt::format("has more than {} parts", kPathPartsMax), example);
  const StoredAttribute* const document = type.find(parts.front());
  if (is_text(document)) {
    if (parts.size() > 1) return bad_path(path, "leads into a text", begins);
    if (attribute.key_kind) return {};
    return bad_path(path, "is an attribute already", "only as a link key it is worth another name");
  }
  const bool is_json = document != nullptr && document->type == AttributeType::json;
  if (!is_json && parts.front() != model::kExtraDocument)
    return bad_path(path, fmt::format("begins at no json of {}", type.name), begins);
  if (parts.size() == 1) return bad_path(path, "does not say what inside of it is meant", example);
  return {};
}

Result<void> check_form(const OwnAttribute& attribute) {
  std::string wrong;
  if (attribute.type != AttributeType::text) wrong = "is text, whatever stands there";
  if (!attribute.format.empty()) wrong = "has no format: say what key it is (link_key)";
  if (attribute.required) wrong = "cannot be required";
  if (attribute.unique) wrong = "cannot be unique";
  if (wrong.empty()) return {};
  return fail(ErrorKind::bad_input, "attribute.cannot_have_path",
              fmt::format("an attribute with a path {}", wrong),
              "the vendor's data is shown as it is: leave that away");
}

Result<void> check_name(const Catalog& catalog, const StoredType& type, const std::string& name) {
  if (!model::is_own_name(name)) {
    return fail(ErrorKind::bad_input, "attribute.bad_name",
                fmt::format("'{}' is no attribute name", name.substr(0, 100)),
                "use 1 to 63 of a-z, 0-9 and _, beginning with a letter");
  }
  const std::string another = "choose another name for the attribute";
  if (contract::reserved_by(name) ||
      std::find(std::begin(kFilters), std::end(kFilters), name) != std::end(kFilters)) {
    return fail(ErrorKind::bad_input, "attribute.reserved_name",
                fmt::format("every entity of a connector has '{}' already", name), another);
  }
  if (type.find(name) != nullptr) {
    return fail(ErrorKind::conflict, "attribute.name_taken",
                fmt::format("type {} already has an attribute {}", type.name, name), another);
  }
  for (const feed::View& view : feed::views_of(catalog)) {
    if (view.name != type.table) continue;
    const bool taken = std::any_of(view.columns.begin(), view.columns.end(),
                                   [&](const auto& column) { return column.name == name; });
    if (!taken) break;
    return fail(ErrorKind::conflict, "attribute.name_taken",
                fmt::format("the SQL view of {} already has a column {}", type.name, name),
                another);
  }
  return {};
}

Result<void> check_count(const StoredType& type) {
  const auto added = std::count_if(type.attributes.begin(), type.attributes.end(),
                                   [](const auto& one) { return !one.path.empty(); });
  if (static_cast<std::size_t>(added) < kPathAttributesMax) return {};
  return fail(ErrorKind::bad_input, "attribute.too_many",
              fmt::format("{} attributes were added to {}, which is the limit", added, type.name),
              "take one away that nothing needs; filters take any path without one");
}

/// Everything that may be wrong; `stored` may be null.
Result<void> check_all(const Catalog& catalog, const StoredType* stored, const std::string& type,
                       const OwnAttribute& attribute) {
  if (stored == nullptr) return std::unexpected(model::no_such_type(type));
  if (stored->own) {
    return fail(ErrorKind::bad_input, "attribute.path_of_own_type",
                fmt::format("{} is a type of your own, whose attributes have no path", type),
                "give it the attribute itself, and write its values");
  }
  if (auto checked = check_form(attribute); !checked) return checked;
  if (auto checked = check_path(*stored, attribute); !checked) return checked;
  if (auto checked = check_name(catalog, *stored, attribute.name); !checked) return checked;
  return check_count(*stored);
}

/// Rules that are on and begin or end at the attribute.
std::string rules_at(const Catalog& catalog, const StoredType& type, const std::string& name) {
  std::vector<std::string> names;
  for (const StoredRule& rule : catalog.rules) {
    const bool begins = rule.source_type_name == type.name && rule.source_attribute == name;
    const bool ends = rule.target_type_name == type.name && rule.target_attribute == name;
    if (rule.enabled && !rule.going && (begins || ends)) names.push_back(rule.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<void> check_removable(const Catalog& catalog, const StoredType* stored,
                             const std::string& type, const std::string& name) {
  if (stored == nullptr) return std::unexpected(model::no_such_type(type));
  const StoredAttribute* const attribute = stored->find(name);
  if (attribute == nullptr) {
    return fail(ErrorKind::not_found, "attribute.not_found",
                fmt::format("{} has no attribute '{}'", type, name.substr(0, 100)),
                "sluice entity type " + type);
  }
  if (stored->own) {
    return fail(ErrorKind::conflict, "attribute.of_own_type",
                fmt::format("{} is a type of your own, whose attributes stay", type),
                "stop writing it; an update with " + name + "= clears its value");
  }
  if (attribute->path.empty()) {
    return fail(ErrorKind::conflict, "attribute.of_connector",
                fmt::format("{}.{} is the connector's: {}", type, name, stored->connector),
                "only what was added with a path can be taken away");
  }
  const std::string rules = rules_at(catalog, *stored, name);
  if (rules.empty()) return {};
  return fail(ErrorKind::conflict, "attribute.in_use",
              fmt::format("link rules go by {}.{}: {}", type, name, rules),
              "turn them off (sluice link disable-rule) or remove them (sluice link remove-rule)");
}

work::NewWork keys_of(const std::string& type, const std::string& name, const Actor& actor) {
  work::NewWork work;
  work.kind = kMakeKeys;
  work.subject = type + "." + name;
  work.task["type"] = type;
  work.task["attribute"] = name;
  work.actor = actor.name();
  return work;
}

/// The work, the views, the audit, the version, COMMIT.
Task<void> finish(pg::Transaction& transaction, WorkspaceId workspace, PathAttribute& done,
                  std::optional<work::NewWork> keys, Actor actor, std::string action, json detail) {
  const std::string subject = done.type_name + "." + done.attribute.name;
  co_await renew_views(transaction, workspace, actor.name());
  if (keys) done.work = co_await work::put(transaction, workspace, std::move(*keys));
  co_await audit(transaction, workspace, std::move(actor), std::move(action), subject,
                 std::move(detail));
  co_await model::raise_catalog_version(transaction, workspace);
  co_await transaction.commit();
}

}  // namespace

Task<Result<PathAttribute>> add_path_attribute(pg::Connection& connection, WorkspaceId workspace,
                                               std::string type, model::OwnAttribute attribute,
                                               Actor actor) {
  auto transaction = co_await pg::Transaction::begin(connection);
  co_await transaction.query(model::kTypesAlone);
  const model::CatalogPtr catalog = co_await model::load_catalog(connection, workspace);
  const StoredType* const stored = catalog->find(type);
  Result<void> checked = check_all(*catalog, stored, type, attribute);
  std::int32_t position = 0;
  if (checked) {
    pg::Params of_type(workspace, stored->id, std::int32_t{model::kPathPositionMin});
    const auto next = co_await transaction.query(kNextPosition, std::move(of_type));
    position = next.get<std::int32_t>(0, 0);
    if (position > std::numeric_limits<std::int16_t>::max()) {
      checked =
          fail(ErrorKind::bad_input, "attribute.too_many",
               fmt::format("more names were given to attributes of {} than it can have", type),
               "use a name that it had before");
    }
  }
  if (!checked) {
    co_await transaction.rollback();
    co_return std::unexpected(checked.error());
  }
  if (attribute.description.empty())
    attribute.description = fmt::format("what the vendor has at {}", attribute.path);
  std::optional<std::int32_t> kind;
  if (attribute.key_kind) kind = static_cast<std::int32_t>(*attribute.key_kind);
  pg::Params values(workspace, stored->id, attribute.name, position, attribute.path,
                    attribute.description, attribute.personal, kind);
  co_await transaction.query(kPut, std::move(values));
  // Not stored with it: a later version of the connector may say otherwise of the document.
  const StoredAttribute* const document = stored->find(model::split_path(attribute.path).front());
  attribute.personal = attribute.personal || (document != nullptr && document->personal);
  PathAttribute done;
  done.type = stored->id;
  done.type_name = type;
  std::optional<work::NewWork> keys;
  if (kind) keys = keys_of(type, attribute.name, actor);
  std::vector<std::string> names(1, attribute.name);
  co_await apply_rules_of(transaction, workspace, type, std::move(names), actor.name());
  json detail = json::object();
  detail["path"] = attribute.path;
  detail["personal"] = attribute.personal;
  if (kind) detail["link_key"] = contract::to_string(*attribute.key_kind);
  done.attribute = std::move(attribute);
  co_await finish(transaction, workspace, done, std::move(keys), std::move(actor),
                  "type.add_attribute", std::move(detail));
  co_return done;
}

Task<Result<PathAttribute>> drop_path_attribute(pg::Connection& connection, WorkspaceId workspace,
                                                std::string type, std::string name, Actor actor) {
  auto transaction = co_await pg::Transaction::begin(connection);
  co_await transaction.query(model::kTypesAlone);
  const model::CatalogPtr catalog = co_await model::load_catalog(connection, workspace);
  const StoredType* const stored = catalog->find(type);
  const Result<void> checked = check_removable(*catalog, stored, type, name);
  if (!checked) {
    co_await transaction.rollback();
    co_return std::unexpected(checked.error());
  }
  const StoredAttribute& attribute = *stored->find(name);
  PathAttribute done;
  done.type = stored->id;
  done.type_name = type;
  done.attribute.name = name;
  done.attribute.path = model::joined_path(attribute.path);
  done.attribute.key_kind = attribute.key_kind;
  done.attribute.personal = attribute.personal;
  pg::Params which(workspace, stored->id, name);
  co_await transaction.query(kTakeAway, std::move(which));
  std::optional<work::NewWork> keys;
  if (attribute.key_kind) {
    keys = keys_of(type, name, actor);
    keys->task["position"] = attribute.position;
  }
  json detail = json::object();
  detail["path"] = done.attribute.path;
  detail["personal"] = done.attribute.personal;
  co_await finish(transaction, workspace, done, std::move(keys), std::move(actor),
                  "type.drop_attribute", std::move(detail));
  co_return done;
}

}  // namespace sluice::sync
