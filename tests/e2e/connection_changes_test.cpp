// What an admin changes about a connection that runs: its key, its configuration, its streams.
#include "e2e/hot_plug_world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class ConnectionChanges : public HotPlug {
 protected:
  void connect_all(int customers) {
    start_fake(customers);
    drop(version("harbour_110"), "harbour.so");
    start_host();
    install("harbour", json::object());
    connect_harbour("pier", json::object());
    ASSERT_TRUE(is_read("pier", "customers")) << host_->log();
  }
  /// The vendor knows the key, and says that it is of this account.
  void add_key(const std::string& key, const std::string& account) {
    json keys;
    keys["add"] = key;
    fake_->control("POST", "keys", keys);
    if (account.empty()) return;
    json fault;
    fault["match"] = "/v1/account";
    fault["times"] = 1;
    fault["kind"] = "status";
    fault["status"] = 200;
    fault["body"] = account;
    fake_->control("POST", "faults", json::array({fault}));
  }
  std::string versions() {
    return host_->sql(
        "select string_agg(version || ' ' || state, ', ' order by version) from "
        "sluice.secret where name = 'api_key'");
  }
};

TEST_F(ConnectionChanges, a_key_that_is_not_right_never_becomes_the_current_one) {
  connect_all(5);
  const std::string path = "/connections/pier/secrets/api_key";
  const std::string healthy = "HEALTHY";
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return state("pier") == healthy; }));
  const auto refused = [&](const std::string& key) {
    const Error error = refusal("PUT", path, {{"value", key}});
    EXPECT_NE(error.hint.find("stays in use"), std::string::npos) << error.hint;
    EXPECT_EQ(error.message.find(key), std::string::npos) << "a key in an error";
    EXPECT_EQ(state("pier"), healthy);
    send("POST", "/connections/pier/check");
    return error.code;
  };
  EXPECT_EQ(refused("sk_test_wrong_0000"), "check.failed");
  EXPECT_EQ(versions(), "1 current, 2 revoked");
  add_key("sk_test_other_0001", R"({"id":"acct_somebody_else","object":"account"})");
  EXPECT_EQ(refused("sk_test_other_0001"), "connection.other_account");
  const auto account =
      host_->sql("select vendor_account from sluice.connection where name = 'pier'");
  add_key("sk_live_other_0001",
          R"({"id":")" + account + R"(","object":"account","livemode":true})");
  EXPECT_EQ(refused("sk_live_other_0001"), "connection.other_mode");
  EXPECT_EQ(versions(), "1 current, 2 revoked, 3 revoked, 4 revoked");

  add_key("sk_test_right_0001", "");
  EXPECT_EQ(send("PUT", path, {{"value", "sk_test_right_0001"}})["account"]["id"], account);
  EXPECT_EQ(versions(), "1 previous, 2 revoked, 3 revoked, 4 revoked, 5 current");
  // The old key may go now.
  json keys;
  keys["remove"] = kKey;
  fake_->control("POST", "keys", keys);
  send("POST", "/connections/pier/check");
  EXPECT_EQ(host_->count("select count(*) from sluice.audit where action = 'connection.set_secret' "
                         "and actor like 'token %'"),
            4);
}

TEST_F(ConnectionChanges, a_configuration_is_held_against_its_schema_and_checked_with_the_vendor) {
  connect_all(5);
  const std::string path = "/connections/pier";
  const auto config = [&] {
    return json::parse(host_->sql("select config from sluice.connection where name = 'pier'"));
  };
  const auto change = [](const char* name, const json& value) {
    json body;
    body["config"][name] = value;
    return body;
  };
  const Error unknown = refusal("PATCH", path, change("pagesize", 10));
  EXPECT_EQ(unknown.code, "config.invalid");
  EXPECT_NE(unknown.hint.find("page_size"), std::string::npos) << unknown.hint;
  EXPECT_EQ(refusal("PATCH", path, change("page_size", 0)).code, "config.invalid");
  EXPECT_EQ(refusal("PATCH", path, change("page_size", "many")).code, "config.invalid");
  EXPECT_EQ(refusal("PATCH", path, change("answer", "other_account")).code,
            "connection.other_account");
  EXPECT_EQ(refusal("PATCH", path, change("answer", "other_mode")).code, "connection.other_mode");
  const Error number = refusal("PATCH", path, change("answer", "number"));
  EXPECT_EQ(number.code, "connector.contract") << "an account id that is a number";
  EXPECT_EQ(config(), json::object());
  send("PATCH", path, change("page_size", 10));
  EXPECT_EQ(config(), json::parse(R"({"page_size":10})"));
  send("PATCH", path, change("page_size", nullptr));
  EXPECT_EQ(config(), json::object());
  json body;
  body["connector"] = "harbour";
  body["name"] = "bad";
  body["config"]["pagesize"] = 1;
  body["secrets"]["api_key"] = kKey;
  EXPECT_EQ(refusal("POST", "/connections", body).code, "config.invalid");
  EXPECT_EQ(host_->count("select count(*) from sluice.connection"), 1);
}

TEST_F(ConnectionChanges,
       a_configuration_that_leads_a_secret_elsewhere_comes_with_it_or_not_at_all) {
  connect_all(5);
  const std::string path = "/connections/pier";
  json body;
  body["config"]["region"] = "eu";
  const Error needed = refusal("PATCH", path, body);
  EXPECT_EQ(needed.code, "connection.secret_needed");
  EXPECT_NE(needed.message.find("https://eu.files.harbour.example"), std::string::npos)
      << needed.message;
  EXPECT_NE(needed.hint.find("stays in use"), std::string::npos) << needed.hint;
  EXPECT_EQ(host_->sql("select config from sluice.connection"), "{}");
  body["secrets"]["api_kee"] = kKey;
  EXPECT_EQ(refusal("PATCH", path, body).code, "connection.unknown_secret");
  body["secrets"] = json::object();
  body["secrets"]["api_key"] = "sk_test_wrong_0000";
  EXPECT_EQ(refusal("PATCH", path, body).code, "check.failed");
  EXPECT_EQ(host_->sql("select config from sluice.connection"), "{}");
  EXPECT_EQ(versions(), "1 current, 2 revoked");
  body["secrets"]["api_key"] = kKey;
  send("PATCH", path, body);
  EXPECT_EQ(versions(), "1 previous, 2 revoked, 3 current");
  EXPECT_NE(host_->sql("select bound_to from sluice.secret where state = 'current'")
                .find("to https://eu.files.harbour.example\n"),
            std::string::npos);
  send("POST", "/connections/pier/check");
  // What leads nowhere else needs nothing.
  json page;
  page["config"]["page_size"] = 10;
  send("PATCH", path, page);
  EXPECT_EQ(versions(), "1 previous, 2 revoked, 3 current");
}

TEST_F(ConnectionChanges, pausing_a_stream_and_letting_it_go_on_clears_nothing) {
  connect_all(20);
  const auto streams = [&] {
    return host_->sql(
        "select string_agg(concat_ws(' ', stream, encode(checkpoint, 'hex'), snapshot_done), "
        "', ' order by stream) from sluice.stream");
  };
  ASSERT_TRUE(is_read("pier", "products"));
  const std::string before = streams();
  const auto rows = host_->count("select count(*) from acme.harbour_customer");
  const auto runs = [&](const std::string& stream) {
    return host_->count("select count(*) from sluice.sync_run where stream = '" + stream + "'");
  };
  const std::int64_t read = runs("customers");
  send("PATCH", "/connections/pier/streams/customers", {{"enabled", false}});
  send("PATCH", "/connections/pier/streams/products", {{"enabled", false}});
  EXPECT_EQ(refusal("POST", "/connections/pier/sync", {{"streams", {"products"}}}).code,
            "stream.paused");
  send("PATCH", "/connections/pier/streams/customers", {{"enabled", true}});
  send("PATCH", "/connections/pier/streams/products", {{"enabled", true}});
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] { return runs("products") == 2; }));
  ASSERT_TRUE(is_read("pier", "products"));
  EXPECT_EQ(streams(), before);
  EXPECT_EQ(runs("customers"), read) << "a snapshot that was read to its end is not read again";
  EXPECT_EQ(host_->count("select count(*) from acme.harbour_customer"), rows);
  EXPECT_EQ(
      host_->count("select count(*) from vendor.harbour_customer where deleted_at is not null"), 0);
  EXPECT_EQ(refusal("PATCH", "/connections/pier/streams/none", {{"enabled", false}}).code,
            "stream.unknown");
}

}  // namespace
}  // namespace sluice::e2e
