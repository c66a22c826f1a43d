#include "json_text.hpp"

#include <algorithm>
#include <utility>

namespace fake_stripe {
namespace {

void append_escaped(std::string& out, char c) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\r':
      out += "\\r";
      return;
    default:
      break;
  }
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 0x20) {
    out += c;
    return;
  }
  out += "\\u00";
  out += kHex[byte >> 4U];
  out += kHex[byte & 15U];
}

bool needs_escaping(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
  });
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  if (needs_escaping(text)) {
    for (const char c : text) append_escaped(out, c);
  } else {
    out += text;
  }
  out += '"';
}

std::string quoted(std::string_view value) {
  std::string out;
  append_json_string(out, value);
  return out;
}

void JsonText::key(std::string_view name) {
  if (text_.size() > 1) text_ += ',';
  text_ += '"';
  text_ += name;
  text_ += "\":";
}

JsonText& JsonText::str(std::string_view name, std::string_view value) {
  key(name);
  append_json_string(text_, value);
  return *this;
}

JsonText& JsonText::num(std::string_view name, std::int64_t value) {
  key(name);
  text_ += std::to_string(value);
  return *this;
}

JsonText& JsonText::flag(std::string_view name, bool value) {
  return raw(name, value ? "true" : "false");
}

JsonText& JsonText::null(std::string_view name) { return raw(name, "null"); }

JsonText& JsonText::raw(std::string_view name, std::string_view json) {
  key(name);
  text_ += json;
  return *this;
}

JsonText& JsonText::str_or_null(std::string_view name, std::string_view value) {
  return value.empty() ? null(name) : str(name, value);
}

JsonText& JsonText::num_or_null(std::string_view name, std::int64_t value) {
  return value == 0 ? null(name) : num(name, value);
}

std::string JsonText::take() {
  text_ += '}';
  return std::move(text_);
}

}  // namespace fake_stripe
