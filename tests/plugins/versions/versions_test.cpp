// The order of versions, and what the shelf says of the files in its directories.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "connector/registry.hpp"
#include "connector/version.hpp"

namespace sluice::connector {
namespace {

namespace fs = std::filesystem;
using Haste = Shelf::Haste;

TEST(Versions, are_ordered_as_semantic_versioning_says) {
  const char* rising[] = {"not a version", "0.9.0",         "0.10.0",       "1.0.0-1",
                          "1.0.0-alpha",   "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11",
                          "1.0.0-rc.1",    "1.0.0",         "1.0.1",        "10.0.0"};
  for (std::size_t i = 0; i < std::size(rising); ++i) {
    for (std::size_t j = 0; j < std::size(rising); ++j) {
      EXPECT_EQ(compare_versions(rising[i], rising[j]), i <=> j) << rising[i] << " " << rising[j];
    }
  }
  EXPECT_EQ(compare_versions("1.0.0+build.1", "1.0.0+build.2"), std::strong_ordering::equal);
}

class ShelfTest : public ::testing::Test {
 protected:
  ~ShelfTest() override {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  static fs::path version(const std::string& name) {
    return fs::path(SLUICE_VERSIONS_DIR) / (name + ".so");
  }
  /// Last written to so long before `now_`.
  void put(const std::string& bytes, const std::string& as, std::chrono::milliseconds age) {
    std::ofstream(directory_ / as, std::ios::binary | std::ios::trunc) << bytes;
    struct timespec times[2] = {};
    const auto at = now_ - age;
    times[0].tv_sec = times[1].tv_sec = at.count() / 1'000'000;
    times[0].tv_nsec = times[1].tv_nsec = at.count() % 1'000'000 * 1000;
    ::utimensat(AT_FDCWD, (directory_ / as).c_str(), times, 0);
  }
  static std::string bytes_of(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  const ShelfFile& only() {
    shelved_ = shelf_.shelved();
    EXPECT_EQ(shelved_->files.size(), 1U);
    return shelved_->files.at(0);
  }

  Micros now_{1'790'000'000'000'000};
  static fs::path new_directory() {
    std::string name = (fs::temp_directory_path() / "sluice-shelf-XXXXXX").string();
    return ::mkdtemp(name.data());
  }

  fs::path directory_ = new_directory();
  Shelf shelf_{{directory_, directory_ / "comes_later"}};
  ShelvedPtr shelved_;
};

TEST_F(ShelfTest, a_file_that_was_just_written_to_is_not_judged_until_it_is_quiet) {
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::milliseconds(300));
  EXPECT_TRUE(shelf_.rescan(now_, Haste::patient));
  EXPECT_EQ(only().state, FileState::incomplete);
  EXPECT_TRUE(shelved_->unsettled());
  EXPECT_FALSE(shelf_.rescan(now_, Haste::patient)) << "nothing is different";
  EXPECT_TRUE(shelf_.rescan(now_ + std::chrono::seconds(1), Haste::patient));
  EXPECT_EQ(only().state, FileState::admitted);
  EXPECT_EQ(only().manifest->version, "1.0.0");
  EXPECT_EQ(only().sha256.size(), 64U);
}

TEST_F(ShelfTest, who_asks_gets_a_judgement_at_once) {
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::milliseconds(0));
  shelf_.rescan(now_, Haste::immediate);
  EXPECT_EQ(only().state, FileState::admitted);
}

TEST_F(ShelfTest, half_a_file_is_a_copy_under_way_first_and_a_damaged_file_later) {
  const std::string whole = bytes_of(version("harbour_100"));
  put(whole.substr(0, whole.size() / 2), "harbour.so", std::chrono::seconds(3));
  shelf_.rescan(now_, Haste::patient);
  EXPECT_EQ(only().state, FileState::incomplete);
  EXPECT_EQ(only().reason->code, "connector.elf_malformed");
  shelf_.rescan(now_ + kCopyPause, Haste::patient);
  EXPECT_EQ(only().state, FileState::refused);
  put(whole, "harbour.so", std::chrono::seconds(3));
  shelf_.rescan(now_, Haste::patient);
  EXPECT_EQ(only().state, FileState::admitted) << "it changed, so it is looked at again";
}

TEST_F(ShelfTest, a_time_in_the_future_does_not_keep_a_file_out_for_ever) {
  put(bytes_of(version("harbour_100")), "harbour.so", -std::chrono::hours(1));
  shelf_.rescan(now_, Haste::patient);
  EXPECT_EQ(only().state, FileState::admitted);
}

TEST_F(ShelfTest, twins_are_told_and_copies_of_one_content_are_not) {
  const auto old = std::chrono::hours(1);
  put(bytes_of(version("harbour_110")), "a.so", old);
  put(bytes_of(version("harbour_110")), "copy.so", old);
  shelf_.rescan(now_, Haste::patient);
  for (const ShelfFile& file : shelf_.shelved()->files) EXPECT_EQ(file.conflict, "") << file.file;
  fs::create_directory(directory_ / "comes_later");
  put(bytes_of(version("harbour_twin")), "comes_later/twin.so", old);
  shelf_.rescan(now_, Haste::patient);
  shelved_ = shelf_.shelved();
  ASSERT_EQ(shelved_->files.size(), 3U);
  for (const ShelfFile& file : shelved_->files) EXPECT_NE(file.conflict, "") << file.file;
  fs::remove(directory_ / "comes_later/twin.so");
  EXPECT_TRUE(shelf_.rescan(now_, Haste::patient));
  for (const ShelfFile& file : shelf_.shelved()->files) EXPECT_EQ(file.conflict, "") << file.file;
}

TEST_F(ShelfTest, builds_that_no_order_tells_apart_are_twins) {
  put(bytes_of(version("harbour_110")), "a.so", std::chrono::hours(1));
  put(bytes_of(version("harbour_build")), "b.so", std::chrono::hours(1));
  put(bytes_of(version("harbour_100")), "c.so", std::chrono::hours(1));
  shelf_.rescan(now_, Haste::patient);
  shelved_ = shelf_.shelved();
  ASSERT_EQ(shelved_->files.size(), 3U);
  EXPECT_EQ(shelved_->files[0].manifest->version, "1.1.0");
  EXPECT_EQ(shelved_->files[0].conflict, (directory_ / "b.so").string());
  EXPECT_EQ(shelved_->files[1].manifest->version, "1.1.0+b2");
  EXPECT_EQ(shelved_->files[1].conflict, (directory_ / "a.so").string());
  EXPECT_EQ(shelved_->files[2].conflict, "");
}

/// The host's own copy is cut, as by a disk; the same content lies in a directory.
TEST_F(ShelfTest, a_damaged_copy_in_the_store_is_healed_from_the_shelf) {
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::hours(1));
  const auto store = directory_ / "store";
  std::string sha256;
  {
    Registry registry(Store(store), {directory_});
    registry.shelf().rescan(now_, Haste::patient);
    sha256 = registry.shelf().shelved()->files.at(0).sha256;
    EXPECT_TRUE(registry.obtain(sha256));
  }
  const fs::path kept = store / (sha256 + ".so");
  const auto damage = [&] {
    fs::remove(kept);  // not in place: this process has mapped it
    std::ofstream(kept, std::ios::binary) << bytes_of(version("harbour_100")).substr(0, 1000);
  };
  damage();
  {
    Registry alone(Store(store), {});
    EXPECT_EQ(alone.obtain(sha256).error().code, "connector.store_damaged");
  }
  Registry restarted(Store(store), {directory_});
  restarted.shelf().rescan(now_, Haste::patient);
  EXPECT_EQ(expect(restarted.obtain(sha256))->manifest().version, "1.0.0");
  EXPECT_EQ(bytes_of(kept), bytes_of(version("harbour_100")));
  EXPECT_EQ(std::distance(fs::directory_iterator(store), {}), 1);
}

TEST_F(ShelfTest, what_was_refused_when_it_was_loaded_stays_so_until_somebody_asks) {
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::hours(1));
  shelf_.rescan(now_, Haste::patient);
  const std::string sha256 = only().sha256;
  shelf_.refuse(sha256, Error(ErrorKind::bad_input, "connector.load_failed", "no", "why"));
  EXPECT_EQ(only().state, FileState::refused);
  EXPECT_EQ(shelf_.shelved()->find(sha256), nullptr);
  shelf_.rescan(now_, Haste::patient);
  EXPECT_EQ(only().reason->code, "connector.load_failed");
  shelf_.rescan(now_, Haste::immediate);
  EXPECT_EQ(only().state, FileState::admitted);
}

TEST_F(ShelfTest, a_version_is_obtained_from_the_shelf_once_and_from_the_store_afterwards) {
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::hours(1));
  const auto store = directory_ / "store";
  std::string sha256;
  {
    Registry registry(Store(store), {directory_});
    registry.shelf().rescan(now_, Haste::patient);
    sha256 = registry.shelf().shelved()->files.at(0).sha256;
    EXPECT_TRUE(registry.list().empty()) << "looking loads nothing";
    EXPECT_FALSE(fs::exists(store));
    EXPECT_EQ(expect(registry.obtain(sha256))->manifest().version, "1.0.0");
  }
  fs::remove(directory_ / "harbour.so");
  Registry restarted(Store(store), {directory_});
  restarted.shelf().rescan(now_, Haste::patient);
  EXPECT_TRUE(restarted.has(sha256));
  EXPECT_EQ(expect(restarted.obtain(sha256))->manifest().version, "1.0.0");
  const auto unknown = restarted.obtain(std::string(64, '0'));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "connector.not_on_this_host");
  EXPECT_FALSE(restarted.has(std::string(64, '0')));
}

/// What lies where others may put it runs for nobody.
TEST_F(ShelfTest, files_and_directories_that_others_may_write_to_are_not_loaded) {
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::hours(1));
  const auto look = [&] {
    shelf_.rescan(now_, Haste::immediate);
    shelved_ = shelf_.shelved();
    std::string said;
    for (const Error& error : shelved_->errors) said += error.code + " ";
    for (const ShelfFile& file : shelved_->files)
      said += file.reason ? file.reason->code : std::string(to_string(file.state));
    return said;
  };
  const fs::path file = directory_ / "harbour.so";
  EXPECT_EQ(look(), "admitted");
  for (const int mode : {0664, 0646, 0666}) {
    fs::permissions(file, fs::perms(mode));
    EXPECT_EQ(look(), "connector.untrusted_file") << std::oct << mode;
  }
  EXPECT_NE(shelved_->files.at(0).reason->hint.find("chmod go-w"), std::string::npos);
  fs::permissions(file, fs::perms(0755));
  for (const int mode : {0775, 0757, 0777, 01777}) {
    fs::permissions(directory_, fs::perms(mode));
    EXPECT_EQ(look(), "connector.untrusted_directory ") << std::oct << mode;
  }
  fs::permissions(directory_, fs::perms(0755));
  EXPECT_EQ(look(), "admitted");
}

TEST_F(ShelfTest, a_directory_that_everybody_may_rename_is_not_looked_into) {
  const fs::path inner = directory_ / "open" / "connectors";
  fs::create_directories(inner);
  fs::permissions(inner, fs::perms(0755));
  const fs::path outside = new_directory();
  const fs::path link = outside / "link";
  fs::create_directory_symlink(inner, link);
  for (const fs::path& asked : {inner, link}) {
    fs::permissions(directory_ / "open", fs::perms(0777));
    const auto open = Owners().check_directory(asked);
    ASSERT_FALSE(open) << asked;
    EXPECT_EQ(open.error().code, "connector.untrusted_directory");
    EXPECT_NE(open.error().hint.find("chmod go-w"), std::string::npos) << open.error().hint;
    fs::permissions(directory_ / "open", fs::perms(01777));  // as /tmp: only its owner renames it
    EXPECT_TRUE(Owners().check_directory(asked)) << asked;
  }
  fs::remove_all(outside);
}

/// Who can write to a directory above, or owns it, can put another one in this one's place.
TEST_F(ShelfTest, a_directory_whose_way_belongs_to_somebody_else_is_not_looked_into) {
  const fs::path above = directory_ / "above";
  const fs::path inner = above / "deeper" / "connectors";
  const fs::path elsewhere = directory_ / "elsewhere";
  fs::create_directories(inner);
  fs::create_directories(elsewhere);
  fs::create_directory_symlink("../above/deeper/connectors", elsewhere / "link");
  const auto refusal = [](const fs::path& asked) {
    const auto judged = Owners().check_directory(asked);
    if (judged) return std::string();
    EXPECT_EQ(judged.error().code, "connector.untrusted_directory");
    return judged.error().describe();
  };
  for (const fs::path& asked : {inner, elsewhere / "link", elsewhere / ".." / "elsewhere/./link"})
    EXPECT_EQ(refusal(asked), "") << asked;

  // By its mode: of the group alone, too.
  for (const int mode : {0775, 0757, 0777}) {
    fs::permissions(above, fs::perms(mode));
    for (const fs::path& asked : {inner, elsewhere / "link"}) {
      EXPECT_NE(refusal(asked).find(above.string() + ", where others may write"), std::string::npos)
          << std::oct << mode << asked << refusal(asked);
    }
    EXPECT_NE(refusal(inner).find("chmod go-w " + above.string()), std::string::npos);
  }
  fs::permissions(above, fs::perms(0755));
  // Where the link stands, though where it leads is well.
  fs::permissions(elsewhere, fs::perms(0777));
  EXPECT_EQ(refusal(inner), "");
  EXPECT_NE(refusal(elsewhere / "link").find(elsewhere.string() + ", where others"),
            std::string::npos);
  fs::permissions(elsewhere, fs::perms(0755));

  if (::geteuid() != 0) GTEST_SKIP() << "only root can give directories away";
  constexpr uid_t kNobody = 65534;
  for (const fs::path& given : {above, above / "deeper"}) {
    ASSERT_EQ(::chown(given.c_str(), kNobody, kNobody), 0);
    for (const fs::path& asked : {inner, elsewhere / "link"}) {
      EXPECT_NE(refusal(asked).find(given.string() + ", which belongs to nobody"),
                std::string::npos)
          << asked << refusal(asked);
    }
    EXPECT_TRUE(expect(Owners::besides({"nobody"})).check_directory(inner)) << "who is named";
    ASSERT_EQ(::chown(given.c_str(), 0, 0), 0);
  }
  // In a sticky place everybody may make links, and lead his own elsewhere.
  fs::permissions(elsewhere, fs::perms(01777));
  EXPECT_EQ(refusal(elsewhere / "link"), "");
  ASSERT_EQ(::lchown((elsewhere / "link").c_str(), kNobody, kNobody), 0);
  EXPECT_NE(refusal(elsewhere / "link").find("by the link"), std::string::npos);
}

TEST_F(ShelfTest, files_of_somebody_else_are_loaded_when_the_configuration_names_him) {
  EXPECT_EQ(Owners::besides({"nobody-of-that-name"}).error().code, "connector.unknown_owner");
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  put(bytes_of(version("harbour_100")), "harbour.so", std::chrono::hours(1));
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::chown((directory_ / "harbour.so").c_str(), kNobody, kNobody), 0);
  shelf_.rescan(now_, Haste::immediate);
  EXPECT_EQ(only().reason->code, "connector.untrusted_file");
  EXPECT_NE(only().reason->message.find("nobody"), std::string::npos) << only().reason->message;
  ASSERT_EQ(::chown(directory_.c_str(), kNobody, kNobody), 0);
  shelf_.rescan(now_, Haste::immediate);
  EXPECT_EQ(shelf_.shelved()->errors.at(0).code, "connector.untrusted_directory");
  for (const char* name : {"nobody", "65534"}) {
    Shelf named({directory_}, expect(Owners::besides({name})));
    named.rescan(now_, Haste::immediate);
    EXPECT_TRUE(named.shelved()->errors.empty());
    EXPECT_EQ(named.shelved()->files.at(0).state, FileState::admitted);
  }
}

}  // namespace
}  // namespace sluice::connector
