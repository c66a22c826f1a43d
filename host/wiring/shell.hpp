// The service around the program: command line, log channels, signals, on Poco's ServerApplication.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "wiring/config.hpp"

namespace sluice::wiring {

/// What the program does between start and stop. `wait_for_stop` blocks until SIGTERM, SIGINT or
/// request_stop(). Returns the exit code.
using Program =
    std::function<int(const Config& config, const std::function<void()>& wait_for_stop)>;

/// Reads options and configuration, sets up logging (to standard error), runs the program. Refusals
/// are printed as one message that says what, where and what to do; the exit code says of what kind
/// (ExitCode).
int run_shell(int argc, char** argv, const std::string& version, Program program);

/// Makes wait_for_stop return, from any thread.
void request_stop();

}  // namespace sluice::wiring
