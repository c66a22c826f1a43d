#include "wiring/config.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

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

TEST_F(ConfigFile, a_package_refuses_failpoints_and_a_build_for_tests_takes_them) {
  const auto config = read_config({}, {{"SLUICE_FAILPOINTS", "a.name=kill"}}, {});
#ifdef SLUICE_NO_FAILPOINTS
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, "config.no_failpoints");
#else
  EXPECT_TRUE(config);
#endif
}

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
        Refused{"no_connections", R"({"sync.connections_max": 0})", "config.bad_value",
                "1 to 10000"},
        Refused{"deletes_beyond_all", R"({"sync": {"delete_percent_max": 101}})",
                "config.bad_value", "0 to 100"},
        Refused{"deletes_in_part", R"({"sync.delete_percent_max": 0.2})", "config.bad_value",
                "a whole number"},
        Refused{"pages_too_small", R"({"sync.page_bytes_in_flight_max": 1000})", "config.bad_value",
                "1048576 to"},
        Refused{"never_rescans", R"({"connectors.rescan_seconds": 0})", "config.bad_value",
                "1 to 86400"},
        Refused{"asks_nobody", R"({"fetch": {"pace_percent": 0}})", "config.bad_value",
                "1 to 10000"},
        Refused{"one_directory", R"({"connectors.directories": "/srv"})", "config.bad_value",
                "a list of strings"},
        Refused{"not_json", R"({"listen": )", "config.not_json", "JSON object"},
        Refused{"not_an_object", R"([1])", "config.not_json", "JSON object"},
        Refused{"bad_level", R"({"log.level": "loud"})", "config.bad_value", "debug, info"},
        Refused{"bad_area_level", R"({"log.levels": ["fetch=loud"]})", "config.bad_value",
                "area=level"},
        Refused{"bad_log_format", R"({"log.format": "xml"})", "config.bad_value", "auto, json"},
        Refused{"bad_workspace", R"({"workspace.default": "My Team"})", "config.bad_value",
                "begins with a letter"}),
    [](const auto& crash) { return std::string(crash.param.name); });

TEST_F(ConfigFile, what_is_no_json_is_told_by_its_place_and_in_no_librarys_words) {
  const auto comma = read_config(write("{\n  \"listen.port\": 1,\n}"), {}, {});
  ASSERT_FALSE(comma);
  EXPECT_NE(comma.error().message.find("line 3, column 1: unexpected '}'"), std::string::npos)
      << comma.error().message;
  EXPECT_EQ(comma.error().message.find("json.exception"), std::string::npos);
  const auto password =
      read_config(write(R"({"database.url": "postgresql://a:hunter2@db/x)"), {}, {});
  ASSERT_FALSE(password);
  EXPECT_EQ(password.error().describe().find("hunter2"), std::string::npos)
      << password.error().describe();
}

TEST_F(ConfigFile, a_connection_string_that_is_refused_is_not_quoted) {
  for (const char* setting : {"database.url=hunter2", "database.owner_url=hunter2"}) {
    const auto config = read_config({}, {}, {setting});
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().describe().find("hunter2"), std::string::npos)
        << config.error().describe();
  }
}

TEST_F(ConfigFile, a_setting_that_may_hold_a_password_is_not_quoted_whatever_it_is) {
  for (const char* key : {"database.url", "database.owner_url", "fetch.proxy"}) {
    for (const char* value :
         {R"(["http://user:hunter2@proxy:3128"])", R"({"password":"hunter2"})"}) {
      const auto config =
          read_config(write(std::string("{\"") + key + "\":" + value + "}"), {}, {});
      ASSERT_FALSE(config);
      EXPECT_EQ(config.error().code, "config.bad_value");
      EXPECT_EQ(config.error().describe().find("hunter2"), std::string::npos)
          << config.error().describe();
    }
  }
}

TEST_F(ConfigFile, an_owner_of_a_private_database_is_refused) {
  const std::string owner = "database.owner_url=postgresql://sluice_dba@db/sluice";
  const auto alone = read_config({}, {}, {owner});
  ASSERT_FALSE(alone);
  EXPECT_EQ(alone.error().code, "config.bad_value");
  EXPECT_TRUE(read_config({}, {}, {owner, "database.url=postgresql://sluice_app@db/sluice"}));
}

TEST_F(ConfigFile, an_unknown_variable_of_ours_is_refused_like_an_unknown_key) {
  const auto config = read_config({}, {{"SLUICE_LISTEN_PROT", "1"}}, {});
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().describe().find("SLUICE_LISTEN_PROT"), std::string::npos);
}

TEST_F(ConfigFile, what_somebody_has_set_for_the_command_line_is_no_setting) {
  for (const char* name : {"SLUICE_URL", "SLUICE_TOKEN", "SLUICE_WORKSPACE", "SLUICE_CONTEXT",
                           "SLUICE_CA_FILE", "SLUICE_INSECURE", "SLUICE_SQL_USER"})
    EXPECT_TRUE(read_config({}, {{name, "1"}}, {})) << name;
}

TEST(ConfigKeys, are_those_that_the_document_for_operators_has_and_no_others) {
  std::ifstream file(std::filesystem::path(SLUICE_SOURCE_DIR) / "docs/operating/README.md");
  std::ostringstream text;
  text << file.rdbuf();
  const std::string document = text.str();
  std::set<std::string> known;
  for (const ConfigKey& key : config_keys()) {
    known.insert(std::string(key.key));
    EXPECT_NE(document.find("`" + std::string(key.key) + "`"), std::string::npos) << key.key;
  }
  // The first cell of each row of a table may name several.
  static const std::regex kRow("\n\\| (`[^|]*)\\|");
  static const std::regex kKey("`([a-z]+\\.[a-z_]+)`");
  int rows = 0;
  for (std::sregex_iterator row(document.begin(), document.end(), kRow), end; row != end; ++row) {
    const std::string cell = (*row)[1];
    for (std::sregex_iterator key(cell.begin(), cell.end(), kKey); key != end; ++key, ++rows)
      EXPECT_TRUE(known.contains((*key)[1])) << (*key)[1];
  }
  EXPECT_GE(rows, 15);
}

}  // namespace
}  // namespace sluice::wiring
