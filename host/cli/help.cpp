#include "cli/help.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <iostream>
#include <memory>
#include <utility>

#include "base/error.hpp"
#include "cli/command_line.hpp"
#include "cli/screen.hpp"

namespace sluice::cli {
namespace {

constexpr std::size_t kWidth = 79;
constexpr std::size_t kIndent = 24;  ///< where what is said of an option begins

/// One for each command; what several lines show is done one after the other.
constexpr auto kExamples = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"", "sluice login\nsluice status\nsluice help connection create"},
    {"help", "sluice help connection create"},
    {"login", "sluice login https://sluice.example.org:8420 -w acme"},
    {"whoami", "sluice whoami"},
    {"context", "sluice context use staging"},
    {"context list", "sluice context list"},
    {"context use", "sluice context use staging"},
    {"context show", "sluice context show"},
    {"context delete", "sluice context delete staging"},
    {"completion", "source <(sluice completion bash)"},
    {"audit", "sluice audit --since 1d --action connection"},
    {"host", "sluice host"},
    {"version", "sluice version"},
    {"entity export",
     "sluice entity export stripe.invoice --filter status=open > open.csv\n"
     "sluice entity export customer --for-spreadsheets > for-excel.csv"},
    {"connector", "sluice connector install stripe"},
    {"connector list", "sluice connector list"},
    {"connector rescan", "sluice connector rescan"},
    {"connector show", "sluice connector show stripe"},
    {"connector install", "sluice connector install stripe"},
    {"connector approve", "sluice connector approve stripe --version 1.2.0"},
    {"connector revoke", "sluice connector revoke stripe --version 1.2.0 --dry-run"},
    {"connector disable", "sluice connector disable stripe --dry-run"},
    {"connector enable", "sluice connector enable stripe"},
    {"connection",
     "echo \"$KEY\" | sluice connection create billing --connector stripe --secret-stdin api_key"},
    {"connection create",
     "sluice connection create billing --connector stripe      # asks for the key\n"
     "echo \"$KEY\" | sluice connection create billing --connector stripe --secret-stdin api_key"},
    {"connection list", "sluice connection list"},
    {"connection check", "sluice connection check billing"},
    {"connection set-secret", "sluice connection set-secret billing api_key     # asks for it"},
    {"connection interval", "sluice connection interval billing invoices 300"},
    {"connection pause", "sluice connection pause billing invoices"},
    {"connection resume", "sluice connection resume billing invoices"},
    {"connection config", "sluice connection config billing event_lag_seconds=30"},
    {"connection disable", "sluice connection disable billing --dry-run"},
    {"connection enable", "sluice connection enable billing"},
    {"connection delete", "sluice connection delete billing --dry-run"},
    {"sync", "sluice sync billing --stream invoices --wait"},
    {"status", "sluice status billing"},
    {"runs", "sluice runs billing --failed"},
    {"run", "sluice run show 24"},
    {"run show", "sluice run show 24"},
    {"errors", "sluice errors"},
    {"reconcile", "sluice reconcile confirm billing customers --dry-run"},
    {"reconcile confirm", "sluice reconcile confirm billing customers --dry-run"},
    {"reconcile reject", "sluice reconcile reject billing customers"},
    {"sql-user", "sluice sql-user create ann"},
    {"sql-user create", "sluice sql-user create ann"},
    {"sql-user list", "sluice sql-user list"},
    {"sql-user delete", "sluice sql-user delete ann"},
    {"psql", "sluice psql -- -c 'select count(*) from stripe_customer'"},
    {"quarantine", "sluice quarantine list --connection billing"},
    {"quarantine list", "sluice quarantine list --connection billing"},
    {"quarantine show", "sluice quarantine show 7"},
    {"quarantine replay", "sluice quarantine replay --connection billing --code record.wrong_kind"},
    {"quarantine dismiss", "sluice quarantine dismiss 7"},
    {"entity", "sluice entity list stripe.invoice --filter status=open"},
    {"entity types", "sluice entity types"},
    {"entity type", "sluice entity type stripe.invoice"},
    {"entity create-type",
     "sluice entity create-type customer email:text:unique:format=email plan:text"},
    {"entity add-attribute",
     "sluice entity add-attribute customer city:text\n"
     "sluice entity add-attribute stripe.customer customer_number:key=exact --path "
     "metadata.customer_number"},
    {"entity drop-attribute", "sluice entity drop-attribute stripe.customer customer_number"},
    {"entity drop-type", "sluice entity drop-type customer --dry-run"},
    {"entity create", "sluice entity create customer email=ann@example.org plan=pro"},
    {"entity update", "sluice entity update customer 17 plan=enterprise city="},
    {"entity delete", "sluice entity delete customer 17"},
    {"entity import", "sluice entity import customer customers.csv --key email"},
    {"entity list", "sluice entity list stripe.invoice --filter status=open --expand customer"},
    {"entity get", "sluice entity get stripe.customer cus_123 --expand customer"},
    {"link", "sluice link list --state contested"},
    {"link rules", "sluice link rules"},
    {"link add-rule",
     "sluice link add-rule by_mail --from stripe.customer.email --to customer.email --by email"},
    {"link list", "sluice link list --state contested"},
    {"link enable-rule", "sluice link enable-rule stripe.customer.email"},
    {"link disable-rule", "sluice link disable-rule stripe.customer.email"},
    {"link remove-rule", "sluice link remove-rule by_mail"},
    {"link why", "sluice link why stripe.customer cus_123"},
    {"link confirm", "sluice link confirm stripe.customer cus_123 17"},
    {"link reject", "sluice link reject stripe.customer cus_123 17"},
    {"link unlink", "sluice link unlink stripe.customer cus_123"},
    {"link forget", "sluice link forget stripe.customer cus_123"},
    {"changes", "sluice changes --type stripe.invoice -f"},
    {"feed", "sluice feed new-generation --why \"restored yesterday's files\""},
    {"feed new-generation", "sluice feed new-generation --why \"restored yesterday's files\""},
    {"view", "sluice view refresh"},
    {"view refresh", "sluice view refresh"},
    {"workspace", "sluice workspace create acme"},
    {"workspace list", "sluice workspace list"},
    {"workspace create", "sluice workspace create acme"},
    {"workspace token", "sluice workspace token dashboard --role reader"},
    {"token", "sluice token create dashboard --role reader"},
    {"token create", "sluice token create dashboard --role reader"},
    {"token list", "sluice token list"},
    {"token revoke", "sluice token revoke 3 --dry-run"},
});

std::string row(const std::string& name, const std::string& meaning) {
  std::string out = "  " + name;
  if (meaning.empty()) return out + "\n";
  if (out.size() + 2 <= kIndent) {
    out.resize(kIndent, ' ');
    return wrapped(out, kIndent, meaning, kWidth);
  }
  return out + "\n" + wrapped(std::string(kIndent, ' '), kIndent, meaning, kWidth);
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
    return c == '_' ? '-' : static_cast<char>(std::toupper(c));
  });
  return text;
}

std::string option_row(const CLI::App& command, const CLI::Option& option) {
  std::string name;
  for (const std::string& one : option.get_snames()) name += (name.empty() ? "-" : ", -") + one;
  for (const std::string& one : option.get_lnames()) name += (name.empty() ? "--" : ", --") + one;
  if (!is_flag(option)) {
    const std::string kind = kind_of(command, option);
    const std::string type = option.get_type_name();
    name += " " + (!kind.empty()                     ? upper(kind)
                   : type == "INT" || type == "UINT" ? "NUMBER"
                                                     : "VALUE");
  }
  std::string meaning = option.get_description();
  if (option.get_required()) meaning += meaning.empty() ? "(needed)" : " (needed)";
  return row(name, meaning);
}

std::string help_of_words(const CLI::App& root, const std::vector<std::string>& words) {
  const Place place = walk(root, words);
  if (place.wrong) throw Failure(*place.wrong);
  return help_of(*place.command);
}

}  // namespace

std::string example_of(const std::string& path) {
  for (const auto& [name, example] : kExamples)
    if (name == path) return std::string(example);
  return {};
}

std::string path_of(const CLI::App& command) {
  if (command.get_parent() == nullptr) return {};
  const std::string above = path_of(*command.get_parent());
  return above.empty() ? command.get_name() : above + " " + command.get_name();
}

std::string help_of(const CLI::App& command) {
  const std::string path = path_of(command);
  const CLI::App* root = &command;
  while (root->get_parent() != nullptr) root = root->get_parent();
  const std::string usage = usage_of(command, path) + " [OPTION]…";
  std::string out = wrapped("Usage: ", 7, usage, kWidth) + "\n";
  if (!command.get_description().empty()) out += wrapped("", 0, command.get_description(), kWidth);
  std::string arguments, options, commands, global;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional())
      arguments += row(upper(option->get_name(true)), option->get_description());
  }
  for (const CLI::Option* option : options_of(command)) {
    const auto own = command.get_options();
    const bool is_own = std::find(own.begin(), own.end(), option) != own.end();
    (is_own ? options : global) += option_row(command, *option);
  }
  for (const std::string& name : commands_of(command)) {
    const CLI::App* below = command.get_subcommand(name);
    commands += row(name, below->get_description());
  }
  if (!arguments.empty()) out += "\nArguments:\n" + arguments;
  if (!commands.empty()) out += "\nCommands:\n" + commands;
  if (!options.empty()) out += "\nOptions:\n" + options;
  if (!global.empty()) out += "\nOptions of every command:\n" + global;
  if (const std::string example = example_of(path); !example.empty()) {
    out += "\nExample:\n  ";
    for (const char c : example) {
      out += c;
      if (c == '\n') out += "  ";
    }
    out += "\n";
  }
  return out;
}

void set_help(CLI::App& app) {
  app.set_help_flag("-h,--help", "this text");
  app.formatter_fn([](const CLI::App* command, const std::string&, CLI::AppFormatMode) {
    return help_of(*command);
  });
}

void add_help(CLI::App& app) {
  auto words = std::make_shared<std::vector<std::string>>();
  auto* help = app.add_subcommand("help", "What a command does, with an example");
  help->add_option("command", *words, "the words of a command; none: all commands");
  help->callback([&app, words] { std::cout << help_of_words(app, *words); });
}

}  // namespace sluice::cli
