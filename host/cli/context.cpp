#include "cli/context.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <cctype>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/exact_json.hpp"
#include "cli/config_file.hpp"
#include "cli/in_clear.hpp"
#include "cli/screen.hpp"
#include "cli/terminal.hpp"

namespace sluice::cli {

std::string environment(const char* name, std::string fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : std::string(value);
}

namespace {

/// Where the token lay before there were contexts; it is still looked for there.
std::string token_of_before() {
  const std::filesystem::path home = environment("HOME", "");
  const std::filesystem::path file = home / ".config/sluice/token";
  std::error_code unknown;
  return std::filesystem::exists(file, unknown) ? token_in(file) : std::string();
}

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

void take(std::string& value, const std::string& other) {
  if (value.empty()) value = other;
}

}  // namespace

void warn(const std::string& text) {
  std::cout.flush();
  std::cerr << message_lines("sluice: warning: ", 8, text, STDERR_FILENO);
}

std::string short_path(const std::string& path) {
  const std::string home = environment("HOME", "");
  return !home.empty() && path.starts_with(home + "/") ? "~" + path.substr(home.size()) : path;
}

void print_json(const json& document) {
  std::cout << for_screen(write_json_lines(document)) << '\n';
}

void Context::settle() {
  as_json = as_json || output == "json";
  if (!token.empty())
    warn("--token is seen by other users of this machine; sluice login keeps it unseen");
  take(url, environment("SLUICE_URL", ""));
  take(token, environment("SLUICE_TOKEN", ""));
  take(workspace, environment("SLUICE_WORKSPACE", ""));
  take(ca_file, environment("SLUICE_CA_FILE", ""));
  insecure = insecure || !environment("SLUICE_INSECURE", "").empty();
  given.workspace = workspace;
  given.ca_file = ca_file;
  given.insecure = insecure;
  take(name, environment("SLUICE_CONTEXT", ""));
  is_named = !name.empty();
  try {
    if (is_named || url.empty() || token.empty()) {
      const ConfigFile config = read_config_file();
      if (!is_named) name = config.current;
      if (!name.empty()) {
        const SavedContext& saved = config.at(name);
        if (url.empty() || without_slash(url) == without_slash(saved.url)) {
          take(url, saved.url);
          take(workspace, saved.workspace);
          take(ca_file, saved.ca_file);
          insecure = insecure || saved.insecure;
          if (token.empty())
            token = saved.token_file.empty() ? saved.token : token_in(saved.token_file);
        } else if (token.empty()) {
          unsettled = Error(ErrorKind::denied, "cli.token_of_another",
                            "the token of context '" + name + "' is for " + saved.url +
                                ", and is not sent to " + url,
                            "sluice login " + url + ", or SLUICE_TOKEN");
        } else {
          name.clear();
        }
      }
    }
    if (token.empty() && !unsettled) token = token_of_before();
  } catch (const Failure& failure) {
    unsettled = failure.error();
  }
  take(url, "http://127.0.0.1:8420");
}

std::string secret_line(const std::string& what) {
  if (can_ask()) {
    std::string typed = ask_secret(what);
    if (!typed.empty()) return typed;
    throw Failure(Error(ErrorKind::bad_input, "cli.no_secret", "nothing was typed",
                        "Again; or echo \"$KEY\" | sluice …"));
  }
  std::string value;
  std::getline(std::cin, value);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())) != 0)
    value.pop_back();
  if (value.empty())
    throw Failure(Error(ErrorKind::bad_input, "cli.no_secret", "standard input holds no secret",
                        "echo \"$KEY\" | sluice …"));
  return value;
}

std::string secret_value(const std::string& text) {
  if (!text.starts_with('@')) return text;
  std::string value = environment(text.c_str() + 1, "");
  if (value.empty()) {
    throw Failure(Error(ErrorKind::bad_input, "cli.no_secret",
                        "the environment has no " + text.substr(1),
                        "export it, or use --secret-stdin"));
  }
  return value;
}

std::pair<std::string, std::string> split(const std::string& text, const char* option) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    const bool secret =
        std::string_view(option) == "--secret";  // never shown, not even when it is misplaced
    throw CLI::ValidationError(option, secret ? "must be name=value or name=@VARIABLE"
                                              : "'" + text + "' must be name=value");
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

json value_of(const std::string& text) { return read_ordered_json(text).value_or(json(text)); }

void flush_output() {
  std::cout.flush();
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_UNBLOCK, &pipe_signal, nullptr);
}

Client Context::client(std::chrono::milliseconds most) const {
  if (unsettled) throw Failure(*unsettled);
  if (token.empty()) {
    throw Failure(Error(ErrorKind::denied, "token.missing", "no token",
                        "sluice login keeps one; SLUICE_TOKEN is one for now. Whoever has lost the "
                        "only operator token makes a new one where sluiced runs: sluiced "
                        "--reset-operator-token"));
  }
  require_safe_url();
  ClientOptions options;
  options.url = url;
  options.token = token;
  options.workspace = workspace;
  options.ca_file = ca_file;
  options.most = most;
  return Client(std::move(options));
}

void Context::require_safe_url() const {
  if (url.find("://") == std::string::npos) {
    throw Failure(
        Error(ErrorKind::bad_input, "cli.bad_value",
              "'" + url + "' is no address of a host: it has neither http:// nor https://",
              "Such as http://127.0.0.1:8420"));
  }
  if (insecure || !goes_in_clear(url)) return;
  throw Failure(Error(ErrorKind::denied, "cli.token_in_clear",
                      "the token would go to " + url +
                          " without TLS, for everybody on the way to read, so nothing was sent",
                      "Use https://… (listen.tls_certificate at the host), or a tunnel to "
                      "127.0.0.1; or say --insecure or SLUICE_INSECURE=1"));
}

void Context::show(const json& answer, const json& rows, const std::vector<Column>& columns,
                   std::string_view elsewhere) const {
  if (as_json) {
    print_json(answer);
  } else {
    show_rows(rows, columns, elsewhere);
  }
}

void Context::show_rows(const json& rows, const std::vector<Column>& columns,
                        std::string_view elsewhere) const {
  constexpr std::size_t kCellMin = 20, kCellMost = 200;
  has_rows = true;
  if (output == "csv") {
    std::ostream(csv) << for_screen(csv_of(rows, columns));
  } else if (output == "wide") {
    std::cout << table(rows, columns, kCellMost);
  } else {
    std::cout << table_that_fits(rows, columns, table_columns(), kCellMin, elsewhere);
  }
}

void Context::more(const json& answer, const char* option) const {
  if (as_json || !answer.contains("next") || answer.at("next").is_null()) return;
  (output == "csv" ? std::cerr : std::cout)
      << "more: " << option << ' ' << cell(answer.at("next")) << '\n';
}

void Context::say(const json& answer, const std::string& text) const {
  if (as_json) {
    print_json(answer);
  } else {
    std::cout << text << '\n';
  }
}

}  // namespace sluice::cli
