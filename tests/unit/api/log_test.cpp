// Log lines, and what must never be in them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <Poco/AutoPtr.h>
#include <Poco/Channel.h>
#include <Poco/Logger.h>

#include "base/log.hpp"

namespace sluice::log {
namespace {

using nlohmann::json;

constexpr Micros kAt{1'790'000'000'123'456};

TEST(LogLine, is_one_json_object_with_numbers_as_numbers) {
  const std::string line =
      render(Format::json, kAt, Level::warning, "sync.run.failed",
             {{"connection", "billing"}, {"run", 7}, {"message", "a \"b\"\n\\ c"}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const json object = json::parse(line);
  EXPECT_EQ(object["level"], "warning");
  EXPECT_EQ(object["event"], "sync.run.failed");
  EXPECT_EQ(object["run"], 7);
  EXPECT_EQ(object["message"], "a \"b\"\n\\ c");
  EXPECT_EQ(object["at"].get<std::string>(), to_rfc3339(kAt));
}

TEST(LogLine, stays_valid_json_whatever_a_vendor_wrote) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  for (const std::string& text : {all, std::string("\xc3\x28"), std::string("a\0b", 3),
                                  std::string("\xed\xa0\x80"), std::string("\x1b[2J")}) {
    const std::string line = render(Format::json, kAt, Level::info, "x.y", {{"text", text}});
    EXPECT_TRUE(json::accept(line)) << line;
    for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20U);
  }
}

TEST(LogLine, for_a_terminal_is_keys_and_values) {
  EXPECT_EQ(render(Format::text, kAt, Level::info, "a.b", {{"n", 1}, {"t", "x y"}, {"e", ""}}),
            "a.b n=1 t=\"x y\" e=\"\"");
  EXPECT_EQ(render(Format::text, kAt, Level::info, "a.b", {{"t", "x\ny\x1b"}}),
            "a.b t=\"x\\ny\\x1b\"");
}

TEST(LogLine, masks_what_looks_like_a_secret) {
  const std::pair<const char*, const char*> all[] = {
      {"token slc_1_2_abcDEF-_ was used", "token slc_*** was used"},
      {"Authorization: Bearer sk_live_123, next", "Authorization: Bearer ***, next"},
      {"host=x password=hunter2 user=y", "host=x password=*** user=y"},
      {"postgresql://me:word@db/x?y", "postgresql://me:***@db/x?y"},
      {"postgresql://me@db:5432/x", "postgresql://me@db:5432/x"},
      {"http://127.0.0.1:80/a@b:c", "http://127.0.0.1:80/a@b:c"},
      {"nothing of the kind: 12:30", "nothing of the kind: 12:30"},
  };
  for (const auto& [text, wanted] : all) {
    EXPECT_EQ(masked(text), wanted);
    const std::string line = render(Format::json, kAt, Level::info, "x.y", {{"text", text}});
    EXPECT_EQ(json::parse(line)["text"], wanted);
  }
}

class Kept final : public Poco::Channel {
 public:
  void log(const Poco::Message& message) override { lines.push_back(message.getText()); }
  std::vector<std::string> lines;
};

TEST(LogLevel, can_be_another_one_for_an_area) {
  Poco::AutoPtr<Kept> kept(new Kept);
  Poco::Logger& logger = Poco::Logger::get("sluice");
  logger.setChannel(kept);
  logger.setLevel(Poco::Message::PRIO_TRACE);
  set_level(Level::warning);
  set_area_levels({{"fetch", Level::debug}, {"fetch.budget", Level::error}, {"api", Level::info}});
  debug("fetch.attempt");
  debug("fetching.attempt");
  warning("fetch.budget.slower");
  error("fetch.budget.slower");
  info("sync.run.done");
  warning("sync.run.failed");
  info("api.x");
  debug("api.x");
  set_area_levels({});
  set_level(Level::info);
  logger.setChannel(nullptr);
  const std::vector<std::string> wanted = {"fetch.attempt", "fetch.budget.slower",
                                           "sync.run.failed", "api.x"};
  EXPECT_EQ(kept->lines, wanted);
}

}  // namespace
}  // namespace sluice::log
