#include "cli/names.hpp"

#include <algorithm>
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
    if (std::find(known.begin(), known.end(), value.text) != known.end()) continue;
    const std::string meant = nearest(value.text, known);
    if (!meant.empty()) return "Did you mean '" + cell(json(meant)) + "'?";
  }
  return {};
}

}  // namespace sluice::cli
