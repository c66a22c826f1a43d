#include "wiring/config.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include <unistd.h>

namespace sluice::wiring {
namespace {

class ConfigFile : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    path_ = std::filesystem::temp_directory_path() /
            ("sluice-config-" + std::to_string(::getpid()) + ".json");
    std::ofstream(path_) << text;
    return path_;
  }
  ~ConfigFile() override { std::filesystem::remove(path_); }
  std::filesystem::path path_;
};

TEST_F(ConfigFile, without_anything_every_setting_has_its_default) {
  const auto config = read_config({}, {{"HOME", "/home/ann"}}, {});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->listen_port, 8420);
  EXPECT_TRUE(config->database_url.empty());
  EXPECT_EQ(config->root_key_file, config->data_directory / "root.key");
}

TEST_F(ConfigFile, the_file_gives_way_to_the_environment_and_that_to_the_command_line) {
  const auto file = write(
      R"({"listen": {"port": 1000}, "sync.poll_ms": 100, /* a comment */ "log": {"level": "debug"}})");
  const auto config = read_config(
      file, {{"SLUICE_LISTEN_PORT", "2000"}, {"SLUICE_SYNC_POLL_MS", "200"}}, {"listen.port=3000"});
  ASSERT_TRUE(config) << config.error().describe();
  EXPECT_EQ(config->listen_port, 3000);
  EXPECT_EQ(config->poll_ms, 200);
  EXPECT_EQ(config->log_level, "debug");
}

struct Refused {
  const char* name;
  const char* file;
  const char* code;
  const char* says;
};

class RefusedConfig : public ConfigFile, public ::testing::WithParamInterface<Refused> {};

TEST_P(RefusedConfig, says_what_stands_there_and_what_should) {
  const auto config = read_config(write(GetParam().file), {}, {});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, GetParam().code);
  EXPECT_NE(config.error().describe().find(GetParam().says), std::string::npos)
      << config.error().describe();
}

INSTANTIATE_TEST_SUITE_P(
    Files, RefusedConfig,
    ::testing::Values(
        Refused{"unknown_key", R"({"listn": {"port": 1}})", "config.unknown_key", "listen.port"},
        Refused{"wrong_type", R"({"listen": {"port": "80"}})", "config.bad_value", "0 to 65535"},
        Refused{"out_of_range", R"({"listen": {"port": 70000}})", "config.bad_value", "70000"},
        Refused{"not_json", R"({"listen": )", "config.not_json", "JSON object"},
        Refused{"not_an_object", R"([1])", "config.not_json", "JSON object"},
        Refused{"bad_level", R"({"log.level": "loud"})", "config.bad_value", "debug, info"},
        Refused{"bad_area_level", R"({"log.levels": ["fetch=loud"]})", "config.bad_value",
                "area=level"},
        Refused{"bad_log_format", R"({"log.format": "xml"})", "config.bad_value", "auto, json"},
        Refused{"bad_workspace", R"({"workspace.default": "My Team"})", "config.bad_value",
                "begins with a letter"}),
    [](const auto& crash) { return std::string(crash.param.name); });

TEST_F(ConfigFile, a_connection_string_that_is_refused_is_not_quoted) {
  const auto config = read_config({}, {}, {"database.url=hunter2"});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().describe().find("hunter2"), std::string::npos)
      << config.error().describe();
}

TEST_F(ConfigFile, an_unknown_variable_of_ours_is_refused_like_an_unknown_key) {
  const auto config = read_config({}, {{"SLUICE_LISTEN_PROT", "1"}}, {});
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().describe().find("SLUICE_LISTEN_PROT"), std::string::npos);
}

}  // namespace
}  // namespace sluice::wiring
