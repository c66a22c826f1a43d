// Newline-delimited JSON, pushed in pieces of any size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/csv.hpp"

namespace sluice::model {

struct NdjsonLine {
  std::int64_t line = 0;
  RecordFault fault = RecordFault::none;  ///< too_long or none
  std::string text;                       ///< without its newline
};

/// Splits at LF or CRLF; blank lines are skipped and counted, a byte order mark is skipped. Holds
/// one line at most.
class NdjsonParser {
 public:
  void feed(std::string_view bytes, std::vector<NdjsonLine>& out);
  void finish(std::vector<NdjsonLine>& out);

  [[nodiscard]] std::int64_t lines() const { return line_ - 1; }  ///< so far, whole ones
  [[nodiscard]] std::int64_t blank_lines() const { return blank_; }

 private:
  void end_line(std::vector<NdjsonLine>& out);
  std::int64_t line_ = 1;
  std::int64_t blank_ = 0;
  NdjsonLine current_;
};

}  // namespace sluice::model
