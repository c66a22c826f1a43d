#include "fetch/redact.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sodium.h>

#include <nlohmann/json.hpp>

namespace sluice::fetch {
namespace {

constexpr std::string_view kSecret = "sk_live_4eC39HqL/yj+WD%arjtT1zdp\"7dc\\&\xC3\xA9";

Masks masks(std::string_view secret = kSecret) {
  Masks made;
  made.add(secret);
  return made;
}

std::string base64(std::string_view text, int variant) {
  std::string out(sodium_base64_encoded_len(text.size(), variant), '\0');
  sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(text.data()),
                    text.size(), variant);
  out.pop_back();
  return out;
}

std::string each(std::string_view text, std::string (*write)(unsigned char)) {
  std::string out;
  for (const char c : text) out += write(static_cast<unsigned char>(c));
  return out;
}

std::string hex(std::string_view text) {
  return each(text, [](unsigned char c) { return fmt::format("{:02x}", c); });
}

/// Every character as \uXXXX.
std::string all_escaped(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, text.size() - 2))
    out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
  return out + "\\u00E9";
}

/// What is left of it, read by whoever knows the encoding: no four of its bytes stand together.
void expect_nothing_left(const std::string& text, std::string_view coded) {
  for (std::size_t i = 0; i + 6 <= coded.size(); i += 6)
    EXPECT_EQ(text.find(coded.substr(i, 6)), std::string::npos) << text;
}

TEST(Redact, FindsASecretInEveryEncodingOfIt) {
  ASSERT_GE(sodium_init(), 0);
  const std::string text(kSecret);
  std::vector<std::pair<std::string, std::string>> forms = {
      {"as it is", text},
      {"JSON", nlohmann::json(text).dump().substr(1, nlohmann::json(text).dump().size() - 2)},
      {"JSON in ASCII", nlohmann::json(text)
                            .dump(-1, ' ', true)
                            .substr(1, nlohmann::json(text).dump(-1, ' ', true).size() - 2)},
      {"JSON within JSON", nlohmann::json(nlohmann::json(text).dump()).dump()},
      {"every character as \\u", all_escaped(text)},
      {"within JSON within JSON", nlohmann::json(all_escaped(text)).dump()},
      {"hex", hex(text)},
      {"percent", each(text, [](unsigned char c) { return fmt::format("%{:02X}", c); })},
      {"percent twice", each(text, [](unsigned char c) { return fmt::format("%25{:02x}", c); })},
      {"UTF-16", each(text.substr(0, 30),
                      [](unsigned char c) {
                        return std::string(1, static_cast<char>(c)) + std::string(1, '\0');
                      })},
  };
  forms.emplace_back("hex with colons", each(text, [](unsigned char c) {
                                          return fmt::format("{:02X}:", c);
                                        }).substr(0, text.size() * 3 - 1));
  std::string upper = hex(text);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  forms.emplace_back("HEX", upper);
  for (const char* before : {"", "B", "Be", "Bearer ", "user:", "user@example.com:"}) {
    for (const int variant : {sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_URLSAFE,
                              sodium_base64_VARIANT_URLSAFE_NO_PADDING}) {
      const std::string coded = base64(before + text + "\n", variant);
      forms.emplace_back(fmt::format("base64 {} behind '{}'", variant, before), coded);
      std::string escaped;
      for (const char c : coded) {
        if (c == '/') escaped += '\\';
        escaped += c;
      }
      forms.emplace_back("base64 with \\/", escaped);
      std::string percent;
      for (const char c : coded) percent += c == '+' ? "%2B" : c == '/' ? "%2F" : std::string(1, c);
      forms.emplace_back("base64 with %2B", percent);
      for (const char* around : {"", "x", "xy"})
        forms.emplace_back("base64 twice", base64(around + coded, variant));
      std::string wide;
      for (const char c : text) wide += std::string(1, c) + std::string(1, '\0');
      forms.emplace_back("base64 of UTF-16", base64(before + wide, variant));
      wide.insert(0, 1, '\0');
      forms.emplace_back("base64 of UTF-16", base64(before + wide, variant));
    }
  }
  const Masks of_most = masks(kSecret.substr(0, 30));
  for (const auto& [what, coded] : forms) {
    SCOPED_TRACE(what);
    std::string body = "{\"name\":\"you sent " + coded + "\",\"more\":[1,2]}";
    const std::size_t size = body.size();
    EXPECT_TRUE((what == "UTF-16" ? of_most : masks()).mask(body)) << body;
    EXPECT_EQ(body.size(), size);
    EXPECT_TRUE(body.starts_with("{\"name\":\"you sent ")) << body;
    EXPECT_TRUE(body.ends_with("\",\"more\":[1,2]}")) << body;
    // What stood around the secret in the encoded text may stay.
    if (what.find("base64") == std::string::npos) expect_nothing_left(body, coded);
    if (what.find("base64") == std::string::npos) continue;
    const std::size_t stars = static_cast<std::size_t>(std::ranges::count(body, '*'));
    EXPECT_GE(stars + 2, text.size() * 4 / 3) << body;
  }
}

TEST(Redact, MixedEscapesAreOneSecret) {
  std::string body =
      "\"sk\\u005flive%5F4eC39HqL\\/yj+WD%25arjt\\u00541zdp\\\"7dc\\\\\\u0026\\u00e9\"";
  EXPECT_TRUE(masks().mask(body));
  EXPECT_EQ(body.find_first_not_of("*\""), std::string::npos) << body;
}

TEST(Redact, WhatIsMaskedInJsonStaysJson) {
  ASSERT_GE(sodium_init(), 0);
  for (int before = 0; before < 48; ++before) {
    const std::string text = std::string(static_cast<std::size_t>(before), '?') + "\xFF\xFF" +
                             std::string(kSecret.substr(0, 31)) + "\xFF\xFF\xFF";
    std::string escaped;
    for (const char c : base64(text, sodium_base64_VARIANT_ORIGINAL)) {
      if (c == '/') escaped += '\\';
      escaped += c;
    }
    std::string body = "[\"" + escaped + "\"]";
    EXPECT_TRUE(masks(kSecret.substr(0, 31)).mask(body)) << before;
    EXPECT_TRUE(nlohmann::json::accept(body)) << body;
  }
}

TEST(Redact, LeavesAloneWhatIsNoSecret) {
  for (const std::string_view text :
       {"", "sk_live_4eC39HqL", "{\"a\":\"\\u0041\\\\\\\"%41%zz%\\u12\"}", "c2tfbGl2ZV80ZUMz",
        "736b5f6c6976655f34654333", "\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\"}) {
    std::string body(text);
    EXPECT_FALSE(masks().mask(body)) << text;
    EXPECT_EQ(body, text);
  }
  std::string body = "short";
  EXPECT_FALSE(masks("short").mask(body)) << "would hit by chance";
  EXPECT_FALSE(Masks().mask(body));
}

TEST(Redact, HeadersAndBodyAreCountedByPlaces) {
  contract::Headers headers = {{"Set-Cookie", "sid=1"},
                               {"X-Echo", "key " + std::string(kSecret)},
                               {"X-Hex", hex(kSecret)},
                               {"X-Other", "other"}};
  std::string body = all_escaped(kSecret);
  EXPECT_EQ(redact(headers, body, masks()), 3);
  EXPECT_EQ(headers.size(), 3U);
  EXPECT_EQ(headers[2].second, "other");
}

// A bound on what is looked at, not on time: however it is made, each byte is looked at a few
// times, and what is genuine in it stays.
TEST(Redact, LooksAtEachByteOfWhatAVendorMakesUpAFewTimes) {
  ASSERT_GE(sodium_init(), 0);
  const std::string key = "sk_live_51H8abcDEFghiJKLmnoPQRstuVWXyz0123456789";
  const std::string half = key.substr(0, key.size() - 1);
  const std::string nul(1, '\0');
  for (const std::string& secret : {key, std::string(8'000, 'a') + "0", std::string(kSecret)}) {
    Masks bearer = masks(secret);
    Masks basic = masks(secret);
    basic.add(base64("user@example.com:" + secret, sodium_base64_VARIANT_ORIGINAL));
    for (const std::string& unit : {std::string("a"),
                                    std::string("\\"),
                                    nul,
                                    std::string("%"),
                                    std::string("%3"),
                                    std::string("%73"),
                                    std::string("%61"),
                                    std::string("%25252573"),
                                    std::string("%3%3%3%35"),
                                    std::string("\\u0073"),
                                    std::string("\\u0061"),
                                    std::string("\\x73"),
                                    std::string("\\163"),
                                    std::string("&#"),
                                    std::string("&#38;"),
                                    std::string("&amp;amp;#38;"),
                                    std::string("&lt;"),
                                    std::string("&#&#38;&#35;"),
                                    std::string("&aaaaaaaa;"),
                                    std::string("&a;;;;;;;;"),
                                    "a" + nul,
                                    "s" + nul + nul + nul + nul + nul + nul,
                                    std::string("sk_live\\x"),
                                    std::string(16, '\\') + "x",
                                    std::string("YWFh"),
                                    std::string("61"),
                                    half,
                                    "%73" + half.substr(1),
                                    hex(half),
                                    base64(half, sodium_base64_VARIANT_ORIGINAL)}) {
      std::string body;
      while (body.size() < (256 << 10)) body += unit;
      body += "\\%& the end, genuine & whole";
      for (const Masks* of : {&bearer, &basic}) {
        std::string masked = body;
        std::uint64_t looked = 0;
        EXPECT_FALSE(of->mask(masked, &looked)) << unit.substr(0, 80);
        EXPECT_TRUE(masked == body) << unit.substr(0, 80);
        // As it came and decoded, each for the first look and twice for each needle that matches
        // there: of "aaa…" in base64 there are three.
        EXPECT_LE(looked, (secret.front() == 'a' ? 16 : 8) * body.size()) << unit.substr(0, 80);
      }
    }
  }
}

TEST(Redact, WhatIsFoundStandsBetweenAnyBlocks) {
  const std::string key = "sk_live_51H8abcDEFghiJKLmnoPQRstuVWXyz0123456789";
  const std::string escaped = each(key, [](unsigned char c) { return fmt::format("%{:02x}", c); });
  for (std::size_t before = 8'000; before < 8'600; ++before) {
    std::string body = std::string(before, 'x') + escaped + "&amp;";
    EXPECT_TRUE(masks(key).mask(body));
    EXPECT_EQ(body, std::string(before, 'x') + std::string(escaped.size(), '*') + "&amp;");
  }
}

// Only the neighbourhood of escapes is decoded, and only every fifth place is looked at first.
TEST(Redact, FindsEachFormWhereverTheNextEscapeIs) {
  ASSERT_GE(sodium_init(), 0);
  const std::string key = "sk_live_51H8abc+DEF/hiJKLmnoPQRstuVWXyz0123456789";
  const std::string escaped = each(key, [](unsigned char c) { return fmt::format("%{:02X}", c); });
  const std::vector<std::string> forms = {
      key,
      hex(key),
      base64(key, sodium_base64_VARIANT_ORIGINAL),
      base64("x" + key, sodium_base64_VARIANT_URLSAFE),
      all_escaped(key + "xx").substr(0, key.size() * 6),
      escaped,
      "%73" + key.substr(1),
      key.substr(0, 20) + fmt::format("&#{};", static_cast<int>(key[20])) + key.substr(21),
      key.substr(0, key.size() - 1) + "%2539",
      "&amp;amp;amp;amp;amp;#115;" + key.substr(1)};
  const Masks made = masks(key);
  for (const std::string& form : forms) {
    for (std::size_t distance = 0; distance < 300; distance += 7) {
      for (std::size_t before = 3'000; before < 3'005; ++before) {
        const std::string left = std::string(before, 'x') + "&lt;" + std::string(distance, 'y');
        const std::string right = std::string(distance, 'z') + "\\u0041" + std::string(900, 'w');
        std::string body = left + "<" + form + ">" + right;
        ASSERT_TRUE(made.mask(body)) << form << " " << distance;
        // Of base64 the ends may stay, which hold a part of a character each.
        ASSERT_EQ(body.find(form.substr(4, 6)), std::string::npos) << body;
        ASSERT_EQ(body.find(form.substr(form.size() - 10, 6)), std::string::npos) << body;
        ASSERT_TRUE(body.starts_with(left) && body.ends_with(right)) << body;
      }
    }
  }
}

TEST(Redact, FindsWhatPagesFormsAndProgramsWrite) {
  const auto left = [](std::string_view secret, std::string_view coded) {
    std::string body = "<p>you sent " + std::string(coded) + "</p>";
    EXPECT_TRUE(masks(secret).mask(body)) << body;
    EXPECT_TRUE(body.starts_with("<p>you sent ") && body.ends_with("</p>")) << body;
    return body.substr(12, body.size() - 16);
  };
  const auto expect_masked = [&left](std::string_view secret, const std::string& coded) {
    EXPECT_EQ(left(secret, coded), std::string(coded.size(), '*')) << coded;
  };
  constexpr std::string_view kMarked = "p&ss<w>\"rd'12+/";
  expect_masked(kMarked, "p&amp;ss&lt;w&gt;&quot;rd&#39;12+/");
  expect_masked(kMarked, "p&#38;ss&#60;w&#x3E;&#x22;rd&apos;12&plus;&sol;");
  expect_masked(kMarked, "p&amp;amp;ss&amp;lt;w&amp;gt;&amp;quot;rd&amp;#39;12+/");
  expect_masked(kMarked, "p\\u0026amp;ss\\u0026lt;w\\u0026gt;\\u0026quot;rd\\u0026#39;12+\\/");
  expect_masked(kMarked, "p&#38;amp&#59;ss&#38;&#35;60&#59;w&#38;&#35;x3e&#59;&#34;rd'12+/");
  expect_masked(kMarked, "p%26amp%3Bss%26lt%3Bw%26gt%3B%26quot%3Brd'12%2B%2F");
  expect_masked(kMarked, "p\\x26ss\\x3cw\\x3E\\x22rd\\x2712+/");
  expect_masked(kMarked, "p\\046ss\\074w\\076\\042rd\\04712+/");
  expect_masked("my secret pass+phrase", "my+secret+pass%2Bphrase");
  expect_masked("my secret pass+phrase", "my+secret+pass+phrase");
  expect_masked("caf\xC3\xA9 au lait", "caf&#233;+au+lait");
  expect_masked("caf\xF0\x9F\x98\x80 au lait", "caf\\ud83d\\uDE00 au lait");
  expect_masked("eighty%a", "eighty%25a");
  expect_masked("eight+4%", "eight%2B4%25");
  expect_masked("ei\\ht\\ab", "ei\\\\ht\\\\ab");
  // Their own characters look like escapes.
  expect_masked("ab&amp;cd%41ef\\u0041", "ab&amp;cd%41ef\\u0041");
  expect_masked("ab&amp;cd%41ef\\u0041", "ab&amp;amp;cd%2541ef\\\\u0041");
  expect_masked("736b5f6c69", "\\u0037\\u0033\\u0036b5f6c69");
  // Directly behind what looks like the beginning of one.
  std::string body = "\"\\\\x" + hex("sk_live_4eC39") + "%" + "4eC39sk_live&#4eC39sk_live\"";
  EXPECT_TRUE(masks("sk_live_4eC39").mask(body));
  EXPECT_TRUE(masks("4eC39sk_live").mask(body));
  EXPECT_EQ(body, "\"\\\\x" + std::string(26, '*') + "%" + std::string(12, '*') + "&#" +
                      std::string(12, '*') + "\"");
}

// What its last characters become there depends on what follows.
TEST(Redact, ASecretThatEndsWithHalfAnEscapeIsMaskedUpToIt) {
  for (const auto& [secret, written] :
       {std::pair("secret_word\\", "[\"se\\u0063ret_word\\\\\",\"secret_word\\\\\",1]"),
        std::pair("secret_word%", "se%63ret_word%2541 secret_word%2541 secret_word%41"),
        std::pair("secret_word&am", "se&#99;ret_word&amp;amp; secret_word&amp;amp;")}) {
    std::string body = written;
    EXPECT_TRUE(masks(secret).mask(body));
    EXPECT_EQ(body.find("ret_word"), std::string::npos) << body;
  }
}

// Without its backslash it is a word like any other.
TEST(Redact, ASecretWithABackslashIsNotTheWordWithoutIt) {
  std::string body = "your password\\n";
  EXPECT_FALSE(masks("pass\\word").mask(body)) << body;
  body = "your pass\\\\word, your pass\\u005Cword\\n";
  EXPECT_TRUE(masks("pass\\word").mask(body));
  EXPECT_EQ(body, "your **********, your **************\\n");
}

}  // namespace
}  // namespace sluice::fetch
