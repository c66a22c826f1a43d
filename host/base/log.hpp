// Structured log lines: one event name and fields. Events are dotted and stable ("sync.run.failed",
// docs/operating/logs.md lists them); values are escaped; nothing here may ever be a secret. What
// looks like one all the same is masked: the last fence, not the first.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace sluice::log {

enum class Level { debug, info, warning, error };
[[nodiscard]] std::string_view to_string(Level level);

/// json: one object a line, for machines. text: "event key=value …", for a terminal; time and level
/// are put in front by the channel.
enum class Format { json, text };

/// A field of a log line. The value is rendered at once.
struct Field {
  std::string_view key;
  std::string value;
  bool is_number = false;

  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  Field(std::string_view k, std::int64_t v) : key(k), value(std::to_string(v)), is_number(true) {}
  Field(std::string_view k, int v) : key(k), value(std::to_string(v)), is_number(true) {}
  Field(std::string_view k, std::size_t v) : key(k), value(std::to_string(v)), is_number(true) {}
};

/// Below this level nothing is written. Default info.
void set_level(Level level);
/// Other levels for the events of some areas: {"fetch", debug} is for "fetch.attempt" and all other
/// "fetch.…"; the longest area that fits counts. Call it before there are other threads.
void set_area_levels(std::vector<std::pair<std::string, Level>> levels);
/// Default text. Call it before there are other threads.
void set_format(Format format);

/// Any thread. Lines go through the Poco logger "sluice", which wiring points at a channel.
void write(Level level, std::string_view event, std::initializer_list<Field> fields = {});

/// The line that write() hands on; `at` is in it in JSON only.
[[nodiscard]] std::string render(Format format, Micros at, Level level, std::string_view event,
                                 std::initializer_list<Field> fields);

/// API tokens (slc_…), what follows "Bearer" or "password=", and passwords in URLs become "***".
[[nodiscard]] std::string masked(std::string_view text);

inline void debug(std::string_view e, std::initializer_list<Field> f = {}) {
  write(Level::debug, e, f);
}
inline void info(std::string_view e, std::initializer_list<Field> f = {}) {
  write(Level::info, e, f);
}
inline void warning(std::string_view e, std::initializer_list<Field> f = {}) {
  write(Level::warning, e, f);
}
inline void error(std::string_view e, std::initializer_list<Field> f = {}) {
  write(Level::error, e, f);
}

}  // namespace sluice::log
