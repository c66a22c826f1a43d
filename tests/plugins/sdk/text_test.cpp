#include <gtest/gtest.h>
#include <sluice/sdk_text.hpp>

namespace sluice::sdk {
namespace {

TEST(SdkText, a_target_encodes_names_and_values) {
  Target target("/v1/customers");
  target.segment("a/b c").add("created[lt]", 5).add("q", "ö&=");
  EXPECT_EQ(target.text(), "/v1/customers/a%2Fb%20c?created%5Blt%5D=5&q=%C3%B6%26%3D");
}

TEST(SdkText, dates_are_read_and_nonsense_is_not) {
  EXPECT_EQ(parse_http_date("Mon, 23 Nov 2026 05:00:00 GMT"), 1795410000);
  EXPECT_EQ(parse_http_date("Mon, 31 Feb 2026 05:00:00 GMT"), std::nullopt);
  EXPECT_EQ(parse_http_date("Monday, 23-Nov-26 05:00:00 GMT"), 1795410000);
  EXPECT_EQ(parse_http_date("Mon Nov 23 05:00:00 2026"), 1795410000);
  EXPECT_EQ(parse_http_date("Sun Nov  6 08:49:37 1994"), 784'111'777);
  EXPECT_EQ(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), 784'111'777);
  EXPECT_EQ(parse_http_date("Mon, 23 Nov 2026 25:61:61 GMT"), std::nullopt);
  EXPECT_EQ(parse_http_date("Mon, 23 Nov 2026 05:00:00 CET"), std::nullopt);
  EXPECT_EQ(parse_http_date("yesterday"), std::nullopt);
  EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:01.5Z"), 1'500'000);
  EXPECT_EQ(parse_rfc3339("2026-11-23T07:00:00+02:00"), 1795410000LL * 1'000'000);
  EXPECT_EQ(parse_rfc3339("1969-12-31T23:59:59.999999Z"), -1);
  EXPECT_EQ(parse_rfc3339("2026-11-23T07:00:00"), std::nullopt);
  EXPECT_EQ(parse_rfc3339("2026-11-23T07:00:00.Z"), std::nullopt);
  EXPECT_EQ(parse_date("2024-02-29"), 19782);
  EXPECT_EQ(parse_date("2023-02-29"), std::nullopt);
  EXPECT_EQ(parse_date("0000-01-01"), days_from_civil(0, 1, 1));
}

TEST(SdkText, retry_after_is_seconds_or_a_date) {
  EXPECT_EQ(parse_retry_after_ms("3", 0), 3000);
  EXPECT_EQ(parse_retry_after_ms(" 120 ", 0), 120'000);
  EXPECT_EQ(parse_retry_after_ms("Mon, 23 Nov 2026 05:00:00 GMT", 1795410000'000LL - 1500), 1500);
  EXPECT_EQ(parse_retry_after_ms("Mon, 23 Nov 2026 05:00:00 GMT", 1795410000'000LL + 1), 0);
  EXPECT_EQ(parse_retry_after_ms("-3", 0), 0);
  EXPECT_EQ(parse_retry_after_ms("99999999999999999999", 0), 0);
  EXPECT_EQ(parse_retry_after_ms("soon", 0), 0);
}

TEST(SdkText, decimals_are_digits_and_nothing_else) {
  for (const char* good : {"0", "-1", "0.05", "123456789012345678901234567890.000000000001"}) {
    EXPECT_TRUE(is_decimal(good)) << good;
  }
  for (const char* bad : {"", "-", ".5", "5.", "1e5", "+1", "1,5", "0x1", " 1", "1 "}) {
    EXPECT_FALSE(is_decimal(bad)) << bad;
  }
}

TEST(SdkText, cutting_keeps_characters_whole) {
  EXPECT_EQ(cut_utf8("aöb", 2), "a");
  EXPECT_EQ(cut_utf8("aöb", 3), "aö");
  EXPECT_EQ(cut_utf8("aöb", 9), "aöb");
}

TEST(SdkText, an_arena_keeps_texts_apart_and_reuses_its_memory) {
  Arena arena;
  const std::string_view first = arena.join("a", std::string("b"), std::string_view("c"));
  const std::string big(100'000, 'x');
  const std::string_view second = arena.keep(big);
  EXPECT_EQ(first, "abc");
  EXPECT_EQ(second, big);
  const char* where = first.data();
  arena.clear();
  EXPECT_EQ(arena.keep("again").data(), where);
}

}  // namespace
}  // namespace sluice::sdk
