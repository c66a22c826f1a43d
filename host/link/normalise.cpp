#include "link/normalise.hpp"

#include <sodium.h>
#include <unicode/bytestream.h>
#include <unicode/idna.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <memory>

#include "base/bytes.hpp"
#include "base/error.hpp"

namespace sluice::link {
namespace {

using contract::KeyKind;

constexpr std::size_t kPhoneDigitsMin = 7;
constexpr std::size_t kPhoneDigitsMax = 15;  // E.164
constexpr std::size_t kLabelBytesMax = 63;
constexpr std::size_t kDomainBytesMax = 253;

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// What Unicode calls white space, and the invisible marks that come along with copied text.
bool is_blank(UChar32 c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');  // as ICU has it, and mostly
  return u_isUWhiteSpace(c) || c == 0x200B || c == 0x2060 || c == 0xFEFF;
}

std::string_view trim(std::string_view text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  auto end = static_cast<std::int32_t>(text.size());
  std::int32_t begin = 0;
  while (begin < end) {
    std::int32_t next = begin;
    UChar32 c = 0;
    U8_NEXT(bytes, next, end, c);
    if (c < 0 || !is_blank(c)) break;
    begin = next;
  }
  while (end > begin) {
    std::int32_t previous = end;
    UChar32 c = 0;
    U8_PREV(bytes, begin, previous, c);
    if (c < 0 || !is_blank(c)) break;
    end = previous;
  }
  return text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

std::optional<std::string> not_blank(std::string text) {
  if (text.empty() || text.size() > kKeyBytesMax) return std::nullopt;
  return text;
}

[[noreturn]] void icu_failed(const char* what, UErrorCode status) {
  throw Failure(Error(ErrorKind::internal, "link.icu_failed",
                      std::string(what) + u_errorName(status),
                      "install ICU's data (package libicu)"));
}

std::string nfc(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = icu::Normalizer2::getNFCInstance(status);
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  if (U_SUCCESS(status)) {
    form->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())),
                        sink, nullptr, status);
  }
  if (U_FAILURE(status)) icu_failed("ICU cannot normalise: ", status);
  return out;
}

/// Each code point by itself: one stays one, so that no two letters become what somebody else has
/// written with one, or a symbol. Without what cannot be seen.
std::string fold_each(std::string_view text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  const auto size = static_cast<std::int32_t>(text.size());
  std::string out;
  for (std::int32_t at = 0; at < size;) {
    UChar32 c = 0;
    U8_NEXT(bytes, at, size, c);
    if (u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT)) continue;
    // What is a small letter stays what it is: folding makes ſ an s and ϕ a φ, which are other
    // mailboxes to a mail server.
    const UChar32 folded = u_islower(c) ? c : u_foldCase(c, U_FOLD_CASE_DEFAULT);
    char encoded[U8_MAX_LENGTH];
    std::int32_t length = 0;
    U8_APPEND_UNSAFE(encoded, length, folded);
    out.append(encoded, static_cast<std::size_t>(length));
  }
  return out;
}

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

/// NFC and simple case folding. What looks alike stays apart: a superscript two is no two, a sharp
/// s is no double s. The Kelvin sign is K, by NFC.
std::string fold(std::string_view text) {
  if (is_ascii(text)) return ascii_lower(text);
  // Folding may leave marks in another order than NFC has them, and NFC of that nothing to fold.
  return nfc(fold_each(nfc(text)));
}

bool has_inner_space_or_control(std::string_view text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  const auto size = static_cast<std::int32_t>(text.size());
  for (std::int32_t at = 0; at < size;) {
    UChar32 c = 0;
    U8_NEXT(bytes, at, size, c);
    if (c < 0x20 || c == 0x7F || is_blank(c)) return true;
  }
  return false;
}

bool is_host_name(std::string_view name) {
  if (name.empty() || name.size() > kDomainBytesMax) return false;
  std::size_t label = 0;
  for (const char c : name) {
    if (c == '.') {
      if (label == 0) return false;
      label = 0;
      continue;
    }
    const bool allowed = (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
    if (!allowed || ++label > kLabelBytesMax) return false;
  }
  return label > 0;
}

const icu::IDNA& idna() {
  static const std::unique_ptr<const icu::IDNA> instance = [] {
    UErrorCode status = U_ZERO_ERROR;
    std::unique_ptr<const icu::IDNA> made(
        icu::IDNA::createUTS46Instance(UIDNA_NONTRANSITIONAL_TO_ASCII | UIDNA_CHECK_BIDI |
                                           UIDNA_CHECK_CONTEXTJ | UIDNA_USE_STD3_RULES,
                                       status));
    if (U_FAILURE(status)) icu_failed("ICU has no IDNA: ", status);
    return made;
  }();
  return *instance;
}

std::optional<std::string> by_idna(std::string_view name) {
  std::string ascii;
  icu::StringByteSink<std::string> sink(&ascii);
  icu::IDNAInfo info;
  UErrorCode status = U_ZERO_ERROR;
  idna().nameToASCII_UTF8(icu::StringPiece(name.data(), static_cast<std::int32_t>(name.size())),
                          sink, info, status);
  if (U_FAILURE(status) || info.hasErrors()) return std::nullopt;
  return ascii;
}

/// The name as DNS has it, without a final dot. One that IDNA does not take is none, unless it is
/// ASCII anyway.
std::optional<std::string> one_form(std::string_view name) {
  std::string form;
  if (is_ascii(name)) {
    form = ascii_lower(name);
    const bool encoded = form.find("xn--") != std::string::npos;
    if (encoded) form = by_idna(form).value_or(form);
  } else {
    auto ascii = by_idna(name);
    if (!ascii) return std::nullopt;
    form = std::move(*ascii);
  }
  if (form.ends_with('.')) form.pop_back();
  return form;
}

std::optional<std::string> domain(std::string_view value) {
  const std::string_view name = trim(value);
  if (!is_utf8(name)) return std::nullopt;
  std::optional<std::string> form = one_form(name);
  if (!form || !is_host_name(*form)) return std::nullopt;
  return form;
}

std::optional<std::string> email(std::string_view value) {
  const std::string_view address = trim(value);
  if (!is_utf8(address)) return std::nullopt;
  const std::size_t at = address.find('@');
  const bool one =
      at != std::string_view::npos && address.find('@', at + 1) == std::string_view::npos;
  if (!one) return std::nullopt;
  std::string local = fold(address.substr(0, at));
  const std::optional<std::string> host = one_form(address.substr(at + 1));
  if (local.empty() || !host || host->empty()) return std::nullopt;
  std::string whole = local + "@" + *host;
  if (has_inner_space_or_control(whole)) return std::nullopt;
  return not_blank(std::move(whole));
}

std::optional<std::string> username(std::string_view value) {
  if (!is_utf8(value)) return std::nullopt;
  // A mark that cannot be seen may stand between a blank and the end.
  return not_blank(std::string(trim(fold(trim(value)))));
}

/// A character of a phone number as ASCII: digits of any script, and what East Asian keyboards
/// write in their width. 0: it is none. A superscript digit is a footnote's, and none.
char phone_character(UChar32 c) {
  const std::int32_t digit = u_charType(c) == U_DECIMAL_DIGIT_NUMBER ? u_charDigitValue(c) : -1;
  if (digit >= 0) return static_cast<char>('0' + digit);
  if (is_blank(c)) return ' ';
  constexpr UChar32 kFullWidth = 0xFF00 - 0x20;
  if (c > 0xFF00 && c <= 0xFF5E) c -= kFullWidth;
  constexpr std::string_view kOthers = "+-.()/";
  return c < 0x80 && kOthers.contains(static_cast<char>(c)) ? static_cast<char>(c) : '\0';
}

/// As ASCII, without what cannot be seen; nullopt when a character belongs to no phone number.
std::optional<std::string> phone_text(std::string_view value) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(value.data());
  const auto size = static_cast<std::int32_t>(value.size());
  std::string out;
  for (std::int32_t at = 0; at < size;) {
    UChar32 c = 0;
    U8_NEXT(bytes, at, size, c);
    if (c < 0) return std::nullopt;
    if (u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT)) continue;
    const char character = phone_character(c);
    if (character == '\0') return std::nullopt;
    out.push_back(character);
  }
  return out;
}

bool is_phone_separator(char c) {
  return c == ' ' || c == '-' || c == '.' || c == '(' || c == ')' || c == '/';
}

std::optional<std::string> phone(std::string_view value) {
  const std::optional<std::string> text = phone_text(trim(value));
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  bool international = rest.starts_with('+');
  if (international) rest.remove_prefix(1);
  std::string digits;
  while (!rest.empty()) {
    if (international && !digits.empty() &&
        rest.starts_with("(0)")) {  // the trunk zero of "+49 (0)30"
      rest.remove_prefix(3);
      continue;
    }
    const char c = rest.front();
    rest.remove_prefix(1);
    if (is_digit(c)) {
      digits.push_back(c);
    } else if (!is_phone_separator(c)) {
      return std::nullopt;
    }
  }
  if (!international && digits.starts_with("00")) {
    international = true;
    digits.erase(0, 2);
  }
  if (digits.size() < kPhoneDigitsMin || digits.size() > kPhoneDigitsMax) return std::nullopt;
  if (international && digits.front() == '0') return std::nullopt;  // no country has it
  return international ? "+" + digits : digits;
}

}  // namespace

std::optional<std::string> normalise(KeyKind kind, std::string_view value) {
  if (value.size() > kKeyBytesMax) return std::nullopt;
  // U+FFFD stands for what could not be read: it is no sign of being the same.
  if (value.find("\xEF\xBF\xBD") != std::string_view::npos) return std::nullopt;
  switch (kind) {
    case KeyKind::email:
      return email(value);
    case KeyKind::phone:
      return phone(value);
    case KeyKind::domain:
      return domain(value);
    case KeyKind::username:
      return username(value);
    case KeyKind::external_id:
    case KeyKind::exact:
      return not_blank(std::string(value));
  }
  return std::nullopt;
}

pg::Uuid digest(KeyKind kind, std::string_view normal_form) {
  std::string text;
  text.reserve(normal_form.size() + 1);
  text.push_back(static_cast<char>(kind));
  text.append(normal_form);
  pg::Uuid hashed;
  crypto_generichash(hashed.bytes, sizeof(hashed.bytes),
                     reinterpret_cast<const unsigned char*>(text.data()), text.size(), nullptr, 0);
  return hashed;
}

}  // namespace sluice::link
