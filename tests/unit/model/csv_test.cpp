#include "model/csv.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "model/ndjson.hpp"

namespace sluice::model {
namespace {

/// A record as text: "1:a|b;", over several lines "1-2:a;", with the fault and the line of its
/// quotes when there is one: "2-3:!2@3;".
std::string shown(const CsvRecord& record) {
  std::string out = std::to_string(record.line);
  if (record.lines > 1) out += "-" + std::to_string(record.line + record.lines - 1);
  out += ":";
  if (record.fault != RecordFault::none) {
    out += "!" + std::to_string(static_cast<int>(record.fault));
    return out + (record.quote_line > 0 ? "@" + std::to_string(record.quote_line) : "") + ";";
  }
  for (std::size_t i = 0; i < record.fields.size(); ++i) out += (i ? "|" : "") + record.fields[i];
  return out + ";";
}

struct Parsed {
  std::string records;
  std::int64_t of_records = 0, blank = 0, lines = 0;
};

template <class NextPiece>
Parsed parse_pieces(CsvParser parser, NextPiece next_piece) {
  Parsed all;
  CsvRecord record;
  const auto take_all = [&] {
    while (parser.next(record)) {
      all.records += shown(record);
      all.of_records += record.lines;
    }
  };
  for (std::string_view piece = next_piece(); !piece.empty(); piece = next_piece()) {
    parser.feed(piece);
    take_all();
  }
  parser.end();
  take_all();
  all.blank = parser.blank_lines();
  all.lines = parser.lines();
  return all;
}

Parsed parse(std::string_view text, std::size_t chunk, CsvLimits limits = {}) {
  return parse_pieces(CsvParser(',', limits), [&] {
    const std::string_view piece = text.substr(0, chunk);
    text.remove_prefix(piece.size());
    return piece;
  });
}

std::int64_t lines_of(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const auto newlines = std::count(text.begin(), text.end(), '\n');
  return newlines + (text.empty() || text.ends_with('\n') ? 0 : 1);
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
      {"newline inside quotes", "\"a\r\nb\",2\n3,4\n", "1-2:a\r\nb|2;3:3|4;"},
      {"empty fields", ",\n\"\",x\n", "1:|;2:|x;"},
      {"blank lines", "a\n\n\r\nb\n", "1:a;4:b;"},
      {"a quote in the middle is a character", "5\" pipe,x\n", "1:5\" pipe|x;"},
      {"a lone carriage return is data", "a\rb,c\n", "1:a\rb|c;"},
      {"trailing comma", "a,\n", "1:a|;"},
      {"nothing", "", ""},
      {"a byte order mark alone", "\xEF\xBB\xBF", ""},
      {"text after a quote", "\"a\"b,c\nd,e\n", "1:!3@1;2:d|e;"},
      {"text after a quote and a carriage return", "\"a\"\rb\nc\n", "1:!3@1;2:c;"},
      {"an unclosed quote costs its own line", "a\n\"b,c\nd\n\ne", "1:a;2:!2@2;3:d;5:e;"},
      {"on the last line", "a\n\"b", "1:a;2:!2@2;"},
      {"a stray quote that meets the next one", "a\n\"5 inch,b\nc,\"d\"\ne\n",
       "1:a;2:!3@2;3:c|d;4:e;"},
      {"one behind a row of several lines", "\"a\nb\",\"c\nd\n", "1-2:!2@2;3:d;"},
      {"two of them", "\"a\nb\n\"c\nd\n", "1:!3@1;2:b;3:!2@3;4:d;"},
  };
  for (const Case& c : cases) {
    for (const std::size_t chunk :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{4096}}) {
      const Parsed parsed = parse(c.text, chunk);
      EXPECT_EQ(parsed.records, c.expected) << c.about << ", in pieces of " << chunk;
      EXPECT_EQ(parsed.of_records + parsed.blank, lines_of(c.text)) << c.about;
      EXPECT_EQ(parsed.lines, lines_of(c.text)) << c.about;
    }
  }
}

TEST(Csv, AnySplitOfAnyTextGivesTheSameRecordsAndEachLineIsOneOfThemOrBlank) {
  constexpr unsigned kSeed = 20261123;
  std::mt19937 random(kSeed);
  const std::string alphabet = "a,\"\n\r\xEF\xBB\xBFz\"\n";
  for (int round = 0; round < 10'000; ++round) {
    CsvLimits limits;  // so small that each is met
    limits.record_bytes = 1 + random() % 20;
    limits.stray_quotes = static_cast<std::int64_t>(random() % 4);
    limits.record_lines = 1 + static_cast<std::int64_t>(random() % 3);
    std::string text;
    const std::size_t size = random() % 60;
    for (std::size_t i = 0; i < size; ++i) text += alphabet[random() % alphabet.size()];
    const Parsed whole = parse(text, 4096, limits);
    ASSERT_EQ(whole.of_records + whole.blank, lines_of(text)) << "round " << round;
    ASSERT_EQ(whole.lines, lines_of(text)) << "round " << round;
    std::string_view rest = text;
    const Parsed pieces = parse_pieces(CsvParser(',', limits), [&] {
      const std::string_view piece = rest.substr(0, 1 + random() % 5);
      rest.remove_prefix(piece.size());
      return piece;
    });
    ASSERT_EQ(pieces.records, whole.records) << "seed " << kSeed << " round " << round;
    ASSERT_EQ(pieces.lines, whole.lines) << "seed " << kSeed << " round " << round;
  }
}

TEST(Csv, ARecordThatIsTooLongIsSkippedToTheEndOfItsLine) {
  const std::string text = "a\n" + std::string(kImportRecordBytesMax + 10, 'x') + ",y\nb\n";
  EXPECT_EQ(parse(text, 64 * 1024).records, "1:a;2:!1;3:b;");
  EXPECT_EQ(parse(std::string(kImportRecordBytesMax + 10, ',') + "\nb\n", 1 << 20).records,
            "1:!1;2:b;");
  const std::string largest = "a\n" + std::string(kImportRecordBytesMax, 'x') + "\nb\n";
  EXPECT_EQ(parse(largest, 64 * 1024).records.size(), kImportRecordBytesMax + 11);
}

TEST(Csv, QuotesThatDoNotEndWithinARecordCostTheLineOnWhichTheyOpen) {
  std::string text = "\"lost\n";
  std::string expected = "1:!4@1;";
  for (std::size_t line = 2; text.size() < kImportRecordBytesMax + 1000; ++line) {
    const std::string word = "word " + std::to_string(line);
    text += word + "\n";
    expected += std::to_string(line) + ":" + word + ";";
  }
  for (const std::size_t chunk : {std::size_t{7}, std::size_t{256 * 1024}})
    EXPECT_TRUE(parse(text, chunk).records == expected) << "in pieces of " << chunk;
}

TEST(Csv, AfterAHundredStrayQuotesARecordSpans64LinesAtMost) {
  const auto rows = [](int strays, int newlines) {
    std::string text;
    for (int i = 0; i < strays; ++i) text += "\"x\"y\n";
    text += "\"a";
    for (int i = 0; i < newlines; ++i) text += "\n";
    return text + "\",b\nlast\n";
  };
  EXPECT_TRUE(parse(rows(99, 500), 100)
                  .records.ends_with(";100-600:a" + std::string(500, '\n') + "|b;601:last;"));
  EXPECT_TRUE(parse(rows(100, 63), 100)
                  .records.ends_with(";101-164:a" + std::string(63, '\n') + "|b;165:last;"));
  const Parsed refused = parse(rows(100, 64), 100);
  EXPECT_NE(refused.records.find(";101:!5@101;"), std::string::npos) << refused.records;
  EXPECT_EQ(refused.lines, 166);
  EXPECT_EQ(refused.of_records + refused.blank, 166);
}

TEST(Csv, OfSixtyThousandLinesOneStrayQuoteCostsOne) {
  std::string text = "email,note\n";
  for (int i = 1; i < 60'000; ++i)
    text += i == 11 ? "u11@x.example,\"5 inch\n" : "u" + std::to_string(i) + "@x.example,\"ok\"\n";
  const Parsed parsed = parse(text, 64 * 1024);
  EXPECT_EQ(parsed.lines, 60'000);
  EXPECT_EQ(parsed.of_records, 60'000);
  EXPECT_EQ(std::count(parsed.records.begin(), parsed.records.end(), '!'), 1);
  EXPECT_NE(parsed.records.find(";12:!3@12;13:u12@x.example|ok;"), std::string::npos);
}

TEST(Csv, FieldsBeyondThoseOfAnyTypeAreCountedAndNotKept) {
  CsvParser parser;
  parser.feed(std::string(kImportRecordBytesMax - 1, ',') + "\n");
  CsvRecord record;
  ASSERT_TRUE(parser.next(record));
  EXPECT_EQ(record.field_count, kImportRecordBytesMax);
  EXPECT_EQ(record.fields.size(), kCsvFieldsKept);
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
    ASSERT_EQ(parser.lines(), 5);
    ASSERT_EQ(parser.blank_lines(), 2);
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
