#include "base/exact_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/bytes.hpp"
#include "base/decimal.hpp"
#include "base/error.hpp"

namespace sluice {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// What a binary value is, by its subtype.
enum class Kept : std::uint8_t { number = 1, ready = 2 };

template <class Json>
Json kept(Kept what, std::string_view text) {
  typename Json::binary_t bytes;
  bytes.assign(text.begin(), text.end());
  bytes.set_subtype(static_cast<std::uint8_t>(what));
  return Json(std::move(bytes));
}

template <class Json>
std::string_view kept_text(const Json& value) {
  const auto& bytes = value.get_binary();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class Json>
bool is_kept_number(const Json& value) {
  return value.is_binary() && value.get_binary().has_subtype() &&
         value.get_binary().subtype() == static_cast<std::uint8_t>(Kept::number);
}

/// Builds a document from checked text; as deep as the check allowed.
template <class Json>
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Json value() {
    skip_space();
    switch (text_[at_]) {
      case '{':
        return object();
      case '[':
        return array();
      case '"':
        return Json(string());
      case 't':
        at_ += 4;
        return Json(true);
      case 'f':
        at_ += 5;
        return Json(false);
      case 'n':
        at_ += 4;
        return Json(nullptr);
      default:
        return number();
    }
  }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  /// Behind the next of these characters, which is there.
  char pass() {
    skip_space();
    return text_[at_++];
  }

  bool at_end_of(char close) {
    skip_space();
    if (text_[at_] != close) return false;
    ++at_;
    return true;
  }

  Json object() {
    Json out = Json::object();
    ++at_;
    if (at_end_of('}')) return out;
    do {
      skip_space();
      std::string name = string();
      pass();  // the colon
      Json member = value();
      out[std::move(name)] = std::move(member);
    } while (pass() == ',');
    return out;
  }

  Json array() {
    Json out = Json::array();
    ++at_;
    if (at_end_of(']')) return out;
    do {
      out.push_back(value());
    } while (pass() == ',');
    return out;
  }

  std::string string() {
    const std::size_t begin = at_++;
    while (text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    ++at_;
    return text_of_json_string(text_.substr(begin, at_ - begin));
  }

  Json number() {
    const std::size_t end = std::min(text_.find_first_not_of("0123456789+-.eE", at_), text_.size());
    const std::string_view digits = text_.substr(at_, end - at_);
    at_ = end;
    const char* const last = digits.data() + digits.size();
    std::int64_t whole = 0;
    if (const auto read = std::from_chars(digits.data(), last, whole);
        read.ec == std::errc{} && read.ptr == last)
      return Json(whole);
    std::uint64_t large = 0;
    if (const auto read = std::from_chars(digits.data(), last, large);
        read.ec == std::errc{} && read.ptr == last)
      return Json(large);
    return kept<Json>(Kept::number, digits);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

template <class Json>
std::expected<Json, JsonProblem> read_as(std::string_view text, std::size_t depth_max) {
  JsonProblem problem;
  if (!is_utf8(text)) {
    problem.what = "text that is not UTF-8";
    return std::unexpected(problem);
  }
  const JsonCheck check = check_json(text, depth_max);
  problem.what = check.problem;
  problem.at = check.at;
  if (check.ok() && check.has_lone_surrogate) problem.what = "half of a surrogate pair (\\ud800)";
  if (!problem.what.empty()) return std::unexpected(problem);
  return Reader<Json>(text).value();
}

template <class Json>
class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  void value(const Json& one, int depth) {
    switch (one.type()) {
      case Json::value_t::object:
        return members(one, depth);
      case Json::value_t::array:
        return items(one, depth);
      case Json::value_t::string:
        return string(one.template get_ref<const std::string&>());
      case Json::value_t::binary:
        out_ += kept_text(one);
        return;
      case Json::value_t::number_integer:
        fmt::format_to(std::back_inserter(out_), "{}", one.template get<std::int64_t>());
        return;
      case Json::value_t::number_unsigned:
        fmt::format_to(std::back_inserter(out_), "{}", one.template get<std::uint64_t>());
        return;
      case Json::value_t::boolean:
        out_ += one.template get<bool>() ? "true" : "false";
        return;
      case Json::value_t::number_float:
        out_ += one.dump();  // a double of ours: the shortest digits that lead back to it
        return;
      case Json::value_t::null:
      case Json::value_t::discarded:
        break;
    }
    out_ += "null";
  }

  [[nodiscard]] std::string take() { return std::move(out_); }
  [[nodiscard]] bool replaced() const { return replaced_; }

 private:
  void line(int depth) {
    if (indent_ == 0) return;
    out_ += '\n';
    out_.append(static_cast<std::size_t>(indent_ * depth), ' ');
  }

  void members(const Json& one, int depth) {
    out_ += '{';
    bool first = true;
    for (const auto& [name, member] : one.items()) {
      if (!first) out_ += ',';
      first = false;
      line(depth + 1);
      string(name);
      out_ += indent_ == 0 ? ":" : ": ";
      value(member, depth + 1);
    }
    if (!first) line(depth);
    out_ += '}';
  }

  void items(const Json& one, int depth) {
    out_ += '[';
    bool first = true;
    for (const Json& item : one) {
      if (!first) out_ += ',';
      first = false;
      line(depth + 1);
      value(item, depth + 1);
    }
    if (!first) line(depth);
    out_ += ']';
  }

  void string(const std::string& text) {
    if (!is_utf8(text)) {
      replaced_ = true;
      out_ += Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
      return;
    }
    out_ += '"';
    for (const char c : text) character(c);
    out_ += '"';
  }

  void character(char c) {
    constexpr std::string_view kShort = "\b\f\n\r\t\"\\";
    constexpr std::string_view kLetters = "bfnrt\"\\";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && c != '"' && c != '\\') {
      out_ += c;
    } else if (const std::size_t known = kShort.find(c); known != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[known];
    } else {
      fmt::format_to(std::back_inserter(out_), "\\u{:04x}", static_cast<unsigned>(byte));
    }
  }

  int indent_;
  std::string out_;
  bool replaced_ = false;
};

template <class Json>
std::string write_as(const Json& document, int indent) {
  Writer<Json> writer(indent);
  writer.value(document, 0);
  return writer.take();
}

template <class Json>
std::optional<std::string> write_utf8_as(const Json& document) {
  Writer<Json> writer(0);
  writer.value(document, 0);
  if (writer.replaced()) return std::nullopt;
  return writer.take();
}

}  // namespace

std::string JsonProblem::describe() const { return fmt::format("{}, at byte {}", what, at); }

std::expected<json, JsonProblem> read_json(std::string_view text, std::size_t depth_max) {
  return read_as<json>(text, depth_max);
}

std::expected<ordered_json, JsonProblem> read_ordered_json(std::string_view text) {
  return read_as<ordered_json>(text, kJsonTextDepthMax);
}

json stored_json(std::string_view text) {
  auto document = read_json(text);
  if (document) return std::move(*document);
  throw Failure(Error(ErrorKind::internal, "json.damaged",
                      "JSON of our own cannot be read: " + document.error().describe()));
}

json ready_json(std::string_view text) { return kept<json>(Kept::ready, text); }

json number_json(std::string_view digits) { return Reader<json>(digits).value(); }

std::string write_json(const json& document) { return write_as(document, 0); }
std::string write_json(const ordered_json& document) { return write_as(document, 0); }
std::string write_json_lines(const ordered_json& document) { return write_as(document, 2); }

std::optional<std::string> write_utf8_json(const json& document) { return write_utf8_as(document); }
std::optional<std::string> write_utf8_json(const ordered_json& document) {
  return write_utf8_as(document);
}

std::optional<std::string> digits_of(const json& value) {
  if (!value.is_number() && !is_kept_number(value)) return std::nullopt;
  return write_json(value);
}

bool same_json(const json& a, const json& b) {
  if (a.is_object() && b.is_object()) {
    if (a.size() != b.size()) return false;
    for (const auto& [name, member] : a.items()) {
      const auto other = b.find(name);
      if (other == b.end() || !same_json(member, *other)) return false;
    }
    return true;
  }
  if (a.is_array() && b.is_array())
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_json);
  const bool kept_one = is_kept_number(a) || is_kept_number(b);
  const bool mixed = a.is_number() && b.is_number() && a.is_number_float() != b.is_number_float();
  if (!kept_one && !mixed) return a == b;
  const auto left = digits_of(a);
  const auto right = digits_of(b);
  return left && right && same_number(*left, *right);
}

json with_doubles(const json& document) {
  if (is_kept_number(document)) {
    const std::string digits(kept_text(document));
    return json(std::strtod(digits.c_str(), nullptr));
  }
  json copy = document;
  if (copy.is_structured()) {
    for (json& member : copy) member = with_doubles(member);
  }
  return copy;
}

}  // namespace sluice
