// What every command works with: the host it asks, and how it answers. And the table of commands.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
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

/// Built by main; every command's callback has a reference to it. What an option says is there from
/// the beginning; settle() adds what it leaves open: the environment's, then that of a saved
/// context (config_file.hpp), then what is usual.
struct Context {
  std::string url;
  std::string token;
  std::string workspace;  ///< empty after settle(): the one that the token knows
  std::string ca_file;
  std::string name;       ///< of the saved context in use; empty: none is
  bool is_named = false;  ///< by --context or SLUICE_CONTEXT
  bool as_json = false;
  std::string output;             ///< of tables: "table" or empty, "wide", "csv"; "json" is as_json
  mutable bool has_rows = false;  ///< a table was shown
  /// Where the rows go as CSV: standard output, of which everything else is kept away then.
  std::streambuf* csv = nullptr;
  bool insecure = false;  ///< the token may go in clear
  bool yes = false;       ///< nothing is asked before it is done
  bool dry_run = false;   ///< what would be done is said, and not done
  int exit = 0;           ///< what the program ends with when nothing failed; a command may set it
  /// Without what a saved context added: for who makes another.
  struct Given {
    std::string workspace, ca_file;
    bool insecure = false;
  };
  Given given;
  /// Why settle() could not; for those who need a host.
  std::optional<Error> unsettled;

  /// Once, after the options are read. A saved token goes to its own host alone: it is left out
  /// where another URL is named.
  void settle();
  /// `most`: a whole request; zero: no bound but that of connecting.
  [[nodiscard]] Client client(std::chrono::milliseconds most = {}) const;
  /// Failure(denied, "cli.token_in_clear") where a token would be seen on its way.
  void require_safe_url() const;
  /// The whole answer as JSON, or the rows as a table; `elsewhere` is what shows the columns that a
  /// terminal has no room for.
  void show(const json& answer, const json& rows, const std::vector<Column>& columns,
            std::string_view elsewhere = "-o wide has them") const;
  /// Its second half, as `output` says.
  void show_rows(const json& rows, const std::vector<Column>& columns,
                 std::string_view elsewhere = "-o wide has them") const;
  /// How to see what did not fit: "more: --cursor …".
  void more(const json& answer, const char* option) const;
  void say(const json& answer, const std::string& text) const;
};

/// What a host answered, or this program made of it, as JSON on standard output.
void print_json(const json& document);
/// A secret from standard input: its first line. On a terminal `what` is asked for, and what is
/// typed is not shown.
[[nodiscard]] std::string secret_line(const std::string& what);
/// To standard error: it does what was said, and somebody should know something about it.
void warn(const std::string& text);
/// "$HOME/.config/x" as "~/.config/x".
[[nodiscard]] std::string short_path(const std::string& path);
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

/// GET /health: what the host knows of itself, also without its database and without a token. Null
/// where nothing of the kind is answered.
[[nodiscard]] json ask_host(const Context& context);
[[nodiscard]] bool cannot_work(const json& host);
/// Its reasons with what to do, for people; and as entries of `errors`.
[[nodiscard]] std::string reasons_text(const json& host);
[[nodiscard]] json reasons_as_errors(const json& host);

// The commands: connector and connection in connectors.cpp, sync and status in status.cpp, runs and
// errors in runs.cpp, the others each in the file of its name.
void add_connector(CLI::App& app, Context& context);
void add_connection(CLI::App& app, Context& context);
void add_sync(CLI::App& app, Context& context);
void add_status(CLI::App& app, Context& context);
void add_runs(CLI::App& app, Context& context);
void add_host(CLI::App& app, Context& context);    ///< host and version: host.cpp
void add_errors(CLI::App& app, Context& context);  ///< errors and reconcile: runs.cpp
void add_quarantine(CLI::App& app, Context& context);
void add_entity(CLI::App& app, Context& context);
void add_import(CLI::App& entity, Context& context);  ///< below `entity`
void add_link(CLI::App& app, Context& context);
void add_changes(CLI::App& app, Context& context);
void add_views(CLI::App& app, Context& context);
void add_workspace(CLI::App& app, Context& context);
void add_login(CLI::App& app, Context& context);  ///< login, whoami and context: login.cpp
void add_audit(CLI::App& app, Context& context);
void add_sql(CLI::App& app, Context& context);  ///< sql-user and psql

}  // namespace sluice::cli
