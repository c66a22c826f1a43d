// What every command works with: the host it asks, and how it answers. And the table of commands.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/exit_codes.hpp"
#include "cli/client.hpp"
#include "cli/table.hpp"

namespace CLI {
class App;
}

namespace sluice::cli {

/// A variable of the environment, or `fallback`.
[[nodiscard]] std::string environment(const char* name, std::string fallback);
/// --token, SLUICE_TOKEN, or the file that `sluiced` users keep it in.
[[nodiscard]] std::string saved_token();

/// Built by main; every command's callback has a reference to it.
struct Context {
  std::string url = environment("SLUICE_URL", "http://127.0.0.1:8420");
  std::string token = saved_token();
  std::string workspace = environment("SLUICE_WORKSPACE", "main");
  std::string ca_file = environment("SLUICE_CA_FILE", "");
  bool as_json = false;
  bool insecure = !environment("SLUICE_INSECURE", "").empty();  ///< the token may go in clear
  int exit = 0;  ///< what the program ends with when nothing failed; a command may set it

  [[nodiscard]] Client client() const;
  /// The whole answer as JSON, or the rows as a table.
  void show(const json& answer, const json& rows, const std::vector<Column>& columns) const;
  /// How to see what did not fit: "more: --cursor …".
  void more(const json& answer, const char* option) const;
  void say(const json& answer, const std::string& text) const;
};

/// A secret from standard input: its first line.
[[nodiscard]] std::string secret_line();
/// VALUE, or @NAME for what the environment has under NAME, so that it is on no command line.
[[nodiscard]] std::string secret_value(const std::string& text);
/// "name=value" of that option, in two; CLI::ValidationError for anything else.
[[nodiscard]] std::pair<std::string, std::string> split(const std::string& text,
                                                        const char* option);
/// JSON where it is JSON, else text: --config lag=0, --config account=acct_1.
[[nodiscard]] json value_of(const std::string& text);
/// Writes what is left; ends us quietly when nobody reads it any more, as `| head` expects. A
/// library that we use blocks the signal meanwhile: then it is pending, and comes now.
void flush_output();

// The commands: connector and connection in connectors.cpp, sync and status in status.cpp, runs and
// errors in runs.cpp, the others each in the file of its name.
void add_connector(CLI::App& app, Context& context);
void add_connection(CLI::App& app, Context& context);
void add_sync(CLI::App& app, Context& context);
void add_status(CLI::App& app, Context& context);
void add_runs(CLI::App& app, Context& context);
void add_errors(CLI::App& app, Context& context);  ///< errors and reconcile: runs.cpp
void add_quarantine(CLI::App& app, Context& context);
void add_entity(CLI::App& app, Context& context);
void add_link(CLI::App& app, Context& context);
void add_changes(CLI::App& app, Context& context);
void add_views(CLI::App& app, Context& context);
void add_workspace(CLI::App& app, Context& context);
void add_sql(CLI::App& app, Context& context);  ///< sql-user and psql

}  // namespace sluice::cli
