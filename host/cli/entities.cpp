// Entity types and their entities.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <fstream>
#include <iostream>

#include "cli/context.hpp"

#include "base/exact_json.hpp"

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

/// What became of a file, line by line.
std::string imported(const json& answer) {
  const json& lines = answer["lines"];
  std::string text = fmt::format(
      "{} rows: {} new, {} changed, {} unchanged, {} rejected\n"
      "{} lines: {} header, {} of stored rows, {} refused, {} blank",
      cell(answer["rows"]), cell(answer["inserted"]), cell(answer["updated"]),
      cell(answer["unchanged"]), cell(answer["rejected"]), cell(lines["total"]),
      cell(lines["header"]), cell(lines["rows"]), cell(lines["refused"]), cell(lines["blank"]));
  if (answer["matched_by"].is_null() && answer["inserted"].get<std::int64_t>() > 0) {
    text +=
        "\nNo attribute of the type is unique, so each row is a new entity: the same file again "
        "adds them all again. Make one unique to have rows matched by it";
  }
  if (!answer["repeats"].empty()) {
    text += fmt::format("\n{} rows have the key of an earlier row and were written over it:\n",
                        cell(answer["repeated"]));
    text += table(answer["repeats"],
                  {{"LINE", "/line", true}, {"IS ONE WITH LINE", "/first_line", true}});
  }
  if (!answer["unkeyed"].empty()) {
    text += fmt::format("\n{} values are stored and give no key: nothing is linked by them\n",
                        cell(answer["without_key"]));
    text += table(answer["unkeyed"],
                  {{"LINE", "/line", true}, {"ATTRIBUTE", "/attribute"}, {"IS NO", "/kind"}});
  }
  if (!answer["rejects"].empty()) {
    text += "\n" + table(answer["rejects"], {{"LINE", "/line", true},
                                             {"ATTRIBUTE", "/attribute"},
                                             {"CODE", "/code"},
                                             {"REASON", "/reason"}});
  }
  return text;
}

/// What a file is and how it is to be taken.
struct ImportWish {
  std::string format, key, separator, empty;
};

void import_file(const Context& context, const std::string& type, const std::string& path,
                 ImportWish wish) {
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) throw Failure(Error(ErrorKind::bad_input, "cli.file", path + " cannot be read"));
  }
  std::istream& input = path == "-" ? std::cin : file;
  std::string format = wish.format;
  if (format.empty())
    format = path.ends_with(".ndjson") || path.ends_with(".jsonl") ? "ndjson" : "csv";
  Query query = {{"format", format}};
  if (wish.separator == "tab") wish.separator = "\t";
  if (!wish.key.empty()) query.emplace_back("key", wish.key);
  if (!wish.separator.empty()) query.emplace_back("separator", wish.separator);
  if (!wish.empty.empty()) query.emplace_back("empty", wish.empty);
  const json answer = context.client().upload(
      "/types/" + Client::escape(type) + "/import", query,
      format == "csv" ? "text/csv" : "application/x-ndjson", [&input] {
        std::string piece(64 * 1024, '\0');
        input.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        piece.resize(static_cast<std::size_t>(input.gcount()));
        return piece;
      });
  context.say(answer, imported(answer));
  if (answer["rejected"].get<std::int64_t>() > 0) {
    throw Failure(Error(ErrorKind::bad_input, "import.rejected",
                        cell(answer["rejected"]) + " rows were rejected (" +
                            cell(answer["lines"]["refused"]) + " lines); all others are stored",
                        "Correct these lines and import the file again"));
  }
}

}  // namespace

void add_entity(CLI::App& app, Context& context) {
  struct Options {
    std::string type, id, file, cursor, expand;
    ImportWish import;
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
    context.show(answer, answer["attributes"],
                 {{"ATTRIBUTE", "/name"},
                  {"TYPE", "/type"},
                  {"PROTECTED", "/protected"},
                  {"REQUIRED", "/required"},
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
    context.say(answer, "made type " + options->type);
  });
  auto* importing = group->add_subcommand(
      "import", "Import CSV or NDJSON into an own type; '-' is standard input");
  importing->add_option("type", options->type)->required();
  importing->add_option("file", options->file)->required();
  importing->add_option("--format", options->import.format,
                        "csv or ndjson; from the file's name otherwise");
  importing->add_option("--key", options->import.key, "unique attribute that rows are matched by");
  importing->add_option("--separator", options->import.separator,
                        "what separates the fields of a CSV file: one character, or tab");
  importing->add_option("--empty", options->import.empty,
                        "an empty CSV field: absent leaves what is stored, null clears it");
  importing->callback(
      [&context, options] { import_file(context, options->type, options->file, options->import); });
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
