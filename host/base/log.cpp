#include "base/log.hpp"

#include <Poco/Logger.h>
#include <Poco/Message.h>

#include <atomic>

namespace sluice::log {
namespace {

std::atomic<Level> minimum{Level::info};

bool needs_quotes(std::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    if (c == ' ' || c == '"' || c == '=' || c == '\\' || static_cast<unsigned char>(c) < 0x20)
      return true;
  }
  return false;
}

void append_value(std::string& line, std::string_view value) {
  if (!needs_quotes(value)) {
    line += value;
    return;
  }
  static constexpr char kHex[] = "0123456789abcdef";
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      line += "\\x";
      line += kHex[static_cast<unsigned char>(c) >> 4];
      line += kHex[static_cast<unsigned char>(c) & 15];
    } else {
      line += c;
    }
  }
  line += '"';
}

Poco::Message::Priority priority(Level level) {
  switch (level) {
    case Level::debug:
      return Poco::Message::PRIO_DEBUG;
    case Level::info:
      return Poco::Message::PRIO_INFORMATION;
    case Level::warning:
      return Poco::Message::PRIO_WARNING;
    case Level::error:
      return Poco::Message::PRIO_ERROR;
  }
  return Poco::Message::PRIO_ERROR;
}

}  // namespace

void set_level(Level level) { minimum = level; }

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  if (level < minimum.load(std::memory_order_relaxed)) return;
  std::string line(event);
  for (const Field& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  Poco::Logger& logger = Poco::Logger::get("sluice");
  logger.log(Poco::Message("sluice", line, priority(level)));
}

}  // namespace sluice::log
