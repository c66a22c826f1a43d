#include "base/log.hpp"

#include <Poco/Logger.h>
#include <Poco/Message.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "base/bytes.hpp"
#include "base/printable.hpp"

namespace sluice::log {
namespace {

constexpr std::string_view kMask = "***";
constexpr char kHex[] = "0123456789abcdef";

std::atomic<Level> minimum{Level::info};
std::atomic<Format> line_format{Format::text};

// Set before there are threads, then only read.
std::vector<std::pair<std::string, Level>>& area_levels() {
  static std::vector<std::pair<std::string, Level>> levels;
  return levels;
}

bool is_in_area(std::string_view event, std::string_view area) {
  return event.starts_with(area) && (event.size() == area.size() || event[area.size()] == '.');
}

Level least_for(std::string_view event) {
  for (const auto& [area, level] : area_levels()) {
    if (is_in_area(event, area)) return level;
  }
  return minimum.load(std::memory_order_relaxed);
}

bool needs_quotes(std::string_view value) {
  return value.empty() || std::any_of(value.begin(), value.end(), [](char c) {
           return c == ' ' || c == '"' || c == '=' || c == '\\' ||
                  static_cast<unsigned char>(c) < 0x20;
         });
}

/// `control`: what stands before the two hex digits of a control character.
void append_quoted(std::string& line, std::string_view value, std::string_view control) {
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      line += control;
      line += kHex[static_cast<unsigned char>(c) >> 4];
      line += kHex[static_cast<unsigned char>(c) & 15];
    } else {
      line += c;
    }
  }
  line += '"';
}

void append_text(std::string& line, std::string_view value) {
  if (!needs_quotes(value)) {
    line += value;
    return;
  }
  append_quoted(line, value, "\\x");
}

void append_json(std::string& line, std::string_view value) {
  const std::string made_valid = is_utf8(value) ? std::string() : printable(value);
  append_quoted(line, made_valid.empty() ? value : made_valid, "\\u00");
}

bool ends_word(char c) {
  return c == ' ' || c == '"' || c == '\'' || c == ',' || c == ';' || c == '&' || c == ')' ||
         static_cast<unsigned char>(c) < 0x20;
}

/// Behind each `mark`, the word up to its end becomes the mask.
void mask_words_after(std::string& text, std::string_view mark) {
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at)) {
    at += mark.size();
    std::size_t end = at;
    while (end < text.size() && !ends_word(text[end])) ++end;
    if (end == at) continue;
    text.replace(at, end - at, kMask);
    at += kMask.size();
  }
}

/// "postgresql://user:word@host" -> "postgresql://user:***@host"
void mask_url_passwords(std::string& text) {
  for (std::size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at)) {
    at += 3;
    std::size_t end = at;
    while (end < text.size() && !ends_word(text[end]) && text[end] != '/') ++end;
    const std::size_t host = text.substr(at, end - at).rfind('@');
    if (host == std::string::npos) continue;
    const std::size_t colon = text.find(':', at);
    if (colon >= at + host) continue;
    text.replace(colon + 1, at + host - colon - 1, kMask);
  }
}

Poco::Message::Priority priority(Level level) {
  static constexpr std::array<Poco::Message::Priority, 4> kPriorities = {
      Poco::Message::PRIO_DEBUG, Poco::Message::PRIO_INFORMATION, Poco::Message::PRIO_WARNING,
      Poco::Message::PRIO_ERROR};
  return kPriorities.at(static_cast<std::size_t>(level));
}

}  // namespace

std::string_view to_string(Level level) {
  static constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};
  return kNames.at(static_cast<std::size_t>(level));
}

void set_level(Level level) { minimum = level; }

void set_area_levels(std::vector<std::pair<std::string, Level>> levels) {
  std::sort(levels.begin(), levels.end(),
            [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  area_levels() = std::move(levels);
}

void set_format(Format format) { line_format = format; }

std::string masked(std::string_view text) {
  std::string out(text);
  mask_words_after(out, "slc_");
  mask_words_after(out, "Bearer ");
  mask_words_after(out, "bearer ");
  mask_words_after(out, "password=");
  mask_url_passwords(out);
  return out;
}

std::string render(Format format, Micros at, Level level, std::string_view event,
                   std::initializer_list<Field> fields) {
  std::string line;
  if (format == Format::text) {
    line = event;
    for (const Field& field : fields) {
      line += ' ';
      line += field.key;
      line += '=';
      append_text(line, field.is_number ? field.value : masked(field.value));
    }
    return line;
  }
  line = "{\"at\":\"" + to_rfc3339(at) + "\",\"level\":\"";
  line += to_string(level);
  line += "\",\"event\":";
  append_json(line, event);
  for (const Field& field : fields) {
    line += ',';
    append_json(line, field.key);
    line += ':';
    if (field.is_number) {
      line += field.value;
    } else {
      append_json(line, masked(field.value));
    }
  }
  line += '}';
  return line;
}

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  if (level < least_for(event)) return;
  Poco::Message message("sluice", std::string(), priority(level));
  const Micros at(message.getTime().epochMicroseconds());
  message.setText(render(line_format.load(std::memory_order_relaxed), at, level, event, fields));
  Poco::Logger::get("sluice").log(message);
}

}  // namespace sluice::log
