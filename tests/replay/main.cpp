// Runs every tests/replay/<vendor>/*.case; each is one test. `--update` writes what came out as
// what is expected.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <set>

#include "replay/case_file.hpp"
#include "replay/driver.hpp"

namespace sluice::replay {
namespace {

bool update = false;

class ReplayTest : public testing::Test {
 public:
  ReplayTest(std::shared_ptr<const Library> library, std::filesystem::path path)
      : library_(std::move(library)), path_(std::move(path)) {}

  void TestBody() override {
    const Case test_case = read_case(path_);
    const Outcome plain = run(*library_, test_case, Drive{});
    for (const std::string& rule : plain.broken_rules) ADD_FAILURE() << path_ << ": " << rule;
    if (update) {
      update_case(test_case, plain.text());
    } else {
      EXPECT_EQ(test_case.expected, plain.text()) << path_ << ": --update writes what came out";
    }
    is_the_same_whatever_the_steps(test_case, plain);
    survives_damaged_answers(test_case);
    if (test_case.resumes && test_case.operation == "read")
      resumes_from_each_checkpoint(test_case, plain);
  }

 private:
  void is_the_same_whatever_the_steps(const Case& test_case, const Outcome& plain) const {
    for (const std::uint32_t records : {1u, 3u, 1'000'000u}) {
      Drive drive;
      drive.records_per_step_max = records;
      drive.new_thread_each_step = true;
      const Outcome other = run(*library_, test_case, drive);
      EXPECT_EQ(plain.text(), other.text()) << path_ << " with " << records << " records in a step";
      for (const std::string& rule : other.broken_rules) {
        ADD_FAILURE() << path_ << " with " << records << " records in a step: " << rule;
      }
    }
  }

  /// Whatever the vendor sends, the connector keeps the contract: it never crashes and always ends.
  void survives_damaged_answers(const Case& test_case) const {
    constexpr int kRounds = 40;
    constexpr std::string_view kBytes = "{}[]\",:\\0 1eE.-tfnu\xFF";
    std::mt19937 random(20261123);
    for (int round = 0; round < kRounds; ++round) {
      Case damaged = test_case;
      for (Exchange& exchange : damaged.exchanges) {
        if (exchange.body.empty()) continue;
        const std::size_t at = random() % exchange.body.size();
        switch (random() % 4) {
          case 0:
            exchange.body.resize(at);
            break;
          case 1:
            exchange.body.erase(at, 1 + random() % 20);
            break;
          case 2:
            exchange.status = static_cast<int>(200 + random() % 400);
            break;
          default:
            exchange.body[at] = kBytes[random() % kBytes.size()];
            break;
        }
      }
      const Outcome outcome = run(*library_, damaged, Drive{});
      for (const std::string& rule : outcome.broken_rules) {
        ADD_FAILURE() << path_ << ", damaged, round " << round << ": " << rule << "\n"
                      << outcome.text();
      }
    }
  }

  /// Killed after any checkpoint and begun again there, the rest comes out at least once.
  void resumes_from_each_checkpoint(const Case& test_case, const Outcome& plain) const {
    std::size_t last = 0;
    for (std::size_t i = 0; i < plain.lines.size(); ++i) {
      if (!plain.lines[i].checkpoint.empty()) last = i;
    }
    for (std::size_t i = 0; i < last; ++i) {  // behind the last checkpoint nothing is recorded
      if (plain.lines[i].checkpoint.empty()) continue;
      Drive drive;
      drive.checkpoint = plain.lines[i].checkpoint;
      drive.from_checkpoint = true;
      const Outcome resumed = run(*library_, test_case, drive);
      std::multiset<std::string> came;
      for (const Line& line : resumed.lines) came.insert(line.text);
      for (std::size_t j = i + 1; j < plain.lines.size(); ++j) {
        if (!plain.lines[j].is_data) continue;
        EXPECT_TRUE(came.contains(plain.lines[j].text))
            << path_ << ": lost when resumed from " << drive.checkpoint << "\n  "
            << plain.lines[j].text << "\n"
            << resumed.text();
      }
    }
  }

  std::shared_ptr<const Library> library_;
  std::filesystem::path path_;
};

void register_vendor(const std::string& vendor) {
  const auto library =
      std::make_shared<const Library>(std::string(SLUICE_CONNECTOR_DIR "/") + vendor + ".so");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/tests/replay/" + vendor)) {
    if (entry.path().extension() == ".case") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    testing::RegisterTest(
        ("replay_" + vendor).c_str(), path.stem().c_str(), nullptr, nullptr, __FILE__, __LINE__,
        [library, path]() -> ReplayTest* { return new ReplayTest(library, path); });
  }
}

}  // namespace
}  // namespace sluice::replay

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--update") == 0) sluice::replay::update = true;
  }
  sluice::replay::register_vendor("stripe");
  return RUN_ALL_TESTS();
}
