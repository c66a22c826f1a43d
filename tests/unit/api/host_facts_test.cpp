// What a host knows of itself without its database.
#include "api/host_facts.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "api/not_ready.hpp"
#include "pg/migrate.hpp"

namespace sluice::api {
namespace {

class HandClock final : public Clock {
 public:
  [[nodiscard]] Micros now() const override { return Micros(1'790'000'000'000'000) + moved_; }
  [[nodiscard]] std::chrono::steady_clock::time_point steady() const override {
    return std::chrono::steady_clock::time_point(std::chrono::hours(1) + moved_);
  }
  void move(std::chrono::seconds by) { moved_ += by; }

 private:
  std::chrono::seconds moved_{0};
};

HostWatch temporary(std::int64_t percent, std::int64_t bytes) {
  HostWatch watch;
  HostWatch::Disk& disk = watch.disks.emplace_back();
  disk.name = "data";
  disk.directory = std::filesystem::temp_directory_path();
  watch.free_percent_min = percent;
  watch.free_bytes_min = bytes;
  watch.database_is_private = true;
  return watch;
}

TEST(HostFacts, a_host_that_is_well_has_nothing_to_say) {
  const HandClock clock;
  const HostFacts facts(temporary(0, 0), clock);
  EXPECT_TRUE(facts.reasons().empty());
  ASSERT_EQ(facts.disks().size(), 1U);
  EXPECT_GT(facts.disks()[0].total_bytes, facts.disks()[0].free_bytes);
}

TEST(HostFacts, a_disk_runs_out_by_share_or_by_bytes_and_keeps_nobody_from_work) {
  const HandClock clock;
  HostWatch by_share = temporary(100, 0);
  by_share.free_bytes_enough = 0;
  for (const HostWatch& watch : {by_share, temporary(0, std::int64_t{1} << 60)}) {
    const HostFacts facts(watch, clock);
    const auto reasons = facts.reasons();
    ASSERT_EQ(reasons.size(), 1U);
    EXPECT_EQ(reasons[0].code, "disk.running_out");
    EXPECT_FALSE(reasons[0].keeps_from_work);
    EXPECT_EQ(reasons[0].what.find(watch.disks[0].directory.string()), std::string::npos);
  }
}

TEST(HostFacts, a_tenth_of_a_large_disk_is_enough_unless_it_is_full_in_days) {
  constexpr std::int64_t kGigabyte = 1'000'000'000;
  const HostWatch watch;
  DiskNow disk;
  disk.total_bytes = 271 * kGigabyte;
  disk.free_bytes = 25 * kGigabyte;  // 9 %
  EXPECT_FALSE(is_running_out(disk, watch));
  disk.growth_bytes_per_day = 20 * kGigabyte;
  disk.growth_seconds = 600;
  EXPECT_FALSE(is_running_out(disk, watch)) << "a first import of ten minutes is no rule";
  disk.growth_seconds = 6 * 3600;
  EXPECT_TRUE(is_running_out(disk, watch));
  disk.free_bytes = 200 * kGigabyte;
  EXPECT_FALSE(is_running_out(disk, watch)) << "ten days off";
  disk.growth_bytes_per_day = -20 * kGigabyte;
  disk.free_bytes = 21 * kGigabyte;
  EXPECT_TRUE(is_running_out(disk, watch)) << "less than 10 %, and less than 20 GiB";
  disk.total_bytes = 100 * kGigabyte;
  EXPECT_FALSE(is_running_out(disk, watch));
  disk.total_bytes = kGigabyte;
  disk.free_bytes = kGigabyte / 5;
  EXPECT_TRUE(is_running_out(disk, watch)) << "a fifth, but less than 256 MiB";
}

TEST(HostFacts, why_the_database_is_away_is_one_of_a_few_sentences_and_no_text_of_its_own) {
  HandClock clock;
  HostFacts facts(temporary(0, 0), clock);
  facts.database_died();
  clock.move(std::chrono::seconds(5));
  facts.database_not_started(
      "PostgreSQL ended with 1 while starting (/secret/place). Its last words: FATAL:  could not "
      "write lock file \"postmaster.pid\": No space left on device STATEMENT: select 'acme'");
  facts.database_said("connection to server failed: Connection refused");
  facts.database_said("FATAL:  the database system is starting up");
  const auto reasons = facts.reasons();
  ASSERT_EQ(reasons.size(), 1U);
  EXPECT_EQ(reasons[0].code, "database.disk_full");
  EXPECT_TRUE(reasons[0].keeps_from_work);
  EXPECT_EQ(reasons[0].what,
            "the database does not answer since 2026-09-21T14:13:20Z: its disk is full; starting "
            "it was tried 1 times");
  facts.database_said("");
  EXPECT_TRUE(facts.reasons().empty());
}

TEST(HostFacts, what_is_not_known_is_not_made_up) {
  const HandClock clock;
  HostFacts facts(temporary(0, 0), clock);
  facts.database_said("something of a tenant's");
  ASSERT_EQ(facts.reasons().size(), 1U);
  EXPECT_EQ(facts.reasons()[0].code, "database.away");
  EXPECT_EQ(facts.reasons()[0].what.find("tenant"), std::string::npos);
}

TEST(HostFacts, growth_is_told_after_ten_minutes) {
  HandClock clock;
  HostFacts facts(temporary(0, 0), clock);
  clock.move(std::chrono::minutes(9));
  facts.look();
  EXPECT_FALSE(facts.disks()[0].growth_bytes_per_day);
  clock.move(std::chrono::minutes(1));
  facts.look();
  ASSERT_TRUE(facts.disks()[0].growth_bytes_per_day);
  EXPECT_EQ(facts.disks()[0].growth_seconds, 600);
  for (int hours = 0; hours < 30; ++hours) {
    clock.move(std::chrono::hours(1));
    facts.look();
  }
  EXPECT_LE(facts.disks()[0].growth_seconds, 24 * 3600);
}

TEST(HostFacts, a_host_that_stops_says_so_also_while_its_database_is_away) {
  const auto newest = static_cast<int>(pg::migrations().size());
  using Words = std::vector<std::string>;
  EXPECT_EQ(not_ready_beside(false, newest), Words());
  EXPECT_EQ(not_ready_beside(false, std::nullopt), Words());
  EXPECT_EQ(not_ready_beside(true, newest), Words{"the host is stopping"});
  EXPECT_EQ(not_ready_beside(true, std::nullopt), Words{"the host is stopping"});
  EXPECT_EQ(not_ready_beside(true, newest - 1).size(), 2U);
}

TEST(HostFacts, bytes_are_said_as_people_do) {
  EXPECT_EQ(bytes_in_words(999), "999 B");
  EXPECT_EQ(bytes_in_words(1'500'000'000), "1.5 GB");
  EXPECT_EQ(bytes_in_words(-2'000'000), "-2.0 MB");
}

}  // namespace
}  // namespace sluice::api
