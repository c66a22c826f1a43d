// Numbers that no double holds, from a vendor's answer or a file to whoever asks: the same digits,
// with real programs on the way.
#include <fstream>

#include "e2e/rest.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Exact : public World {
 protected:
  std::string get(const std::string& below_workspace) {
    Ask ask;
    ask.path = "/v1/workspaces/acme" + below_workspace;
    ask.token = host_->token();
    const Reply reply = perform(host_->url(), ask);
    return reply.status == 200 ? reply.text : std::to_string(reply.status) + " " + reply.text;
  }
  Said sluice(std::vector<std::string> arguments) {
    return run_sluice(directory_, host_->url(), host_->token(), std::move(arguments));
  }
  void mutate(const std::string& id, const std::string& set, const std::string& unset = "[]") {
    fake_->control(
        "POST", "mutate",
        json::parse(R"({"id":")" + id + R"(","set":)" + set + R"(,"unset":)" + unset + "}"));
  }
  bool becomes(const std::string& query, const std::string& value) {
    return eventually(std::chrono::seconds(60), [&] { return host_->sql(query) == value; });
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }
  std::filesystem::path file(const std::string& name, const std::string& content) {
    const auto path = directory_ / name;
    std::ofstream(path) << content;
    return path;
  }
};

const std::string kBig = "1" + std::string(400, '0');

TEST_F(Exact, a_number_beyond_a_double_in_a_vendors_answer_ends_neither_the_feed_nor_a_list) {
  start_fake(20);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  const std::string id = host_->sql("select min(external_id) from vendor.stripe_customer");
  mutate(id,
         R"({"future_nested":{"n":"@@poison:raw:1e400@@"},"future_number":"@@poison:raw:1e400@@",
             "discount":{"id":"di_1","n":"@@poison:raw:1e400@@","m":"@@poison:raw:1.50@@"}})");
  const std::string of = " from vendor.stripe_customer where external_id = '" + id + "'";
  ASSERT_TRUE(becomes("select discount->>'n'" + of, kBig)) << host_->log();
  EXPECT_EQ(host_->sql("select extra->'future_nested'->>'n'" + of), kBig);
  EXPECT_EQ(host_->sql("select extra->>'future_number'" + of), kBig);

  const std::string shown = R"({"m": 1.50, "n": )" + kBig;
  EXPECT_TRUE(has(get("/entities/stripe.customer/" + id), shown));
  EXPECT_TRUE(has(get("/entities/stripe.customer?limit=100"), shown));
  const std::string number = R"("future_number": )" + kBig;
  EXPECT_TRUE(has(get("/entities/stripe.customer/" + id), number));
  EXPECT_FALSE(has(get("/entities/stripe.customer?limit=100"), number)) << "where it is asked for";
  const std::string found =
      get("/entities/stripe.customer?fields=email,extra&extra.future_nested.n=" + kBig);
  EXPECT_TRUE(has(found, number)) << found;
  EXPECT_TRUE(has(found, id)) << found;
  const Said exported = sluice({"entity", "export", "stripe.customer", "--fields", "extra",
                                "--filter", "extra.future_number=" + kBig});
  EXPECT_EQ(exported.code, 0) << exported.errors;
  EXPECT_TRUE(exported.output.starts_with("id,external_id,connection,extra\r\n"))
      << exported.output;
  EXPECT_TRUE(has(exported.output, id + ",")) << exported.output;
  EXPECT_TRUE(has(exported.output, kBig)) << exported.output;
  EXPECT_TRUE(has(sluice({"entity", "list", "stripe.customer", "--fields", "email,extra",
                          "--filter", "extra.future_number[is_null]=false"})
                      .output,
                  "future_n"));
  EXPECT_EQ(host_->sql("select extra->>'future_number' from acme.stripe_customer where "
                       "external_id = '" +
                       id + "'"),
            kBig);
  EXPECT_TRUE(has(get("/changes?limit=1000&type=stripe.customer"), shown));
  EXPECT_TRUE(has(get("/changes?limit=1000&type=stripe.customer"), R"("future_number": )" + kBig));

  const std::string lines = "\"n\": " + kBig;
  for (const std::vector<std::string>& asked :
       {std::vector<std::string>{"entity", "get", "stripe.customer", id},
        {"--json", "entity", "list", "stripe.customer", "--limit", "100"},
        {"--json", "changes", "--limit", "1000", "--type", "stripe.customer"}}) {
    const Said said = sluice(asked);
    EXPECT_EQ(said.code, 0) << said.errors;
    EXPECT_TRUE(has(said.output, lines)) << asked.front();
    EXPECT_TRUE(has(said.output, "\"m\": 1.50")) << asked.front();
  }
  EXPECT_EQ(sluice({"entity", "list", "stripe.customer"}).code, 0);
  EXPECT_EQ(sluice({"changes"}).code, 0);
}

TEST_F(Exact, a_discovered_property_that_the_vendor_took_away_goes_too) {
  start_fake(20);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  const std::string id = host_->sql("select min(external_id) from vendor.stripe_customer");
  const std::string extra =
      "select coalesce(extra::text, 'none') from vendor.stripe_customer where external_id = '" +
      id + "'";
  ASSERT_EQ(host_->sql(extra), "none");
  mutate(id, R"({"brand_new":"hello","other_new":1})");
  ASSERT_TRUE(becomes(extra, R"({"brand_new": "hello", "other_new": 1})")) << host_->log();
  mutate(id, "{}", R"(["brand_new"])");
  ASSERT_TRUE(becomes(extra, R"({"other_new": 1})")) << host_->sql(extra);
  mutate(id, "{}", R"(["other_new"])");
  ASSERT_TRUE(becomes(extra, "none")) << host_->sql(extra);
  EXPECT_TRUE(has(get("/changes?limit=1000&type=stripe.customer"),
                  R"({"extra": [{"other_new": 1}, null]})"))
      << get("/changes?limit=1000&type=stripe.customer");
}

TEST_F(Exact, what_jsonb_cannot_hold_is_put_aside_by_name_and_shown_with_its_digits) {
  start_fake(20);
  host_->start();
  connect();
  ASSERT_TRUE(settled()) << unsettled();
  const std::string id = host_->sql("select min(external_id) from vendor.stripe_customer");
  mutate(id, R"({"discount":{"n":"@@poison:raw:1e400000@@"},
                 "future_nested":{"n":"@@poison:raw:1e400@@"}})");
  ASSERT_TRUE(becomes("select count(*) from sluice.quarantine", "1")) << host_->log();
  EXPECT_TRUE(has(host_->sql("select reason from sluice.quarantine"),
                  "attribute 'discount': an exponent beyond 10000"));
  const std::string row = host_->sql("select quarantine_id from sluice.quarantine");
  EXPECT_TRUE(has(get("/quarantine/" + row), R"("n": )" + kBig)) << get("/quarantine/" + row);
  for (const Said& said :
       {sluice({"quarantine", "show", row}), sluice({"--json", "quarantine", "show", row})}) {
    EXPECT_EQ(said.code, 0) << said.errors;
    EXPECT_TRUE(has(said.output, "\"n\": " + kBig)) << said.output;
  }
}

TEST_F(Exact, own_json_is_stored_as_it_was_given_by_file_and_by_rest) {
  start_fake(1);
  host_->start();
  ASSERT_EQ(sluice({"entity", "create-type", "thing", "email:text:unique", "j:json"}).code, 0);
  const std::string j =
      R"({"n":12345678901234567890123,"d":0.12345678901234567890123,"u":18446744073709551616,"z":1.0})";
  const std::string stored =
      R"({"d": 0.12345678901234567890123, "n": 12345678901234567890123, "u": 18446744073709551616, "z": 1.0})";
  std::string quoted;
  for (const char c : j) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  const auto ndjson = file("big.ndjson", R"({"email":"a@x","j":)" + j + "}\n");
  const auto csv = file("big.csv", "email,j\nb@x,\"" + quoted + "\"\n");
  EXPECT_EQ(sluice({"entity", "import", "thing", ndjson}).code, 0);
  EXPECT_EQ(sluice({"entity", "import", "thing", csv}).code, 0);
  Ask ask;
  ask.method = "POST";
  ask.path = "/v1/workspaces/acme/entities/thing";
  ask.token = host_->token();
  ask.body = R"({"email":"c@x","j":)" + j + "}";
  EXPECT_EQ(perform(host_->url(), ask).status, 201);
  EXPECT_EQ(host_->sql("select string_agg(distinct data->>'j', ';') || count(*) from "
                       "sluice.own_entity"),
            stored + "3");
  EXPECT_TRUE(has(get("/entities/thing"), "\"j\":" + stored)) << get("/entities/thing");
  const Said again = sluice({"entity", "import", "thing", ndjson});
  EXPECT_TRUE(has(again.output, "1 unchanged")) << again.output;
  EXPECT_TRUE(
      has(sluice({"--json", "entity", "list", "thing"}).output, "\"n\": 12345678901234567890123"));

  ask.body = R"({"email":"d@x","j":{"n":1e400000}})";
  const Reply refused = perform(host_->url(), ask);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.code(), "request.not_json");
  EXPECT_TRUE(has(refused.text, "an exponent beyond 10000, at byte 32")) << refused.text;
  const Said bad = sluice({"entity", "import", "thing",
                           file("bad.ndjson", "{\"email\":\"e@x\",\"j\":{\"n\":1e400000}}\n")});
  EXPECT_NE(bad.code, 0);
  EXPECT_TRUE(has(bad.output, "import.bad_json")) << bad.output;
}

}  // namespace
}  // namespace sluice::e2e
