#include "cli/context.hpp"

#include <CLI/CLI.hpp>

#include <cctype>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "base/exact_json.hpp"
#include "cli/in_clear.hpp"

namespace sluice::cli {

std::string environment(const char* name, std::string fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : std::string(value);
}

std::string saved_token() {
  const std::string from_environment = environment("SLUICE_TOKEN", "");
  if (!from_environment.empty()) return from_environment;
  const std::filesystem::path home = environment("HOME", "");
  std::ifstream file(home / ".config/sluice/token");
  std::string token;
  std::getline(file, token);
  while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0)
    token.pop_back();
  return token;
}

std::string secret_line() {
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

Client Context::client() const {
  if (token.empty()) {
    throw Failure(Error(ErrorKind::denied, "token.missing", "no token",
                        "Use --token, SLUICE_TOKEN or ~/.config/sluice/token; whoever has lost the "
                        "only operator token makes a new one where sluiced runs: sluiced "
                        "--reset-operator-token"));
  }
  if (!insecure && goes_in_clear(url)) {
    throw Failure(Error(ErrorKind::denied, "cli.token_in_clear",
                        "the token would go to " + url +
                            " without TLS, for everybody on the way to read, so nothing was sent",
                        "Use https://… (listen.tls_certificate at the host), or a tunnel to "
                        "127.0.0.1; or say --insecure or SLUICE_INSECURE=1"));
  }
  return Client({url, token, workspace, ca_file});
}

void Context::show(const json& answer, const json& rows, const std::vector<Column>& columns) const {
  if (as_json) {
    std::cout << write_json_lines(answer) << '\n';
  } else {
    std::cout << table(rows, columns);
  }
}

void Context::more(const json& answer, const char* option) const {
  if (as_json || !answer.contains("next") || answer["next"].is_null()) return;
  std::cout << "more: " << option << ' ' << cell(answer["next"]) << '\n';
}

void Context::say(const json& answer, const std::string& text) const {
  std::cout << (as_json ? write_json_lines(answer) : text) << '\n';
}

}  // namespace sluice::cli
