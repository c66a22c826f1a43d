#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fake_stripe {

/// Appends `text` as a JSON string literal, quotes included. `text` must be UTF-8.
void append_json_string(std::string& out, std::string_view text);

/// `value` as a JSON string literal.
std::string quoted(std::string_view value);

/// Writes one JSON object as text, key by key, without building a tree: the seed renders
/// hundreds of thousands of objects with it. Keys must need no escaping. Not reusable after
/// take().
class JsonText {
 public:
  JsonText& str(std::string_view key, std::string_view value);
  JsonText& num(std::string_view key, std::int64_t value);
  JsonText& flag(std::string_view key, bool value);
  JsonText& null(std::string_view key);
  /// `json` is put in as it is.
  JsonText& raw(std::string_view key, std::string_view json);
  /// A string, or null when `value` is empty.
  JsonText& str_or_null(std::string_view key, std::string_view value);
  /// A number, or null when `value` is 0.
  JsonText& num_or_null(std::string_view key, std::int64_t value);
  /// Closes the object and gives it away.
  std::string take();

 private:
  void key(std::string_view name);

  std::string text_ = "{";
};

}  // namespace fake_stripe
