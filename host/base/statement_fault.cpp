#include "base/statement_fault.hpp"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace sluice::failpoint {
namespace {

const char* wanted_file() {
  static const char* const file = std::getenv("SLUICE_FAIL_STATEMENT");
  return file;
}

struct Wanted {
  std::string text;
  std::int64_t at = 0, passed = 0;
  StatementFault fault = StatementFault::none;
};

StatementFault fault_of(std::string_view word) {
  if (word == "unsent") return StatementFault::unsent;
  if (word == "refused") return StatementFault::refused;
  if (word == "answer_lost") return StatementFault::answer_lost;
  return StatementFault::none;
}

/// What stands in the file now; the count begins anew with another text.
Wanted& wanted() {
  static Wanted current;
  std::ifstream file(wanted_file());
  std::string text;
  std::getline(file, text);
  if (text == current.text) return current;
  current = Wanted();
  current.text = text;
  std::istringstream words(text);
  std::string fault;
  words >> current.at >> fault;
  current.fault = fault_of(fault);
  return current;
}

}  // namespace

#ifndef SLUICE_NO_FAILPOINTS
bool watches_statements() { return wanted_file() != nullptr; }
#endif

StatementFault next_statement(std::string_view sql) {
  Wanted& current = wanted();
  if (current.text.empty() || ++current.passed != current.at) return StatementFault::none;
  std::ofstream(std::string(wanted_file()) + ".hit") << sql;
  return current.fault;
}

}  // namespace sluice::failpoint
