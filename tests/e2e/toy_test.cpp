// Connectors written without the SDK, in plain C11 and in Rust, through the real host: installed,
// connected, synced, changed, deleted, killed. Their vendor is tests/support/toy_vendor.
#include <signal.h>

#include <set>

#include "e2e/toy_world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

class Toy : public ToyWorld, public ::testing::WithParamInterface<Language> {
 protected:
  std::string id_ = GetParam().id;
};

TEST_P(Toy, a_shop_arrives_stays_up_to_date_and_loses_what_the_shop_loses) {
  open_shop(120, 30);
  try {
    connect(id_, "toy_key_wrong");
    FAIL() << "a wrong key was taken";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "check.failed");
    EXPECT_NE(failure.error().message.find("does not take this API key"), std::string::npos)
        << failure.what();
  }
  connect(id_);
  host_->client().send("POST", "/entities/customer",
                       json::parse(R"({"email":"Maker1@Example.org"})"));
  expect_the_shops_truth(id_);
  EXPECT_EQ(host_->count("select count(*) from acme." + id_ + "_toy"), 120);
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] {
    return host_->count("select count(*) from acme.link where state = 'linked'") == 1;
  })) << "a maker is linked with the customer of the same address";

  // The poll stream goes on from its cursor.
  vendor_->post("put", {{"type", "makers"}, {"id", "m00002"}, {"set", {{"name", "Renamed"}}}});
  vendor_->post("put", {{"type", "makers"}, {"id", "new"}, {"set", {{"name", "Born"}}}});
  vendor_->post("delete", {{"type", "makers"}, {"ids", {"m00004"}}});
  EXPECT_TRUE(becomes(id_, "maker", "name", "m00002", "Renamed"));
  EXPECT_TRUE(becomes(id_, "maker", "name", "new", "Born"));
  EXPECT_TRUE(becomes(id_, "maker", "name", "m00004", "gone"));

  // Toys are known by reading them all again; what is not among them is asked for, and gone.
  vendor_->post("put", {{"type", "toys"}, {"id", "t000007"}, {"set", {{"price", "77.70"}}}});
  vendor_->post("delete", {{"type", "toys"}, {"ids", {"t000003", "t000050", "t000119"}}});
  read_all_toys(id_);
  EXPECT_TRUE(becomes(id_, "toy", "price", "t000007", "77.70"));
  for (const char* gone : {"t000003", "t000050", "t000119"})
    EXPECT_TRUE(becomes(id_, "toy", "name", gone, "gone")) << gone << "\n" << host_->log();
  expect_the_shops_truth(id_);
  EXPECT_EQ(
      host_->count("select count(*) from vendor." + id_ + "_toy where deleted_at is not null"), 3);
  EXPECT_EQ(host_->count("select count(*) from sluice.quarantine"), 0);
  EXPECT_EQ(host_->stop(), 0) << host_->log();
}

TEST_P(Toy, what_an_answer_without_an_end_does_not_show_is_not_deleted) {
  open_shop(60, 5);
  connect(id_);
  expect_the_shops_truth(id_);
  vendor_->post("fail", {{"match", "^/toys"}, {"times", 1000}, {"kind", "unframed"}});
  vendor_->post("put", {{"type", "toys"}, {"id", "t000007"}, {"set", {{"price", "77.70"}}}});
  vendor_->post("delete", {{"type", "toys"}, {"ids", {"t000003", "t000059"}}});
  read_all_toys(id_);
  EXPECT_TRUE(becomes(id_, "toy", "price", "t000007", "77.70")) << "what it shows is stored";
  ASSERT_TRUE(settled()) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(10), [&] {  // behind the last page's commit
    return host_->log().find("sync.run.unframed") != std::string::npos;
  })) << host_->log();
  EXPECT_EQ(host_->count("select count(*) from acme." + id_ + "_toy"), 60);
  EXPECT_EQ(host_->count("select count(*) from sluice.refetch"), 0);
  // The vendor says again where its answers end.
  vendor_->post("forget", json::object());
  read_all_toys(id_);
  EXPECT_TRUE(becomes(id_, "toy", "name", "t000003", "gone")) << host_->log();
  expect_the_shops_truth(id_);
}

TEST_P(Toy, a_403_that_says_when_holds_every_stream_of_the_account) {
  open_shop(60, 5);
  connect(id_);  // makers are polled each second
  expect_the_shops_truth(id_);
  vendor_->post("fail", {{"match", "^/toys"}, {"kind", "403"}, {"retry_after", 4}});
  read_all_toys(id_);
  expect_the_shops_truth(id_);
  double refused = 0, next = 0;
  for (const json& request : vendor_->get("log")) {
    if (refused > 0 && next == 0) next = request["at"];
    if (request["status"] == 403) refused = request["at"];
  }
  ASSERT_GT(refused, 0);
  EXPECT_GE(next - refused, 3.5) << "nobody asks meanwhile";
}

TEST_P(Toy, a_shop_with_bad_days_arrives_all_the_same) {
  open_shop(200, 10);
  const json days = {{{"kind", "500"}, {"nth", 2}, {"times", 2}},
                     {{"kind", "429"}, {"nth", 4}, {"retry_after", 1}},
                     {{"kind", "drop"}, {"nth", 5}},
                     {{"kind", "slow"}, {"nth", 6}, {"ms", 300}},
                     {{"kind", "cut"}, {"nth", 7}},
                     {{"kind", "garbage"}, {"nth", 8}}};
  for (json day : days) {
    day["match"] = "^/toys\\?";
    vendor_->post("fail", day);
  }
  vendor_->post("fail", {{"match", "^/makers"}, {"kind", "replace"}, {"body", "=more \n"}});
  vendor_->post("fail", {{"match", "^/makers"}, {"nth", 2}, {"kind", "empty"}});
  connect(id_);
  expect_the_shops_truth(id_);
  const json log = vendor_->get("log");
  std::set<std::string> met;
  for (const json& request : log)
    if (request["fault"].is_string()) met.insert(request["fault"].get<std::string>());
  EXPECT_EQ(met.size(), 8U) << log;
  EXPECT_GE(host_->count("select count(*) from sluice.sync_run where outcome = 'failed'"), 4)
      << "a damaged page fails its run, with its reason, and the next run goes on";
}

TEST_P(Toy, a_host_killed_in_a_sync_goes_on_from_its_checkpoint) {
  constexpr int kToys = 240;
  constexpr int kPage = 8;
  open_shop(kToys, 5, {}, kPage);
  vendor_->post("fail", {{"match", "^/toys\\?"}, {"kind", "slow"}, {"ms", 25}, {"times", 1000}});
  connect(id_);
  for (const int rows : {20, 90, 160}) {
    ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
      return host_->count(
                 "select coalesce(sum(records_total), 0) from sluice.stream where stream "
                 "= 'toys'") >= rows;
    })) << host_->log();
    host_->kill_hard();
    host_->start();
  }
  expect_the_shops_truth(id_);
  EXPECT_EQ(host_->count("select count(*) - count(distinct (entity_id, op)) from sluice.change "
                         "where op = 'insert'"),
            0)
      << "nothing is stored twice";
  int pages = 0;
  for (const json& request : vendor_->get("log"))
    pages += request["target"].get<std::string>().starts_with("/toys?") ? 1 : 0;
  // A kill costs the page that was on its way and the one behind it.
  EXPECT_LE(pages, kToys / kPage + 1 + 3 * 2) << "it began again instead of going on";
}

INSTANTIATE_TEST_SUITE_P(Languages, Toy, ::testing::ValuesIn(languages()),
                         [](const auto& language) { return std::string(language.param.name); });

TEST_F(ToyWorld, a_shop_that_says_what_is_left_is_not_asked_for_more) {
  open_shop(600, 1);
  vendor_->post("limits", {{"limit", 4}, {"window_seconds", 1}});
  connect("toyc");
  expect_the_shops_truth("toyc");
  int refused = 0;
  int asked = 0;
  for (const json& request : vendor_->get("log")) {
    ++asked;
    refused += request.value("status", 0) == 429 ? 1 : 0;
  }
  EXPECT_GE(asked, 24);
  EXPECT_LE(refused, 2) << "refused of " << asked << " requests, at 4 a second";
}

TEST_F(ToyWorld, connectors_in_c_and_in_rust_store_the_same_rows) {
  if (languages().size() < 2) GTEST_SKIP() << "there is no Rust compiler here";
  open_shop(90, 20);
  connect("toyc");
  connect("toyrust");
  expect_the_shops_truth("toyc");
  expect_the_shops_truth("toyrust");
  for (const std::string type : {"toy", "maker"}) {
    auto c = host_->rows("vendor.toyc_" + type);
    auto rust = host_->rows("vendor.toyrust_" + type);
    for (auto* rows : {&c, &rust}) {
      for (auto& [entity, row] : *rows) {
        for (const char* own :
             {"id", "connection_id", "observed_version", "first_synced_at", "last_synced_at"})
          row.erase(own);
      }
    }
    EXPECT_EQ(c, rust);
    EXPECT_TRUE(c.begin()->second.contains("content_hash")) << c.begin()->second;
  }
}

}  // namespace
}  // namespace sluice::e2e
