#include "link/normalise.hpp"

#include <gtest/gtest.h>

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
    {KeyKind::email, "STRA\u1e9eE@example.com", "strasse@example.com"},
    {KeyKind::email, "\uff41nn@example.com", "ann@example.com"},
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
    {KeyKind::username, "\u0130stanbul", "i\u0307stanbul"},
    {KeyKind::domain, " Example.COM. ", "example.com"},
    {KeyKind::domain, "b\u00fccher.example", "xn--bcher-kva.example"},
    {KeyKind::domain, "B\u00dcCHER.example.", "xn--bcher-kva.example"},
    {KeyKind::domain, "XN--BCHER-KVA.example", "xn--bcher-kva.example"},
    {KeyKind::domain, "https://example.com/", nullptr},
    {KeyKind::domain, "a..b", nullptr},
    {KeyKind::domain, ".", nullptr},
    {KeyKind::phone, "+49 (0)30 123-456", "+4930123456"},
    {KeyKind::phone, "0049 30 123456", "+4930123456"},
    {KeyKind::phone, "(415) 555-0100", "4155550100"},
    {KeyKind::phone, "+1.415.555.0100", "+14155550100"},
    {KeyKind::phone, "\uff0b14155550100", "+14155550100"},
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
