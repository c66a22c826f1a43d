#include "model/own_types.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "base/exact_json.hpp"
#include "base/nearest.hpp"
#include "base/printable.hpp"
#include "contract/reserved_names.hpp"
#include "model/catalog_version.hpp"
#include "model/columns.hpp"

namespace sluice::model {
namespace {

using contract::AttributeType;
using contract::KeyKind;
using nlohmann::json;

constexpr std::size_t kDescriptionBytesMax = 4000;  ///< of an attribute

// Two names of SQL views that every workspace has.
constexpr std::array<std::string_view, 2> kReservedTypes = {"link", "change"};

constexpr std::string_view kTaken =
    "select name, state, type_id from sluice.entity_type where workspace_id = $1"
    " and (name = $2 or relation = 'vendor.' || $2)";

constexpr std::string_view kCount =
    "select count(*) from sluice.entity_type where workspace_id = $1 and origin = 'own'"
    " and state not in ('dropping', 'dropped')";

constexpr std::string_view kNamed =
    "select type_id, origin, state from sluice.entity_type where workspace_id = $1 and name = $2";

// Nobody who writes its entities waits, nor is waited for: they hold its key (own_entities.cpp).
constexpr std::string_view kDrop =
    "update sluice.entity_type set state = 'dropping' where workspace_id = $1 and type_id = $2";

constexpr std::string_view kDropAttributes =
    "delete from sluice.attribute where workspace_id = $1 and type_id = $2";

// By created_at who remembers the type of before knows that it is another.
constexpr std::string_view kMakeAnew =
    "update sluice.entity_type set state = 'active', declaration = $3, created_at = "
    "clock_timestamp()"
    " where workspace_id = $1 and type_id = $2";

constexpr std::string_view kPutType =
    "insert into sluice.entity_type (workspace_id, name, origin, relation, declaration)"
    " values ($1, $2, 'own', 'sluice.own_entity', $3) returning type_id";

constexpr std::string_view kPutAttribute =
    "insert into sluice.attribute (workspace_id, type_id, name, position, type, format, "
    "description,"
    " required, personal, is_unique, key_kind)"
    " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

constexpr std::string_view kAnyRow =
    "select 1 from sluice.own_entity where workspace_id = $1 and type_id = $2 and deleted_at is "
    "null"
    " limit 1";

constexpr std::string_view kNextPosition =
    "select coalesce(max(position) + 1, 0) from sluice.attribute where workspace_id = $1 and "
    "type_id = $2";

constexpr std::string_view kList =
    "select t.type_id, t.name, coalesce(t.declaration->>'display_name', ''),"
    " coalesce(t.declaration->>'display_attribute', ''), a.name, a.type, a.format, a.description,"
    " a.required, a.is_unique, a.personal, a.key_kind"
    " from sluice.entity_type t join sluice.attribute a"
    "   on a.workspace_id = t.workspace_id and a.type_id = t.type_id"
    " where t.workspace_id = $1 and t.origin = 'own' order by t.name, a.position";

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool can_be_unique(AttributeType type) {
  return type == AttributeType::text || type == AttributeType::integer ||
         type == AttributeType::decimal || type == AttributeType::date ||
         type == AttributeType::timestamp;
}

bool can_be_key(AttributeType type, KeyKind kind) {
  if (type == AttributeType::text) return true;
  return type == AttributeType::integer && (kind == KeyKind::exact || kind == KeyKind::external_id);
}

std::optional<KeyKind> effective_key(const OwnAttribute& attribute) {
  if (attribute.no_key) return std::nullopt;
  if (attribute.key_kind) return attribute.key_kind;
  const bool email = attribute.format == "email" && attribute.type == AttributeType::text;
  return email ? std::optional(KeyKind::email) : std::nullopt;
}

Result<void> check_attribute(std::string_view type_name, const OwnAttribute& attribute) {
  const std::string where = fmt::format("{}.{}", type_name, attribute.name);
  if (!is_own_name(attribute.name)) {
    return fail(ErrorKind::bad_input, "attribute.bad_name",
                fmt::format("'{}' is no attribute name", attribute.name),
                "use 1 to 63 of a-z, 0-9 and _, beginning with a letter");
  }
  if (contains(contract::kReservedOwnNames, attribute.name)) {
    return fail(ErrorKind::bad_input, "attribute.reserved_name",
                fmt::format("{}: every entity has '{}' already", where, attribute.name),
                "choose another name for the attribute");
  }
  if (!attribute.path.empty()) {
    return fail(
        ErrorKind::bad_input, "attribute.path_of_own_type",
        fmt::format("{} has a path, as only what is added to a connector's type can", where),
        "leave the path away, and write its values");
  }
  if (attribute.unique && !can_be_unique(attribute.type)) {
    return fail(ErrorKind::bad_input, "attribute.cannot_be_unique",
                fmt::format("{} is {}, which cannot be unique", where, to_string(attribute.type)),
                "text, integer, decimal, date and timestamp can");
  }
  if (attribute.key_kind && !can_be_key(attribute.type, *attribute.key_kind)) {
    return fail(ErrorKind::bad_input, "attribute.cannot_be_key",
                fmt::format("{} is {}, which cannot be a link key of kind {}", where,
                            to_string(attribute.type), to_string(*attribute.key_kind)),
                "make it text, or an integer with kind exact or external_id");
  }
  return {};
}

Result<void> check_type(const OwnType& type) {
  if (!is_own_name(type.name)) {
    return fail(
        ErrorKind::bad_input, "type.bad_name", fmt::format("'{}' is no type name", type.name),
        "use 1 to 63 of a-z, 0-9 and _, beginning with a letter; dots belong to connectors");
  }
  if (contains(kReservedTypes, type.name)) {
    return fail(ErrorKind::bad_input, "type.reserved_name",
                fmt::format("'{}' is the name of a view that every workspace has", type.name),
                "choose another name for the type");
  }
  if (type.attributes.empty()) {
    return fail(ErrorKind::bad_input, "type.no_attributes",
                fmt::format("type {} has no attributes", type.name), "declare at least one");
  }
  if (type.attributes.size() > kOwnAttributesMax) {
    return fail(ErrorKind::bad_input, "attribute.too_many",
                fmt::format("type {} has {} attributes; the limit is {}", type.name,
                            type.attributes.size(), kOwnAttributesMax),
                "put what belongs together into one json attribute");
  }
  std::set<std::string_view> names;
  for (const OwnAttribute& attribute : type.attributes) {
    if (const auto checked = check_attribute(type.name, attribute); !checked) return checked;
    if (names.insert(attribute.name).second) continue;
    return fail(ErrorKind::bad_input, "attribute.name_taken",
                fmt::format("type {} declares {} twice", type.name, attribute.name),
                "give each attribute its own name");
  }
  if (!type.display_attribute.empty() && !names.contains(type.display_attribute)) {
    return fail(
        ErrorKind::bad_input, "type.unknown_display_attribute",
        fmt::format("type {} has no attribute {} to display", type.name, type.display_attribute),
        "name one of its attributes, or none");
  }
  return {};
}

Task<void> put_attribute(pg::Transaction& transaction, WorkspaceId workspace, EntityTypeId type,
                         const OwnAttribute& attribute, std::int32_t position) {
  std::optional<std::int32_t> kind;
  if (const auto key = effective_key(attribute)) kind = static_cast<std::int32_t>(*key);
  pg::Params values(workspace, type, attribute.name, position, contract::to_string(attribute.type),
                    attribute.format, attribute.description, attribute.required, attribute.personal,
                    attribute.unique, kind);
  co_await transaction.query(kPutAttribute, std::move(values));
}

OwnAttribute read_attribute(const pg::QueryResult& rows, int row) {
  OwnAttribute attribute;
  attribute.name = rows.get<std::string>(row, 4);
  attribute.type = contract::attribute_type(rows.text(row, 5)).value_or(AttributeType::text);
  attribute.format = rows.get<std::string>(row, 6);
  attribute.description = rows.get<std::string>(row, 7);
  attribute.required = rows.get<bool>(row, 8);
  attribute.unique = rows.get<bool>(row, 9);
  attribute.personal = rows.get<bool>(row, 10);
  if (!rows.is_null(row, 11)) {
    attribute.key_kind = static_cast<KeyKind>(rows.get<std::int32_t>(row, 11));
  }
  return attribute;
}

std::vector<std::string> type_names() {
  return {"text", "integer", "decimal", "number", "boolean", "timestamp", "date", "json", "bytes"};
}
std::vector<std::string> kind_names() {
  return {"email", "phone", "domain", "username", "external_id", "exact"};
}

/// What an own attribute's format may be: "url" is advice, "email" also makes a key of it.
std::vector<std::string> format_names() { return {"email", "url"}; }

/// "Did you mean 'text'? There are text, integer, …"
std::string which(const std::string& given, const std::vector<std::string>& known) {
  return did_you_mean(given, known) + fmt::format("There are {}", fmt::join(known, ", "));
}

std::unexpected<Error> bad_request(std::string message, std::string hint = {}) {
  return fail(ErrorKind::bad_input, "type.bad_request", std::move(message), std::move(hint));
}

/// Every member is one of `known`, or an error that names it.
Result<void> only_known(const json& document, std::span<const std::string_view> known,
                        std::string_view what) {
  if (!document.is_object()) return bad_request(fmt::format("{} must be a JSON object", what));
  for (const auto& [name, value] : document.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return bad_request(fmt::format("{}: unknown member '{}'", what, name),
                       fmt::format("known are {}", fmt::join(known, ", ")));
  }
  return {};
}

Result<std::string> text_member(const json& document, const char* name, std::string_view what) {
  const auto found = document.find(name);
  if (found == document.end()) return std::string();
  if (!found->is_string()) return bad_request(fmt::format("{}: '{}' must be a string", what, name));
  return found->get<std::string>();
}

Result<bool> flag_member(const json& document, const char* name, std::string_view what) {
  const auto found = document.find(name);
  if (found == document.end()) return false;
  if (!found->is_boolean())
    return bad_request(fmt::format("{}: '{}' must be true or false", what, name));
  return found->get<bool>();
}

}  // namespace

bool is_own_name(std::string_view name) {
  if (name.empty() || name.size() > kIdentifierBytesMax) return false;
  if (name.front() < 'a' || name.front() > 'z') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

Result<OwnAttribute> own_attribute_from_json(const json& document) {
  static constexpr std::array<std::string_view, 9> kKnown = {"name",        "type",     "format",
                                                             "description", "required", "unique",
                                                             "personal",    "link_key", "path"};
  if (const auto known = only_known(document, kKnown, "attribute"); !known) {
    return std::unexpected(known.error());
  }
  OwnAttribute attribute;
  std::string type;
  for (const auto& [member, place] : std::initializer_list<std::pair<const char*, std::string*>>{
           {"name", &attribute.name},
           {"type", &type},
           {"format", &attribute.format},
           {"description", &attribute.description},
           {"path", &attribute.path}}) {
    auto text = text_member(document, member, "attribute");
    if (!text) return std::unexpected(text.error());
    *place = std::move(*text);
  }
  if (attribute.description.size() > kDescriptionBytesMax) {
    return bad_request(fmt::format("attribute: 'description' has {} bytes, and {} is the limit",
                                   attribute.description.size(), kDescriptionBytesMax));
  }
  const std::string what = fmt::format("attribute '{}'", printable(attribute.name));
  for (const auto& [member, place] :
       std::initializer_list<std::pair<const char*, bool*>>{{"required", &attribute.required},
                                                            {"unique", &attribute.unique},
                                                            {"personal", &attribute.personal}}) {
    const auto flag = flag_member(document, member, what);
    if (!flag) return std::unexpected(flag.error());
    *place = *flag;
  }
  if (type.empty() && !attribute.path.empty()) type = contract::to_string(AttributeType::text);
  const auto known_type = contract::attribute_type(type);
  if (!known_type) {
    return fail(ErrorKind::bad_input, "attribute.unknown_type",
                fmt::format("{}: '{}' is no attribute type", what, type),
                which(type, type_names()));
  }
  attribute.type = *known_type;
  const std::vector<std::string> formats = format_names();
  if (!attribute.format.empty() &&
      std::find(formats.begin(), formats.end(), attribute.format) == formats.end()) {
    return fail(ErrorKind::bad_input, "attribute.unknown_format",
                fmt::format("{}: '{}' is no format of an attribute", what,
                            printable(attribute.format.substr(0, 50))),
                which(attribute.format, formats) + ", or none");
  }
  const auto key = document.find("link_key");
  if (key == document.end()) return attribute;
  attribute.no_key = key->is_null();
  if (attribute.no_key) return attribute;
  if (key->is_string()) attribute.key_kind = contract::key_kind(key->get<std::string>());
  if (attribute.key_kind) return attribute;
  const std::string given = key->is_string() ? key->get<std::string>() : "";
  return fail(ErrorKind::bad_input, "attribute.unknown_key_kind",
              fmt::format("{}: link_key {} is no kind of link key", what, write_json(*key)),
              which(given, kind_names()) + ", or null for none");
}

Result<OwnType> own_type_from_json(const json& document) {
  static constexpr std::array<std::string_view, 4> kKnown = {"name", "display_name",
                                                             "display_attribute", "attributes"};
  if (const auto known = only_known(document, kKnown, "type"); !known) {
    return std::unexpected(known.error());
  }
  OwnType type;
  for (const auto& [member, place] : std::initializer_list<std::pair<const char*, std::string*>>{
           {"name", &type.name},
           {"display_name", &type.display_name},
           {"display_attribute", &type.display_attribute}}) {
    auto text = text_member(document, member, "type");
    if (!text) return std::unexpected(text.error());
    *place = std::move(*text);
  }
  const auto attributes = document.find("attributes");
  if (attributes == document.end()) return type;
  if (!attributes->is_array()) return bad_request("type: 'attributes' must be an array");
  for (const json& item : *attributes) {
    auto attribute = own_attribute_from_json(item);
    if (!attribute) return std::unexpected(attribute.error());
    type.attributes.push_back(std::move(*attribute));
  }
  return type;
}

json to_json(const OwnAttribute& attribute) {
  json out = json::object();
  out["name"] = attribute.name;
  out["type"] = contract::to_string(attribute.type);
  out["format"] = attribute.format;
  out["description"] = attribute.description;
  out["required"] = attribute.required;
  out["unique"] = attribute.unique;
  out["personal"] = attribute.personal;
  out["link_key"] = nullptr;
  if (const auto key = effective_key(attribute)) out["link_key"] = contract::to_string(*key);
  if (!attribute.path.empty()) out["path"] = attribute.path;
  return out;
}

json to_json(const OwnType& type) {
  json out = json::object();
  out["id"] = id_text(type.id);
  out["name"] = type.name;
  out["display_name"] = type.display_name;
  out["display_attribute"] = type.display_attribute;
  out["attributes"] = json::array();
  for (const OwnAttribute& attribute : type.attributes)
    out["attributes"].push_back(to_json(attribute));
  return out;
}

Task<Result<OwnType>> create_own_type(pg::Transaction& transaction, WorkspaceId workspace,
                                      OwnType type) {
  if (const auto checked = check_type(type); !checked) co_return std::unexpected(checked.error());
  co_await transaction.query(kTypesAlone);
  pg::Params by_name(workspace, type.name);
  const auto taken = co_await transaction.query(kTaken, std::move(by_name));
  bool was_dropped = false;
  for (int row = 0; row < taken.rows(); ++row) {
    const std::string_view state = taken.text(row, 1);
    if (state == "dropping") co_return std::unexpected(being_dropped(type.name));
    if (state == "dropped") {
      was_dropped = true;
      type.id = taken.get<EntityTypeId>(row, 2);
      continue;
    }
    const std::string other = taken.get<std::string>(row, 0);
    co_return fail(ErrorKind::conflict, "type.name_taken",
                   other == type.name
                       ? fmt::format("the workspace already has a type {}", type.name)
                       : fmt::format("{} is the name of the SQL view of {}", type.name, other),
                   "choose another name, or add attributes to the existing type");
  }
  pg::Params in_workspace(workspace);
  const auto count = co_await transaction.query(kCount, std::move(in_workspace));
  if (count.get<std::int64_t>(0, 0) >= static_cast<std::int64_t>(kOwnTypesMax)) {
    co_return fail(ErrorKind::bad_input, "type.too_many",
                   fmt::format("the workspace has {} own types, which is the limit", kOwnTypesMax),
                   "use another workspace, or one type with an attribute that tells kinds apart");
  }
  json declaration = json::object();
  declaration["display_name"] = type.display_name;
  declaration["display_attribute"] = type.display_attribute;
  if (was_dropped) {
    pg::Params anew(workspace, type.id, declaration);
    co_await transaction.query(kMakeAnew, std::move(anew));
  } else {
    pg::Params values(workspace, type.name, declaration);
    const auto put = co_await transaction.query(kPutType, std::move(values));
    type.id = put.get<EntityTypeId>(0, 0);
  }
  std::int32_t position = 0;
  for (OwnAttribute& attribute : type.attributes) {
    attribute.key_kind = effective_key(attribute);
    co_await put_attribute(transaction, workspace, type.id, attribute, position++);
  }
  co_await raise_catalog_version(transaction, workspace);
  co_return type;
}

Task<Result<EntityTypeId>> drop_own_type(pg::Transaction& transaction, WorkspaceId workspace,
                                         std::string name) {
  co_await transaction.query(kTypesAlone);
  pg::Params by_name(workspace, std::string_view(name));
  const auto found = co_await transaction.query(kNamed, std::move(by_name));
  if (found.empty() || found.text(0, 2) == "dropped") {
    co_return std::unexpected(no_such_type(name));
  }
  if (found.text(0, 1) != "own") {
    co_return fail(ErrorKind::denied, "type.read_only",
                   fmt::format("'{}' is a connector's type, and stays as long as that", name),
                   "turn the connector off instead: sluice connector disable");
  }
  if (found.text(0, 2) == "dropping") co_return std::unexpected(being_dropped(name));
  const auto id = found.get<EntityTypeId>(0, 0);
  co_await transaction.query(kDrop, pg::Params(workspace, id));
  co_await transaction.query(kDropAttributes, pg::Params(workspace, id));
  co_return id;
}

Task<std::optional<DroppedType>> find_dropped_type(pg::Pool& pool, WorkspaceId workspace,
                                                   std::string name) {
  pg::Params by_name(workspace, std::string_view(name));
  const auto found = co_await pool.query(kNamed, std::move(by_name));
  if (found.empty()) co_return std::nullopt;
  DroppedType type;
  type.going = found.text(0, 2) == "dropping";
  if (!type.going && found.text(0, 2) != "dropped") co_return std::nullopt;
  type.id = found.get<EntityTypeId>(0, 0);
  co_return type;
}

Error no_such_type(std::string_view name) {
  return Error(ErrorKind::not_found, "type.not_found",
               fmt::format("there is no entity type '{}'", name), "sluice entity types");
}

Error being_dropped(std::string_view name) {
  return Error(
      ErrorKind::conflict, "type.being_dropped",
      fmt::format("the type {} is being dropped, and its entities are not all gone yet", name),
      "sluice status shows how far that is; ask again when it is over");
}

Task<Result<OwnType>> add_own_attribute(pg::Transaction& transaction, WorkspaceId workspace,
                                        std::string type_name, OwnAttribute attribute) {
  if (const auto checked = check_attribute(type_name, attribute); !checked) {
    co_return std::unexpected(checked.error());
  }
  co_await transaction.query(kTypesAlone);
  auto types = co_await list_own_types(transaction.connection(), workspace);
  const auto found = std::find_if(types.begin(), types.end(),
                                  [&](const OwnType& type) { return type.name == type_name; });
  if (found == types.end()) {
    co_return fail(ErrorKind::not_found, "type.not_found",
                   fmt::format("the workspace has no own type {}", type_name),
                   "create it first; types of connectors cannot be extended this way");
  }
  OwnType type = std::move(*found);
  Result<void> allowed;
  if (std::any_of(type.attributes.begin(), type.attributes.end(),
                  [&](const OwnAttribute& other) { return other.name == attribute.name; })) {
    allowed = fail(ErrorKind::conflict, "attribute.name_taken",
                   fmt::format("type {} already has an attribute {}", type_name, attribute.name),
                   "choose another name; an attribute's type never changes");
  } else if (type.attributes.size() >= kOwnAttributesMax) {
    allowed = fail(
        ErrorKind::bad_input, "attribute.too_many",
        fmt::format("type {} has {} attributes, which is the limit", type_name, kOwnAttributesMax),
        "put what belongs together into one json attribute");
  } else if (attribute.required) {
    pg::Params of_type(workspace, type.id);
    const auto any = co_await transaction.query(kAnyRow, std::move(of_type));
    if (!any.empty()) {
      allowed =
          fail(ErrorKind::conflict, "attribute.required_with_rows",
               fmt::format("type {} has entities, none of which has {}", type_name, attribute.name),
               "add the attribute without 'required'");
    }
  }
  if (!allowed) co_return std::unexpected(allowed.error());
  pg::Params of_type(workspace, type.id);
  const auto next = co_await transaction.query(kNextPosition, std::move(of_type));
  attribute.key_kind = effective_key(attribute);
  co_await put_attribute(transaction, workspace, type.id, attribute, next.get<std::int32_t>(0, 0));
  co_await raise_catalog_version(transaction, workspace);
  type.attributes.push_back(std::move(attribute));
  co_return type;
}

Task<std::vector<OwnType>> list_own_types(pg::Connection& connection, WorkspaceId workspace) {
  pg::Params in_workspace(workspace);
  const auto rows = co_await connection.query(kList, std::move(in_workspace));
  std::vector<OwnType> types;
  for (int row = 0; row < rows.rows(); ++row) {
    if (types.empty() || types.back().name != rows.text(row, 1)) {
      OwnType& type = types.emplace_back();
      type.id = rows.get<EntityTypeId>(row, 0);
      type.name = rows.get<std::string>(row, 1);
      type.display_name = rows.get<std::string>(row, 2);
      type.display_attribute = rows.get<std::string>(row, 3);
    }
    types.back().attributes.push_back(read_attribute(rows, row));
  }
  co_return types;
}

}  // namespace sluice::model
