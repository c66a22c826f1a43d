// Entity types and their entities.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <iostream>

#include "base/exact_json.hpp"
#include "cli/confirm.hpp"
#include "cli/context.hpp"
#include "cli/typed_value.hpp"

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
    if (field == 0)
      attribute["name"] = word;
    else if (field == 1)
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

/// Rows of entities as a table over the attributes of the first ones.
void print_entities(const Context& context, const json& answer) {
  std::vector<Column> columns = {{"ID", "/id", true}};
  if (!answer["entities"].empty()) {
    const json& first = answer["entities"][0];
    if (first.contains("external_id")) columns.push_back({"EXTERNAL ID", "/external_id"});
    const auto add = [&](const char* member, std::size_t most) {
      if (!first.contains(member)) return;
      for (const auto& [name, value] : first[member].items()) {
        if (columns.size() < most)
          columns.push_back({name, "/" + std::string(member) + "/" + name});
      }
    };
    add("attributes", 9);
    add("expanded", 12);
  }
  context.show(answer, answer["entities"], columns);
  context.more(answer, "--cursor");
}

/// "plan=pro" for each, as the type's attributes want them; "plan=" is null.
json attributes_of(Client& client, const std::string& type, const std::vector<std::string>& given) {
  const json described = client.get("/types/" + Client::escape(type));
  json body = json::object();
  for (const std::string& text : given) {
    const auto [name, value] = split(text, "attributes");
    json schema;
    for (const json& attribute : described["attributes"]) {
      if (attribute["name"] != name) continue;
      const std::string kind = attribute["type"];
      schema["type"] = kind == "integer" || kind == "number" || kind == "boolean" ? kind
                       : kind == "decimal"                                        ? "number"
                                                                                  : "string";
      if (kind == "json" || kind == "list") schema = json();  // JSON where it is JSON
    }
    body[name] = value.empty() ? json(nullptr) : typed_value(name, value, schema);
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
  context.say(answer, fmt::format("{} {} {}", cell(answer["action"]), type, cell(answer["id"])));
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

/// What could not be done yet about the SQL views, below what was.
std::string with_notes(std::string text, const json& answer) {
  for (const json& note : answer.value("notes", json::array())) text += "\n  note: " + cell(note);
  return text;
}

}  // namespace

void add_entity(CLI::App& app, Context& context) {
  struct Options {
    std::string type, id, cursor, expand;
    std::vector<std::string> attributes, filters;
    int limit = 20;
  };
  auto options = std::make_shared<Options>();
  auto* group =
      app.add_subcommand("entity", "Entity types and their entities")->require_subcommand(1);
  group->add_subcommand("types", "All entity types")->callback([&context] {
    const json answer = context.client().get("/types");
    json rows = answer["types"];
    for (json& row : rows) row["attribute_count"] = row["attributes"].size();
    context.show(
        answer, rows,
        {{"TYPE", "/name"}, {"ORIGIN", "/origin"}, {"ATTRIBUTES", "/attribute_count", true}});
  });
  auto* show = group->add_subcommand("type", "One type with its attributes");
  show->add_option("type", options->type)->required();
  show->callback([&context, options] {
    const json answer = context.client().get("/types/" + Client::escape(options->type));
    context.show(answer, answer["attributes"],
                 {{"ATTRIBUTE", "/name"},
                  {"TYPE", "/type"},
                  {"PROTECTED", "/protected"},
                  {"REQUIRED", "/required"},
                  {"UNIQUE", "/unique"},
                  {"LINK KEY", "/link_key"}});
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
  auto* extend = group->add_subcommand("add-attribute", "Add an attribute to an own type");
  extend->add_option("type", options->type)->required();
  extend
      ->add_option("attribute", options->id,
                   "name:type[:unique][:required][:key=email][:format=email]")
      ->required();
  extend->callback([&context, options] {
    const json answer =
        context.client().send("POST", "/types/" + Client::escape(options->type) + "/attributes",
                              attribute_of(options->id));
    context.say(answer, with_notes("added " + options->id.substr(0, options->id.find(':')) +
                                       " to " + options->type,
                                   answer));
  });
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
  list->add_option("--filter", options->filters, "attribute=value, attribute[gte]=value");
  list->add_option("--expand", options->expand, "relationships, comma separated");
  list->add_option("--limit", options->limit, "how many in one page");
  list->add_option("--cursor", options->cursor, "where the page before ended");
  list->callback([&context, options] {
    Query query = {{"limit", std::to_string(options->limit)}};
    if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
    if (!options->expand.empty()) query.emplace_back("expand", options->expand);
    for (const std::string& text : options->filters) query.push_back(split(text, "--filter"));
    print_entities(context,
                   context.client().get("/entities/" + Client::escape(options->type), query));
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
    std::cout << write_json_lines(answer) << '\n';
  });
}  // namespace sluice::cli

}  // namespace sluice::cli
