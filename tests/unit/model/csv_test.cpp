#include "model/csv.hpp"

#include <gtest/gtest.h>

#include <random>

#include "model/ndjson.hpp"

namespace sluice::model {
namespace {

/// Records as one line of text each: "1:a|b", with the fault when there is one.
std::string shown(const std::vector<CsvRecord>& records) {
  std::string out;
  for (const CsvRecord& record : records) {
    out += std::to_string(record.line) + ":";
    if (record.fault != RecordFault::none) {
      out += "!" + std::to_string(static_cast<int>(record.fault)) + ";";
      continue;
    }
    for (std::size_t i = 0; i < record.fields.size(); ++i) out += (i ? "|" : "") + record.fields[i];
    out += ";";
  }
  return out;
}

std::vector<CsvRecord> parse(std::string_view text, std::size_t chunk) {
  CsvParser parser;
  std::vector<CsvRecord> out;
  for (std::size_t at = 0; at < text.size(); at += chunk) parser.feed(text.substr(at, chunk), out);
  parser.finish(out);
  return out;
}

struct Case {
  const char* about;
  std::string text;
  std::string expected;
};

TEST(Csv, ReadsRfc4180AndWhatPeopleSend) {
  const std::vector<Case> cases = {
      {"plain", "a,b\n1,2\n", "1:a|b;2:1|2;"},
      {"no newline at the end", "a,b\n1,2", "1:a|b;2:1|2;"},
      {"CRLF", "a,b\r\n1,2\r\n", "1:a|b;2:1|2;"},
      {"byte order mark",
       "\xEF\xBB\xBF"
       "a,b\n1,2\n",
       "1:a|b;2:1|2;"},
      {"byte order mark before a quote", "\xEF\xBB\xBF\"a\",b\n", "1:a|b;"},
      {"half a byte order mark is data", "\xEF\xBBx,b\n", "1:\xEF\xBBx|b;"},
      {"quotes", "\"a,b\",\"say \"\"hi\"\"\"\n", "1:a,b|say \"hi\";"},
      {"newline inside quotes", "\"a\r\nb\",2\n3,4\n", "1:a\r\nb|2;3:3|4;"},
      {"empty fields", ",\n\"\",x\n", "1:|;2:|x;"},
      {"blank lines", "a\n\n\r\nb\n", "1:a;4:b;"},
      {"a quote in the middle is a character", "5\" pipe,x\n", "1:5\" pipe|x;"},
      {"text after a quote", "\"a\"b,c\nd,e\n", "1:!3;2:d|e;"},
      {"unclosed quote", "a\n\"b,c\nd", "1:a;2:!2;"},
      {"a lone carriage return is data", "a\rb,c\n", "1:a\rb|c;"},
      {"trailing comma", "a,\n", "1:a|;"},
      {"nothing", "", ""},
  };
  for (const Case& c : cases) {
    for (const std::size_t chunk :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{4096}}) {
      EXPECT_EQ(shown(parse(c.text, chunk)), c.expected) << c.about << ", in pieces of " << chunk;
    }
  }
}

TEST(Csv, AnySplitOfAnyTextGivesTheSameRecords) {
  constexpr unsigned kSeed = 20261123;
  std::mt19937 random(kSeed);
  const std::string alphabet = "a,\"\n\r\xEF\xBB\xBFz";
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    const std::size_t size = random() % 40;
    for (std::size_t i = 0; i < size; ++i) text += alphabet[random() % alphabet.size()];
    const std::string whole = shown(parse(text, 4096));
    CsvParser parser;
    std::vector<CsvRecord> out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = 1 + random() % 5;
      parser.feed(std::string_view(text).substr(at, length), out);
      at += length;
    }
    parser.finish(out);
    ASSERT_EQ(shown(out), whole) << "seed " << kSeed << " round " << round;
  }
}

TEST(Csv, ARecordThatIsTooLongIsSkippedToItsEnd) {
  const std::string text = "a\n" + std::string(kImportRecordBytesMax + 10, 'x') + ",y\nb\n";
  EXPECT_EQ(shown(parse(text, 64 * 1024)), "1:a;2:!1;3:b;");
  EXPECT_EQ(shown(parse(std::string(kImportRecordBytesMax + 10, ',') + "\nb\n", 1 << 20)),
            "1:!1;2:b;");
}

TEST(Ndjson, SplitsLinesWhateverTheirPieces) {
  const std::string text = "\xEF\xBB\xBF{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}";
  for (std::size_t chunk = 1; chunk < text.size(); ++chunk) {
    NdjsonParser parser;
    std::vector<NdjsonLine> lines;
    for (std::size_t at = 0; at < text.size(); at += chunk) {
      parser.feed(std::string_view(text).substr(at, chunk), lines);
    }
    parser.finish(lines);
    std::string out;
    for (const NdjsonLine& line : lines) out += std::to_string(line.line) + line.text;
    ASSERT_EQ(out, "1{\"a\":1}4{\"b\":2}5{\"c\":3}") << chunk;
  }
}

TEST(Ndjson, ALineThatIsTooLongIsSkippedToItsEnd) {
  NdjsonParser parser;
  std::vector<NdjsonLine> lines;
  parser.feed(std::string(kImportRecordBytesMax, 'x'), lines);
  parser.feed("yyy\n{}\n", lines);
  parser.finish(lines);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].fault, RecordFault::too_long);
  EXPECT_EQ(lines[1].text, "{}");
}

}  // namespace
}  // namespace sluice::model
