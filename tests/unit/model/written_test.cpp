// Numbers, dates and encodings as people have them: how each can be read.
#include "model/written.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "model/text_encoding.hpp"

namespace sluice::model {
namespace {

TEST(Written, ANumberHasOneReadingOrTwoOrNone) {
  struct Case {
    const char *text, *as_point, *as_comma;
  };
  const Case cases[] = {{"12", "12", "12"},
                        {"-12.50", "-12.50", ""},
                        {"12,50", "", "12.50"},
                        {"1,234", "1234", "1.234"},
                        {"1.234", "1.234", "1234"},
                        {"0,125", "", "0.125"},
                        {"0.125", "0.125", ""},
                        {"1,234.5", "1234.5", ""},
                        {"1.234,5", "", "1234.5"},
                        {"1.234.567", "", "1234567"},
                        {"1 234,5", "", "1234.5"},
                        {"1'234.5", "1234.5", ""},
                        {"12,34,567", "", ""},
                        {"1234,567", "", "1234.567"},
                        {"+7", "7", "7"},
                        {".5", "0.5", ""},
                        {"5.", "", ""},
                        {"", "", ""},
                        {"-", "", ""},
                        {"1e3", "", ""},
                        {"1e-05", "0.00001", "0.00001"},
                        {"-2.5e-08", "-0.000000025", ""},
                        {"1,5e+2", "", "150"},
                        {"1.234e+19", "12340000000000000000", ""},
                        {"1 234e+01", "", ""},
                        {"1,23E+11", "", ""},
                        {"1e+1234", "", ""},
                        {"e-05", "", ""},
                        {"1e-", "", ""},
                        {"$12", "", ""},
                        {"5%", "", ""},
                        {"1\xC2\xA0"
                         "234",
                         "1234", "1234"},
                        {"1,234 567", "", ""},
                        {"-1,234", "-1234", "-1.234"}};
  for (const Case& one : cases) {
    const NumberReadings readings = read_number(one.text);
    EXPECT_EQ(readings.as_point, one.as_point) << one.text;
    EXPECT_EQ(readings.as_comma, one.as_comma) << one.text;
  }
}

std::string reading(const std::optional<std::chrono::year_month_day>& day) {
  if (!day) return "-";
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day->year()),
                     static_cast<unsigned>(day->month()), static_cast<unsigned>(day->day()));
}

std::string read(const char* text) {
  const auto date = read_date(text);
  if (!date && date.error() == NoDate::short_year) return "short year";
  if (!date && date.error() == NoDate::of_a_spreadsheet) return "spreadsheet";
  if (!date) return "none";
  const DateReadings readings = readings_of(*date);
  std::string out = reading(readings.day_first);
  if (readings.two() || !readings.day_first) out += " or " + reading(readings.month_first);
  if (date->time) out += fmt::format(" {}", date->time->count());
  if (date->offset_minutes) out += " " + offset_text(*date->offset_minutes);
  return out;
}

TEST(Written, ADateHasOneReadingOrTwoOrNone) {
  const std::pair<const char*, const char*> cases[] = {
      {"2024-12-31", "2024-12-31"},
      {"2024/1/2", "2024-01-02"},
      {"20241231", "2024-12-31"},
      {"31.12.2024", "2024-12-31"},
      {"3. 4. 2024", "2024-04-03"},
      {"12.31.2024", "- or -"},
      {"03/04/2024", "2024-04-03 or 2024-03-04"},
      {"3-4-2024", "2024-04-03 or 2024-03-04"},
      {"05/05/2024", "2024-05-05"},
      {"12/31/2024", "- or 2024-12-31"},
      {"31/12/2024", "2024-12-31"},
      {"31-Dec-2024", "2024-12-31"},
      {"31 december 2024", "2024-12-31"},
      {"Dec 31, 2024", "2024-12-31"},
      {"31-Dec-24", "short year"},
      {"1/2/24", "short year"},
      {"45657", "spreadsheet"},
      {"45657.41", "spreadsheet"},
      {"2024-02-30", "- or -"},
      {"2024-12-31 10:00", "2024-12-31 36000000000"},
      {"2024-12-31T10:00:00.5+01", "2024-12-31 36000500000 +01:00"},
      {"2024-12-31 10:00:00-0830", "2024-12-31 36000000000 -08:30"},
      {"2024-12-31 10:00:00 UTC", "2024-12-31 36000000000 +00:00"},
      {"12/31/2024 10:00 PM", "- or 2024-12-31 79200000000"},
      {"12/31/2024 12:00 AM", "- or 2024-12-31 0"},
      {"2024-12-31 25:00", "none"},
      {"2024-12-31 10:0", "none"},
      {"2024-12-31x", "none"},
      {"2024-12", "none"},
      {"yesterday", "none"},
      {"", "none"}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(read(text), expected) << text;
}

TEST(Written, FlagsAreWordsInAnyCase) {
  for (const char* yes : {"t", "TRUE", "Yes", "1", "WAHR", "on"}) EXPECT_EQ(read_flag(yes), true);
  for (const char* no : {"f", "False", "NO", "0", "falsch", "off"}) EXPECT_EQ(read_flag(no), false);
  for (const char* none : {"", "2", "tru", "maybe"}) EXPECT_FALSE(read_flag(none).has_value());
}

std::string decoded(Encoding encoding, std::string_view bytes, std::size_t piece) {
  TextDecoder decoder(encoding);
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    decoder.decode(bytes.substr(at, piece), out);
  decoder.finish(out);
  return out;
}

TEST(TextEncoding, AnyCutOfAnyEncodingGivesTheSameText) {
  using std::string_view_literals::operator""sv;
  const std::tuple<Encoding, std::string_view, const char*> cases[] = {
      {Encoding::windows1252, "M\xFCller \x80", "Müller €"},
      {Encoding::utf16le, "\xFC\0\x3D\xD8\0\xDE"sv, "ü😀"},
      {Encoding::utf16be, "\0\xFC\xD8\x3D\xDE\0"sv, "ü😀"},
      {Encoding::utf8, "Müller", "Müller"}};
  for (const auto& [encoding, bytes, text] : cases) {
    for (const std::size_t piece : {1U, 2U, 3U, 100U})
      EXPECT_EQ(decoded(encoding, bytes, piece), text) << to_string(encoding) << ' ' << piece;
  }
}

TEST(TextEncoding, WhatHasNoMeaningStaysNoText) {
  using std::string_view_literals::operator""sv;
  for (const auto& [encoding, bytes] :
       {std::pair(Encoding::windows1252, "a\x81"sv), std::pair(Encoding::utf16le, "\x3D\xD8"sv),
        std::pair(Encoding::utf16le, "\0\xDE"sv), std::pair(Encoding::utf16le, "\x61"sv)})
    EXPECT_FALSE(is_utf8(decoded(encoding, bytes, 1))) << to_string(encoding);
}

TEST(TextEncoding, TheBeginningSaysWhichItIs) {
  using std::string_view_literals::operator""sv;
  const std::pair<std::string_view, Encoding> cases[] = {
      {"name"sv, Encoding::utf8},
      {"M\xC3\xBCller"sv, Encoding::utf8},
      {"M\xC3\xBCller \xC3"sv, Encoding::utf8},  // cut in the middle of a character
      {"M\xFCller"sv, Encoding::windows1252},
      {"M\xFCller \x81"sv, Encoding::utf8},  // neither: its rows are refused
      {"\xFF\xFEn\0"sv, Encoding::utf16le},
      {"n\0a\0m\0e\0"sv, Encoding::utf16le},
      {"\0n\0a\0m\0e"sv, Encoding::utf16be},
      {"\xC3\xA4\xC3\xB6 \xFF"sv, Encoding::utf8}};
  for (const auto& [bytes, encoding] : cases)
    EXPECT_EQ(guess_encoding(bytes), encoding) << to_hex(as_bytes(bytes));
  EXPECT_EQ(encoding_named("CP1252"), Encoding::windows1252);
  EXPECT_FALSE(encoding_named("koi8-r").has_value());
}

}  // namespace
}  // namespace sluice::model
