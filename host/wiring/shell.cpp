#include "wiring/shell.hpp"

#include "base/log.hpp"

#include <Poco/AutoPtr.h>
#include <Poco/ConsoleChannel.h>
#include <Poco/FormattingChannel.h>
#include <Poco/Logger.h>
#include <Poco/PatternFormatter.h>
#include <Poco/Util/Option.h>
#include <Poco/Util/OptionCallback.h>
#include <Poco/Util/OptionException.h>
#include <Poco/Util/OptionSet.h>
#include <Poco/Util/ServerApplication.h>
#include <fmt/format.h>

#include <unistd.h>
#include <array>
#include <csignal>
#include <cstdio>
#include <iostream>

extern char** environ;

namespace sluice::wiring {
namespace {

std::map<std::string, std::string> read_environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos)
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

log::Level level_of(std::string_view name) {
  for (const log::Level level :
       {log::Level::debug, log::Level::warning, log::Level::error, log::Level::info}) {
    if (log::to_string(level) == name) return level;
  }
  return log::Level::info;
}

void set_up_logging(const Config& config) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const bool json = config.log_format == "json" || (config.log_format == "auto" && !terminal);
  Poco::AutoPtr<Poco::ColorConsoleChannel> console(new Poco::ColorConsoleChannel(std::clog));
  console->setProperty("enableColors", terminal && !json ? "true" : "false");
  // In JSON the line has everything.
  Poco::AutoPtr<Poco::PatternFormatter> pattern(
      new Poco::PatternFormatter(json ? "%t" : "%Y-%m-%dT%H:%M:%S.%iZ %p %t"));
  Poco::AutoPtr<Poco::FormattingChannel> formatted(new Poco::FormattingChannel(pattern, console));
  Poco::Logger& logger = Poco::Logger::get("sluice");
  logger.setChannel(formatted);
  logger.setLevel(Poco::Message::PRIO_TRACE);
  log::set_format(json ? log::Format::json : log::Format::text);
  log::set_level(level_of(config.log_level));
  std::vector<std::pair<std::string, log::Level>> areas;
  for (const std::string& text : config.log_levels) {
    const auto equals = text.find('=');
    areas.emplace_back(text.substr(0, equals), level_of(text.substr(equals + 1)));
  }
  log::set_area_levels(std::move(areas));
}

void print_help(const std::string& version) {
  fmt::print(
      "sluiced {} - pulls vendors' data into one linked store\n\n"
      "  sluiced [--config FILE] [--data DIRECTORY] [--listen ADDRESS:PORT] [--set "
      "KEY=VALUE]...\n"
      "  sluiced [--data DIRECTORY] --reset-operator-token    makes a new operator token for who "
      "lost the only one\n\n"
      "Without any configuration it runs a private PostgreSQL in its data directory. Settings come "
      "from a JSON\n"
      "file, from SLUICE_… variables (SLUICE_DATABASE_URL) and from --set, in this order; the last "
      "one wins.\n\n",
      version);
  for (const ConfigKey& key : config_keys()) {
    fmt::print("  {:<24} {:<16} {}\n  {:<24} default: {}\n", key.key, key.type, key.meaning, "",
               key.fallback);
  }
}

void complain(const Error& error) {
  fmt::print(stderr, "sluiced: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "         {}\n", error.hint);
  fmt::print(stderr, "         ({}, exit code {}; see docs/operating/exit-codes.md)\n", error.code,
             exit_code(error));
}

/// Poco's application makes an abort() of each fatal signal, which hides what happened and what a
/// sanitizer would have said: what handled them before handles them again.
class FatalSignals {
 public:
  FatalSignals() {
    for (std::size_t at = 0; at < kSignals.size(); ++at)
      ::sigaction(kSignals[at], nullptr, &before_[at]);
  }
  void put_back() const {
    for (std::size_t at = 0; at < kSignals.size(); ++at)
      ::sigaction(kSignals[at], &before_[at], nullptr);
  }

 private:
  static constexpr std::array kSignals = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS};
  std::array<struct sigaction, kSignals.size()> before_{};
};

class Shell final : public Poco::Util::ServerApplication {
 public:
  Shell(std::string version, Program program)
      : version_(std::move(version)), program_(std::move(program)) {}

  /// ServerApplication::run(argc, argv) would turn a wrong option into EXIT_CONFIG.
  int start(int argc, char** argv) {
    init(argc, argv);
    return Poco::Util::ServerApplication::run();
  }

 protected:
  void defineOptions(Poco::Util::OptionSet& options) override {
    Poco::Util::Application::defineOptions(
        options);  // without --daemon: a service manager does that
    add(options, "help", "", "show help");
    add(options, "version", "", "show the version");
    add(options, "config", "FILE", "read this JSON file");
    add(options, "data", "DIRECTORY", "data.directory");
    add(options, "listen", "ADDRESS:PORT", "listen.address and listen.port");
    add(options, "set", "KEY=VALUE", "any setting");
    add(options, "reset-operator-token", "",
        "make a new operator token for who has lost the only one; the first is revoked");
  }

  void handleOption(const std::string& name, const std::string& value) override {
    Poco::Util::Application::handleOption(name, value);
    if (name == "help") help_ = true;
    if (name == "version") show_version_ = true;
    if (name == "reset-operator-token") reset_operator_token_ = true;
    if (name == "config") file_ = value;
    if (name == "data") settings_.push_back("data.directory=" + value);
    if (name == "set") settings_.push_back(value);
    if (name == "listen") {
      const auto colon = value.rfind(':');
      settings_.push_back("listen.address=" + value.substr(0, colon));
      if (colon != std::string::npos) settings_.push_back("listen.port=" + value.substr(colon + 1));
    }
    if (help_ || show_version_) stopOptionsProcessing();
  }

  int main(const std::vector<std::string>& arguments) override {
    if (help_) {
      print_help(version_);
      return kExitOk;
    }
    if (show_version_) {
      fmt::print("sluiced {}\n", version_);
      return kExitOk;
    }
    if (!arguments.empty()) {
      const Error error(ErrorKind::bad_input, "usage.unknown_argument",
                        "unknown argument '" + arguments[0] + "'", "sluiced --help");
      complain(error);
      return exit_code(error);
    }
    Result<Config> config = read_config(file_, read_environment(), settings_);
    if (!config) {
      complain(config.error());
      return exit_code(config.error());
    }
    config->reset_operator_token = reset_operator_token_;
    set_up_logging(*config);
    try {
      return program_(*config, [this] { waitForTerminationRequest(); });
    } catch (const Failure& failure) {
      complain(failure.error());
      return exit_code(failure.error());
    } catch (const std::exception& surprise) {
      const Error error(ErrorKind::internal, "internal", surprise.what(),
                        "This is a defect; please report it with the log");
      complain(error);
      return exit_code(error);
    }
  }

 private:
  static void add(Poco::Util::OptionSet& options, const char* name, const char* argument,
                  const char* meaning) {
    Poco::Util::Option option(name, "", meaning, false);
    if (*argument != '\0') option.argument(argument).repeatable(true);
    options.addOption(option);
  }

  std::string version_;
  Program program_;
  bool help_ = false;
  bool show_version_ = false;
  bool reset_operator_token_ = false;
  std::string file_;
  std::vector<std::string> settings_;
};

}  // namespace

int run_shell(int argc, char** argv, const std::string& version, Program program) {
  try {
    const FatalSignals signals;
    Poco::AutoPtr<Shell> shell(new Shell(version, std::move(program)));
    signals.put_back();
    return shell->start(argc, argv);
  } catch (const Poco::Exception& exception) {
    fmt::print(stderr, "sluiced: {}\n         sluiced --help lists the options\n",
               exception.displayText());
    return kExitUsage;
  }
}

void request_stop() { Poco::Util::ServerApplication::terminate(); }

}  // namespace sluice::wiring
