// Entity types and their entities.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>
#include <utility>

#include "base/exact_json.hpp"
#include "base/nearest.hpp"
#include "base/numbers.hpp"
#include "cli/confirm.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"
#include "cli/typed_value.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {
namespace {

/// "email:text:unique:required" -> an attribute.
json attribute_of(const std::string& text) {
  json attribute;
  std::size_t at = 0;
  for (int field = 0; at <= text.size(); ++field) {
    const std::size_t colon = std::min(text.find(':', at), text.size());
    const std::string word = text.substr(at, colon - at);
    at = colon + 1;
    if (word.find(',') != std::string::npos) {
      throw CLI::ValidationError("attribute",
                                 fmt::format("'{}' has a comma where a colon separates, as in "
                                             "email:text:unique:format=email",
                                             text));
    }
    const bool is_option = word.find('=') != std::string::npos || word == "unique" ||
                           word == "required" || word == "personal";
    if (field == 0)
      attribute["name"] = word;
    else if (field == 1 && !is_option)
      attribute["type"] = word;
    else if (word == "unique" || word == "required" || word == "personal")
      attribute[word] = true;
    else if (word.starts_with("key="))
      attribute["link_key"] = word.substr(4);
    else if (word.starts_with("format="))
      attribute["format"] = word.substr(7);
    else
      throw CLI::ValidationError(
          "attribute",
          "'" + word + "' is none of unique, required, personal, key=KIND, format=FORMAT");
  }
  if (!attribute.contains("type")) attribute["type"] = "text";
  return attribute;
}

/// What of a list is wanted, and how it is shown.
struct ListWish {
  std::string sort, fields, expand, cursor, output;
  std::vector<std::string> filters;
  int limit = 20;
  bool count = false, deleted = false, for_spreadsheets = false;
};

constexpr std::chrono::minutes kDropShownMax{10};
constexpr std::size_t kTableColumns = 7;
constexpr std::size_t kWideCell = 200;
constexpr const char* kMajor = "_major";
constexpr const char* kExtra = "extra";  ///< what a vendor sent beyond the attributes

Query query_of(const ListWish& wish) {
  Query query;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) query.emplace_back(name, value);
  };
  add("sort", wish.sort);
  add("fields", wish.fields);
  add("expand", wish.expand);
  if (wish.count) query.emplace_back("count", "true");
  if (wish.deleted) query.emplace_back("deleted", "include");
  if (wish.for_spreadsheets) query.emplace_back("for_spreadsheets", "true");
  for (const std::string& text : wish.filters) query.push_back(split(text, "--filter"));
  return query;
}

/// The names of a type's attributes, as they were declared; an amount's own in its currency is
/// behind it, where the entities have one.
std::vector<std::string> declared(const json& type, const json& entities) {
  std::vector<std::string> names;
  const auto has = [&](const std::string& name) {
    return std::any_of(entities.begin(), entities.end(), [&](const json& one) {
      const auto attributes = one.find("attributes");
      return attributes != one.end() && attributes->is_object() && attributes->contains(name);
    });
  };
  for (const json& attribute : type.at("attributes")) {
    const auto name = attribute.at("name").get<std::string>();
    if (has(name)) names.push_back(name);
    if (has(name + kMajor)) names.push_back(name + kMajor);
  }
  return names;
}

/// For a person: what it is called first, and an amount in its currency instead of in cents.
std::vector<std::string> for_people(const json& type, const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  const auto display = type.value("display_attribute", std::string());
  for (const std::string& name : names)
    if (name == display) shown.push_back(name);
  for (const std::string& name : names) {
    const bool in_currency = std::find(names.begin(), names.end(), name + kMajor) != names.end();
    if (name != display && !in_currency) shown.push_back(name);
  }
  return shown;
}

/// What was asked for by name, in the order in which it was.
std::vector<std::string> asked(std::string_view fields) {
  std::vector<std::string> names;
  while (!fields.empty()) {
    const std::size_t end = std::min(fields.find(','), fields.size());
    if (end > 0) names.emplace_back(fields.substr(0, end));
    fields.remove_prefix(std::min(end + 1, fields.size()));
  }
  return names;
}

/// Entities as the host writes them, CSV or NDJSON, to standard output; whether there are more.
bool write_lines(const Context& context, const std::string& type_name, const Query& query,
                 const std::string& output) {
  Client client = context.client();
  std::string begun;  // a line, of which a character may be cut
  const bool more = client.download("/entities/" + Client::escape(type_name), query,
                                    output == "ndjson" ? "application/x-ndjson" : "text/csv",
                                    [&begun](std::string_view piece) {
                                      const std::size_t whole = piece.rfind('\n') + 1;
                                      begun += piece.substr(0, whole);
                                      if (whole > 0) {
                                        std::cout << for_screen(begun);
                                        begun.clear();
                                      }
                                      begun += piece.substr(whole);
                                      flush_output();
                                      return std::cout.good();  // run() says so
                                    });
  std::cout << for_screen(begun);
  flush_output();
  return more;
}

/// "5 more columns: -o wide, or --fields plan,city,…"
std::string hidden_columns(const std::vector<std::string>& names) {
  constexpr std::size_t kNamed = 3;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamed; ++i)
    text += (text.empty() ? "" : ",") + cell(names[i]);
  return wrapped(fmt::format("{} more column{}: ", names.size(), names.size() == 1 ? "" : "s"), 4,
                 fmt::format("-o wide, or --fields {}{}", text, names.size() > kNamed ? ",…" : ""),
                 screen_columns());
}

void list_entities(const Context& context, const std::string& type_name, const ListWish& wish) {
  Query query = query_of(wish);
  query.emplace_back("limit", std::to_string(wish.limit));
  if (!wish.cursor.empty()) query.emplace_back("cursor", wish.cursor);
  if (wish.output == "csv" || wish.output == "ndjson") {
    if (write_lines(context, type_name, query, wish.output))
      std::cerr << "sluice: this is one page; all of them: sluice entity export\n";
    return;
  }
  const json type = context.client().get("/types/" + Client::escape(type_name));
  const json answer = context.client().get("/entities/" + Client::escape(type_name), query);
  const json& entities = answer.at("entities");
  if (wish.output == "json") {
    print_json(answer);
    return;
  }
  std::vector<Column> columns = {{"ID", "/id", true}};
  const bool vendors = std::any_of(entities.begin(), entities.end(), [](const json& one) {
    return !one.value("external_id", json()).is_null();
  });
  if (vendors && wish.fields.empty()) columns.push_back({"EXTERNAL ID", "/external_id"});
  std::vector<std::string> names =
      wish.fields.empty() ? for_people(type, declared(type, entities)) : asked(wish.fields);
  std::vector<std::string> hidden;
  if (wish.output != "wide" && wish.fields.empty() && names.size() > kTableColumns) {
    hidden.assign(names.begin() + kTableColumns, names.end());
    names.resize(kTableColumns);
  }
  const bool has_extra = !entities.empty() && entities.at(0).contains(kExtra);
  if (has_extra) std::erase(names, kExtra);
  for (const std::string& name : names) columns.push_back({name, "/attributes/" + name});
  if (has_extra) columns.push_back({kExtra, "/extra"});
  if (!entities.empty() && entities.at(0).contains("expanded")) {
    for (const auto& [name, value] : entities.at(0).at("expanded").items())
      columns.push_back({name, "/expanded/" + name});
  }
  if (wish.output == "wide" && !context.as_json) {  // its lines are as long as they are
    std::cout << table(entities, columns, kWideCell);
  } else {
    context.show(answer, entities, columns, "--fields NAME,… or -o wide shows them");
  }
  if (!context.as_json && !hidden.empty()) std::cout << hidden_columns(hidden);
  if (!context.as_json && answer.contains("count")) {
    std::cout << (answer.at("count_exact").get<bool>() ? "" : "more than ")
              << cell(answer.at("count")) << " in all\n";
  }
  for (const json& hint : answer.value("hints", json::array()))
    std::cerr << "sluice: " << cell(hint) << '\n';
  context.more(answer, "--cursor");
}

/// What an attribute of that type takes, as a schema; nothing: the text as it was typed, with its
/// quotes, too.
std::optional<json> schema_for(const std::string& kind) {
  json schema;
  if (kind == "json" || kind == "list") return schema;  // JSON where it is JSON
  const bool is_number = kind == "integer" || kind == "number" || kind == "decimal";
  if (!is_number && kind != "boolean") return std::nullopt;
  schema["type"] = kind == "decimal" ? "number" : kind;
  return schema;
}

/// "plan=pro" for each, as the type's attributes want them; "plan=" is null.
json attributes_of(Client& client, const std::string& type, const std::vector<std::string>& given) {
  const json described = client.get("/types/" + Client::escape(type));
  json body = json::object();
  for (const std::string& text : given) {
    const auto [name, value] = split(text, "attributes");
    std::optional<json> schema = json();
    for (const json& attribute : described.at("attributes"))
      if (attribute.at("name") == name) schema = schema_for(attribute.at("type"));
    body[name] = value.empty() ? json(nullptr)
                 : schema      ? typed_value(name, value, *schema)
                               : json(value);
  }
  return body;
}

std::string entity_path(const std::string& type, const std::string& id) {
  return "/entities/" + Client::escape(type) + (id.empty() ? "" : "/" + Client::escape(id));
}

void write_entity(const Context& context, const std::string& method, const std::string& type,
                  const std::string& id, const std::vector<std::string>& given) {
  Client client = context.client();
  const json answer =
      client.send(method, entity_path(type, id), attributes_of(client, type, given));
  context.say(answer,
              fmt::format("{} {} {}", cell(answer.at("action")), type, cell(answer.at("id"))));
}

void delete_entity(const Context& context, const std::string& type, const std::string& id) {
  Client client = context.client();
  Consequence gone;
  gone.name = id;
  if (is_asked(context)) {
    gone.facts = client.get(entity_path(type, id));
    gone.words = fmt::format("{} {} is deleted: {}", type, id,
                             cell(gone.facts.value("attributes", json::object())));
  }
  if (!is_meant(context, gone)) return;
  const json answer = client.send("DELETE", entity_path(type, id), json::object());
  context.say(answer, fmt::format("deleted {} {}", type, id));
}

/// What there is to say of these attributes, in the order in which one wants to know it.
std::vector<Column> columns_of(const json& attributes) {
  std::vector<Column> columns = {{"ATTRIBUTE", "/name"}, {"TYPE", "/type"}};
  const bool has_paths = std::any_of(attributes.begin(), attributes.end(), [](const json& one) {
    return !one.value("path", json()).is_null();
  });
  if (has_paths) columns.push_back({"PATH", "/path"});
  columns.insert(columns.end(), {{"LINK KEY", "/link_key"},
                                 {"UNIQUE", "/unique"},
                                 {"REQUIRED", "/required"},
                                 {"PROTECTED", "/protected"}});
  return columns;
}

/// What could not be done yet about the SQL views, below what was.
std::string with_notes(std::string text, const json& answer) {
  for (const json& note : answer.value("notes", json::array())) text += "\n  note: " + cell(note);
  return text;
}

/// Throws not_found "attribute.not_found", or conflict "attribute.declared": there is nothing that
/// could be taken away.
void require_path_attribute(Client& client, const std::string& type, const std::string& name) {
  const json described = client.get("/types/" + Client::escape(type));
  std::vector<std::string> known;
  for (const json& attribute : described.at("attributes")) {
    const bool has_path = !attribute.value("path", "").empty();
    if (has_path) known.push_back(attribute.at("name").get<std::string>());
    if (attribute.at("name") != name) continue;
    if (has_path) return;
    throw Failure(Error(ErrorKind::conflict, "attribute.declared",
                        fmt::format("{}.{} was not added by a path, and stays", type, name),
                        "sluice entity type " + type + " shows which have a path"));
  }
  throw Failure(Error(ErrorKind::not_found, "attribute.not_found",
                      fmt::format("{} has no attribute '{}'", type, name),
                      did_you_mean(name, known) + "sluice entity type " + type + " lists them"));
}

void drop_attribute(const Context& context, const std::string& type, const std::string& name) {
  Client client = context.client();
  Consequence gone;
  gone.name = name;
  if (is_asked(context)) {
    require_path_attribute(client, type, name);
    gone.facts = json{{"type", type}, {"name", name}};
    gone.words = fmt::format(
        "{}.{} goes out of lists and SQL views, with its link keys; what the vendor sent stays",
        type, name);
  }
  if (!is_meant(context, gone)) return;
  const json answer = client.send(
      "DELETE", "/types/" + Client::escape(type) + "/attributes/" + Client::escape(name),
      json::object());
  std::string said = fmt::format("{} is no attribute of {} any more", name, type);
  if (!answer.at("work").is_null()) said += "; its keys go, as work " + cell(answer.at("work"));
  context.say(answer, with_notes(std::move(said), answer));
}

std::string type_path(const std::string& type) { return "/types/" + Client::escape(type); }

/// "1 link", "2,422 links"
std::string how_many(const json& count, const char* one, const char* several) {
  const auto number = count.get<std::int64_t>();
  return with_commas(number) + " " + (number == 1 ? one : several);
}

/// "  link rule people goes, with 12 links and 1 decision of people"
std::string of_rule(const json& rule) {
  std::string what = rule.at("exact").get<bool>() ? "" : "more than ";
  what += how_many(rule.at("links"), "link", "links");
  if (rule.at("decisions") != 0)
    what += " and " + how_many(rule.at("decisions"), "decision", "decisions") + " of people";
  if (rule.at("goes").get<bool>())
    return fmt::format("\n  link rule {} goes, with {}", cell(rule.at("name")), what);
  return fmt::format("\n  link rule {} loses {}; it is a connector's, stays, and finds nothing",
                     cell(rule.at("name")), what);
}

/// What goes with a type, with its counts.
Consequence of_dropping(const Context& context, Client& client, const std::string& type) {
  Consequence gone;
  gone.name = type;
  gone.for_good = true;
  if (!is_asked(context)) return gone;
  gone.facts = client.get(type_path(type) + "/uses");
  gone.words = fmt::format("{} is dropped for good, with {}, their keys and its SQL view:", type,
                           how_many(gone.facts.at("rows"), "entity", "entities"));
  for (const json& rule : gone.facts.at("rules")) gone.words += of_rule(rule);
  if (gone.facts.at("rules").empty()) gone.words += "\n  no link rule names it";
  gone.words +=
      "\nThe change feed tells each deletion and keeps the name. Made again under it, the type is "
      "empty";
  return gone;
}

void drop_type(const Context& context, const std::string& type) {
  Client client = context.client();
  if (!is_meant(context, of_dropping(context, client, type))) return;
  const json answer = client.send("DELETE", type_path(type), json::object());
  const bool gone = wait_until(kDropShownMax, [&] {
    try {
      client.get(type_path(type) + "/uses");
    } catch (const Failure& failure) {
      if (failure.error().code == "type.being_dropped") return false;
      if (failure.error().code != "type.not_found") throw;
    }
    return true;  // also when somebody has made it again
  });
  const std::string said = gone ? type + " is dropped"
                                : fmt::format("{} is being dropped, as work {} (sluice status)",
                                              type, cell(answer.at("work")));
  context.say(answer, with_notes(said, answer));
}

}  // namespace

void add_entity(CLI::App& app, Context& context) {
  struct Options {
    std::string type, id, expand, path;
    ListWish list;
    std::vector<std::string> attributes;
  };
  auto options = std::make_shared<Options>();
  auto* group =
      app.add_subcommand("entity", "Entity types and their entities")->require_subcommand(1);
  group->add_subcommand("types", "All entity types")->callback([&context] {
    const json answer = context.client().get("/types");
    json rows = answer.at("types");
    for (json& row : rows) row["attribute_count"] = row["attributes"].size();
    context.show(answer, rows,
                 {{"TYPE", "/name"},
                  {"ORIGIN", "/origin"},
                  {"ROWS", "/rows", true},
                  {"ATTRIBUTES", "/attribute_count", true}});
  });
  auto* show = group->add_subcommand("type", "One type with its attributes");
  show->add_option("type", options->type)->required();
  show->callback([&context, options] {
    const json answer = context.client().get("/types/" + Client::escape(options->type));
    context.show(answer, answer.at("attributes"), columns_of(answer.at("attributes")));
  });
  auto* create = group->add_subcommand("create-type", "Make an own type");
  create->add_option("type", options->type)->required();
  create
      ->add_option("attributes", options->attributes,
                   "name:type[:unique][:required][:key=email][:format=email]")
      ->required();
  create->callback([&context, options] {
    json body;
    body["name"] = options->type;
    for (const std::string& text : options->attributes)
      body["attributes"].push_back(attribute_of(text));
    const json answer = context.client().send("POST", "/types", body);
    context.say(answer, with_notes("made type " + options->type, answer));
  });
  auto* extend = group->add_subcommand(
      "add-attribute", "Add an attribute to an own type, or what is inside of a connector's JSON");
  extend->add_option("type", options->type)->required();
  extend
      ->add_option("attribute", options->id,
                   "name:type[:unique][:required][:key=email][:format=email]")
      ->required();
  extend->add_option("--path", options->path,
                     "of a connector's type, where it stands: metadata.customer_number, or "
                     "extra.NAME for what the vendor sent beyond the attributes");
  extend->callback([&context, options] {
    json body = attribute_of(options->id);
    if (!options->path.empty()) body["path"] = options->path;
    const json answer = context.client().send(
        "POST", "/types/" + Client::escape(options->type) + "/attributes", body);
    const std::string name = body.at("name");
    std::string said = "added " + name + " to " + options->type;
    if (const json work = answer.value("work", json()); !work.is_null())
      said += "; the keys of what is there follow, as work " + cell(work);
    context.say(answer, with_notes(std::move(said), answer));
  });
  auto* drop = group->add_subcommand("drop-attribute",
                                     "Take away what was added to a connector's type by a path");
  drop->add_option("type", options->type)->required();
  drop->add_option("attribute", options->id)->required();
  add_confirmation(*drop, context);
  drop->callback([&context, options] { drop_attribute(context, options->type, options->id); });
  auto* drop_whole = group->add_subcommand(
      "drop-type", "Drop an own type with its entities, and your link rules that name it");
  drop_whole->add_option("type", options->type)->required();
  add_confirmation(*drop_whole, context);
  drop_whole->callback([&context, options] { drop_type(context, options->type); });
  auto* make = group->add_subcommand(
      "create", "Write an entity of an own type: a new one, or the one with that unique value");
  make->add_option("type", options->type)->required();
  make->add_option("attributes", options->attributes, "name=value")->required();
  make->callback([&context, options] {
    write_entity(context, "POST", options->type, "", options->attributes);
  });
  auto* change = group->add_subcommand("update", "Change attributes of an own entity");
  change->add_option("type", options->type)->required();
  change->add_option("id", options->id)->required();
  change->add_option("attributes", options->attributes, "name=value, or name= to clear it")
      ->required();
  change->callback([&context, options] {
    write_entity(context, "PATCH", options->type, options->id, options->attributes);
  });
  auto* remove = group->add_subcommand("delete", "Delete an own entity");
  remove->add_option("type", options->type)->required();
  remove->add_option("id", options->id)->required();
  add_confirmation(*remove, context);
  remove->callback([&context, options] { delete_entity(context, options->type, options->id); });
  add_import(*group, context);
  auto* list = group->add_subcommand("list", "Entities of a type");
  list->add_option("type", options->type)->required();
  const auto wishes = [options](CLI::App* command) {
    command->add_option("--filter", options->list.filters,
                        "attribute=value, created[gte]=-7d, customer.email[like]=*@x.example, "
                        "metadata.order_id=17");
    command->add_option("--sort", options->list.sort, "attributes: status,-created");
    command->add_option("--fields", options->list.fields,
                        "only these attributes; extra: what a vendor sent beyond them");
    command->add_flag("--deleted", options->list.deleted, "deleted ones, too");
  };
  wishes(list);
  list->add_option("--expand", options->list.expand, "relationships, comma separated");
  list->add_flag("--count", options->list.count, "how many there are in all");
  list->add_option("--limit", options->list.limit, "how many in one page");
  list->add_option("--cursor", options->list.cursor, "where the page before ended");
  list->add_option("-o,--output", options->list.output,
                   "table, wide (all attributes), csv, json, ndjson")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return flaw_of(text, {"table", "wide", "csv", "json", "ndjson"});
          },
          ""));
  list->callback([&context, options] { list_entities(context, options->type, options->list); });
  auto* exporting = group->add_subcommand(
      "export", "All entities of a type, as CSV or NDJSON to standard output");
  exporting->add_option("type", options->type)->required();
  wishes(exporting);
  exporting->add_option("-o,--output", options->list.output, "csv, which is the default, or ndjson")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return flaw_of(text, {"csv", "ndjson"});
          },
          ""));
  exporting->add_flag("--for-spreadsheets", options->list.for_spreadsheets,
                      "CSV that Excel reads as UTF-8, and takes no text of for a formula");
  exporting->callback([&context, options] {
    write_lines(context, options->type, query_of(options->list), options->list.output);
  });
  auto* get = group->add_subcommand("get", "One entity by id or external id");
  get->add_option("type", options->type)->required();
  get->add_option("id", options->id)->required();
  get->add_option("--expand", options->expand, "relationships, comma separated");
  get->callback([&context, options] {
    Query query;
    if (!options->expand.empty()) query.emplace_back("expand", options->expand);
    const json answer = context.client().get(
        "/entities/" + Client::escape(options->type) + "/" + Client::escape(options->id), query);
    print_json(answer);
  });
}

}  // namespace sluice::cli
