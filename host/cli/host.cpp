// What the host says of itself, also while its database is away; and which versions run.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdint>
#include <iostream>
#include <iterator>
#include <map>

#include "base/exact_json.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"
#include "cli/status_view.hpp"

namespace sluice::cli {

json ask_host(const Context& context) {
  // Only after context.client(), which refuses to go anywhere in clear that it should not.
  try {
    // Without the token: nothing of what is asked here needs one.
    Client nobody({context.url, "", context.workspace, context.ca_file});
    json answer = nobody.global("GET", "/health", nullptr);
    return answer.contains("reasons") ? answer : json();
  } catch (const Failure&) {
    return nullptr;  // of before, or not there: what is asked next says so
  }
}

bool cannot_work(const json& host) {
  return host.is_object() && host.at("status") == "not working";
}

std::string reasons_text(const json& host) {
  const Screen screen = screen_of_output();
  const std::size_t columns = screen.rows == 0 ? SIZE_MAX : screen.columns;
  std::string text;
  for (const json& reason : host.at("reasons")) {
    text += wrapped_lines(
                fmt::format("host ({})\n  {}", cell(reason.at("code")), cell(reason.at("what"))), 2,
                columns) +
            "\n";
    if (!cell(reason.at("action")).empty())
      text += wrapped_lines("  to do: " + cell(reason.at("action")), 4, columns) + "\n";
  }
  return text;
}

json reasons_as_errors(const json& host) {
  json all = json::array();
  for (const json& reason : host.at("reasons")) {
    json one;
    one["kind"] = "host";
    one["connection"] = "";
    one["subject"] = "";
    one["subjects"] = json::array();
    one["permissions"] = json::array();
    one["code"] = reason.at("code");
    one["count"] = 1;
    one["what"] = reason.at("what");
    one["action"] = reason.at("action");
    all.push_back(std::move(one));
  }
  return all;
}

namespace {

std::string bytes(const json& value) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  if (!value.is_number_integer()) return "?";
  auto number = static_cast<double>(value.get<std::int64_t>());
  std::size_t unit = 0;
  while (std::abs(number) >= 1000 && unit + 1 < std::size(kUnits)) {
    number /= 1000;
    ++unit;
  }
  return unit == 0 || std::abs(number) >= 100 ? fmt::format("{:.0f} {}", number, kUnits[unit])
                                              : fmt::format("{:.1f} {}", number, kUnits[unit]);
}

std::string line(const char* name, const std::string& text) {
  return fmt::format("{:<12} {}\n", name, text);
}

std::string disk_lines(const json& disk) {
  const auto free = static_cast<double>(disk.at("free_bytes").get<std::int64_t>());
  const auto total = static_cast<double>(disk.at("total_bytes").get<std::int64_t>());
  std::string text =
      line(("disk " + cell(disk.at("name"))).c_str(),
           fmt::format("{} free of {} ({:.0f} %){}", bytes(disk.at("free_bytes")),
                       bytes(disk.at("total_bytes")), total > 0 ? 100 * free / total : 0,
                       disk.at("running_out").get<bool>() ? ": RUNNING OUT" : ""));
  const json growth = disk.value("growth_bytes_per_day", json());
  const std::int64_t of = disk.value("growth_seconds", std::int64_t{0});
  text +=
      line("  growth", growth.is_null()
                           ? "not known yet: a host tells it ten minutes after its start"
                           : fmt::format("{} a day, by the last {} min", bytes(growth), of / 60));
  if (disk.contains("directory")) text += line("  directory", cell(disk.at("directory")));
  return text;
}

std::string host_text(const json& host, const std::string& url) {
  std::string text = line("sluiced", fmt::format("{} at {}, {}", cell(host.at("version")), url,
                                                 cell(host.at("status"))));
  const json& database = host.at("database");
  std::string of = database.at("up").get<bool>() ? "answers" : "AWAY";
  if (database.contains("server_version")) {
    const std::string version = cell(database.at("server_version"));  // "15.18 (Debian 15.18-0)"
    of += fmt::format(", PostgreSQL {}, {}", version.substr(0, version.find(' ')),
                      bytes(database.at("bytes")));
  }
  of += database.at("private").get<bool>() ? ", the host's own" : ", that of database.url";
  text += line("database", of);
  for (const json& disk : host.at("disks")) text += disk_lines(disk);
  if (!host.contains("machine")) {
    return text + "\nmemory, load and directories are shown to an operator's token\n" +
           reasons_text(host);
  }
  const json& machine = host.at("machine");
  text += line(
      "memory",
      fmt::format("sluiced {}; the machine has {} of {} left", bytes(machine.at("own_bytes")),
                  bytes(machine.at("memory_available_bytes")), bytes(machine.at("memory_bytes"))));
  const json& load = machine.at("load");
  text +=
      line("load", fmt::format("{} {} {} (1, 5, 15 min) on {} processors", cell(load.at(0)),
                               cell(load.at(1)), cell(load.at(2)), cell(machine.at("processors"))));
  text += line("connections", cell(host.at("connections_in_use")) + " to the database in use");
  for (const json& allowance : host.at("egress_allowances")) {
    text += line("allowance",
                 fmt::format("{}/{} may reach what others may not", cell(allowance.at("workspace")),
                             cell(allowance.at("connection"))));
  }
  const std::string reasons = reasons_text(host);
  return text + (reasons.empty() ? "" : "\n" + reasons);
}

void show_host(Context& context) {
  const json host = context.token.empty() ? ask_host(context)
                                          : context.client().global("GET", "/health", nullptr);
  if (host.is_object() && !host.contains("reasons")) {
    throw Failure(Error(ErrorKind::internal, "host.nonsense",
                        context.url + " answers, and not with how it is",
                        "Is it of an older release? sluice version says which"));
  }
  if (!host.is_object()) {
    throw Failure(Error(ErrorKind::retry_later, "host.unreachable",
                        "no word of a host at " + context.url,
                        "Is sluiced running there, and of this version? Name its address with "
                        "--url or SLUICE_URL"));
  }
  if (host.at("status") != "well") context.exit = kExitTrouble;
  std::cout << (context.as_json ? for_screen(write_json_lines(host)) + "\n"
                                : host_text(host, context.url));
}

/// Of each connector: what is installed, the newest file there is, and what one could go back to.
json version_rows(const json& answer) {
  json rows = json::array();
  std::map<std::string, std::size_t> places;
  for (const json& one : answer.at("connectors")) {  // newest first of each id
    const std::string id = cell(one.at("id"));
    const auto [place, is_new] = places.try_emplace(id, rows.size());
    if (is_new) {
      json row;
      row["id"] = id;
      for (const char* member : {"installed", "newest", "back", "remark"}) row[member] = "";
      rows.push_back(std::move(row));
    }
    json& row = rows[place->second];
    const std::string version = cell(one.at("version"));
    if (one.at("installed").get<bool>()) row["installed"] = version;
    if (one.value("newest", false)) row["newest"] = version;
    // What stands behind the installed version is older, and can be installed as long as its file
    // lies there.
    const bool older =
        !row["installed"].get<std::string>().empty() && !one.at("installed").get<bool>();
    if (older && row["back"] == "" && one.value("offered", false)) row["back"] = version;
    if (one.contains("problem"))
      row["remark"] = fmt::format("{}: {}", version, cell(one.at("problem").at("code")));
  }
  for (json& row : rows) {
    if (row["installed"] == "") row["installed"] = "-";
    if (row["newest"] == "") row["newest"] = "no file";
    if (row["back"] == "") row["back"] = "-";
    if (row["remark"] == "" && row["installed"] != "-" && row["newest"] != "no file" &&
        row["newest"] != row["installed"])
      row["remark"] = "newer: sluice connector install " + cell(row["id"]);
  }
  return rows;
}

void show_versions(Context& context) {
  Client client = context.client();
  const json host = ask_host(context);
  const json answer = cannot_work(host) ? json() : client.get("/connectors");
  json document;
  document["client"] = SLUICE_VERSION;
  document["host"] = host.is_null() ? json(nullptr) : host.at("version");
  document["connectors"] = answer.is_null() ? json::array() : version_rows(answer);
  if (context.as_json) {
    print_json(document);
    return;
  }
  std::cout << line("sluice", std::string(SLUICE_VERSION) + " (this program)")
            << line("sluiced",
                    (host.is_null() ? "not told" : cell(host.at("version"))) + " at " + context.url)
            << '\n';
  if (answer.is_null()) {
    std::cout << reasons_text(host);
    context.exit = kExitTrouble;
    return;
  }
  std::cout << table(document.at("connectors"), {{"CONNECTOR", "/id"},
                                                 {"INSTALLED", "/installed"},
                                                 {"NEWEST FILE", "/newest"},
                                                 {"BACK TO", "/back"},
                                                 {"REMARK", "/remark"}});
}

}  // namespace

void add_host(CLI::App& app, Context& context) {
  app.add_subcommand(
         "host",
         "The host itself: database, disks and their growth, memory, load; exit 75 when "
         "something is wrong")
      ->callback([&context] { show_host(context); });
  app.add_subcommand("version",
                     "Which versions run, which connectors are installed, whether there is a newer "
                     "one, and what one can go back to")
      ->callback([&context] { show_versions(context); });
}

}  // namespace sluice::cli
