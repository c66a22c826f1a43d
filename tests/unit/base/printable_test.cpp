// What may be quoted on a terminal as it is.
#include "base/printable.hpp"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Printable, what_is_seen_stands_as_it_is) {
  for (const char* text :
       {"", "plain", "Zoë Ünal", "日本語", "e\u0301", "\u00a0", "پدر\u200cبزرگ", "👩\u200d🚀"}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_EQ(unseen(text), 0U) << text;
  }
}

TEST(Printable, what_nobody_sees_or_what_steers_is_written_as_bytes) {
  const std::pair<const char*, const char*> cases[] = {{"a\u202eb", "a\\xe2\\x80\\xaeb"},
                                                       {"\u2028", "\\xe2\\x80\\xa8"},
                                                       {"\u200b", "\\xe2\\x80\\x8b"},
                                                       {"\ufeff", "\\xef\\xbb\\xbf"},
                                                       {"\u2066", "\\xe2\\x81\\xa6"},
                                                       {"\u00ad", "\\xc2\\xad"},
                                                       {"\u0085", "\\xc2\\x85"},
                                                       {"\x1b[2J", "\\x1b[2J"},
                                                       {"\U000E0041", "\\xf3\\xa0\\x81\\x81"},
                                                       {"\x7f", "\\x7f"}};
  for (const auto& [text, shown] : cases) EXPECT_EQ(printable(text), shown);
  EXPECT_EQ(unseen("\u202eabc"), 3U);
  EXPECT_EQ(unseen("\U000E0041"), 4U);
  EXPECT_EQ(unseen("\n"), 1U);
  EXPECT_EQ(unseen(std::string_view("\0", 1)), 1U);
}

TEST(Printable, what_is_no_character_is_written_as_bytes) {
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xe2\x80"), "\\xe2\\x80");
  EXPECT_EQ(unseen("\xff"), 0U);
}

}  // namespace
}  // namespace sluice
