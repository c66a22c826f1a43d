// Bad input: one clear message that says what, where and what to do, and an exit code that says of
// what kind.
#include <signal.h>

#include <fstream>
#include <utility>

#include "e2e/raw_client.hpp"
#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Refusal : public World {
 protected:
  /// Runs sluiced to its end.
  std::pair<int, std::string> run(std::vector<std::string> arguments,
                                  std::map<std::string, std::string> environment = {}) {
    Launch launch;
    launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluiced";
    launch.arguments = std::move(arguments);
    launch.environment = std::move(environment);
    launch.output = directory_ / "refused.out";
    launch.errors = directory_ / "refused.err";
    Process process(launch);
    const int code = process.wait(std::chrono::seconds(90));
    return {code, read_file(launch.errors)};
  }
  std::string data() const { return (directory_ / "data").string(); }
};

TEST_F(Refusal, an_unknown_configuration_key_is_named_with_the_nearest_known_one) {
  std::ofstream(directory_ / "sluice.json") << R"({"databse": {"url": "postgresql:///x"}})";
  const auto [code, text] =
      run({"--config", (directory_ / "sluice.json").string(), "--data", data()});
  EXPECT_EQ(code, 78);
  EXPECT_NE(text.find("databse.url"), std::string::npos) << text;
  EXPECT_NE(text.find("Did you mean 'database.url'"), std::string::npos) << text;
}

TEST_F(Refusal, an_ill_typed_value_is_named_with_what_it_must_be) {
  const auto [code, text] = run({"--data", data(), "--set", "listen.port=many"});
  EXPECT_EQ(code, 78);
  EXPECT_NE(text.find("listen.port"), std::string::npos) << text;
  EXPECT_NE(text.find("0 to 65535"), std::string::npos) << text;
}

TEST_F(Refusal, an_unknown_option_is_a_usage_error) { EXPECT_EQ(run({"--colour=blue"}).first, 64); }

TEST_F(Refusal, a_directory_that_was_there_is_left_as_it_is_and_refused_where_others_may_write) {
  namespace fs = std::filesystem;
  const fs::path theirs = directory_ / "theirs";
  fs::create_directory(theirs);
  for (const int mode : {01777, 0775, 0757}) {
    fs::permissions(theirs, fs::perms(mode));
    const auto [code, text] = run({"--data", theirs.string()});
    EXPECT_EQ(code, 73) << text;
    EXPECT_NE(text.find("data_directory.open"), std::string::npos) << text;
    EXPECT_EQ(fs::status(theirs).permissions(), fs::perms(mode));
    EXPECT_TRUE(fs::is_empty(theirs));
  }
  // Told to the end: an unreachable database ends this start after the directory was looked at.
  fs::permissions(theirs, fs::perms(0700));
  EXPECT_EQ(run({"--data", theirs.string()},
                {{"SLUICE_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere"}})
                .first,
            69);
  EXPECT_EQ(fs::status(theirs).permissions(), fs::perms(0700)) << "a closed home stays closed";
  std::ofstream(directory_ / "file") << "x";
  EXPECT_EQ(run({"--data", (directory_ / "file").string()}).first, 73);
}

TEST_F(Refusal, a_database_that_cannot_be_reached_is_named_without_its_password) {
  const auto [code, text] =
      run({"--data", data()},
          {{"SLUICE_DATABASE_URL", "postgresql://sluice:hunter2@127.0.0.1:1/nowhere"}});
  EXPECT_EQ(code, 69) << text;
  EXPECT_NE(text.find("127.0.0.1"), std::string::npos) << text;
  EXPECT_EQ(text.find("hunter2"), std::string::npos) << text;
}

TEST_F(Refusal, a_schema_from_the_future_is_left_alone) {
  host_->start();
  host_->sql(
      "insert into sluice.schema_version (version, name, checksum) values (9999, 'future', 'x')");
  host_->stop();
  const auto [code, text] = run({"--data", data(), "--listen", "127.0.0.1:0"});
  EXPECT_EQ(code, 78) << text;
  EXPECT_NE(text.find("9999"), std::string::npos) << text;
}

TEST_F(Refusal, another_root_key_than_the_one_that_sealed_the_database_is_refused) {
  start_fake(1);
  host_->start();
  connect();  // now there is a secret
  host_->stop();
  const std::string key_file = data() + "/root.key";
  const std::string saved = read_file(key_file);
  std::filesystem::remove(key_file);
  const auto [missing_code, missing_text] = run({"--data", data(), "--listen", "127.0.0.1:0"});
  EXPECT_EQ(missing_code, 77) << missing_text;
  EXPECT_FALSE(std::filesystem::exists(key_file)) << "a new key would only hide the loss";
  const auto [other_code, other_text] = run({"--data", data(), "--listen", "127.0.0.1:0"},
                                            {{"SLUICE_ROOT_KEY", std::string(64, 'a')}});
  EXPECT_EQ(other_code, 77) << other_text;
  EXPECT_NE(other_text.find("root key"), std::string::npos) << other_text;
  // With its own key it starts again: nothing was lost.
  std::ofstream(key_file) << saved;
  std::filesystem::permissions(
      key_file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  host_->start();
  EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 1);
}

// Its root key is the database's from the moment it is made, before anything is sealed with it.
TEST_F(Refusal, a_second_host_without_the_root_key_does_not_start_and_makes_none) {
  host_->start();
  const std::string second = (directory_ / "second").string();
  const std::string url = "database.url=host=" + data() + "/run user=sluice dbname=sluice";
  const auto [code, text] = run({"--data", second, "--listen", "127.0.0.1:0", "--set", url});
  EXPECT_EQ(code, 77) << text;
  EXPECT_NE(text.find("vault.root_key.missing"), std::string::npos) << text;
  EXPECT_FALSE(std::filesystem::exists(second + "/root.key")) << "a second root key";
  // With a copy of the first one's it is as good as the first.
  std::filesystem::copy_file(data() + "/root.key", second + "/root.key");
  Launch launch;
  launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluiced";
  launch.arguments = {"--data", second, "--listen", "127.0.0.1:0", "--set", url};
  launch.output = directory_ / "second.out";
  launch.errors = directory_ / "second.err";
  Process process(launch);
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return read_file(launch.output).find("listening on ") != std::string::npos;
  })) << read_file(launch.errors);
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0);
}

TEST_F(Refusal, of_two_hosts_that_begin_at_once_on_an_empty_database_one_makes_the_root_key) {
  host_->start();
  for (int round = 0; round < 5; ++round) {
    const std::string name = "shared" + std::to_string(round);
    host_->sql("create database " + name);
    std::vector<Launch> launches;
    std::vector<std::unique_ptr<Process>> processes;
    for (int n = 0; n < 2; ++n) {
      const std::string own = (directory_ / (name + "." + std::to_string(n))).string();
      Launch launch;
      launch.program = std::string(SLUICE_BINARY_DIR) + "/bin/sluiced";
      launch.arguments = {
          "--data",   own,
          "--listen", "127.0.0.1:0",
          "--set",    "database.url=host=" + data() + "/run user=sluice dbname=" + name};
      launch.output = own + ".out";
      launch.errors = own + ".err";
      processes.push_back(std::make_unique<Process>(launch));
      launches.push_back(std::move(launch));
    }
    const auto serves = [&](std::size_t n) {
      return read_file(launches[n].output).find("listening on ") != std::string::npos;
    };
    EXPECT_TRUE(eventually(std::chrono::seconds(60),
                           [&] {
                             return (serves(0) && !processes[1]->running()) ||
                                    (serves(1) && !processes[0]->running());
                           }))
        << read_file(launches[0].errors) << read_file(launches[1].errors);
    int made = 0;
    for (std::size_t n = 0; n < 2; ++n) {
      made += std::filesystem::exists(launches[n].arguments[1] + "/root.key") ? 1 : 0;
      if (processes[n]->running()) {
        processes[n]->signal(SIGTERM);
        EXPECT_EQ(processes[n]->wait(), 0);
      } else {
        EXPECT_EQ(processes[n]->wait(), 77) << read_file(launches[n].errors);
        EXPECT_NE(read_file(launches[n].errors).find("vault.root_key.missing"), std::string::npos);
      }
    }
    EXPECT_EQ(made, 1);
  }
}

TEST_F(Refusal, a_wrong_api_key_is_said_in_the_vendors_words_and_leaves_nothing_behind) {
  start_fake(1);
  host_->start();
  try {
    connect("sk_test_wrong_0000");
    FAIL() << "a wrong key was taken";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "check.failed");
    EXPECT_NE(failure.error().message.find("AUTH"), std::string::npos) << failure.what();
    EXPECT_EQ(std::string(failure.what()).find("sk_test_wrong_0000"), std::string::npos);
  }
  EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
  EXPECT_EQ(host_->count("select count(*) from sluice.secret where ciphertext is not null"), 0);
}

TEST_F(Refusal, an_address_that_is_not_allowed_leaves_nothing_behind_and_the_name_is_free) {
  start_fake(1);
  host_->start();
  install();
  json body = billing();
  body["egress"].erase("allow_loopback");
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      host_->client().send("POST", "/connections", body);
      FAIL() << "it was asked";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.error().code, "fetch.policy.address") << failure.what();
    }
    EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 0);
    EXPECT_EQ(host_->count("select count(*) from sluice.secret"), 0);
  }
  host_->client().send("POST", "/connections", billing());
}

TEST_F(Refusal, a_vendor_that_answers_nonsense_fails_its_stream_with_a_reason_and_recovers) {
  start_fake(30);
  host_->start();
  fake_->control("POST", "faults",
                 json::parse(R"([{"match":"/v1/products","nth":2,"times":1,"kind":"garbage"}])"));
  connect();
  ASSERT_TRUE(settled()) << host_->log();
  EXPECT_GE(
      host_->count(
          "select count(*) from sluice.sync_run where stream = 'products' and outcome = 'failed'"),
      1);
  expect_tables_equal_truth();
}

TEST_F(Refusal, a_token_is_needed_and_a_readers_token_only_reads) {
  host_->start();
  cli::Client nobody = host_->client("slc_1_1_wrong");
  EXPECT_THROW(nobody.get("/connections"), Failure);
  cli::Client admin = host_->client();
  json body;
  body["name"] = "dashboard";
  body["role"] = "reader";
  const std::string token = admin.send("POST", "/tokens", body)["token"];
  cli::Client reader = host_->client(token);
  EXPECT_EQ(reader.get("/connections")["connections"].size(), 0U);
  try {
    reader.send("POST", "/types",
                json::parse(R"({"name":"x","attributes":[{"name":"a","type":"text"}]})"));
    FAIL() << "a reader made a type";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "token.role");
  }
}

TEST_F(Refusal, a_revoked_token_ends_an_import_that_it_began) {
  host_->start();
  cli::Client admin = host_->client();
  admin.send("POST", "/types",
             json::parse(R"({"name":"thing","attributes":[{"name":"n","type":"integer"}]})"));
  const std::string token =
      admin.send("POST", "/tokens", {{"name", "importer"}, {"role", "admin"}})["token"];
  const std::string id = host_->sql("select max(token_id) from sluice.token");
  const auto rows = [](int count) {
    std::string text;
    for (int n = 0; n < count; ++n) text += std::to_string(n) + "\n";
    return text;
  };
  RawClient import(host_->url());
  import.send(
      "POST /v1/workspaces/acme/types/thing/import HTTP/1.1\r\nHost: x\r\nContent-Type: "
      "text/csv\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer " +
      token + "\r\n\r\n");
  // More than is looked at before the first row is stored. Of what has come, the batches that are
  // whole are stored then.
  import.send_chunk("n\n" + rows(100'000));
  const auto stored = [&] { return host_->count("select count(*) from sluice.own_entity"); };
  std::int64_t before = 0;
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    const std::int64_t seen = std::exchange(before, stored());
    if (seen == 0 || seen != before) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return seen > 0 && seen == before;
  }));
  admin.send("DELETE", "/tokens/" + id, nullptr);
  import.send_chunk(rows(20'000));
  const std::string answer = import.read_until("}");
  EXPECT_NE(answer.find(" 401 "), std::string::npos) << answer;
  EXPECT_NE(answer.find("token.revoked"), std::string::npos) << answer;
  EXPECT_EQ(stored(), before);
  EXPECT_EQ(host_->sql("select detail->>'inserted' from sluice.audit where action = 'type.import'"),
            std::to_string(before));
}

TEST_F(Refusal, an_import_that_a_stop_cuts_off_says_what_is_stored_and_its_run_is_over) {
  host_->start();
  cli::Client admin = host_->client();
  admin.send("POST", "/types",
             json::parse(R"({"name":"thing","attributes":[{"name":"n","type":"integer"}]})"));
  const std::string token =
      admin.send("POST", "/tokens", {{"name", "importer"}, {"role", "admin"}})["token"];
  std::string rows = "n\n";
  for (int n = 0; n < 100'000; ++n) rows += std::to_string(n) + "\n";
  RawClient import(host_->url());
  import.send(
      "POST /v1/workspaces/acme/types/thing/import?file=things.csv HTTP/1.1\r\nHost: x\r\n"
      "Content-Type: text/csv\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer " +
      token + "\r\n\r\n");
  import.send_chunk(rows);
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from sluice.own_entity") > 0;
  }));
  host_->process().signal(SIGTERM);
  // More of the file is still to come, and its sender waits.
  const std::string answer = import.read_until("}");
  EXPECT_NE(answer.find(" 503 "), std::string::npos) << answer;
  EXPECT_NE(answer.find("host.stopping"), std::string::npos) << answer;
  EXPECT_EQ(host_->process().wait(), 0) << host_->log();
  host_->start();
  const std::int64_t stored = host_->count("select count(*) from sluice.own_entity");
  EXPECT_NE(answer.find(std::to_string(stored) + " rows are stored"), std::string::npos)
      << stored << "\n"
      << answer;
  const json run = host_->client().get("/runs")["runs"].at(0);
  EXPECT_EQ(run["kind"], "import");
  EXPECT_EQ(run["outcome"], "failed") << run;
  EXPECT_EQ(run["error"]["class"], "host.stopping") << run;
  EXPECT_EQ(run["inserted"], stored);
}

TEST_F(Refusal, every_route_is_in_the_openapi_document) {
  host_->start();
  const json document = host_->client().global("GET", "/openapi.json");
  EXPECT_EQ(document["openapi"], "3.1.0");
  EXPECT_GE(document["paths"].size(), 20U);
  EXPECT_TRUE(document["paths"]["/v1/workspaces/{workspace}/connections"].contains("post"));
}

TEST_F(Refusal, the_tool_names_each_state_that_a_link_may_be_asked_to_have) {
  host_->start();
  const json document = host_->client().global("GET", "/openapi.json");
  std::vector<std::string> states;
  for (const json& one : document["paths"]["/v1/workspaces/{workspace}/links"]["get"]["parameters"])
    if (one["name"] == "state") states = one["schema"]["enum"].get<std::vector<std::string>>();
  EXPECT_GE(states.size(), 7U);
  const Said help =
      run_sluice(directory_, host_->url(), host_->token(), {"link", "list", "--help"});
  for (const std::string& state : states) {
    if (state == "suggested") continue;  // nobody suggests one yet
    EXPECT_NE(help.output.find(state), std::string::npos) << state << ": " << help.output;
  }
}

}  // namespace
}  // namespace sluice::e2e
