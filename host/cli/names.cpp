#include "cli/names.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <optional>
#include <set>

#include "base/nearest.hpp"

namespace sluice::cli {
namespace {

/// `member` of each row.
std::vector<std::string> column(const json& rows, const char* member) {
  std::vector<std::string> names;
  if (!rows.is_array()) return names;
  for (const json& row : rows) {
    if (!row.is_object() || !row.contains(member) || !row[member].is_string()) continue;
    names.push_back(row[member].get<std::string>());
  }
  return names;
}

std::vector<std::string> attributes_of(const json& type) {
  return column(type.value("attributes", json::array()), "name");
}

/// Attributes that an option's value names: "status,-created", "plan[in]=pro", "email=a@x".
std::vector<std::string> attributes_in(const CLI::Option& option, const std::string& text) {
  const bool is_list = option.check_lname("fields") || option.check_lname("sort");
  const bool is_one = option.check_lname("key");
  const bool is_pair = option.check_lname("filter") || option.get_name(true) == "attributes";
  const bool is_map = option.check_lname("map");
  std::vector<std::string> names;
  if (is_one) names.push_back(text);
  if (is_pair) names.push_back(text.substr(0, text.find_first_of("[=.:")));
  if (is_map && text.find('=') != std::string::npos)
    names.push_back(text.substr(text.rfind('=') + 1));
  for (std::size_t at = 0; is_list && at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::size_t from = text[at] == '-' ? at + 1 : at;
    names.push_back(text.substr(from, end - std::min(from, end)));
    at = end + 1;
  }
  std::erase(names, "");
  return names;
}

/// "type.attribute" of each attribute.
std::vector<std::string> addresses(const json& answer) {
  std::vector<std::string> all;
  for (const json& type : answer.value("types", json::array()))
    for (const std::string& attribute : attributes_of(type))
      all.push_back(type.at("name").get<std::string>() + "." + attribute);
  return all;
}

/// What was most likely meant by a name that is not among `known`; empty: it is, or is like none.
std::string meant_by(const std::string& name, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return {};
  return nearest(name, known);
}

/// The attribute of the line's type that was misspelt, or the end of a link rule.
std::string meant_attribute(Client& client, const Place& place) {
  const std::string type = place.value_of("type");
  std::optional<std::vector<std::string>> known;
  for (const GivenValue& value : place.values) {
    const bool is_end = value.option->check_lname("from") || value.option->check_lname("to");
    if (is_end && place.command->get_name() == "add-rule") {
      const std::string meant = meant_by(value.text, addresses(client.get("/types")));
      if (!meant.empty()) return meant;
    }
    if (type.empty()) continue;
    for (const std::string& name : attributes_in(*value.option, value.text)) {
      if (!known) {
        known = attributes_of(client.get("/types/" + Client::escape(type)));
        for (const char* const own : {"id", "created", "updated", "extra"}) known->push_back(own);
      }
      const std::string meant = meant_by(name, *known);
      if (!meant.empty()) return meant;
    }
  }
  return {};
}

std::vector<std::string> connectors(const json& answer) {
  std::vector<std::string> all = column(answer.value("connectors", json::array()), "id");
  const std::set<std::string> once(all.begin(), all.end());
  return {once.begin(), once.end()};
}

}  // namespace

std::vector<std::string> names_at_host(Client& client, const std::string& kind,
                                       const Place& place) {
  const json none = json::array();
  if (kind == "connection")
    return column(client.get("/connections").value("connections", none), "name");
  if (kind == "type") return column(client.get("/types").value("types", none), "name");
  if (kind == "connector") return connectors(client.get("/connectors"));
  if (kind == "rule") return column(client.get("/link-rules").value("rules", none), "name");
  if (kind == "login") return column(client.get("/sql").value("users", none), "name");
  if (kind == "workspace") {
    std::vector<std::string> names;
    const json answer = client.me();
    for (const json& name : answer.value("workspaces", none))
      if (name.is_string()) names.push_back(name.get<std::string>());
    return names;
  }
  if (kind == "stream") {
    const std::string connection = place.value_of("connection");
    if (connection.empty()) return {};
    const json answer = client.get("/connections/" + Client::escape(connection));
    return column(answer.value("streams", none), "name");
  }
  return {};
}

std::string meant_at_host(Client& client, const Place& place) {
  std::set<std::string> asked;
  for (const GivenValue& value : place.values) {
    const std::string kind = kind_of(*place.command, *value.option);
    if (kind.empty() || !asked.insert(kind + " " + value.text).second || asked.size() > 4) continue;
    std::vector<std::string> known;
    try {
      known = names_at_host(client, kind, place);
    } catch (const Failure& failure) {
      if (failure.error().kind == ErrorKind::not_found) continue;  // its connection is wrong, too
      throw;
    }
    const std::string meant = meant_by(value.text, known);
    if (!meant.empty()) return "Did you mean '" + cell(json(meant)) + "'?";
  }
  const std::string meant = meant_attribute(client, place);
  return meant.empty() ? std::string() : "Did you mean '" + cell(json(meant)) + "'?";
}

}  // namespace sluice::cli
