// The text of a key that stands somewhere inside of JSON.
#include "link/inside.hpp"

#include "link/normalise.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::link {
namespace {

std::string at(std::string_view json, const std::vector<std::string>& path) {
  return text_inside(json, path).value_or("-");
}

TEST(Inside, a_text_a_number_and_a_yes_are_keys_and_nothing_else_is) {
  EXPECT_EQ(at(R"({"a":"x"})", {"a"}), "x");
  EXPECT_EQ(at(R"({"a":17})", {"a"}), "17");
  EXPECT_EQ(at(R"({"a":17.0})", {"a"}), "17");
  EXPECT_EQ(at(R"({"a":1.5e3})", {"a"}), "1500");
  EXPECT_EQ(at(R"({"a":true})", {"a"}), "true");
  for (const char* none :
       {R"({"a":null})", R"({"a":{"b":1}})", R"({"a":[1]})", "{}", "[]", "\"a\"", "null", "7", ""})
    EXPECT_EQ(at(none, {"a"}), "-") << none;
}

TEST(Inside, a_path_leads_through_objects_and_lists) {
  constexpr std::string_view kDeep = R"({"a":{"b":[{"c":"first"},[1,2,["last"]]]},"b":"other"})";
  EXPECT_EQ(at(kDeep, {"a", "b", "0", "c"}), "first");
  EXPECT_EQ(at(kDeep, {"a", "b", "1", "-1", "0"}), "last");
  EXPECT_EQ(at(kDeep, {"a", "b", "1", "1"}), "2");
  EXPECT_EQ(at(kDeep, {"a", "b", "2"}), "-");
  EXPECT_EQ(at(kDeep, {"a", "b", "-3"}), "-");
  EXPECT_EQ(at(kDeep, {"a", "b", "c"}), "-");
  EXPECT_EQ(at(kDeep, {"b"}), "other");
  EXPECT_EQ(at(R"({"0":"a member"})", {"0"}), "a member");
}

TEST(Inside, blanks_escapes_and_brackets_in_texts_change_nothing) {
  EXPECT_EQ(at(" {\n \"x\" : \"}],{\" ,\t\"a\" : [ 1 , { \"b\" : \"y\" } ] } ", {"a", "1", "b"}),
            "y");
  EXPECT_EQ(at(R"({"x":"\"","y\"":"\\","a":"caf\u00e9"})", {"a"}), "caf\u00e9");
  EXPECT_EQ(at(R"({"y\"":"\\"})", {"y\""}), "\\");
  EXPECT_EQ(at(R"({"caf\u00e9":1})", {"caf\u00e9"}), "1");
}

TEST(Inside, of_a_name_that_comes_twice_the_last_counts) {
  EXPECT_EQ(at(R"({"a":"first","a":"last"})", {"a"}), "last");
  EXPECT_EQ(at(R"({"a":{"b":1},"a":2})", {"a", "b"}), "-");
}

// Each as if it were alone, whatever the others lead to.
TEST(Inside, several_paths_are_found_in_one_walk) {
  constexpr std::string_view kDocument =
      R"({"a":{"b":1,"b":{"c":"x"},"l":[10,[20],{"c":"y"}]},"a\"":"quoted","n":null,"s":"z"})";
  const std::vector<std::vector<std::string>> ways = {{"a", "b"},
                                                      {"a", "b", "c"},
                                                      {"a", "l", "0"},
                                                      {"a", "l", "-3"},
                                                      {"a", "l", "1", "0"},
                                                      {"a", "l", "-1", "c"},
                                                      {"a", "l", "2"},
                                                      {"a", "l", "-4"},
                                                      {"a", "l", "x"},
                                                      {"a\""},
                                                      {"n"},
                                                      {"s"},
                                                      {"s", "more"},
                                                      {"s"},
                                                      {"a"},
                                                      {}};
  const std::vector<Path> paths(ways.begin(), ways.end());
  const auto found = texts_inside(kDocument, paths);
  std::string all;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    EXPECT_EQ(found.at(i), text_inside(kDocument, ways[i])) << i;
    all += found[i].value_or("-") + " ";
  }
  EXPECT_EQ(all, "- x 10 10 20 y - - - quoted - z - z - - ");
  EXPECT_EQ(texts_inside("", paths), std::vector<std::optional<std::string>>(ways.size()));
  EXPECT_TRUE(texts_inside(kDocument, {}).empty());
}

TEST(Inside, what_is_too_long_to_be_a_key_is_not_copied) {
  const auto inside = [](const std::string& text) {
    const std::string json = "\"" + text + "\"";
    return text_inside(json);
  };
  const std::string longest(kKeyBytesMax, 'x');
  EXPECT_EQ(inside(longest), longest);
  std::string escaped;
  for (std::size_t i = 0; i < kKeyBytesMax; ++i) escaped += "\\u0078";
  EXPECT_EQ(inside(escaped), longest) << "the longest way to write it";
  EXPECT_FALSE(inside(escaped + "x"));
  EXPECT_FALSE(inside(std::string(1 << 20, 'x')));
  EXPECT_FALSE(text_inside(std::string(1 << 20, '7')));
}

}  // namespace
}  // namespace sluice::link
