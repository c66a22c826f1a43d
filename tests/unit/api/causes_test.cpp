// What is not well, joined by its cause.
#include "api/causes.hpp"

#include <gtest/gtest.h>

namespace sluice::api {
namespace {

using nlohmann::json;

json stream(const std::string& name, const std::string& error_class, const std::string& reason,
            const json& permission = nullptr) {
  json one;
  one["name"] = name;
  one["health"] = error_class == "BLOCKED" ? "blocked" : "needs_action";
  one["error_class"] = error_class == "BLOCKED" ? "" : error_class;
  one["reason"] = reason;
  one["summary"] = "in words: " + reason;
  one["action"] =
      "give the key that permission at the vendor, then: sluice sync billing --stream " + name +
      "; it is tried again in 5 min";
  one["consecutive_failures"] = 3;
  one["permission"] = permission;
  return one;
}

json connection_with(std::vector<json> streams) {
  json connection;
  connection["name"] = "billing";
  connection["state"] = "DEGRADED";
  connection["reason"] = "";
  connection["streams"] = std::move(streams);
  return connection;
}

json entries_of(const json& connection) {
  Causes causes(100);
  add_causes(causes, connection);
  return causes.take();
}

TEST(Causes, a_key_without_permissions_is_one_entry_with_all_their_names) {
  const json entries = entries_of(connection_with({
      stream("invoices", "PERMISSION", "403 [request req_1]", "rak_invoice_read"),
      stream("invoice_items", "PERMISSION", "403 [request req_2]", "rak_invoice_read"),
      stream("disputes", "PERMISSION", "no [request req_3]", "rak_dispute_read"),
  }));
  ASSERT_EQ(entries.size(), 1U) << entries;
  const json& one = entries[0];
  EXPECT_EQ(one["what"],
            "the key lacks 2 permissions: rak_invoice_read, rak_dispute_read; streams: invoices, "
            "invoice_items, disputes");
  EXPECT_EQ(one["action"],
            "give the key these permissions at the vendor, then: sluice sync billing; it is tried "
            "again in 5 min");
  EXPECT_EQ(one["count"], 3);
  EXPECT_EQ(one["failures"], 3);
  EXPECT_EQ(one["subjects"], json::parse(R"(["invoices", "invoice_items", "disputes"])"));
  EXPECT_EQ(one["subject"], "3 streams");
}

TEST(Causes, one_stream_keeps_its_own_words_and_its_command) {
  const json entries =
      entries_of(connection_with({stream("disputes", "PERMISSION", "403", "rak_dispute_read")}));
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0]["subject"], "disputes");
  EXPECT_EQ(entries[0]["what"], "in words: 403");
  EXPECT_NE(entries[0]["action"].get<std::string>().find("--stream disputes"), std::string::npos);
}

TEST(Causes, the_same_reason_but_for_names_ids_and_times_is_one_cause_and_another_is_not) {
  const json entries = entries_of(connection_with({
      stream("customers", "UPSTREAM_TRANSIENT", "reading customers: 500 [request req_1]"),
      stream("invoices", "UPSTREAM_TRANSIENT", "reading invoices: 500 [request req_22]"),
      stream("charges", "UPSTREAM_TRANSIENT", "no answer at all"),
      stream("events", "BAD_DATA", "reading events: 500 [request req_1]"),
  }));
  ASSERT_EQ(entries.size(), 3U) << entries;
  EXPECT_EQ(entries[0]["subjects"], json::parse(R"(["customers", "invoices"])"));
  EXPECT_EQ(entries[0]["what"],
            "customers: in words: reading customers: 500 [request req_1]; the same: invoices");
}

TEST(Causes, decisions_are_never_joined) {
  const json entries = entries_of(connection_with({
      stream("customers", "BLOCKED", "29 would go"),
      stream("invoices", "BLOCKED", "29 would go"),
  }));
  EXPECT_EQ(entries.size(), 2U) << entries;
}

TEST(Causes, a_stream_whose_name_begins_with_anothers_keeps_its_command) {
  json first = stream("a", "AUTH", "x");
  first["action"] = "sluice sync billing --stream ab";
  const json entries = entries_of(connection_with({first, stream("b", "AUTH", "y")}));
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0]["action"], "sluice sync billing --stream ab");
}

TEST(Causes, what_is_too_much_is_told_and_counts_with_what_is_there) {
  Causes causes(1);
  causes.add(problem_of("stream", "c", "a", "X", "what", "do"), "same");
  causes.add(problem_of("stream", "c", "b", "X", "what", "do"), "same");
  EXPECT_FALSE(causes.truncated());
  causes.add(problem_of("stream", "c", "d", "Y", "what", "do"), "same");
  causes.add(problem_of("stream", "c", "e", "Y", "what", "do"), "same");
  EXPECT_TRUE(causes.truncated());
  const json entries = causes.take();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0]["count"], 2);
}

}  // namespace
}  // namespace sluice::api
