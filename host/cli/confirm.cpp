#include "cli/confirm.hpp"

#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <sstream>
#include <vector>

#include "base/exact_json.hpp"
#include "base/numbers.hpp"
#include "cli/screen.hpp"
#include "cli/terminal.hpp"

namespace sluice::cli {
namespace {

/// Sentences in lines of a terminal; what is indented is a table, and stays.
std::string in_lines(const std::string& text, int descriptor) {
  if (::isatty(descriptor) == 0) return text;
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    out += line.starts_with(' ') ? line + '\n' : message_lines("", 0, line, descriptor);
  }
  if (!out.empty()) out.pop_back();
  return out;
}

}  // namespace

void add_confirmation(CLI::App& command, Context& context) {
  command.add_flag("-y,--yes", context.yes, "do it without a question");
  command.add_flag("--dry-run", context.dry_run, "say what would happen, and do nothing");
}

bool is_asked(const Context& context) { return context.dry_run || !context.yes; }

bool is_meant(const Context& context, const Consequence& consequence) {
  if (context.dry_run) {
    json facts = consequence.facts.is_object() ? consequence.facts : json::object();
    facts["dry_run"] = true;
    context.say(facts, in_lines(consequence.words, STDOUT_FILENO) + "\nNothing was done");
    return false;
  }
  if (context.yes) return true;
  if (can_ask()) {
    std::cout.flush();
    std::cerr << in_lines(consequence.words, STDERR_FILENO) << '\n';
    const bool yes = consequence.for_good
                         ? ask("Type " + consequence.name + " to go on:", consequence.name)
                         : ask("Go on? [y/N]", "y");
    if (yes) return true;
    throw Failure(Error(ErrorKind::bad_input, "cli.not_confirmed", "nothing was done",
                        consequence.for_good ? "It goes on when the name is typed, or by --yes"
                                             : "It goes on by y, or by --yes"));
  }
  if (!consequence.for_good) return true;
  throw Failure(Error(
      ErrorKind::bad_input, "cli.not_confirmed",
      consequence.name + " would be gone for good, and nobody can be asked here; nothing was done",
      "Add --yes; --dry-run says what would go"));
}

std::string counted(const json& rows) {
  constexpr std::size_t kMost = 10;  // with what is asked below it in one screen
  const auto count = [](const json& one) { return one.at("rows").get<std::int64_t>(); };
  std::vector<json> types = rows.value("types", json::array());
  std::stable_sort(types.begin(), types.end(),
                   [&](const json& a, const json& b) { return count(a) > count(b); });
  const std::size_t shown = types.size() > kMost + 1 ? kMost : types.size();
  std::string text;
  std::int64_t more = 0;
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (i < shown) {
      text +=
          fmt::format("  {:<32} {:>10}\n", cell(types[i].at("type")), with_commas(count(types[i])));
    } else {
      more += count(types[i]);
    }
  }
  if (shown == types.size()) return text;
  return text + fmt::format("  {:<32} {:>10}\n",
                            fmt::format("and {} types more", types.size() - shown),
                            with_commas(more));
}

}  // namespace sluice::cli
