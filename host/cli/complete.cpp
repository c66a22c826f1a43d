#include "cli/complete.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>

#include "cli/command_line.hpp"
#include "cli/config_file.hpp"
#include "cli/context.hpp"
#include "cli/names.hpp"

namespace sluice::cli {
namespace {

constexpr std::chrono::milliseconds kAskedMax{1000};
constexpr std::size_t kShownMax = 200;

constexpr const char* kBash = R"(# bash completion of sluice: source <(sluice completion bash)
_sluice() {
  local IFS=$'\n' found
  found=$(sluice __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ "$found" = ":files" ]; then
    COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
  else
    COMPREPLY=($found)
  fi
}
complete -o filenames -F _sluice sluice
)";

constexpr const char* kZsh = R"(#compdef sluice
# zsh completion of sluice: source <(sluice completion zsh)
_sluice() {
  local -a found
  found=("${(@f)$(sluice __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "$found[1]" == ":files" ]]; then
    _files
  else
    compadd -a found
  fi
}
compdef _sluice sluice
)";

/// Options of the line that lead to a host; what CLI11 would have stored.
void take_options(Context& context, const Place& place) {
  for (const GivenValue& value : place.values) {
    if (value.option->check_lname("url")) context.url = value.text;
    if (value.option->check_lname("workspace")) context.workspace = value.text;
    if (value.option->check_lname("context")) context.name = value.text;
    if (value.option->check_lname("ca-file")) context.ca_file = value.text;
  }
}

std::vector<std::string> values(Context& context, const Place& place, const CLI::Option& option) {
  const std::string kind = kind_of(*place.command, option);
  if (kind.empty()) return {};
  if (kind == "file") return {":files"};
  if (kind == "role") return {"reader", "admin", "operator"};
  if (kind == "shell") return {"bash", "zsh"};
  if (kind == "context") return read_config_file().names();
  context.settle();
  Client client = context.client(kAskedMax);
  return names_at_host(client, kind, place);
}

std::vector<std::string> candidates(CLI::App& app, Context& context, const Place& place,
                                    const std::string& begun) {
  if (place.awaits != nullptr) return values(context, place, *place.awaits);
  std::vector<std::string> all;
  if (begun.starts_with('-') && !place.only_values) {
    for (const CLI::Option* option : options_of(*place.command))
      for (const std::string& name : option->get_lnames()) all.push_back("--" + name);
    return all;
  }
  if (place.command->get_name() == "help") {
    std::vector<std::string> words;
    for (const GivenValue& value : place.values) words.push_back(value.text);
    return commands_of(*walk(app, words).command);
  }
  all = commands_of(*place.command);
  if (place.next != nullptr) {
    const std::vector<std::string> more = values(context, place, *place.next);
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

}  // namespace

void complete(CLI::App& app, Context& context, std::vector<std::string> words) {
  std::string begun;
  if (!words.empty()) {
    begun = std::move(words.back());
    words.pop_back();
  }
  try {
    const Place place = walk(app, words);
    if (place.wrong) return;
    take_options(context, place);
    std::size_t shown = 0;
    for (const std::string& one : candidates(app, context, place, begun)) {
      if (one != ":files" && !one.starts_with(begun)) continue;
      if (++shown > kShownMax) break;
      std::cout << cell(json(one)) << '\n';
    }
  } catch (const std::exception&) {
    return;  // a host that is away has no names to offer
  }
}

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  auto* completion =
      app.add_subcommand("completion", "Completion for a shell, to be sourced by it");
  completion->add_option("shell", *shell, "bash or zsh")->required();
  completion->callback([shell] {
    if (*shell != "bash" && *shell != "zsh") {
      throw Failure(Error(ErrorKind::bad_input, "cli.bad_value",
                          "there is completion for bash and zsh, not for '" +
                              cell(json(shell->substr(0, 60))) + "'",
                          "source <(sluice completion bash)"));
    }
    std::cout << (*shell == "bash" ? kBash : kZsh);
  });
}

}  // namespace sluice::cli
