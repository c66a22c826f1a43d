#include "api/secret_body.hpp"

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/characters.hpp"

namespace sluice::api {
namespace {

std::optional<std::uint32_t> four_digits(std::string_view text) {
  return text.size() < 4 ? std::nullopt : hex_number(text.substr(0, 4));
}

/// What stands between the quotes; nullopt when that is no text.
std::optional<WipedText> decoded(std::string_view raw) {
  WipedText out;
  while (!raw.empty()) {
    const char c = raw.front();
    raw.remove_prefix(1);
    if (static_cast<unsigned char>(c) < 0x20) return std::nullopt;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (raw.empty()) return std::nullopt;
    const char kind = raw.front();
    raw.remove_prefix(1);
    constexpr std::string_view kNames = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (const std::size_t at = kNames.find(kind); at != std::string_view::npos) {
      out += kMeanings[at];
      continue;
    }
    auto code = kind == 'u' ? four_digits(raw) : std::nullopt;
    if (!code || *code == 0) return std::nullopt;
    raw.remove_prefix(4);
    if (is_high_half(*code)) {
      if (!raw.starts_with("\\u")) return std::nullopt;
      const auto low = four_digits(raw.substr(2));
      if (!low || !is_low_half(*low)) return std::nullopt;
      raw.remove_prefix(6);
      code = of_halves(*code, *low);
    }
    out += utf8_of(*code).view();
  }
  if (!is_utf8(out.view())) return std::nullopt;
  return out;
}

/// An object or a list that the text is within.
struct Level {
  bool is_object = false;
  bool wants_key = false;
  std::string key;
};

bool is_secret(const std::vector<Level>& levels, SecretsAt at) {
  if (levels.empty() || !levels.back().is_object) return false;
  if (at == SecretsAt::value) return levels.size() == 1 && levels[0].key == "value";
  return levels.size() == 2 && levels[0].is_object && levels[0].key == "secrets";
}

/// Of the string whose first quote is at `from`: where its last is; the text's end when it has
/// none.
std::size_t end_of_string(std::string_view text, std::size_t from) {
  std::size_t at = from + 1;
  while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
  return std::min(at, text.size());
}

}  // namespace

sync::SecretValues take_secrets(WipedText& body, SecretsAt at) {
  sync::SecretValues secrets;
  WipedText rest;
  std::vector<Level> levels;
  const std::string_view text = body.view();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c != '"') {
      rest += c;
      if (c == '{' || c == '[') levels.push_back({c == '{', c == '{', ""});
      if ((c == '}' || c == ']') && !levels.empty()) levels.pop_back();
      if (c == ':' && !levels.empty()) levels.back().wants_key = false;
      if (c == ',' && !levels.empty()) levels.back().wants_key = levels.back().is_object;
      continue;
    }
    const std::size_t end = end_of_string(text, i);
    const std::string_view whole = text.substr(i, end + 1 - i);
    const bool is_whole = end < text.size();
    const bool is_key = !levels.empty() && levels.back().wants_key;
    std::optional<WipedText> value;
    if (is_whole && (is_key || is_secret(levels, at)))
      value = decoded(text.substr(i + 1, end - i - 1));
    if (value && is_key) levels.back().key = std::string(value->view());
    if (value && !is_key) {
      const std::string name = levels.back().key;
      secrets.insert_or_assign(name, vault::Secret::copy_of(as_bytes(value->view())));
      rest += value->empty() ? "\"\"" : "\"*\"";
    } else {
      rest += whole;
    }
    i = end;
  }
  body = std::move(rest);
  return secrets;
}

}  // namespace sluice::api
