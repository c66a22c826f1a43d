// A text from a command line as the value that a JSON Schema wants.
#pragma once

#include <string>
#include <vector>

#include "cli/table.hpp"

namespace sluice::cli {

/// By the "type" (or a list of types) of the member's schema: "30" is a number where that says
/// integer, and stays text where it says string. Where it says nothing: JSON where it is JSON, else
/// text. Failure(bad_input, "cli.bad_value") with what the schema wants.
[[nodiscard]] json typed_value(const std::string& name, const std::string& text,
                               const json& schema);

/// As CLI11 asks: empty where `given` is one of `known`; else what would be, and which was meant.
[[nodiscard]] std::string flaw_of(const std::string& given, const std::vector<std::string>& known);

}  // namespace sluice::cli
