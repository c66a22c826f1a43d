// The page of the twelve questions: each command is run on a terminal of 80 x 24, and its screen is
// what the page shows.
#include <fstream>
#include <regex>
#include <sstream>

#include "e2e/terminal.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

constexpr const char* kPage = SLUICE_SOURCE_DIR "/docs/operating/questions.md";
constexpr const char* kProgram = SLUICE_BINARY_DIR "/bin/sluice";
constexpr std::size_t kRows = 24, kColumns = 80;

/// A command of the page, and what the page says that it shows.
struct Screen {
  int question = 0;
  std::string command;
  std::string shown;
};

std::string page() {
  std::ifstream file(kPage, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Screen> screens_of(const std::string& text) {
  std::vector<Screen> screens;
  std::istringstream lines(text);
  std::string line;
  int question = 0;
  bool within = false;
  while (std::getline(lines, line)) {
    if (line.starts_with("## ")) question = std::stoi(line.substr(3));
    if (!within && line.starts_with("```console")) {
      within = true;
      screens.emplace_back();
      screens.back().question = question;
    } else if (line == "```") {
      within = false;
    } else if (within && line.starts_with("$ ")) {
      screens.back().command = line.substr(2);
    } else if (within) {
      screens.back().shown += line + "\n";
    }
  }
  return screens;
}

/// The page with other screens, in the same order.
std::string with_screens(const std::string& text, const std::vector<Screen>& screens) {
  std::string out, line;
  std::istringstream lines(text);
  std::size_t next = 0;
  bool within = false;
  while (std::getline(lines, line)) {
    if (within && line != "```") continue;
    within = false;
    out += line + "\n";
    if (!line.starts_with("```console")) continue;
    within = true;
    out += "$ " + screens.at(next).command + "\n" + screens.at(next).shown;
    ++next;
  }
  return out;
}

std::size_t width(const std::string& line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// As a person reads it: without colours and returns.
std::string plain(const std::string& screen) {
  static const std::regex kColour("\x1b\\[[0-9;]*m");
  std::string text = std::regex_replace(screen, kColour, "");
  std::erase(text, '\r');
  return text;
}

/// Without what is another each time, and how it is set: the words stay, in their order.
std::string lasting(std::string text) {
  static const std::pair<std::regex, const char*> kPasses[] = {
      {std::regex("postgresql://\\S+"), "URL"},
      {std::regex("https?://[0-9.:]+"), "URL"},
      {std::regex("/\\S*sluice-e2e\\S*"), "PATH"},
      {std::regex("\\b(req|cus|acct)_[A-Za-z0-9]+"), "ID"},
      {std::regex("\\S+@\\S+"), "EMAIL"},
      {std::regex("[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?"), "TIME"},
      {std::regex("[0-9]{2}:[0-9]{2}:[0-9]{2}"), "TIME"},
      {std::regex("sha256 [0-9a-f]{12}"), "sha256 HASH"},
      {std::regex("[0-9]+(\\.[0-9]+)? (ms|s|min|h|days?|d)\\b"), "SPAN"},
      {std::regex("[0-9]+(\\.[0-9]+)? [kKMGT]?i?B\\b"), "SIZE"},
      {std::regex("[0-9][0-9,.]*"), "N"},
      {std::regex("processors?\\b"), "processors"},
      {std::regex("found +N +.*EMAIL"), "found WHO"},
      {std::regex("(everything is…|reading chang…)"), "SUMMARY"},
      {std::regex("running +"), "ok "},
      {std::regex("[ \n]+"), " "}};
  for (const auto& [what, word] : kPasses) text = std::regex_replace(text, what, word);
  return text;
}

class Questions : public World {
 protected:
  /// What stands in braces on the page.
  std::string filled(std::string command) {
    const std::string mark = "{contested}";
    if (const auto at = command.find(mark); at != std::string::npos) {
      command.replace(at, mark.size(),
                      host_->sql("select min(source_id) from acme.link where state = 'contested'"));
    }
    return command;
  }

  /// Runs the screens of one question, and holds them against the page.
  void look(int question, int code = 0) {
    bool any = false;
    for (Screen& screen : screens_) {
      if (screen.question != question) continue;
      any = true;
      SCOPED_TRACE("question " + std::to_string(question) + ": " + screen.command);
      std::vector<std::string> words = {kProgram};
      std::istringstream command(filled(screen.command));
      std::string word;
      command >> word;
      EXPECT_EQ(word, "sluice");
      while (command >> word) words.push_back(word);
      const OnTerminal seen = run_on_terminal(words,
                                              {{"SLUICE_URL", host_->url()},
                                               {"SLUICE_TOKEN", host_->token()},
                                               {"SLUICE_WORKSPACE", "acme"}},
                                              {});
      EXPECT_EQ(seen.code, code);
      const std::string shown = plain(seen.screen);
      std::istringstream lines(shown);
      std::size_t rows = 0;
      for (std::string line; std::getline(lines, line); ++rows)
        EXPECT_TRUE(width(line) <= kColumns || line.find(' ') == std::string::npos)
            << line;  // a word, such as a URL, is not cut
      EXPECT_LE(rows, kRows) << "more than a screen:\n" << shown;
      if (std::getenv("SLUICE_WRITE_SCREENS") == nullptr) {
        EXPECT_EQ(lasting(shown), lasting(screen.shown));
      }
      screen.shown = shown;
    }
    EXPECT_TRUE(any) << "the page has no question " << question;
  }

  bool shows(int question, const std::string& what) {
    return std::any_of(screens_.begin(), screens_.end(), [&](const Screen& screen) {
      return screen.question == question &&
             std::regex_search("\n" + screen.shown, std::regex(what));
    });
  }

  std::vector<Screen> screens_ = screens_of(page());
};

TEST_F(Questions, each_is_answered_by_one_screen_as_the_page_shows) {
  ASSERT_GE(screens_.size(), 12U);
  start_fake(200);
  own_email_ = OwnEmail::may_be_twice;
  host_->start();
  fake_->control("POST", "latency", {{"ms", 300}});
  connect();
  import_own(60);
  std::string health;
  ASSERT_TRUE(eventually(std::chrono::seconds(90), [&] {
    health = host_->client().get("/connections/billing").at("health");
    return health == "reading" &&
           host_->count("select count(*) from sluice.stream where records_total > 0") > 2;
  })) << health;
  look(6);
  fake_->control("POST", "latency", {{"ms", 0}});
  ASSERT_TRUE(settled()) << unsettled();
  for (const int question : {1, 3, 4, 5, 7, 8, 9, 10, 11, 12}) look(question);
  // The figures of a small account, which the page has of another day.
  EXPECT_TRUE(shows(3, "stripe\\.customer +preset +200 ") && shows(3, "\ncustomer +own +60 "));
  EXPECT_TRUE(shows(4, "\ncustomers +ok +200 +200 "));
  EXPECT_TRUE(shows(7, "\nstripe\\.customer +200 "));
  fake_->control("POST", "faults",
                 json::parse(R"([{"match":"/v1/products*","times":0,"kind":"403"}])"));
  read_again({"products"});
  ASSERT_TRUE(eventually(std::chrono::seconds(60),
                         [&] { return stream("products").at("health") == "needs_action"; }));
  look(2, 75);
  if (std::getenv("SLUICE_WRITE_SCREENS") == nullptr) return;
  const std::string text = with_screens(page(), screens_);
  std::ofstream(kPage, std::ios::binary) << text;
}

TEST(Screens, what_is_another_each_time_is_all_that_may_differ) {
  const std::string one = "billing  ok  2,000  07:50:48  45 s\nsluiced at http://127.0.0.1:1234\n";
  EXPECT_EQ(lasting(one),
            lasting("billing ok 2,001  11:22:33   3 min\nsluiced at http://127.0.0.1:9\n"));
  EXPECT_NE(lasting(one), lasting(std::regex_replace(one, std::regex("ok"), "failing")));
  EXPECT_NE(lasting(one), lasting("billing ok 2,000\nsluiced at http://127.0.0.1:1234\n"));
}

}  // namespace
}  // namespace sluice::e2e
