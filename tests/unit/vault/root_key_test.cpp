#include "vault/root_key.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace sluice::vault {
namespace {

namespace fs = std::filesystem;

std::string line_of(const Secret& key) {
  return "slrk1:" + RootKeyId::of(key).to_string() + ":" + to_base64url(key.expose());
}

Result<RootKeyring> parse(const std::string& text, bool bare = false) {
  return RootKeyring::parse(Secret::copy_of(as_bytes(text)), "test", bare);
}

class RootKeyFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "sluice-root-key-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    file_ = directory_ / "root.key";
  }
  void TearDown() override { fs::remove_all(directory_); }

  static void write(const fs::path& path, const std::string& text, mode_t mode = 0600) {
    std::ofstream(path) << text;
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  }
  [[nodiscard]] Result<RootKeyring> load_file() const {
    RootKeySources sources;
    sources.file = file_;
    return RootKeyring::load(std::move(sources));
  }
  [[nodiscard]] Result<RootKeyring> load_command(const std::string& script) const {
    RootKeySources sources;
    sources.command = {"/bin/sh", "-c", script};
    return RootKeyring::load(std::move(sources));
  }
  void expect_file_refused(const char* code, const char* part) const {
    const auto ring = load_file();
    ASSERT_FALSE(ring.has_value());
    EXPECT_EQ(ring.error().code, code);
    EXPECT_NE(ring.error().describe().find(part), std::string::npos) << ring.error().describe();
    EXPECT_NE(ring.error().message.find(file_.string()), std::string::npos)
        << ring.error().describe();
  }

  fs::path directory_, file_;
};

TEST_F(RootKeyFile, IsMadeForItsOwnerOnlyAndLoads) {
  const auto id = create_root_key_file(file_);
  ASSERT_TRUE(id.has_value()) << id.error().describe();
  struct stat status {};
  ASSERT_EQ(::stat(file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(status.st_nlink, 1U);
  const auto ring = load_file();
  ASSERT_TRUE(ring.has_value()) << ring.error().describe();
  EXPECT_EQ(ring->current().id, *id);
  EXPECT_EQ(ring->source(), "file " + file_.string());
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_F(RootKeyFile, IsMadeForItsOwnerOnlyUnderAnyUmask) {
  for (const mode_t mask : {mode_t{0}, mode_t{0777}}) {
    fs::remove(file_);
    const mode_t before = ::umask(mask);
    const auto id = create_root_key_file(file_);
    ::umask(before);
    ASSERT_TRUE(id.has_value()) << id.error().describe();
    EXPECT_TRUE(load_file().has_value());
  }
}

TEST_F(RootKeyFile, IsNeverOverwritten) {
  ASSERT_TRUE(create_root_key_file(file_).has_value());
  std::ostringstream before, after;
  before << std::ifstream(file_).rdbuf();
  const auto again = create_root_key_file(file_);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, "vault.root_key.exists");
  EXPECT_EQ(again.error().kind, ErrorKind::conflict);
  after << std::ifstream(file_).rdbuf();
  EXPECT_EQ(before.str(), after.str());
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_F(RootKeyFile, IsNotMadeInADirectoryThatIsNotThere) {
  const auto id = create_root_key_file(directory_ / "absent" / "root.key");
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error().code, "vault.root_key.not_created");
}

TEST_F(RootKeyFile, IsRefusedWhenOthersCanReachIt) {
  for (const mode_t mode : {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0666, 0777}) {
    fs::remove(file_);
    write(file_, line_of(Secret::random(32)) + "\n", mode);
    expect_file_refused("vault.root_key.permissions", "chmod 600");
  }
  for (const mode_t mode : {0600, 0400}) {
    fs::remove(file_);
    write(file_, line_of(Secret::random(32)) + "\n", mode);
    EXPECT_TRUE(load_file().has_value());
  }
}

TEST_F(RootKeyFile, IsRefusedWhenItIsALinkADirectoryOrAPipe) {
  write(directory_ / "real", line_of(Secret::random(32)));
  fs::create_symlink(directory_ / "real", file_);
  expect_file_refused("vault.root_key.permissions", "symbolic link");
  fs::remove(file_);
  fs::create_directory(file_);
  expect_file_refused("vault.root_key.permissions", "not a regular file");
  fs::remove(file_);
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  expect_file_refused("vault.root_key.permissions", "not a regular file");
}

TEST_F(RootKeyFile, IsRefusedWhenItBelongsToSomebodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a file away";
  write(file_, line_of(Secret::random(32)));
  ASSERT_EQ(::chown(file_.c_str(), 12345, 12345), 0);
  expect_file_refused("vault.root_key.permissions", "belongs to user id 12345");
}

TEST_F(RootKeyFile, IsRefusedWhenItIsTooLong) {
  write(file_, std::string(5000, '#'));
  expect_file_refused("vault.root_key.malformed", "more than 4096 bytes");
}

TEST_F(RootKeyFile, AnEmptyOneIsNotAMissingOne) {
  write(file_, "");
  expect_file_refused("vault.root_key.malformed", "there is no key in it");
}

TEST_F(RootKeyFile, SourcesAreAskedInOrderAndAWrongOneIsNotSkipped) {
  const Secret from_credential = Secret::random(32), from_file = Secret::random(32),
               from_command = Secret::random(32), from_environment = Secret::random(32);
  write(directory_ / "sluice-root-key", line_of(from_credential), 0440);
  write(file_, line_of(from_file));
  const auto sources = [&] {
    RootKeySources all;
    all.credentials_directory = directory_;
    all.file = file_;
    all.command = {"/bin/echo", to_hex(from_command.expose())};
    all.environment = Secret::copy_of(as_bytes(to_base64url(from_environment.expose())));
    return all;
  };
  const auto loaded_id = [&] {
    auto ring = RootKeyring::load(sources());
    return ring ? ring->current().id.to_string() : ring.error().code;
  };
  EXPECT_EQ(loaded_id(), RootKeyId::of(from_credential).to_string());
  write(directory_ / "sluice-root-key", line_of(from_credential), 0444);
  EXPECT_EQ(loaded_id(), "vault.root_key.permissions");
  fs::remove(directory_ / "sluice-root-key");
  EXPECT_EQ(loaded_id(), RootKeyId::of(from_file).to_string());
  write(file_, "nonsense");
  EXPECT_EQ(loaded_id(), "vault.root_key.malformed");
  fs::remove(file_);
  EXPECT_EQ(loaded_id(), RootKeyId::of(from_command).to_string());
  RootKeySources last = sources();
  last.command.clear();
  EXPECT_EQ(RootKeyring::load(std::move(last))->current().id, RootKeyId::of(from_environment));
}

TEST_F(RootKeyFile, MissingEverywhereSaysWhereWasLooked) {
  const auto ring = load_file();
  ASSERT_FALSE(ring.has_value());
  EXPECT_EQ(ring.error().code, "vault.root_key.missing");
  EXPECT_EQ(ring.error().kind, ErrorKind::not_found);
  for (const std::string part : {"sluice-root-key", file_.c_str(), "command", "SLUICE_ROOT_KEY"}) {
    EXPECT_NE(ring.error().message.find(part), std::string::npos) << ring.error().message;
  }
}

TEST_F(RootKeyFile, TheEnvironmentIsReadOnceAndEmptied) {
  const Secret key = Secret::random(32);
  ::setenv("SLUICE_ROOT_KEY", to_hex(key.expose()).c_str(), 1);
  ::setenv("CREDENTIALS_DIRECTORY", directory_.c_str(), 1);
  auto sources = RootKeySources::from_environment(file_);
  ::unsetenv("CREDENTIALS_DIRECTORY");
  EXPECT_EQ(::getenv("SLUICE_ROOT_KEY"), nullptr);
  EXPECT_EQ(sources.credentials_directory, directory_);
  const auto ring = RootKeyring::load(std::move(sources));
  ASSERT_TRUE(ring.has_value()) << ring.error().describe();
  EXPECT_TRUE(ring->current().bytes.equals(key));
}

TEST_F(RootKeyFile, ACommandMayPrintALineHexOrBase64) {
  const Secret key = Secret::random(32);
  for (const std::string& text : {line_of(key), to_hex(key.expose()), to_base64url(key.expose()),
                                  to_base64url(key.expose()) + "="}) {
    const auto ring = load_command("echo '" + text + "'; echo noise >&2");
    ASSERT_TRUE(ring.has_value()) << ring.error().describe();
    EXPECT_TRUE(ring->current().bytes.equals(key));
  }
}

TEST_F(RootKeyFile, ACommandSeesNothingOfOurs) {
  ::setenv("SLUICE_TEST_CANARY", "1", 1);
  const Secret key = Secret::random(32);
  const auto ring = load_command(
      "test -z \"$SLUICE_TEST_CANARY\" && ! read x && test ! -e /proc/self/fd/3 "
      "&& echo " +
      to_hex(key.expose()));
  ::unsetenv("SLUICE_TEST_CANARY");
  EXPECT_TRUE(ring.has_value()) << ring.error().describe();
}

TEST_F(RootKeyFile, ACommandThatFailsIsNamedButNotQuoted) {
  const auto expect_failure = [&](const std::string& script, const char* code, const char* part) {
    const auto ring = load_command(script);
    ASSERT_FALSE(ring.has_value()) << script;
    EXPECT_EQ(ring.error().code, code);
    EXPECT_NE(ring.error().message.find(part), std::string::npos) << ring.error().message;
    EXPECT_EQ(ring.error().describe().find("canary"), std::string::npos);
  };
  expect_failure("echo canary; exit 3", "vault.root_key.command", "exited with 3");
  expect_failure("kill -9 $$", "vault.root_key.command", "signal 9");
  expect_failure("yes canary", "vault.root_key.command", "more than 4096 bytes");
  expect_failure("echo canary", "vault.root_key.malformed", "neither 64 hex digits nor 32 bytes");
  expect_failure("true", "vault.root_key.malformed", "neither");
  RootKeySources sources;
  sources.command = {"/absent/program"};
  const auto ring = RootKeyring::load(std::move(sources));
  ASSERT_FALSE(ring.has_value());
  EXPECT_EQ(ring.error().code, "vault.root_key.command");
}

TEST(RootKeyText, HoldsSeveralKeysTheFirstIsCurrent) {
  const Secret one = Secret::random(32), two = Secret::random(32);
  const auto ring = parse("# comment\n\n" + line_of(one) + "\r\n  " + line_of(two));
  ASSERT_TRUE(ring.has_value()) << ring.error().describe();
  EXPECT_EQ(ring->keys().size(), 2U);
  EXPECT_TRUE(ring->current().bytes.equals(one));
  ASSERT_NE(ring->find(RootKeyId::of(two)), nullptr);
  EXPECT_TRUE(ring->find(RootKeyId::of(two))->bytes.equals(two));
  EXPECT_EQ(ring->find(RootKeyId{0}), nullptr);
  EXPECT_EQ(ring->ids(), RootKeyId::of(one).to_string() + ", " + RootKeyId::of(two).to_string());
}

TEST(RootKeyText, EveryChangedCharacterIsNoticedAndNoErrorQuotesTheKey) {
  const Secret key = Secret::random(32);
  const std::string good = line_of(key), encoded = to_base64url(key.expose());
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'A', 'b', '7', '_', ':', '#', '\n', '\0'}) {
      if (good[i] == c) continue;
      if (i == 0 && c == '#') continue;  // a comment: reported as no key at all
      std::string bad = good;
      bad[i] = c;
      const auto ring = parse(bad);
      ASSERT_FALSE(ring.has_value()) << "position " << i;
      EXPECT_EQ(ring.error().code, "vault.root_key.malformed");
      EXPECT_EQ(ring.error().describe().find(encoded.substr(0, 10)), std::string::npos);
    }
  }
}

TEST(RootKeyText, RefusesWhatIsNotALine) {
  const Secret key = Secret::random(32);
  const std::string id = RootKeyId::of(key).to_string(), encoded = to_base64url(key.expose());
  for (const std::string& bad :
       {std::string(), std::string("slrk1:"), "slrk1:" + id, "slrk1:" + id + ":",
        "slrk2:" + id + ":" + encoded, "slrk1:" + id + ":" + encoded + "A",
        "slrk1:" + id + ":" + encoded.substr(1), "slrk1:" + id + ":" + encoded + "=", encoded,
        to_hex(key.expose()), line_of(key) + "\n" + line_of(key)}) {
    const auto ring = parse(bad);
    ASSERT_FALSE(ring.has_value()) << bad.size();
    EXPECT_EQ(ring.error().code, "vault.root_key.malformed");
  }
  std::string many;
  for (std::size_t i = 0; i <= kRootKeysMax; ++i) many += line_of(Secret::random(32)) + "\n";
  EXPECT_NE(parse(many).error().message.find("line 9: more than 8 keys"), std::string::npos);
}

}  // namespace
}  // namespace sluice::vault
