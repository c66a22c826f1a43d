#include "link/normalise.hpp"

#include <sodium.h>
#include <unicode/bytestream.h>
#include <unicode/idna.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

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

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// What Unicode calls white space, and the invisible marks that come along with copied text.
bool is_blank(UChar32 c) { return u_isUWhiteSpace(c) || c == 0x200B || c == 0x2060 || c == 0xFEFF; }

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

/// NFKC and Unicode case folding in one, then trimmed: a no-break space is a space only after NFKC.
std::optional<std::string> fold(std::string_view value) {
  if (is_ascii(value)) {
    while (!value.empty() && is_ascii_space(value.front())) value.remove_prefix(1);
    while (!value.empty() && is_ascii_space(value.back())) value.remove_suffix(1);
    std::string folded(value);
    for (char& c : folded) c = lower(c);
    return not_blank(std::move(folded));
  }
  if (!is_utf8(value)) return std::nullopt;
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfkc_fold = icu::Normalizer2::getNFKCCasefoldInstance(status);
  std::string folded;
  icu::StringByteSink<std::string> sink(&folded);
  if (U_SUCCESS(status)) {
    nfkc_fold->normalizeUTF8(
        0, icu::StringPiece(value.data(), static_cast<std::int32_t>(value.size())), sink, nullptr,
        status);
  }
  if (U_FAILURE(status)) {
    throw Failure(Error(ErrorKind::internal, "link.icu_failed",
                        std::string("ICU cannot normalise: ") + u_errorName(status),
                        "install ICU's data (package libicu)"));
  }
  return not_blank(std::string(trim(folded)));
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

std::optional<std::string> email(std::string_view value) {
  std::optional<std::string> folded = fold(value);
  if (!folded || has_inner_space_or_control(*folded)) return std::nullopt;
  const std::size_t at = folded->find('@');
  const bool one = at != std::string::npos && folded->find('@', at + 1) == std::string::npos;
  if (!one || at == 0 || at + 1 == folded->size()) return std::nullopt;
  return folded;
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
    std::unique_ptr<const icu::IDNA> made(icu::IDNA::createUTS46Instance(
        UIDNA_NONTRANSITIONAL_TO_ASCII | UIDNA_CHECK_BIDI | UIDNA_CHECK_CONTEXTJ, status));
    if (U_FAILURE(status)) {
      throw Failure(Error(ErrorKind::internal, "link.icu_failed",
                          std::string("ICU has no IDNA: ") + u_errorName(status),
                          "install ICU's data (package libicu)"));
    }
    return made;
  }();
  return *instance;
}

std::optional<std::string> domain(std::string_view value) {
  std::optional<std::string> folded = fold(value);
  if (!folded) return std::nullopt;
  if (!is_ascii(*folded)) {
    std::string ascii;
    icu::StringByteSink<std::string> sink(&ascii);
    icu::IDNAInfo info;
    UErrorCode status = U_ZERO_ERROR;
    idna().nameToASCII_UTF8(
        icu::StringPiece(folded->data(), static_cast<std::int32_t>(folded->size())), sink, info,
        status);
    if (U_FAILURE(status) || info.hasErrors()) return std::nullopt;
    folded = std::move(ascii);
  }
  if (folded->ends_with('.')) folded->pop_back();
  if (!is_host_name(*folded)) return std::nullopt;
  return folded;
}

bool is_phone_separator(char c) {
  return c == ' ' || c == '-' || c == '.' || c == '(' || c == ')' || c == '/';
}

std::optional<std::string> phone(std::string_view value) {
  const std::optional<std::string> folded = fold(value);
  if (!folded) return std::nullopt;
  std::string_view rest = *folded;
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
  switch (kind) {
    case KeyKind::email:
      return email(value);
    case KeyKind::phone:
      return phone(value);
    case KeyKind::domain:
      return domain(value);
    case KeyKind::username:
      return fold(value);
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
