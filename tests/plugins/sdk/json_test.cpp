#include <gtest/gtest.h>
#include <sluice/sdk_json.hpp>

#include <nlohmann/json.hpp>
#include <random>

namespace sluice::sdk::json {
namespace {

TEST(SdkJson, values_are_found_and_missing_ones_answer_as_missing) {
  Document document;
  const Value root = document.parse(R"({"a":{"b":[1,-2.5,"x",true,null]},"e":""})");
  EXPECT_EQ(root["a"]["b"].items().size(), 5u);
  EXPECT_EQ(root["a"]["nope"]["b"].kind(), Kind::missing);
  EXPECT_FALSE(root["e"]["x"].exists());
  EXPECT_EQ(root["e"].text(), "");
  std::vector<Value> items;
  for (const Value item : root["a"]["b"].items()) items.push_back(item);
  EXPECT_EQ(items[0].integer(), 1);
  EXPECT_EQ(items[1].integer(), std::nullopt);
  EXPECT_EQ(items[1].real(), -2.5);
  EXPECT_EQ(items[2].text(), "x");
  EXPECT_EQ(items[3].boolean(), true);
  EXPECT_TRUE(items[4].is_null());
  EXPECT_FALSE(items[4].has_value());
}

TEST(SdkJson, strings_are_decoded) {
  Document document;
  const Value root =
      document.parse(R"(["\"\\\/\b\f\n\r\t","\u20ac \ud83d\ude00","half \ud83d.","\u0041"])");
  std::vector<std::string> texts;
  for (const Value item : root.items()) texts.emplace_back(item.text());
  EXPECT_EQ(texts[0], "\"\\/\b\f\n\r\t");
  EXPECT_EQ(texts[1], "€ 😀");
  EXPECT_EQ(texts[2], "half \xEF\xBF\xBD.");
  EXPECT_EQ(texts[3], "A");
}

TEST(SdkJson, bad_bytes_cost_a_character_and_not_the_page) {
  Document document;
  const Value root =
      document.parse("{\"a\":\"x\xFFy\xC3\",\"b\":{\"c\":\"\xED\xA0\x80\"},\"d\":\"ö\"}");
  EXPECT_EQ(root["a"].text(), "x\xEF\xBF\xBDy\xEF\xBF\xBD");
  EXPECT_EQ(root["d"].text(), "ö");
  Arena arena;
  EXPECT_EQ(root["b"].compact(arena), "{\"c\":\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"}");
}

TEST(SdkJson, numbers_keep_their_text) {
  Document document;
  const Value root = document.parse("[9223372036854775807,9223372036854775808,0.1000,1E400,-0]");
  std::vector<Value> items;
  for (const Value item : root.items()) items.push_back(item);
  EXPECT_EQ(items[0].integer(), 9223372036854775807);
  EXPECT_EQ(items[1].integer(), std::nullopt) << "too large is not wrapped";
  EXPECT_TRUE(items[1].is_whole());
  EXPECT_EQ(items[2].raw(), "0.1000");
  EXPECT_EQ(items[3].real(), std::nullopt);
  EXPECT_EQ(items[4].integer(), 0);
}

TEST(SdkJson, compact_takes_white_space_away_and_nothing_else) {
  Document document;
  Arena arena;
  const Value root =
      document.parse("{ \"a\" : [ 1.50 , \"x \\\" y\" ] ,\n \"b\" : { } , \"c\":{\"d\":[1,2]} }");
  EXPECT_EQ(root.compact(arena), R"({"a":[1.50,"x \" y"],"b":{},"c":{"d":[1,2]}})");
  EXPECT_EQ(root["c"].compact(arena).data(), root["c"].raw().data())
      << "no copy when nothing is to be taken away";
  EXPECT_EQ(root["a"].compact(arena), R"([1.50,"x \" y"])");
}

TEST(SdkJson, what_is_no_json_is_refused) {
  const char* bad[] = {"",          " ",      "{",     "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}",
                       "[1 2]",     "tru",    "01",    "1.",   "-",       "1e",       "\"\\q\"",
                       "\"\\u12\"", "\"\n\"", "\"abc", "{} x", "[1]]",    "nul",      "\"\\"};
  for (const char* text : bad) {
    Document document;
    EXPECT_THROW(document.parse(text), Error) << text;
  }
  Document document;
  EXPECT_THROW(document.parse(std::string("[1]\0", 4)), Error);
  EXPECT_THROW(document.parse(std::string(1100, '[')), Error) << "deeper than 1024";
  EXPECT_NO_THROW(document.parse(std::string(1024, '[') + std::string(1024, ']')));
  EXPECT_NO_THROW(document.parse("\xEF\xBB\xBF{}")) << "a byte order mark is passed over";
}

/// Against another reader, over random damage: both accept or both refuse, and what is accepted is
/// the same.
TEST(SdkJson, agrees_with_another_reader_on_damaged_documents) {
  const std::string good =
      R"({"id":"cus_1","n":[1,2.5e3,-7,true,false,null,{"x":"a\u00e9\\\"z","y":{}}],"long":")" +
      std::string(50, 'q') + R"(","e":[]})";
  std::mt19937 random(20261123);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % text.size();
      static constexpr std::string_view kBytes = "{}[]\",:\\0 1eE.+-tfnu\n";
      switch (random() % 3) {
        case 0:
          text[at] = kBytes[random() % kBytes.size()];
          break;
        case 1:
          text.erase(at, 1 + random() % 4);
          break;
        default:
          text.insert(at, 1, kBytes[random() % kBytes.size()]);
          break;
      }
    }
    bool ours = true;
    Document document;
    std::string compact;
    try {
      Arena arena;
      compact = document.parse(text).compact(arena);
    } catch (const Error&) {
      ours = false;
    }
    const nlohmann::json theirs = nlohmann::json::parse(text, nullptr, false);
    ASSERT_EQ(ours, !theirs.is_discarded()) << text;
    if (!ours) continue;
    ++accepted;
    ASSERT_EQ(nlohmann::json::parse(compact), theirs) << text;
  }
  EXPECT_GT(accepted, 1000);
}

TEST(SdkJson, the_writer_writes_what_the_reader_reads) {
  Writer writer;
  writer.begin_object()
      .member("a", "q\"\n\x01")
      .member("b", -5)
      .member("c", true)
      .name("d")
      .begin_array();
  writer.value("x")
      .value(std::int64_t{1} << 40)
      .null()
      .begin_object()
      .end_object()
      .end_array()
      .end_object();
  EXPECT_EQ(writer.text(),
            "{\"a\":\"q\\\"\\n\\u0001\",\"b\":-5,\"c\":true,\"d\":[\"x\",1099511627776,null,{}]}");
  Document document;
  EXPECT_EQ(document.parse(writer.text())["a"].text(), "q\"\n\x01");
}

}  // namespace
}  // namespace sluice::sdk::json
