#include "cli/screen.hpp"

#include <gtest/gtest.h>

namespace sluice::cli {
namespace {

TEST(Screen, what_a_terminal_would_obey_or_hide_is_shown_and_lines_stay_lines) {
  EXPECT_EQ(visible_lines("id,name\r\n1,a\x1b]0;owned\x07\r\n2,\xc2\x9b"
                          "2J\r\n"),
            "id,name\r\n1,a\\x1b]0;owned\\x07\r\n2,\\xc2\\x9b"
            "2J\r\n");
  EXPECT_EQ(visible_lines("a\tb\n\xe2\x80\xae"
                          "c\nd\re"),
            "a\tb\n\\xe2\\x80\\xae"
            "c\nd\\x0de");
  EXPECT_EQ(visible_lines("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

}  // namespace
}  // namespace sluice::cli
