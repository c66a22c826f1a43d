// A sealed secret goes only where it was sealed for, whoever writes to the database.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "e2e/world.hpp"
#include "support/tls_front.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Sealed : public World {
 protected:
  void connect_and_look() {
    start_fake(20);
    std::filesystem::create_directories(directory_ / "thief");
    thief_ = std::make_unique<FakeStripe>(directory_ / "thief", 3);
    host_->start();
    connect();
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return check() == "" && well(); }))
        << host_->log();
  }
  /// The code of what CHECK is refused with; "" when it is not.
  std::string check() {
    try {
      host_->client().send("POST", "/connections/billing/check", json::object());
    } catch (const Failure& failure) {
      return failure.error().code;
    }
    return "";
  }
  /// What `errors` says of the stream of changes, and what to do.
  json error() {
    const json answer = host_->client().get("/errors");
    for (const json& one : answer.at("errors")) {
      const json about = one.value("subjects", json::array());
      if (std::find(about.begin(), about.end(), "events") != about.end()) return one;
    }
    return nullptr;
  }
  bool well() {
    return stream("events").at("health") == "ok" || stream("events").at("health") == "running";
  }
  std::int64_t seen_by_the_thief() {
    return thief_->control("GET", "stats").at("total").get<std::int64_t>();
  }

  std::unique_ptr<FakeStripe> thief_;
};

struct Column {
  std::string change;  ///< the right side of SET
  const char* said;    ///< vault.*: that, and nothing opens; "": goes on; "refused": by the table
};

// What one UPDATE of each column does. Whoever adds a column says it here.
TEST_F(Sealed, one_update_of_any_column_opens_nothing_elsewhere_and_errors_says_which) {
  connect_and_look();
  if (HasFatalFailure()) return;
  const std::int64_t before = seen_by_the_thief();
  const std::string to_the_thief =
      "jsonb_set(egress, '{base_urls,api}', '\"" + thief_->url() + "\"')";
  const char* const kTampered = "vault.secret.tampered";
  const char* const kKeyTampered = "vault.data_key.tampered";
  const std::map<std::string, Column> columns = {
      {"connection.workspace_id", {"workspace_id + 1", "refused"}},
      {"connection.connection_id", {"connection_id + 1", "refused"}},
      {"connection.connector", {"'toy'", "refused"}},
      {"connection.name", {"name", ""}},  // to another one: it is another connection's then
      {"connection.config", {"config || '{\"event_lag_seconds\":1}'", ""}},
      {"connection.egress", {to_the_thief, "vault.secret.elsewhere"}},
      {"connection.state", {"'DEGRADED'", ""}},
      {"connection.state_reason", {"'changed'", ""}},
      {"connection.vendor_account", {"vendor_account", ""}},  // to another one: other_account
      {"connection.account_name", {"'changed'", ""}},
      {"connection.mode", {"''", ""}},
      {"connection.created_at", {"created_at - interval '1 year'", ""}},
      {"secret.workspace_id", {"workspace_id + 1", "refused"}},
      {"secret.connection_id", {"connection_id + 1", "refused"}},
      {"secret.name", {"'other'", "vault.secret.not_found"}},
      {"secret.version", {"9", kTampered}},
      {"secret.state", {"'pending'", kTampered}},
      {"secret.data_key_id", {"2", "refused"}},
      {"secret.alg", {"1", "vault.secret.old_format"}},
      {"secret.salt", {"set_bit(salt, 0, 1 - get_bit(salt, 0))", kTampered}},
      {"secret.nonce", {"set_bit(nonce, 0, 1 - get_bit(nonce, 0))", kTampered}},
      {"secret.commitment", {"set_bit(commitment, 0, 1 - get_bit(commitment, 0))", kTampered}},
      {"secret.ciphertext", {"substr(ciphertext, 2)", kTampered}},
      {"secret.fingerprint",
       {"translate(fingerprint, '0123456789abcdef', '123456789abcdef0')", kTampered}},
      {"secret.created_at", {"created_at - interval '1 year'", ""}},
      {"secret.state_changed_at", {"now() - interval '1 year'", ""}},
      {"secret.valid_until", {"now()", "refused"}},
      {"secret.bound_to",
       {"replace(bound_to, '" + fake_->url() + "', '" + thief_->url() + "')", kTampered}},
      {"secret.of_connection", {"1", "refused"}},
      {"data_key.workspace_id", {"workspace_id + 1", "refused"}},
      {"data_key.data_key_id", {"2", "refused"}},
      {"data_key.state", {"'decrypt_only'", "vault.data_key.lost"}},
      {"data_key.root_key_id", {"'00000000'", "vault.root_key.mismatch"}},
      {"data_key.alg", {"1", kKeyTampered}},
      {"data_key.salt", {"set_bit(salt, 0, 1 - get_bit(salt, 0))", kKeyTampered}},
      {"data_key.nonce", {"set_bit(nonce, 0, 1 - get_bit(nonce, 0))", kKeyTampered}},
      {"data_key.commitment", {"set_bit(commitment, 0, 1 - get_bit(commitment, 0))", kKeyTampered}},
      {"data_key.ciphertext", {"substr(ciphertext, 2)", kKeyTampered}},
      {"data_key.created_at", {"created_at - interval '1 year'", ""}},
      {"data_key.state_changed_at", {"now() - interval '1 year'", ""}},
      {"data_key.oldest_alg", {"1", kKeyTampered}},
      {"data_key.generation", {"generation + 1", kKeyTampered}},
      {"data_key.as_of", {"as_of + interval '1 day'", kKeyTampered}},
      {"data_key.ledger", {"''", kKeyTampered}},
  };
  const json there =
      json::parse(host_->sql("select json_agg(table_name || '.' || column_name order by "
                             "table_name, ordinal_position) from "
                             "information_schema.columns where table_schema = 'sluice' and "
                             "table_name in ('connection', 'secret', 'data_key')"));
  EXPECT_EQ(there.size(), columns.size());
  host_->sql("create table public.was (value text)");
  for (const json& name : there) {
    const std::string whole = name;
    SCOPED_TRACE(whole);
    ASSERT_TRUE(columns.contains(whole)) << "say what an UPDATE of it does";
    const Column& column = columns.at(whole);
    const std::string table = "sluice." + whole.substr(0, whole.find('.'));
    const std::string field = whole.substr(whole.find('.') + 1);
    const std::string tried = host_->sql(
        "create or replace function pg_temp.try(change text) returns text language plpgsql as "
        "$f$ begin execute change; return 'done'; exception when others then return 'refused'; end "
        "$f$; truncate public.was; insert into "
        "public.was select " +
        field + "::text from " + table + "; select pg_temp.try($q$update " + table + " set " +
        field + " = " + column.change + "$q$)");
    if (std::string_view(column.said) == "refused") {
      EXPECT_EQ(tried, "refused");
      continue;
    }
    ASSERT_EQ(tried, "done");
    if (*column.said == '\0') {
      EXPECT_EQ(check(), "");
    } else {
      EXPECT_EQ(check(), column.said);
      json said;
      const bool root = std::string_view(column.said) == "vault.root_key.mismatch";
      if (!root) {  // that one is this host's trouble, and its work's
        EXPECT_TRUE(eventually(std::chrono::seconds(30),
                               [&] {
                                 said = error();
                                 return said.is_object() && said.at("what").get<std::string>().find(
                                                                column.said) != std::string::npos;
                               }))
            << said << host_->client().get("/errors");
        EXPECT_NE(said.value("action", "").find("sluice connection set-secret billing api_key"),
                  std::string::npos)
            << said;
        EXPECT_EQ(stream("events").at("health"), "needs_action");
      }
    }
    const std::string type =
        host_->sql("select format_type(atttypid, atttypmod) from pg_attribute where attrelid = '" +
                   table + "'::regclass and attname = '" + field + "'");
    host_->sql("update " + table + " set " + field + " = (select value from public.was)::" + type);
    ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] { return check() == "" && well(); }))
        << check() << stream("events") << host_->log();
  }
  EXPECT_EQ(seen_by_the_thief(), before) << "a request went to where the secret was not sealed for";
  EXPECT_EQ(host_->log().find(kKey), std::string::npos);
}

/// How often a text stands in the memory of a process that it may write to.
int copies_in(int pid, const std::string& text) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  const int memory =
      ::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_GE(memory, 0);
  int copies = 0;
  std::string block;
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t from = 0, to = 0;
    char access[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, access) != 3 || access[1] != 'w')
      continue;
    if (to - from > std::uint64_t{1} << 32) continue;  // a sanitizer's own
    constexpr std::uint64_t kBlock = 1 << 20;
    for (std::uint64_t at = from; at < to; at += kBlock) {
      block.resize(std::min(kBlock + text.size() - 1, to - at));
      const ssize_t read = ::pread(memory, block.data(), block.size(), static_cast<off_t>(at));
      if (read <= 0) continue;
      block.resize(static_cast<std::size_t>(read));
      for (std::size_t hit = block.find(text); hit != std::string::npos;
           hit = block.find(text, hit + 1))
        ++copies;
    }
  }
  ::close(memory);
  return copies;
}

class Copies : public Sealed {
 protected:
  static constexpr const char* kCanary = "sk_test_CANARYq7Zr4mNs8Xw2Lp9Tb";
  /// Enters the secret, uses it, enters it again and a wrong one; then looks for it.
  void use_it_and_look_for_it(const json& connection) {
    install();
    host_->client().send("POST", "/connections", connection);
    ASSERT_TRUE(settled()) << unsettled();
    json value;
    value["value"] = kCanary;
    host_->client().send("PUT", "/connections/billing/secrets/api_key", value);
    value["value"] = std::string(kCanary) + "_wrong";
    EXPECT_THROW(host_->client().send("PUT", "/connections/billing/secrets/api_key", value),
                 Failure);
    ASSERT_TRUE(settled()) << unsettled();
    int copies = -1;
    EXPECT_TRUE(eventually(std::chrono::seconds(10),
                           [&] {
                             copies = copies_in(host_->process().pid(), kCanary);
                             return copies == 0;
                           }))
        << copies << " copies";
    // What is looked for would be found: the name of the connection is.
    EXPECT_GT(copies_in(host_->process().pid(), "event_lag_seconds"), 0);
  }
  json with_canary() {
    json body = billing(kCanary);
    body["intervals"]["events"] = 0;
    return body;
  }
};

TEST_F(Copies, after_its_use_no_copy_of_a_secret_is_in_the_memory_of_the_host) {
  start_fake(20, {"--key", kCanary});
  host_->start();
  use_it_and_look_for_it(with_canary());
}

// The admin's request comes in over TLS, and the vendor is asked over TLS; both lines stay open.
TEST_F(Copies, over_tls_no_copy_of_a_secret_is_in_the_memory_of_the_host) {
  start_fake(20, {"--key", kCanary});
  const std::string plain = fake_->url();
  testing::TlsFront vendor(
      static_cast<unsigned short>(std::stoi(plain.substr(plain.rfind(':') + 1))));
  testing::Certificate ours(testing::Certificate::Age::valid, "IP:127.0.0.1");
  // Whoever the host becomes reads it.
  std::filesystem::permissions(ours.key_path, static_cast<std::filesystem::perms>(0444));
  host_->settings = {"listen.tls_certificate=" + ours.path, "listen.tls_key=" + ours.key_path,
                     "fetch.ca_file=" + vendor.certificate().path};
  host_->ca_file = ours.path;
  host_->start();
  ASSERT_TRUE(host_->url().starts_with("https://")) << host_->url();
  json body = with_canary();
  body["egress"]["base_urls"]["api"] = vendor.url();
  use_it_and_look_for_it(body);
}

TEST_F(Sealed, who_changes_the_destination_behind_our_back_is_told_to_enter_the_secret_again) {
  connect_and_look();
  if (HasFatalFailure()) return;
  const std::int64_t before = seen_by_the_thief();
  host_->sql("update sluice.connection set egress = jsonb_set(egress, '{base_urls,api}', '\"" +
             thief_->url() + "\"')");
  json said;
  ASSERT_TRUE(eventually(std::chrono::seconds(30), [&] {
    said = error();
    return said.is_object() &&
           said.at("what").get<std::string>().find("vault.secret.elsewhere") != std::string::npos;
  })) << said;
  const std::string what = said.at("what");
  EXPECT_NE(what.find(": its secret is not opened, and nothing was sent: "), std::string::npos)
      << what;
  EXPECT_NE(what.find("was sealed for " + fake_->url()), std::string::npos) << what;
  EXPECT_NE(what.find("is wanted for " + thief_->url()), std::string::npos) << what;
  EXPECT_EQ(seen_by_the_thief(), before);
  // A new value does not go there either, unless somebody says that it is meant: here an operator,
  // because an allowance leads it there.
  json body;
  body["value"] = kKey;
  json asked;
  asked["name"] = "ann";
  asked["role"] = "admin";
  const std::string admin = host_->client().send("POST", "/tokens", asked).at("token");
  const auto entered = [&](const std::string& token) {
    try {
      host_->client(token).send("PUT", "/connections/billing/secrets/api_key", body);
    } catch (const Failure& failure) {
      EXPECT_NE(failure.error().message.find(thief_->url()), std::string::npos)
          << failure.error().message;
      return failure.error().code;
    }
    return std::string();
  };
  EXPECT_EQ(entered(host_->token()), "connection.secret_leads_elsewhere");
  body["to_new_destination"] = true;
  EXPECT_EQ(entered(admin), "connection.secret_leads_elsewhere");
  EXPECT_EQ(seen_by_the_thief(), before);
  EXPECT_EQ(entered(host_->token()), "");
  EXPECT_EQ(check(), "");
  EXPECT_GT(seen_by_the_thief(), before);
}

}  // namespace
}  // namespace sluice::e2e
