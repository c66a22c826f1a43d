// Every file that is no connector, dropped into the directory of a host that is at work: each is
// refused with words of its own, and the host goes on. The animals are those of tests/plugins/zoo.
#include <fstream>
#include <set>
#include <thread>

#include "e2e/rest.hpp"
#include "e2e/toy_world.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Misdeed {
  const char* name;
  const char* code;
  const char* said;
};

/// Refused by looking at the file.
constexpr Misdeed kRefused[] = {
    {"abi_major_2", "connector.abi_major", "abi_major is 2"},
    {"required_minor_99", "connector.abi_minor", "required_minor is 99"},
    {"no_note", "connector.no_note", "no note"},
    {"two_notes", "connector.two_notes", "2 notes"},
    {"entry_is_function", "connector.entry_is_function", "is a function"},
    {"entry_missing", "connector.entry_missing", "does not export"},
    {"entry_too_small", "connector.entry_too_small", "8 bytes"},
    {"entry_from_dependency", "connector.entry_foreign", "not defined"},
    {"manifest_invalid", "connector.manifest_invalid", "/id"},
    {"manifest_damaged", "connector.manifest_invalid", "no valid JSON"},
    {"needs_library", "connector.needs_library", "helper.so"},
    {"search_path", "connector.search_path", "/tmp/evil"},
    {"executable_stack", "connector.executable_stack", "executable stack"},
    {"made_up_text", "connector.not_elf", "does not begin with"},
    {"made_up_machine", "connector.wrong_machine", "machine 8"},
    {"made_up_link", "connector.not_regular", ""},
};

/// Looks right until it is mapped: refused when somebody wants it.
constexpr Misdeed kRefusedWhenInstalled[] = {
    {"undefined_symbol", "connector.load_failed", "undefined symbol: nobody_defines_this"},
    {"entry_major_2", "connector.abi_major", "the mapped entry"},
    {"manifest_differs", "connector.manifest_differs", "not the one in the file's note"},
    {"function_foreign", "connector.entry_invalid", "close is not a function"},
};

constexpr std::size_t kCuts = 40;

class Zoo : public ToyWorld {
 protected:
  static fs::path animal(const std::string& name) {
    return fs::path(SLUICE_BINARY_DIR) / "zoo" / (name + ".so");
  }

  /// As an installer does it: under another name first, and with the time it had where it came
  /// from.
  void drop(const std::string& name, const std::string& content) {
    const fs::path coming = cage_ / (name + ".coming");
    std::ofstream(coming, std::ios::binary) << content;
    fs::last_write_time(coming, fs::file_time_type::clock::now() - std::chrono::hours(1));
    fs::rename(coming, cage_ / (name + ".so"));
  }

  void drop_everything() {
    for (const Misdeed& misdeed : kRefused) {
      if (!std::string(misdeed.name).starts_with("made_up"))
        drop(misdeed.name, read_file(animal(misdeed.name)));
    }
    for (const Misdeed& misdeed : kRefusedWhenInstalled)
      drop(misdeed.name, read_file(animal(misdeed.name)));
    std::string toy = read_file(animal("toy"));
    for (std::size_t i = 0; i < kCuts; ++i)
      drop("cut_" + std::to_string(i), toy.substr(0, toy.size() / 2 * i / kCuts));
    drop("made_up_text", "#!/bin/sh\necho I am no connector\n");
    toy[18] = 8;
    drop("made_up_machine", toy);
    fs::create_symlink(animal("toy"), cage_ / "made_up_link.so");
  }

  /// What the host says of each file in the cage, by the file's stem.
  std::map<std::string, json> seen() {
    std::map<std::string, json> files;
    const json shelf = host_->client().global("GET", "/v1/connectors");
    for (const json& file : shelf["files"]) {
      const fs::path path = file["file"].get<std::string>();
      if (path.parent_path() == cage_) files.emplace(path.stem(), file);
    }
    return files;
  }

  fs::path cage_ = directory_ / "cage";
};

TEST_F(Zoo, files_that_are_no_connectors_are_refused_by_a_host_at_work_which_goes_on_working) {
  fs::create_directory(cage_);
  open_shop(50, 5, {cage_.string()});
  connect("toyc");
  expect_the_shops_truth("toyc");
  const int pid = host_->process().pid();

  drop_everything();
  const std::size_t dropped = std::size(kRefused) + std::size(kRefusedWhenInstalled) + kCuts;
  ASSERT_TRUE(eventually(std::chrono::seconds(60),
                         [&] {
                           const auto files = seen();
                           return files.size() == dropped &&
                                  std::ranges::all_of(files, [](const auto& file) {
                                    return file.second["state"] != "incomplete";
                                  });
                         }))
      << seen().size() << " of " << dropped;

  auto files = seen();
  std::set<std::string> messages;
  for (const Misdeed& misdeed : kRefused) {
    const json& file = files.at(misdeed.name);
    EXPECT_EQ(file["state"], "refused") << misdeed.name;
    ASSERT_TRUE(file["reason"].is_object()) << file;
    EXPECT_EQ(file["reason"]["code"], misdeed.code) << misdeed.name;
    const std::string message = file["reason"]["message"];
    EXPECT_NE(message.find(misdeed.said), std::string::npos) << misdeed.name << ": " << message;
    EXPECT_TRUE(messages.insert(message).second) << misdeed.name << ": " << message;
  }
  for (std::size_t i = 0; i < kCuts; ++i) {
    const json& file = files.at("cut_" + std::to_string(i));
    EXPECT_EQ(file["state"], "refused") << i;
    EXPECT_EQ(file["reason"]["code"], "connector.elf_malformed") << file;
  }

  cli::Client client = host_->client();
  for (const Misdeed& misdeed : kRefusedWhenInstalled) {
    json body;
    body["sha256"] = files.at(misdeed.name)["sha256"];
    try {
      client.send("POST", "/connectors/toy/install", body);
      ADD_FAILURE() << misdeed.name << " was installed";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.error().code, misdeed.code) << failure.what();
      EXPECT_NE(failure.error().message.find(misdeed.said), std::string::npos) << failure.what();
    }
  }
  files = seen();
  for (const Misdeed& misdeed : kRefusedWhenInstalled)
    EXPECT_EQ(files.at(misdeed.name)["reason"]["code"], misdeed.code) << files.at(misdeed.name);

  // A good one among them is still let in, and the work goes on in the same process.
  drop("toy", read_file(animal("toy")));
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    const auto now = seen();
    return now.contains("toy") && now.at("toy")["state"] == "admitted";
  }));
  vendor_->post("put", {{"type", "makers"}, {"id", "m00002"}, {"set", {{"name", "Unharmed"}}}});
  EXPECT_TRUE(becomes("toyc", "maker", "name", "m00002", "Unharmed")) << host_->log();
  EXPECT_TRUE(host_->process().running());
  EXPECT_EQ(host_->process().pid(), pid);
  EXPECT_EQ(host_->stop(), 0) << host_->log();
}

// Airbyte #38617 again, as bad as it gets: code that never comes back, of several connections.
TEST_F(Zoo, a_connector_that_computes_for_ever_is_named_and_holds_up_neither_others_nor_the_stop) {
  fs::create_directory(cage_);
  drop("computes_for_ever", read_file(animal("computes_for_ever")));
  open_shop(50, 5, {cage_.string()});
  cli::Client client = host_->client();
  client.send("POST", "/connectors/toy/install", json::object());
  // Two streams each, and the check below: more steps than the connector may lose
  // (kStepsLostOfConnectorMax).
  const auto stick = [&client](const std::string& name, const char* how) {
    json body;
    body["connector"] = "toy";
    body["name"] = name;
    body["second_connection"] = true;
    body["config"]["colour"] = how;
    body["secrets"]["api_key"] = "some";
    client.send("POST", "/connections", body);
  };
  stick("stuck_0", "burn");
  const auto hanging = [&] {
    int found = 0;
    const json errors = client.get("/errors")["errors"];
    for (const json& error : errors) found += error["code"] == "work.hangs" ? 1 : 0;
    return found;
  };
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return hanging() == 2; }))
      << client.get("/errors") << host_->log();

  // Nor does a check that hangs while an admin waits for its answer.
  std::thread admin([this] {
    json body;
    body["connector"] = "toy";
    body["name"] = "never_made";
    body["config"]["colour"] = "dark";
    body["secrets"]["api_key"] = "some";
    EXPECT_THROW(host_->client().send("POST", "/connections", body), Failure);
  });
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] { return hanging() == 3; }))
      << client.get("/errors");
  stick("stuck_1", "hang");
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] { return hanging() == 4; }))
      << client.get("/errors");
  EXPECT_NE(client.get("/errors").dump().find("in one step (checking the key)"), std::string::npos);

  connect("toyc");
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return difference("toyc").empty(); }))
      << difference("toyc") << host_->log();
  vendor_->post("put", {{"type", "makers"}, {"id", "m00002"}, {"set", {{"name", "Served"}}}});
  EXPECT_TRUE(becomes("toyc", "maker", "name", "m00002", "Served")) << host_->log();

  const Said said = run_sluice(directory_, host_->url(), host_->token(), {"errors"});
  EXPECT_EQ(said.code, 75) << said.errors;
  for (const char* part : {"work stuck_0/stuck_0 (work.hangs)", "in one step (stream widgets)",
                           "in one step (stream boxes)", "to do: other connections go on"})
    EXPECT_NE(said.output.find(part), std::string::npos) << part << " is not in " << said.output;
  const Said status = run_sluice(directory_, host_->url(), host_->token(), {"status", "stuck_1"});
  EXPECT_NE(status.output.find("the connector has been computing for"), std::string::npos)
      << status.output;

  EXPECT_EQ(host_->stop(), 79);
  admin.join();
  EXPECT_NE(host_->log().find("host.stop_forced"), std::string::npos) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return read_file(directory_ / "data/postgres/postmaster.pid").empty();
  })) << "its private database was stopped with it";
}

}  // namespace
}  // namespace sluice::e2e
