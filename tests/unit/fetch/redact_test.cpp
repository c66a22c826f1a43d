#include "fetch/redact.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sodium.h>

#include <chrono>
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

// An answer that is made to be searched for long is not: it is masked as a whole.
TEST(Redact, NoAnswerHoldsUpTheHost) {
  const std::string secret = std::string(8'000, 'a') + "b";
  const std::size_t size = 1 << 20;
  for (const std::string& unit :
       {std::string("a"), std::string("\\"), std::string("%25"), std::string("\\u0061"),
        std::string("a\0", 2), std::string("YWFh")}) {
    std::string body;
    while (body.size() < size) body += unit;
    body += "\\%";
    const auto began = std::chrono::steady_clock::now();
    masks(secret).mask(body);
    const auto took = std::chrono::steady_clock::now() - began;
    EXPECT_LT(took, std::chrono::seconds(60)) << unit;
  }
}

}  // namespace
}  // namespace sluice::fetch
