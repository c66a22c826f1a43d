#include "cli/command_line.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <utility>

#include "base/nearest.hpp"
#include "cli/table.hpp"

namespace sluice::cli {
namespace {

/// As a message may quote it: of what was typed, not a screenful, and nothing that steers a
/// terminal.
std::string quoted(const std::string& word) { return "'" + cell(json(word.substr(0, 60))) + "'"; }

std::string with_commas(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

const CLI::App* child(const CLI::App& command, const std::string& name) {
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; }))
    if (one->check_name(name)) return one;
  return nullptr;
}

std::string line(const std::string& path) { return path.empty() ? "sluice" : "sluice " + path; }

/// The words behind `at` that are commands below `command`, put behind `path`.
std::string followed(const CLI::App* command, std::string path,
                     const std::vector<std::string>& words, std::size_t at) {
  for (; at < words.size(); ++at) {
    const CLI::App* next = child(*command, words[at]);
    if (next == nullptr) break;
    path += " " + next->get_name();
    command = next;
  }
  return path;
}

/// Commands elsewhere in the tree that have this very name.
void find_all(const CLI::App& command, const std::string& path, const std::string& name,
              std::vector<std::string>& found) {
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; })) {
    if (one->get_group().empty()) continue;
    const std::string here = path.empty() ? one->get_name() : path + " " + one->get_name();
    if (one->check_name(name)) found.push_back("sluice " + here);
    find_all(*one, here, name, found);
  }
}

bool takes_values(const CLI::App& command) {
  const auto positionals =
      command.get_options([](const CLI::Option* option) { return option->get_positional(); });
  return !positionals.empty();
}

/// What other tools call it.
std::string other_word_for(const std::string& word, const std::vector<std::string>& known) {
  constexpr auto kSame =
      std::to_array<std::pair<std::string_view, const char*>>({{"remove", "delete"},
                                                               {"destroy", "delete"},
                                                               {"uninstall", "disable"},
                                                               {"stop", "disable"},
                                                               {"start", "enable"},
                                                               {"add", "create"},
                                                               {"new", "create"},
                                                               {"make", "create"},
                                                               {"describe", "show"},
                                                               {"inspect", "show"},
                                                               {"get", "show"},
                                                               {"edit", "update"},
                                                               {"set", "update"},
                                                               {"logout", "context"},
                                                               {"config", "context"},
                                                               {"quit", "help"}});
  for (const auto& [theirs, ours] : kSame)
    if (word == theirs && std::find(known.begin(), known.end(), ours) != known.end()) return ours;
  return {};
}

/// What to type instead of `words[at]`, which is no command of `command`.
std::string instead(const CLI::App& root, const CLI::App& command, const std::string& path,
                    const std::vector<std::string>& words, std::size_t at) {
  const std::string& word = words[at];
  std::vector<std::string> known = commands_of(command);
  const std::string before = path.empty() ? "" : path + " ";
  std::string meant = other_word_for(word, known);
  if (meant.empty()) meant = nearest(word, known);
  if (!meant.empty()) {
    const std::string right = followed(child(command, meant), before + meant, words, at + 1);
    return "Did you mean: sluice " + right;
  }
  if (const CLI::App* show = child(command, "show"); show != nullptr && takes_values(*show))
    return "Did you mean: sluice " + before + "show " + cell(json(word.substr(0, 60))) +
           "? There are: " + with_commas(known);
  std::vector<std::string> elsewhere;
  if (word.size() > 1) find_all(root, "", word, elsewhere);
  if (!elsewhere.empty()) {
    elsewhere.resize(std::min<std::size_t>(elsewhere.size(), 6));
    return "Did you mean one of: " + with_commas(elsewhere) + "? sluice help lists all";
  }
  return "There are: " + with_commas(known) + ". sluice help" + (path.empty() ? "" : " " + path) +
         " says more";
}

const CLI::Option* find_option(const CLI::App& command, const std::string& name, bool is_long) {
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      if (is_long ? option->check_lname(name) : option->check_sname(name)) return option;
    }
  }
  return nullptr;
}

std::string long_name(const CLI::Option& option) {
  return option.get_lnames().empty() ? "-" + option.get_snames().front()
                                     : "--" + option.get_lnames().front();
}

Error unknown_option(const CLI::App& command, const std::string& path, const std::string& name) {
  std::vector<std::string> known;
  for (const CLI::Option* option : options_of(command)) known.push_back(long_name(*option));
  const std::string meant = nearest(name, known);
  return Error(ErrorKind::bad_input, "cli.unknown_option",
               line(path) + " has no option " + quoted(name),
               meant.empty() ? "sluice help" + (path.empty() ? "" : " " + path) + " lists them"
                             : "Did you mean " + meant + "?");
}

const CLI::Option* positional_at(const CLI::App& command, const std::vector<GivenValue>& values) {
  for (const CLI::Option* option :
       command.get_options([](const CLI::Option* one) { return one->get_positional(); })) {
    const auto given = std::count_if(values.begin(), values.end(),
                                     [&](const GivenValue& one) { return one.option == option; });
    if (given < option->get_items_expected_max()) return option;
  }
  return nullptr;
}

bool looks_like_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-' &&
         std::isdigit(static_cast<unsigned char>(word[1])) == 0;
}

/// An option's word: what it is, and whether its value comes next.
void take_option(Place& place, const std::string& word) {
  const bool is_long = word.starts_with("--");
  std::string name, value;
  bool has_value = false;
  if (is_long) {
    const auto equals = word.find('=');
    name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    has_value = equals != std::string::npos;
    if (has_value) value = word.substr(equals + 1);
  } else {
    name = word.substr(1, 1);
    value = word.substr(2);
    has_value = !value.empty();
  }
  const CLI::Option* option = find_option(*place.command, name, is_long);
  if (option == nullptr) {
    // Never its value: a secret may stand there.
    place.wrong =
        unknown_option(*place.command, place.path, is_long ? "--" + name : word.substr(0, 2));
    return;
  }
  place.awaits = place.may_add = nullptr;
  if (is_flag(*option)) return;
  if (has_value) {
    place.values.push_back({option, value});
  } else {
    place.awaits = option;
  }
}

}  // namespace

bool is_flag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

std::vector<std::string> commands_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; }))
    if (!one->get_group().empty()) names.push_back(one->get_name());
  return names;
}

std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  std::vector<const CLI::Option*> all;
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional() && !option->nonpositional()) continue;
      if (option->get_group().empty()) continue;
      const bool is_help = option == app->get_help_ptr();
      if (is_help && app != &command) continue;
      all.push_back(option);
    }
  }
  return all;
}

std::string Place::value_of(const std::string& kind) const {
  std::string found;
  for (const GivenValue& value : values)
    if (kind_of(*command, *value.option) == kind) found = value.text;
  return found;
}

Place walk(const CLI::App& root, const std::vector<std::string>& words) {
  Place place;
  place.command = &root;
  for (std::size_t at = 0; at < words.size() && !place.wrong; ++at) {
    const std::string& word = words[at];
    if (place.awaits != nullptr && !place.only_values) {
      place.values.push_back({place.awaits, word});
      place.may_add = place.awaits->get_allow_extra_args() ? place.awaits : nullptr;
      place.awaits = nullptr;
      continue;
    }
    if (!place.only_values && word == "--") {
      place.only_values = true;
      place.may_add = nullptr;
      continue;
    }
    if (!place.only_values && looks_like_option(word)) {
      take_option(place, word);
      continue;
    }
    if (const CLI::App* next = child(*place.command, word); next != nullptr && !place.only_values) {
      place.command = next;
      place.path += (place.path.empty() ? "" : " ") + next->get_name();
      place.may_add = nullptr;
      continue;
    }
    if (place.may_add != nullptr) {
      place.values.push_back({place.may_add, word});
      continue;
    }
    if (const CLI::Option* option = positional_at(*place.command, place.values)) {
      place.values.push_back({option, word});
      continue;
    }
    if (!commands_of(*place.command).empty()) {
      const std::string before = place.path.empty() ? "" : place.path + " ";
      place.wrong = Error(ErrorKind::bad_input, "cli.unknown_command",
                          "there is no command " + quoted(before + word),
                          instead(root, *place.command, place.path, words, at));
    } else {
      place.wrong = Error(
          ErrorKind::bad_input, "cli.too_many_words",
          fmt::format("{} takes nothing more, and there is {}", line(place.path), quoted(word)),
          "Usage: " + usage_of(*place.command, place.path));
    }
  }
  place.next = positional_at(*place.command, place.values);
  return place;
}

std::string kind_of(const CLI::App& command, const CLI::Option& option) {
  std::string name = option.nonpositional() && !option.get_lnames().empty()
                         ? option.get_lnames().front()
                         : option.get_name(true);
  for (const char* kind : {"connection", "stream", "connector", "workspace", "role", "shell",
                           "command", "context", "rule"})
    if (name == kind) return kind;
  if (name == "file" || name == "config-file" || name.ends_with("-file")) return "file";
  const CLI::App* parent = command.get_parent();
  const std::string group = parent == nullptr ? "" : parent->get_name();
  const std::string verb = command.get_name();
  if (name == "type") return verb == "create-type" ? "" : "type";
  if (name == "name" && (group == "connection" || group == "context") && verb != "create")
    return group;
  if (name == "name" && group == "link" && verb != "add-rule") return "rule";
  if (name == "name" && group == "sql-user" && verb != "create") return "login";
  if (name == "user" && verb == "psql") return "login";
  if (name == "id" && group == "connector") return "connector";
  return {};
}

std::string usage_of(const CLI::App& command, const std::string& path) {
  std::string text = line(path);
  if (!commands_of(command).empty()) text += " COMMAND";
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) {
      if (option->get_required()) text += " " + long_name(*option) + " …";
      continue;
    }
    std::string name = option->get_name(true);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c == '_' ? '-' : static_cast<char>(std::toupper(c)); });
    if (option->get_items_expected_max() > 1) name += "…";
    text += option->get_required() ? " " + name : " [" + name + "]";
  }
  return text;
}

Error usage_error(const CLI::App& root, const std::vector<std::string>& words,
                  const std::string& name, const std::string& what) {
  const Place place = walk(root, words);
  if (place.wrong) return *place.wrong;
  const std::string help = "sluice help" + (place.path.empty() ? "" : " " + place.path);
  const std::string usage = "Usage: " + usage_of(*place.command, place.path);
  if (place.awaits != nullptr) {
    return Error(ErrorKind::bad_input, "cli.value_missing",
                 long_name(*place.awaits) + " needs a value, and the line ends there", usage);
  }
  if (const std::vector<std::string> known = commands_of(*place.command); !known.empty()) {
    return Error(ErrorKind::bad_input, "cli.command_missing",
                 line(place.path) + " needs a command, one of: " + with_commas(known),
                 help + " says what each does");
  }
  if (name == "RequiredError") {
    for (const CLI::Option* option : place.command->get_options()) {
      const bool given = std::any_of(place.values.begin(), place.values.end(),
                                     [&](const GivenValue& one) { return one.option == option; });
      if (!option->get_required() || given) continue;
      const std::string missing =
          option->get_positional() ? option->get_name(true) : long_name(*option);
      return Error(ErrorKind::bad_input, "cli.value_missing",
                   line(place.path) + " needs " + missing, usage + "; " + help + " has an example");
    }
  }
  if (name == "ConversionError") {
    for (const GivenValue& value : place.values) {
      const std::string type = value.option->get_type_name();
      if (type != "INT" && type != "UINT" && type != "FLOAT") continue;
      const bool is_number = !value.text.empty() &&
                             value.text.find_first_not_of("-0123456789") == std::string::npos &&
                             value.text.size() < 19;
      if (is_number) continue;
      const std::string which =
          value.option->nonpositional() ? long_name(*value.option) : value.option->get_name(true);
      return Error(ErrorKind::bad_input, "cli.bad_value",
                   which + " takes a whole number, and " + quoted(value.text) + " is none",
                   value.option->nonpositional() ? "Such as " + which + " 10" : usage);
    }
  }
  return Error(ErrorKind::bad_input, "cli.bad_value", what, usage + "; " + help + " says more");
}

}  // namespace sluice::cli
