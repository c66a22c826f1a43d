// Who did what in the workspace.
#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>

#include "cli/context.hpp"
#include "cli/screen.hpp"

namespace sluice::cli {
namespace {

/// An object in words: "version 0.5.0, egress.allow_loopback, streams events prices".
void tell(const json& value, const std::string& name, std::string& text) {
  if (value.is_object()) {
    for (const auto& [member, one] : value.items())
      tell(one, name.empty() ? member : name + "." + member, text);
    return;
  }
  if (value.is_null() || value == false || (value.is_array() && value.empty())) return;
  std::string words;
  if (value.is_array()) {
    for (const json& one : value) words += ' ' + cell(one);
  } else if (value != true) {
    constexpr std::size_t kHashShown = 12, kHash = 64;
    words = cell(value);
    const bool is_hash = words.size() == kHash && name.ends_with("sha256");
    words = ' ' + (is_hash ? words.substr(0, kHashShown) : words);
  }
  text += (text.empty() ? "" : ", ") + name + words;
}

}  // namespace

void add_audit(CLI::App& app, Context& context) {
  struct Options {
    std::string who, action, since, cursor;
    int limit = 20;
  };
  auto options = std::make_shared<Options>();
  auto* audit = app.add_subcommand(
      "audit", "Who did what, from where, and what came of it, newest first (admins)");
  audit->add_option("--who", options->who, "only where this is part of who it was");
  audit->add_option("--action", options->action,
                    "only this one, or all of a kind: connection.delete, connection");
  audit->add_option(
      "--since", options->since,
      "not before: 30m, 12h, 7d, 1w ago, today, yesterday (UTC), 2026-11-23, or RFC 3339");
  audit->add_option("--limit", options->limit, "how many in one page, 1 to 1000");
  audit->add_option("--cursor", options->cursor, "where the page before ended");
  audit->callback([&context, options] {
    Query query = {{"limit", std::to_string(options->limit)}};
    if (!options->who.empty()) query.emplace_back("who", options->who);
    if (!options->action.empty()) query.emplace_back("action", options->action);
    if (!options->since.empty()) query.emplace_back("since", options->since);
    if (!options->cursor.empty()) query.emplace_back("cursor", options->cursor);
    const json answer = context.client().get("/audit", query);
    if (context.as_json) {
      context.show(answer, answer.at("audit"), {});
      return;
    }
    // Two lines each: who and what are names of any length, and 80 columns hold them.
    if (answer.at("audit").empty()) std::cout << "(none)\n";
    for (const json& one : answer.at("audit")) {
      std::string when = cell(one.at("at"));
      if (const auto fraction = when.find('.'); fraction != std::string::npos)
        when = when.substr(0, fraction) + "Z";
      std::cout << when << "  " << cell(one.at("action")) << ' ' << cell(one.at("subject"));
      if (one.at("outcome") != "done") std::cout << "  (" << cell(one.at("outcome")) << ')';
      std::cout << "\n    by " << cell(one.at("who"));
      if (!one.at("from").is_null()) std::cout << " from " << cell(one.at("from"));
      std::cout << '\n';
      std::string detail;
      tell(one.at("detail"), "", detail);
      if (!detail.empty()) std::cout << wrapped("    ", 6, detail);
    }
    context.more(answer, "--cursor");
  });
}

}  // namespace sluice::cli
