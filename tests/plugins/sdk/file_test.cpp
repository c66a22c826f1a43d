// The files that sluice_add_connector() makes, looked at from outside.
#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <sluice/connector.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

std::string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

/// The output of a command; fails the test when it does not end well.
std::string shell(const std::string& command) {
  std::string out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  for (std::size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << out;
  return out;
}

/// The manifests in the Sluice notes of a file, found through its program headers only.
std::vector<std::string> manifests_of(const fs::path& path) {
  const std::string file = read_all(path);
  std::vector<std::string> found;
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof(header));
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment,
                file.data() + header.e_phoff + static_cast<std::size_t>(i) * sizeof(segment),
                sizeof(segment));
    if (segment.p_type != PT_NOTE) continue;
    const auto up = [](std::size_t n) { return (n + 3) / 4 * 4; };
    for (std::size_t at = segment.p_offset; at + 12 <= segment.p_offset + segment.p_filesz;) {
      Elf64_Nhdr note;
      std::memcpy(&note, file.data() + at, sizeof(note));
      const std::string owner(file.data() + at + 12, note.n_namesz);
      const std::size_t description = at + 12 + up(note.n_namesz);
      if (owner == std::string("Sluice", 7) && note.n_type == SLUICE_NOTE_TYPE) {
        std::uint32_t format = 0;
        std::uint16_t major = 0;
        std::uint32_t size = 0;
        std::memcpy(&format, file.data() + description, 4);
        std::memcpy(&major, file.data() + description + 4, 2);
        std::memcpy(&size, file.data() + description + 8, 4);
        EXPECT_EQ(format, SLUICE_NOTE_FORMAT);
        EXPECT_EQ(major, SLUICE_ABI_MAJOR);
        EXPECT_EQ(note.n_descsz, size + 12);
        found.push_back(file.substr(description + 12, size));
      }
      at = description + up(note.n_descsz);
    }
  }
  return found;
}

std::string expected_manifest() {
  return read_all(SLUICE_SOURCE_DIR "/plugin-api/template/manifest.json");
}
const fs::path kAcme = SLUICE_SDK_TEST_DIR "/acme.so";

TEST(SdkFile, the_note_holds_the_manifest_exactly_once) {
  ASSERT_EQ(manifests_of(kAcme).size(), 1u);
  EXPECT_EQ(manifests_of(kAcme)[0], expected_manifest());
}

TEST(SdkFile, the_note_survives_strip_even_without_section_headers) {
  const fs::path stripped = SLUICE_SDK_TEST_DIR "/acme_stripped.so";
  shell("strip --strip-all -o " + stripped.string() + " " + kAcme.string());
  ASSERT_EQ(manifests_of(stripped).size(), 1u);
  EXPECT_EQ(manifests_of(stripped)[0], expected_manifest());
  EXPECT_LT(fs::file_size(stripped), fs::file_size(kAcme));
}

TEST(SdkFile, one_symbol_is_exported_and_it_is_data) {
  const std::string symbols = shell("nm -D --defined-only " + kAcme.string());
  EXPECT_EQ(std::count(symbols.begin(), symbols.end(), '\n'), 1) << symbols;
  EXPECT_NE(symbols.find(" D sluice_connector_v1"), std::string::npos) << symbols;
}

TEST(SdkFile, the_stack_is_not_executable_and_nothing_is_bound_late) {
  const std::string headers = shell("readelf -Wld " + kAcme.string());
  EXPECT_NE(headers.find("GNU_STACK"), std::string::npos);
  EXPECT_EQ(headers.find("RWE"), std::string::npos) << headers;
  EXPECT_NE(headers.find("NOW"), std::string::npos) << headers;
  EXPECT_NE(headers.find("GNU_RELRO"), std::string::npos);
  EXPECT_EQ(headers.find("RUNPATH"), std::string::npos);
  EXPECT_EQ(headers.find("RPATH"), std::string::npos);
}

TEST(SdkFile, the_entry_points_at_the_notes_bytes) {
  void* handle = dlopen(kAcme.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  const auto* entry = static_cast<const sluice_entry_v1*>(dlsym(handle, SLUICE_ENTRY_SYMBOL));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->struct_size, sizeof(sluice_entry_v1));
  EXPECT_EQ(entry->abi_major, SLUICE_ABI_MAJOR);
  EXPECT_EQ(entry->required_minor, 0);
  const std::string mapped(reinterpret_cast<const char*>(entry->manifest), entry->manifest_size);
  EXPECT_EQ(mapped, expected_manifest());
  EXPECT_EQ(entry->query_extension(sluice_bytes{nullptr, 0}), nullptr);
}

/// As a third party does it: install the SDK somewhere, copy the template, build it against what
/// was installed.
TEST(SdkFile, the_template_builds_outside_the_tree_against_installed_headers) {
  const fs::path place = SLUICE_SDK_TEST_DIR "/third_party";
  fs::remove_all(place);
  fs::create_directories(place);
  const std::string cmake = SLUICE_CMAKE;
  shell(cmake + " --install " SLUICE_BINARY_DIR " --component plugin-sdk --prefix " +
        (place / "sdk").string());
  fs::copy(SLUICE_SOURCE_DIR "/plugin-api/template", place / "acme", fs::copy_options::recursive);
  for (const char* flags : {"-O2", "-O2 -flto"}) {
    const fs::path build = place / (std::strlen(flags) > 3 ? "build_lto" : "build");
    shell(cmake + " -S " + (place / "acme").string() + " -B " + build.string() +
          " -DCMAKE_PREFIX_PATH=" + (place / "sdk").string() + " \"-DCMAKE_CXX_FLAGS=" + flags +
          "\"");
    shell(cmake + " --build " + build.string());
    const fs::path made = build / "connectors/acme.so";
    ASSERT_TRUE(fs::exists(made));
    shell("strip --strip-all " + made.string());
    ASSERT_EQ(manifests_of(made).size(), 1u) << flags;
    EXPECT_EQ(manifests_of(made)[0], expected_manifest()) << flags;
    const std::string needed = shell("readelf -Wd " + made.string() + " | grep NEEDED");
    EXPECT_EQ(needed.find("stdc++"), std::string::npos) << needed;
    EXPECT_EQ(needed.find("libgcc_s"), std::string::npos) << needed;
    const std::string symbols = shell("nm -D --defined-only " + made.string());
    EXPECT_EQ(std::count(symbols.begin(), symbols.end(), '\n'), 1) << symbols;
  }
}

/// What a command said; `ok`: whether it ended with 0.
std::string tried(const std::string& command, bool& ok) {
  std::string out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  for (std::size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
  ok = pclose(pipe) == 0;
  return out;
}

TEST(SdkFile, a_manifest_that_a_host_would_refuse_ends_the_build_and_its_place_is_named) {
  const fs::path place = SLUICE_SDK_TEST_DIR "/refused";
  fs::remove_all(place);
  fs::create_directories(place);
  fs::copy(SLUICE_SOURCE_DIR "/plugin-api/template", place / "acme", fs::copy_options::recursive);
  shell(std::string(SLUICE_CMAKE) +
        " --install " SLUICE_BINARY_DIR " --component plugin-sdk --prefix " +
        (place / "sdk").string());
  // One that the schema lets through and the host does not: a type that no stream lists.
  std::string manifest = read_all(place / "acme/manifest.json");
  const std::string types = "\"entity_types\": [\n    {";
  const std::size_t at = manifest.find(types);
  ASSERT_NE(at, std::string::npos) << manifest;
  manifest.insert(at + types.size() - 1,
                  R"({"name": "stray", "attributes": [{"name": "x", "type": "text"}]}, )");
  std::ofstream(place / "acme/manifest.json") << manifest;
  const std::string configure = std::string(SLUICE_CMAKE) + " -S " + (place / "acme").string() +
                                " -B " + (place / "build").string() +
                                " -DCMAKE_PREFIX_PATH=" + (place / "sdk").string();
  const std::string build = std::string(SLUICE_CMAKE) + " --build " + (place / "build").string();
  shell(configure);
  bool ok = true;
  const std::string said = tried(build, ok);
  EXPECT_FALSE(ok) << said;
  EXPECT_NE(said.find("stray"), std::string::npos) << said;
  EXPECT_NE(said.find("/entity_types/"), std::string::npos) << said;
  shell(configure + " -DSLUICE_CHECK_CONNECTORS=OFF");
  shell(build);
}

}  // namespace
