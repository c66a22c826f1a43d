#include "link/normalise.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/bytes.hpp"

namespace sluice::link {
namespace {

using contract::KeyKind;

struct Case {
  KeyKind kind;
  std::string_view value;
  const char* expected;  ///< nullptr: no key
};

const Case kCases[] = {
    {KeyKind::email, "Ann@Example.COM", "ann@example.com"},
    {KeyKind::email, " \tann@example.com\r\n", "ann@example.com"},
    {KeyKind::email, "\u00a0ann@example.com\u3000", "ann@example.com"},
    {KeyKind::email, "ann+tag@example.com", "ann+tag@example.com"},
    {KeyKind::email, "a.n.n@example.com", "a.n.n@example.com"},
    {KeyKind::email, "STRASSE@example.com", "strasse@example.com"},
    // What looks alike stays apart.
    {KeyKind::email, "stra\u00dfe@example.com", "stra\u00dfe@example.com"},
    {KeyKind::email, "STRA\u1e9eE@example.com", "stra\u00dfe@example.com"},
    {KeyKind::email, "user\u00b2@example.com", "user\u00b2@example.com"},
    {KeyKind::email, "joe\u2024smith@example.com", "joe\u2024smith@example.com"},
    {KeyKind::email, "\uff41nn@example.com", "\uff41nn@example.com"},
    {KeyKind::email, "\ufb01n@example.com", "\ufb01n@example.com"},
    {KeyKind::email, "\u0131ris@example.com", "\u0131ris@example.com"},
    {KeyKind::email, "ann\uff20example.com", nullptr},
    {KeyKind::email, "ja\u212a@example.org", "jak@example.org"},
    {KeyKind::email, "\u212bke@example.org", "\u00e5ke@example.org"},
    {KeyKind::email, "\u0391\u0392\u03a3@example.org", "\u03b1\u03b2\u03c3@example.org"},
    // What is a small letter already is not folded: a final sigma, a long s, a phi as a symbol.
    {KeyKind::email, "\u03b1\u03b2\u03c2@example.org", "\u03b1\u03b2\u03c2@example.org"},
    {KeyKind::email, "jo\u017fe@example.org", "jo\u017fe@example.org"},
    {KeyKind::username, "\u03d5", "\u03d5"},
    // U+FFFD stands for what nobody could read.
    {KeyKind::email, "m\ufffd@example.org", nullptr},
    {KeyKind::external_id, "c\ufffd", nullptr},
    {KeyKind::email, "an\u200bn@example.com", "ann@example.com"},
    {KeyKind::email, "\u202eann@example.com", "ann@example.com"},
    {KeyKind::email, "info@b\u00fccher.example", "info@xn--bcher-kva.example"},
    {KeyKind::email, "Info@xn--BCHER-kva.example.", "info@xn--bcher-kva.example"},
    {KeyKind::email, "a@stra\u00dfe.example", "a@xn--strae-oqa.example"},
    {KeyKind::email, "a@b_c.example", "a@b_c.example"},
    {KeyKind::email, "a@localhost", "a@localhost"},
    {KeyKind::email, "a@ex\u2024ample", nullptr},
    {KeyKind::email, "\u200b@example.com", nullptr},
    {KeyKind::email, "a@.", nullptr},
    {KeyKind::email, "A\u030anne@example.com", "\u00e5nne@example.com"},
    {KeyKind::email, "ann", nullptr},
    {KeyKind::email, "@example.com", nullptr},
    {KeyKind::email, "ann@", nullptr},
    {KeyKind::email, "ann@b@example.com", nullptr},
    {KeyKind::email, "ann lee@example.com", nullptr},
    {KeyKind::email, "", nullptr},
    {KeyKind::email, "   ", nullptr},
    {KeyKind::email, "\xff\xfe@example.com", nullptr},
    {KeyKind::username, "  Ann_Lee ", "ann_lee"},
    {KeyKind::username, "\u00a0", nullptr},
    {KeyKind::username, "\u0130stanbul", "\u0130stanbul"},
    {KeyKind::username, "user\u00b2", "user\u00b2"},
    {KeyKind::username, "stra\u00dfe", "stra\u00dfe"},
    {KeyKind::username, "A\u030anne", "\u00e5nne"},
    {KeyKind::username, "\u2460", "\u2460"},
    {KeyKind::username, "ann\u200b ", "ann"},
    {KeyKind::username, "\xff", nullptr},
    {KeyKind::domain, " Example.COM. ", "example.com"},
    {KeyKind::domain, "b\u00fccher.example", "xn--bcher-kva.example"},
    {KeyKind::domain, "B\u00dcCHER.example.", "xn--bcher-kva.example"},
    {KeyKind::domain, "XN--BCHER-KVA.example", "xn--bcher-kva.example"},
    {KeyKind::domain, "stra\u00dfe.example", "xn--strae-oqa.example"},
    {KeyKind::domain, "strasse.example", "strasse.example"},
    {KeyKind::domain, "xn--a.example", "xn--a.example"},
    {KeyKind::domain, "ex\u2024ample", nullptr},
    {KeyKind::domain, "https://example.com/", nullptr},
    {KeyKind::domain, "a..b", nullptr},
    {KeyKind::domain, ".", nullptr},
    {KeyKind::phone, "+49 (0)30 123-456", "+4930123456"},
    {KeyKind::phone, "0049 30 123456", "+4930123456"},
    {KeyKind::phone, "(415) 555-0100", "4155550100"},
    {KeyKind::phone, "+1.415.555.0100", "+14155550100"},
    {KeyKind::phone, "\uff0b14155550100", "+14155550100"},
    {KeyKind::phone, "\uff0b\uff11\uff14\uff11\uff15\uff15\uff15\uff15\uff10\uff11\uff10\uff10",
     "+14155550100"},
    {KeyKind::phone, "\u202a+1\u00a0415\u00a0555 0100\u202c", "+14155550100"},
    {KeyKind::phone, "+1415555010\u00b2", nullptr},
    {KeyKind::phone, "+1415555010\u2460", nullptr},
    {KeyKind::phone, "+1 415 555 0100 x12", nullptr},
    {KeyKind::phone, "12345", nullptr},
    {KeyKind::phone, "+1234567890123456", nullptr},
    {KeyKind::phone, "+", nullptr},
    {KeyKind::external_id, " cus_A ", " cus_A "},
    {KeyKind::exact, "Ann", "Ann"},
    {KeyKind::exact, "", nullptr},
};

TEST(Normalise, gives_the_normal_form_of_each_kind_or_nothing) {
  for (const Case& row : kCases) {
    SCOPED_TRACE(std::string(contract::to_string(row.kind)) + " '" + std::string(row.value) + "'");
    const auto got = normalise(row.kind, row.value);
    if (row.expected == nullptr) {
      EXPECT_FALSE(got.has_value()) << *got;
    } else {
      ASSERT_TRUE(got.has_value());
      EXPECT_EQ(*got, row.expected);
    }
  }
}

TEST(Normalise, of_a_normal_form_is_itself) {
  for (const Case& row : kCases) {
    if (row.expected == nullptr) continue;
    EXPECT_EQ(normalise(row.kind, row.expected), row.expected);
  }
}

TEST(Normalise, folds_each_code_point_by_itself_and_what_is_folded_stays) {
  for (char32_t c = 0x21; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    if (c < 0x80) {
      text.push_back(static_cast<char>(c));
    } else if (c < 0x800) {
      text = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    } else if (c < 0x10000) {
      text = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
              static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      text = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
              static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    }
    for (const KeyKind kind : {KeyKind::username, KeyKind::email, KeyKind::domain}) {
      const bool email = kind == KeyKind::email;
      const auto once = normalise(kind, email ? "x" + text + "y@z.example" : "x" + text + "y");
      if (!once) continue;
      ASSERT_EQ(normalise(kind, *once), once) << std::hex << static_cast<unsigned>(c);
      // Nothing but ASCII becomes ASCII, beside the Kelvin sign, two signs that NFC takes for
      // ASCII, and what cannot be seen.
      const bool ascii = std::all_of(once->begin(), once->end(), [](char b) { return b > 0; });
      if (kind == KeyKind::domain || c < 0x80 || !ascii || c == 0x212A) continue;
      ASSERT_TRUE(*once == (email ? "xy@z.example" : "xy") || c == 0x037E || c == 0x1FEF)
          << std::hex << static_cast<unsigned>(c) << " is " << *once;
    }
  }
}

TEST(Normalise, refuses_a_key_that_is_too_long) {
  EXPECT_TRUE(normalise(KeyKind::exact, std::string(kKeyBytesMax, 'x')));
  EXPECT_FALSE(normalise(KeyKind::exact, std::string(kKeyBytesMax + 1, 'x')));
}

TEST(Digest, differs_by_kind_and_by_text_and_never_changes) {
  EXPECT_NE(digest(KeyKind::email, "a@b"), digest(KeyKind::username, "a@b"));
  EXPECT_NE(digest(KeyKind::email, "a@b"), digest(KeyKind::email, "a@c"));
  // Stored for ever: a known answer.
  EXPECT_EQ(to_hex(digest(KeyKind::email, "ann@example.com").bytes),
            "18de5d403b1a324f31ce521eb3c85d87");
}

}  // namespace
}  // namespace sluice::link
