// Connector files: what is refused before it runs, what is refused when it is mapped, how the store
// behaves.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "connector/in_process.hpp"
#include "plugins/zoo/zoo.hpp"

namespace sluice::connector {
namespace {

using ::testing::HasSubstr;
using zoo::animal;
using zoo::ZooTest;

Bytes content_of(const std::filesystem::path& file) { return expect(read_connector_file(file)); }

/// What is mapped into this process, and under which names.
std::string maps() {
  std::ifstream file("/proc/self/maps");
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Misdeed {
  const char* name;
  const char* code;
  const char* said;
};

TEST_F(ZooTest, files_are_refused_before_any_of_their_code_runs) {
  const Misdeed table[] = {
      {"abi_major_2", "connector.abi_major", "abi_major is 2, this host has 1"},
      {"required_minor_99", "connector.abi_minor", "required_minor is 99, this host has 1.3"},
      {"no_note", "connector.no_note", "no note"},
      {"two_notes", "connector.two_notes", "2 notes"},
      {"entry_is_function", "connector.entry_is_function", "is a function"},
      {"entry_missing", "connector.entry_missing", "does not export"},
      {"entry_too_small", "connector.entry_too_small", "has 8 bytes"},
      {"entry_from_dependency", "connector.entry_foreign", "not defined"},
      {"manifest_invalid", "connector.manifest_invalid", "/id"},
      {"manifest_damaged", "connector.manifest_invalid", "no valid JSON"},
      {"needs_library", "connector.needs_library", "needs 'helper.so'"},
      {"search_path", "connector.search_path", "/tmp/evil"},
      {"executable_stack", "connector.executable_stack", "executable stack"},
  };
  std::set<std::string> messages;
  for (const Misdeed& misdeed : table) {
    const Result<Inspected> inspected = inspect(content_of(animal(misdeed.name)));
    ASSERT_FALSE(inspected) << misdeed.name;
    EXPECT_TRUE(messages.insert(inspected.error().message).second)
        << misdeed.name << " has no message of its own: " << inspected.error().message;
    EXPECT_EQ(inspected.error().code, misdeed.code) << misdeed.name;
    EXPECT_THAT(inspected.error().message, HasSubstr(misdeed.said)) << misdeed.name;
    EXPECT_FALSE(inspected.error().hint.empty()) << misdeed.name;
    Registry registry = this->registry();
    EXPECT_EQ(registry.load_file(animal(misdeed.name)).error().code, misdeed.code) << misdeed.name;
    EXPECT_EQ(::dlopen(animal(misdeed.name).c_str(), RTLD_NOW | RTLD_NOLOAD), nullptr)
        << misdeed.name;
  }
  EXPECT_FALSE(std::filesystem::exists(directory_ / "store"))
      << "a refused file leaves nothing behind";
}

TEST_F(ZooTest, files_are_refused_when_the_mapping_is_not_what_the_file_said) {
  const Misdeed table[] = {
      {"entry_major_2", "connector.abi_major", "the mapped entry: abi_major is 2"},
      {"manifest_differs", "connector.manifest_differs", "not the one in the file's note"},
      {"manifest_pointer_wild", "connector.manifest_differs", "not the one in the file's note"},
      {"function_foreign", "connector.entry_invalid", "close is not a function of this library"},
      {"function_missing", "connector.entry_invalid", "query_extension is not a function"},
      {"undefined_symbol", "connector.load_failed", "undefined symbol: nobody_defines_this"},
  };
  for (const Misdeed& misdeed : table) {
    EXPECT_TRUE(inspect(content_of(animal(misdeed.name)))) << misdeed.name;
    Registry registry = this->registry();
    const auto code = registry.load_file(animal(misdeed.name));
    ASSERT_FALSE(code) << misdeed.name;
    EXPECT_EQ(code.error().code, misdeed.code) << misdeed.name;
    EXPECT_THAT(code.error().message, HasSubstr(misdeed.said)) << misdeed.name;
    EXPECT_TRUE(registry.list().empty());
  }
}

TEST(ElfFile, the_toys_facts_are_read) {
  const Result<Inspected> inspected = inspect(content_of(animal("toy")));
  ASSERT_TRUE(inspected) << inspected.error().describe();
  EXPECT_EQ(inspected->elf.abi_major, 1);
  EXPECT_EQ(inspected->elf.entry_size, 64u);
  EXPECT_THAT(inspected->elf.needed, testing::Contains("libc.so.6"));
  EXPECT_EQ(inspected->elf.exported, 0u);
  EXPECT_EQ(inspected->manifest.id, "toy");
  EXPECT_TRUE(inspected->warnings.empty());
}

TEST(ElfFile, a_file_cut_off_anywhere_is_refused_or_still_whole_where_it_counts) {
  const Bytes whole = content_of(animal("toy"));
  std::size_t refused = 0;
  for (std::size_t size = 0; size < whole.size(); size += 64) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const Result<ElfFacts> facts = read_elf(cut);
    if (facts) {
      EXPECT_EQ(facts->manifest, expect(read_elf(whole)).manifest) << "cut at " << size;
    } else {
      ++refused;
      EXPECT_EQ(facts.error().code, "connector.elf_malformed") << "cut at " << size;
      EXPECT_THAT(facts.error().hint, HasSubstr("again")) << "cut at " << size;
    }
  }
  EXPECT_GT(refused, 100u);
}

TEST(ElfFile, a_file_with_any_byte_changed_is_read_without_harm) {
  Bytes file = content_of(animal("toy"));
  const auto try_flips = [&](std::size_t at) {
    const std::uint8_t original = file[at];
    for (const int value : {0x00, 0x01, 0x7F, 0x80, 0xFF, original ^ 0x01, original ^ 0x80}) {
      file[at] = static_cast<std::uint8_t>(value);
      (void)read_elf(file);
    }
    file[at] = original;
  };
  for (std::size_t at = 0; at < std::min<std::size_t>(file.size(), 1024); ++at) try_flips(at);
  for (std::size_t at = 0; at < file.size(); at += 64) try_flips(at);
  // The dynamic segment, wherever it is: every byte of the last page of data too.
  for (std::size_t at = 1024; at < file.size(); at += 7) try_flips(at);
  EXPECT_TRUE(read_elf(file));
}

TEST(ElfFile, other_files_are_named_for_what_they_are) {
  EXPECT_EQ(read_elf({}).error().code, "connector.elf_malformed");
  for (const char* text : {"x", "#!/bin/sh\n", "MZ\x90",
                           "\x7f"
                           "elf",
                           "<html>", "{\"id\": \"toy\"}"}) {
    const Error error = read_elf(as_bytes(text)).error();
    EXPECT_EQ(error.code, "connector.not_elf") << text;
    EXPECT_THAT(error.message, HasSubstr("\\x7fELF"));
  }
  struct Foreign {
    std::size_t at;
    std::uint8_t value;
    const char* said;
  };
  const Foreign table[] = {{4, 1, "class 1"}, {5, 2, "byte order 2"}, {18, 8, "machine 8"}};
  for (const Foreign& foreign : table) {
    Bytes file = content_of(animal("toy"));
    file[foreign.at] = foreign.value;
    const Error error = read_elf(file).error();
    EXPECT_EQ(error.code, "connector.wrong_machine");
    EXPECT_THAT(error.message, HasSubstr(foreign.said));
    EXPECT_THAT(error.message, HasSubstr("this host is"));
  }
  Bytes program = content_of(animal("toy"));
  program[16] = 2;  // ET_EXEC
  EXPECT_THAT(read_elf(program).error().message, HasSubstr("no shared library"));
}

TEST(ElfFile, what_a_file_calls_itself_is_quoted_without_its_control_characters) {
  Bytes file = content_of(animal("needs_library"));
  const std::string_view name = "helper.so";
  const auto at = std::search(file.begin(), file.end(), name.begin(), name.end());
  ASSERT_NE(at, file.end());
  at[0] = 0x1B;
  at[1] = 0xFF;
  const Error error = inspect(file).error();
  EXPECT_EQ(error.code, "connector.needs_library");
  EXPECT_THAT(error.message, HasSubstr("'\\x1b\\xfflper.so'"));
}

TEST_F(ZooTest, the_store_keeps_one_read_only_copy_under_its_hash) {
  const Store store(directory_ / "store");
  const Result<Admitted> first = store.admit(animal("toy"));
  ASSERT_TRUE(first) << first.error().describe();
  EXPECT_EQ(first->path, directory_ / "store" / (first->sha256 + ".so"));
  EXPECT_EQ(content_of(first->path), content_of(animal("toy")));
  struct stat facts {};
  ASSERT_EQ(::stat(first->path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0444u);
  const Result<Admitted> again = store.admit(animal("toy"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->path, first->path);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(store.directory()), {}), 1)
      << "and no temporary file";
  EXPECT_EQ(expect(store.open(first->sha256)).inspected.manifest.id, "toy");
}

TEST_F(ZooTest, the_store_notices_that_a_file_was_changed) {
  const Store store(directory_ / "store");
  const Admitted admitted = expect(store.admit(animal("toy")));
  ASSERT_EQ(::chmod(admitted.path.c_str(), 0644), 0);
  std::ofstream(admitted.path, std::ios::app) << "x";
  EXPECT_EQ(store.open(admitted.sha256).error().code, "connector.store_damaged");
  EXPECT_EQ(expect(store.admit(animal("toy"))).path, admitted.path)
      << "the bytes that come have the hash that the name says";
  EXPECT_EQ(content_of(admitted.path), content_of(animal("toy")));
  EXPECT_TRUE(store.open(admitted.sha256));
  EXPECT_EQ(store.open("../../etc/passwd").error().code, "connector.not_found");
  EXPECT_EQ(store.open(std::string(64, '0')).error().code, "connector.not_found");
}

TEST_F(ZooTest, what_a_crash_left_in_the_store_goes_when_nobody_can_be_writing_to_it) {
  const Store store(directory_ / "store");
  const Admitted admitted = expect(store.admit(animal("toy")));
  const std::string stem = admitted.path.string();
  for (const char* name : {".AbC123", ".zzzzzz", ".toolong", ".damaged"})
    std::ofstream(stem + name) << "half";
  std::ofstream(store.directory() / "note.txt") << "somebody's";
  struct stat facts {};
  ASSERT_EQ(::stat((stem + ".AbC123").c_str(), &facts), 0);
  const Micros written = std::chrono::seconds(facts.st_mtim.tv_sec);
  EXPECT_EQ(store.remove_leftovers(written + std::chrono::minutes(59)), 0U);
  EXPECT_EQ(store.remove_leftovers(written + std::chrono::minutes(61)), 2U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(store.directory()), {}), 4);
  EXPECT_TRUE(store.open(admitted.sha256));
}

/// An older host admitted it; it lies in the store, or only in a directory of another host.
TEST_F(ZooTest, what_is_installed_is_loaded_although_a_younger_rule_would_refuse_it) {
  const std::filesystem::path file = animal("manifest_outdated");
  const Bytes content = content_of(file);
  const Error refused = inspect(content).error();
  EXPECT_EQ(refused.code, "connector.manifest_invalid");
  EXPECT_THAT(refused.message, HasSubstr("/config_schema/properties/colour/pattern"));
  const Inspected before = expect(inspect(content, contract::Admission::before));
  EXPECT_EQ(before.manifest.flaws.size(), 1U);

  std::filesystem::create_directory(directory_ / "shelf");
  std::filesystem::copy_file(file, directory_ / "shelf/outdated.so");
  Registry registry(Store(directory_ / "store"), {directory_ / "shelf"});
  EXPECT_EQ(registry.load_file(file).error().code, "connector.manifest_invalid");
  registry.shelf().rescan(Micros(0), Shelf::Haste::immediate);
  const ShelvedPtr shelved = registry.shelf().shelved();
  ASSERT_EQ(shelved->files.size(), 1U);
  EXPECT_EQ(shelved->files[0].state, FileState::refused) << "nobody installs it anew";
  const std::string sha256 = shelved->files[0].sha256;
  EXPECT_TRUE(registry.has(sha256));
  EXPECT_EQ(expect(registry.obtain(sha256))->manifest().flaws.size(), 1U);
  Registry restarted(Store(directory_ / "store"), {});
  EXPECT_EQ(expect(restarted.obtain(sha256))->manifest().flaws.size(), 1U);
}

/// As an author meets it, by the program that the build runs.
TEST_F(ZooTest, the_checker_names_the_rule_that_a_manifest_breaks) {
  const std::string command = std::string(SLUICE_BINARY_DIR "/bin/sluice-check-connector ") +
                              animal("manifest_forgets_interval").string() + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
    said.append(buffer, n);
  EXPECT_NE(::pclose(pipe), 0) << said;
  EXPECT_THAT(said, HasSubstr("/streams/1/interval_seconds"));
  EXPECT_THAT(said, HasSubstr("SLP-M01"));
}

TEST_F(ZooTest, only_regular_files_of_a_bearable_size_are_read) {
  const Store store(directory_ / "store");
  std::filesystem::create_symlink(animal("toy"), directory_ / "link.so");
  EXPECT_EQ(store.admit(directory_ / "link.so").error().code, "connector.not_regular");
  ASSERT_EQ(::mkfifo((directory_ / "fifo.so").c_str(), 0600), 0);
  EXPECT_EQ(store.admit(directory_ / "fifo.so").error().code, "connector.not_regular");
  EXPECT_EQ(store.admit(directory_).error().code, "connector.not_regular");
  EXPECT_EQ(store.admit("/dev/zero").error().code, "connector.not_regular");
  EXPECT_EQ(store.admit(directory_ / "none.so").error().code, "connector.not_found");
  std::ofstream(directory_ / "large.so").put('x');
  std::filesystem::resize_file(directory_ / "large.so", kConnectorFileBytesMax + 1);
  EXPECT_EQ(store.admit(directory_ / "large.so").error().code, "connector.too_large");
}

TEST_F(ZooTest, the_registry_loads_a_content_once_and_finds_it_again) {
  Registry registry = this->registry();
  const auto first = registry.load_file(animal("toy"));
  ASSERT_TRUE(first) << first.error().describe();
  const auto copy = directory_ / "another_name.so";
  std::filesystem::copy_file(animal("toy"), copy);
  EXPECT_EQ(*registry.load_file(copy), *first) << "same content, same code";
  EXPECT_EQ(registry.find((*first)->sha256()), *first);
  EXPECT_EQ(registry.find("none"), nullptr);
  EXPECT_EQ(*registry.load_stored((*first)->sha256()), *first);
  Registry restarted = this->registry();
  EXPECT_EQ(expect(restarted.load_stored((*first)->sha256()))->manifest().version, "1.2.3");
  EXPECT_EQ(restarted.list().size(), 1u);
}

TEST_F(ZooTest, a_scan_says_for_each_file_what_it_is_or_why_not) {
  std::filesystem::copy_file(animal("toy"), directory_ / "a.so");
  std::filesystem::copy_file(animal("no_note"), directory_ / "b.so");
  std::ofstream(directory_ / "readme.txt") << "no connector";
  const auto scanned = expect(Registry::scan(directory_));
  ASSERT_EQ(scanned.size(), 2u);
  ASSERT_TRUE(scanned[0].inspected);
  EXPECT_EQ(scanned[0].inspected->manifest.id, "toy");
  EXPECT_EQ(scanned[1].inspected.error().code, "connector.no_note");
  EXPECT_FALSE(Registry::scan(directory_ / "none"));
}

TEST_F(ZooTest, a_library_stays_mapped_after_its_code_is_gone) {
  const sluice::contract::SessionArgs args{.stream = "widgets"};
  std::unique_ptr<Session> session;
  std::filesystem::path stored;
  {
    Registry registry = this->registry();
    const auto code = expect(registry.load_file(animal("toy")));
    stored = registry.store().directory() / (code->sha256() + ".so");
    session = expect(code->open(args));
  }
  const contract::Input start{};
  EXPECT_TRUE(session->step(start)) << "a session keeps what it needs";
  session.reset();
  EXPECT_THAT(maps(), HasSubstr("toy-1.2.3-" + stored.stem().string().substr(0, 12)))
      << "and whoever looks at the process sees whose code it is";
}

/// Whether the twin of the toy that says so has been loaded into this process.
bool says_loaded() { return ::getenv("ZOO_SAYS_LOADED") != nullptr; }

/// By rename: whole, and at once.
void put_in_place(const std::filesystem::path& file, const std::filesystem::path& place) {
  const std::filesystem::path beside = place.string() + ".beside";
  std::filesystem::copy_file(file, beside, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::rename(beside, place);
}

TEST_F(ZooTest, what_was_judged_is_what_is_loaded) {
  ASSERT_EQ(::unsetenv("ZOO_SAYS_LOADED"), 0);
  const Bytes other = content_of(animal("says_loaded"));
  using Change = std::function<void(const std::filesystem::path&)>;
  const std::pair<const char*, Change> changes[] = {
      {"another file in its place",
       [](const auto& stored) { put_in_place(animal("says_loaded"), stored); }},
      {"other bytes in the same file",
       [&other](const auto& stored) {
         ASSERT_EQ(::chmod(stored.c_str(), 0644), 0);
         std::ofstream(stored, std::ios::binary | std::ios::trunc) << as_text(other);
       }},
      {"a link in its place",
       [](const auto& stored) {
         std::filesystem::remove(stored);
         std::filesystem::create_symlink(animal("says_loaded"), stored);
       }},
      {"nothing in its place", [](const auto& stored) { std::filesystem::remove(stored); }},
  };
  int number = 0;
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    // A directory each: the loader would answer a name that it knows with what it has.
    const Store store(directory_ / ("store" + std::to_string(number++)));
    const Admitted admitted = expect(store.admit(animal("toy")));
    change(admitted.path);
    const auto code = load_in_process(admitted, nullptr);
    EXPECT_TRUE(code) << code.error().describe();
    EXPECT_FALSE(says_loaded());
    ::unsetenv("ZOO_SAYS_LOADED");
  }
}

TEST_F(ZooTest, whoever_swaps_the_file_as_fast_as_he_can_has_nothing_of_his_loaded) {
  ASSERT_EQ(::unsetenv("ZOO_SAYS_LOADED"), 0);
  const std::string sha256 = expect(Store(directory_ / "first").admit(animal("toy"))).sha256;
  std::atomic<int> round{0};
  std::atomic<bool> over{false};
  const auto place = [&](int n) { return directory_ / std::to_string(n) / (sha256 + ".so"); };
  constexpr int kRounds = 60;
  for (int n = 0; n < kRounds; ++n) {
    std::filesystem::create_directory(directory_ / std::to_string(n));
    for (const char* name : {"toy", "says_loaded"})
      std::filesystem::copy_file(animal(name), place(n).parent_path() / name);
    std::filesystem::create_hard_link(place(n).parent_path() / "toy", place(n));
  }
  std::thread swaps([&] {
    for (std::size_t at = 0; !over; ++at) {
      const std::filesystem::path stored = place(round);
      const std::filesystem::path beside = stored.string() + ".beside";
      std::error_code ignored;
      std::filesystem::create_hard_link(
          stored.parent_path() / (at % 2 == 0 ? "says_loaded" : "toy"), beside, ignored);
      std::filesystem::rename(beside, stored, ignored);
    }
  });
  int loaded = 0;
  for (int n = 0; n < kRounds; ++n) {
    round = n;
    Registry registry(Store(directory_ / std::to_string(n)));
    for (int look = 0; look < 20; ++look) {
      const auto code = registry.load_stored(sha256);
      if (code) {
        ++loaded;
        break;
      }
      EXPECT_EQ(code.error().code, "connector.store_damaged") << "read in a moment of the other";
    }
    if (says_loaded()) break;
  }
  over = true;
  swaps.join();
  EXPECT_FALSE(says_loaded()) << "in round " << loaded;
  EXPECT_GT(loaded, kRounds / 2) << "it was hardly ever tried";
  ::unsetenv("ZOO_SAYS_LOADED");
}

TEST_F(ZooTest, the_store_is_its_hosts_alone) {
  const std::filesystem::path place = directory_ / "store";
  const auto mode = [&] {
    struct stat facts {};
    EXPECT_EQ(::lstat(place.c_str(), &facts), 0);
    return facts.st_mode & 07777;
  };
  const Store store(place);
  EXPECT_TRUE(store.check()) << "there is none yet";
  const mode_t mask = ::umask(0);
  const std::string sha256 = expect(store.admit(animal("toy"))).sha256;
  ::umask(mask);
  EXPECT_EQ(mode(), 0700u);
  // Ours, as the versions before left it.
  for (const int open : {0755, 0775, 0777, 01777}) {
    ASSERT_EQ(::chmod(place.c_str(), static_cast<mode_t>(open)), 0);
    EXPECT_TRUE(store.open(sha256)) << std::oct << open;
    EXPECT_EQ(mode(), 0700u);
  }
  const auto refused = [&](const std::string& why) {
    const auto looked = store.check();
    const auto opened = store.open(sha256);
    const auto admitted = store.admit(animal("toy"));
    ASSERT_FALSE(looked || opened || admitted) << why;
    for (const Error& said : {looked.error(), opened.error(), admitted.error()}) {
      EXPECT_EQ(said.code, "connector.store_foreign");
      EXPECT_EQ(said.kind, ErrorKind::denied);
      EXPECT_THAT(said.message, HasSubstr(place.string() + " " + why));
    }
  };
  const std::filesystem::path aside = directory_ / "aside";
  std::filesystem::rename(place, aside);
  std::filesystem::create_directory_symlink(aside, place);
  refused("is no directory");
  std::filesystem::remove(place);
  std::ofstream(place) << "a file";
  refused("is no directory");
  std::filesystem::remove(place);
  std::filesystem::rename(aside, place);
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give directories away";
  constexpr uid_t kNobody = 65534;
  for (const int given : {0700, 0755, 0777}) {
    ASSERT_EQ(::chmod(place.c_str(), static_cast<mode_t>(given)), 0);
    ASSERT_EQ(::chown(place.c_str(), kNobody, kNobody), 0);
    refused("belongs to nobody");
    EXPECT_EQ(mode(), static_cast<mode_t>(given)) << "it stays as it is";
    ASSERT_EQ(::chown(place.c_str(), 0, 0), 0);
  }
  EXPECT_TRUE(store.open(sha256));
}

TEST_F(ZooTest, a_file_that_is_mapped_and_refused_is_not_mapped_again) {
  Registry registry = this->registry();
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  for (const char* name : {"manifest_differs", "undefined_symbol"}) {
    const Error first = registry.load_file(animal(name)).error();
    const auto before = descriptors();
    for (int again = 0; again < 5; ++again)
      EXPECT_EQ(registry.load_file(animal(name)).error().code, first.code);
    EXPECT_EQ(descriptors(), before) << name;
  }
}

}  // namespace
}  // namespace sluice::connector
