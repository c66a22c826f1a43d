// Any JSON, the whole way: as a vendor's record and as one's own, stored, and out again. What comes
// out at the command line is, to the letter, what PostgreSQL makes of what was sent.
//
// The seed is printed; SLUICE_SEED and SLUICE_ROUNDS choose another one, and more.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "pg/exact/world.hpp"

namespace sluice {
namespace {

std::uint64_t setting(const char* name, std::uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

/// Text of random JSON, with what JSON libraries dislike.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}

  std::string value(int depth) {
    switch (below(depth > 0 ? 8 : 6)) {
      case 0:
        return "null";
      case 1:
        return below(2) == 0 ? "true" : "false";
      case 2:
        return string();
      case 6:
        return container('[', ']', depth);
      case 7:
        return container('{', '}', depth);
      default:
        return number();
    }
  }

  std::string object() { return container('{', '}', 3); }

 private:
  std::size_t below(std::size_t end) { return random_() % end; }

  std::string digits(std::size_t most) {
    std::string out;
    for (std::size_t left = below(most) + 1; left > 0; --left)
      out += static_cast<char>('0' + below(10));
    return out;
  }

  std::string number() {
    static constexpr std::string_view kOdd[] = {"0",
                                                "-0",
                                                "-0.0",
                                                "1.0",
                                                "1e400",
                                                "-1E-400",
                                                "9007199254740993",
                                                "1e+2",
                                                "0.10",
                                                "100e-2",
                                                "5e-324",
                                                "1.7976931348623157e309",
                                                "18446744073709551616",
                                                "-9223372036854775809"};
    if (below(3) == 0) return std::string(kOdd[below(std::size(kOdd))]);
    std::string out = below(2) == 0 ? "-" : "";
    std::string whole = digits(below(4) == 0 ? 60 : 12);
    const std::size_t zeros = std::min(whole.find_first_not_of('0'), whole.size() - 1);
    out += whole.substr(zeros);
    if (below(2) == 0) out += "." + digits(below(4) == 0 ? 60 : 8);
    if (below(4) == 0) out += (below(2) == 0 ? "e-" : "E") + std::to_string(below(300));
    return out;
  }

  std::string string() {
    static constexpr std::string_view kParts[] = {"a",       "1.50",
                                                  "1e400",   "é",
                                                  "😀",       "\\n",
                                                  "\\\"",    "\\\\",
                                                  "\\/",     "\\u0001",
                                                  "\\u00e9", "\\ud83d\\ude00",
                                                  " ",       "{\\\"n\\\": 1.0}",
                                                  ",",       ": ",
                                                  "]",       "\x7f"};
    std::string out = "\"";
    for (std::size_t left = below(5); left > 0; --left) out += kParts[below(std::size(kParts))];
    return out + "\"";
  }

  std::string container(char open, char close, int depth) {
    std::string out(1, open);
    for (std::size_t left = below(5); left > 0; --left) {
      if (out.size() > 1) out += below(2) == 0 ? "," : " ,\n ";
      if (open == '{') out += string() + (below(2) == 0 ? ":" : " : ");
      out += value(depth - 1);
    }
    return out + close;
  }

  std::mt19937_64 random_;
};

class PassThroughTest : public testing::ExactWorld {
 protected:
  /// What PostgreSQL makes of it, without blanks.
  std::string kept(const std::string& text) {
    pg::Params params(text);
    const auto rows = run(pool().query("select $1::text::jsonb::text", std::move(params)));
    return compact(rows.get<std::string>(0, 0));
  }
  /// A value of the command line's output, without blanks: what stands behind `"name": `.
  static std::string shown(const nlohmann::ordered_json& value) {
    return compact(write_json_lines(value));
  }
};

TEST_F(PassThroughTest, any_json_comes_out_as_postgresql_keeps_what_was_sent) {
  const std::uint64_t seed = setting("SLUICE_SEED", 20261127);
  const std::uint64_t rounds = setting("SLUICE_ROUNDS", 60);
  std::printf("SLUICE_SEED=%llu SLUICE_ROUNDS=%llu\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(rounds));
  Dice dice(seed);
  ASSERT_EQ(put(R"({"name":"a","j":0})"), "inserted");
  auto first = page();
  write(first.record("person", "p", {{"name", "Ann"}, {"data", "0"}}).page);
  std::string before = "0";
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::string text = dice.object();
    SCOPED_TRACE(text);
    const std::string wanted = kept(text);
    const std::string own = put(R"({"name":"a","j":)" + text + "}");
    ASSERT_TRUE(own == "updated" || own == "unchanged") << own;
    auto built = page();
    const auto counts = write(built.record("person", "p", {{"name", "Ann"}, {"data", text}}).page);
    ASSERT_EQ(counts.quarantined, 0);
    EXPECT_EQ(counts.updated, own == "updated" ? 1 : 0);
    EXPECT_EQ(put(R"({"name":"a","j":)" + text + "}"), "unchanged");
    if (own == "unchanged") continue;
    const auto mine = command_line(rest("thing"));
    EXPECT_EQ(shown(mine["entities"][0]["attributes"]["j"]), wanted);
    const auto theirs = command_line(rest("acme.person"));
    EXPECT_EQ(shown(theirs["entities"][0]["attributes"]["data"]), wanted);
    const auto feed = command_line(changes());
    const auto& last = feed["changes"];
    EXPECT_EQ(shown(last[last.size() - 2]["changed"]["j"]), "[" + before + "," + wanted + "]");
    EXPECT_EQ(shown(last[last.size() - 1]["changed"]["data"]), "[" + before + "," + wanted + "]");
    before = wanted;
  }
}

}  // namespace
}  // namespace sluice
