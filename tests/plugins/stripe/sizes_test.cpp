// Half a million of everything in one second, values without measure, and a stop after every page.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ctime>

#include "plugins/stripe/conversation.hpp"

namespace sluice::stripe_test {

using nlohmann::json;

namespace {

/// A list whose objects are all made when they are asked for: number `count` is the newest and is
/// listed first.
class Crowd {
 public:
  std::int64_t count = 0;
  std::string prefix;
  std::function<std::int64_t(std::int64_t number)> created;
  std::function<std::string(std::int64_t number, std::int64_t created)> object;
  std::int64_t server_now = kNow;

  Answer operator()(const std::string& target) const {
    const auto number_of = [&](std::string_view name, std::int64_t otherwise) {
      const std::string text = parameter(target, name);
      return text.empty() ? otherwise : std::stoll(text);
    };
    const std::int64_t from = number_of("created[gte]", 0);
    const std::int64_t to =
        std::min(number_of("created[lte]", kNow * 2), number_of("created[lt]", kNow * 2) - 1);
    const std::int64_t limit = number_of("limit", 10);
    const std::string after = parameter(target, "starting_after");
    std::int64_t number = after.empty() ? count : std::stoll(after.substr(prefix.size())) - 1;
    std::string body = R"({"object":"list","url":"/v1/x","data":[)";
    std::int64_t listed = 0;
    bool more = false;
    for (; number > 0 && created(number) >= from; --number) {
      if (created(number) > to) continue;
      if (listed == limit) {
        more = true;
        break;
      }
      if (listed++ > 0) body += ',';
      body += object(number, created(number));
    }
    body += more ? R"(],"has_more":true})" : R"(],"has_more":false})";
    Answer answer;
    answer.body = std::move(body);
    answer.headers.emplace_back("Date", date());
    answer.headers.emplace_back("Stripe-Version", "2026-10-28.endive");
    return answer;
  }

 private:
  [[nodiscard]] std::string date() const {
    const std::time_t seconds = server_now;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char text[64];
    std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return text;
  }
};

constexpr std::int64_t kHalfMillion = 500'000;
constexpr std::size_t kCheckpointMax = 4096;

std::string customer(std::int64_t number, std::int64_t created) {
  return R"({"id":"cus_)" + std::to_string(number) + R"(","object":"customer","created":)" +
         std::to_string(created) + R"(,"livemode":true})";
}

std::string customer_event(std::int64_t number, std::int64_t created) {
  const std::string digits = std::to_string(number);
  return R"({"id":"evt_)" + digits + R"(","object":"event","created":)" + std::to_string(created) +
         R"(,"livemode":true,"type":"customer.updated","data":{"object":{"id":"cus_)" + digits +
         R"("}}})";
}

Crowd customers(std::int64_t count, std::int64_t second) {
  Crowd crowd;
  crowd.count = count;
  crowd.prefix = "cus_";
  crowd.created = [second](std::int64_t) { return second; };
  crowd.object = customer;
  return crowd;
}

Crowd events(std::int64_t count, std::int64_t second) {
  Crowd crowd = customers(count, second);
  crowd.prefix = "evt_";
  crowd.object = customer_event;
  return crowd;
}

void expect_each_once(const Outcome& outcome, std::int64_t count) {
  EXPECT_EQ(outcome.puts, static_cast<std::size_t>(count));
  ASSERT_EQ(outcome.times.size(), static_cast<std::size_t>(count + 1));
  EXPECT_EQ(std::count(outcome.times.begin() + 1, outcome.times.end(), 1), count)
      << "missing, or put out more than once";
}

/// Begun again at any checkpoint, what comes then and what came before are everything.
void expect_nothing_lost_at_any_checkpoint(const contract::SessionArgs& args, const Crowd& vendor,
                                           std::int64_t count) {
  const Outcome whole = converse(args, vendor);
  ASSERT_TRUE(whole.done) << whole.broken;
  ASSERT_GT(whole.checkpoints.size(), 10u);
  for (std::size_t i = 0; i < whole.checkpoints.size(); ++i) {
    contract::SessionArgs again = args;
    again.checkpoint = whole.checkpoints[i];
    again.checkpoint_format = 2;
    const Outcome rest = converse(again, vendor);
    ASSERT_TRUE(rest.done) << rest.broken << (rest.failure ? rest.failure->message : "");
    std::set<std::string> all(whole.order.begin(),
                              whole.order.begin() + static_cast<std::ptrdiff_t>(whole.before[i]));
    all.insert(rest.order.begin(), rest.order.end());
    ASSERT_EQ(all.size(), static_cast<std::size_t>(count)) << whole.checkpoints[i];
    // One page at most is read again.
    ASSERT_LE(whole.before[i] + rest.puts, static_cast<std::size_t>(count) + 100);
  }
}

TEST(StripeSizes, half_a_million_objects_of_one_second_are_read_once) {
  const Crowd vendor = customers(kHalfMillion, 1'700'000'000);
  const Outcome first = converse(reading("customers"), vendor);
  ASSERT_TRUE(first.done) << first.broken << (first.failure ? first.failure->message : "");
  expect_each_once(first, kHalfMillion);
  EXPECT_EQ(first.requests.size(), static_cast<std::size_t>(kHalfMillion / 100));
  EXPECT_LT(first.largest_checkpoint(), kCheckpointMax);

  const Outcome next = converse(reading("customers", first.checkpoints.back()), vendor);
  ASSERT_TRUE(next.done);
  EXPECT_EQ(next.puts, 0u) << "what was read is not read again";
}

TEST(StripeSizes, a_snapshot_goes_on_from_each_checkpoint) {
  expect_nothing_lost_at_any_checkpoint(reading("customers"), customers(5'000, 1'700'000'000),
                                        5'000);
}

TEST(StripeSizes, half_a_million_events_at_the_windows_edge_are_noticed_once) {
  // All in the last second that the first run may read.
  Crowd vendor = events(kHalfMillion, kNow - 60);
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 660) + R"(,"seen":""})";
  const Outcome first = converse(reading("events", begin), vendor);
  ASSERT_TRUE(first.done) << first.broken << (first.failure ? first.failure->message : "");
  expect_each_once(first, kHalfMillion);
  EXPECT_LT(first.largest_checkpoint(), kCheckpointMax);

  // A minute later all of them lie in the overlap, and one more is listed late, of that same
  // second.
  vendor.count = kHalfMillion + 1;
  vendor.server_now = kNow + 60;
  const Outcome next = converse(reading("events", first.checkpoints.back()), vendor, kNow + 60);
  ASSERT_TRUE(next.done) << next.broken;
  EXPECT_EQ(next.notices.size(), 1u) << "what was noticed is not noticed again";
  EXPECT_TRUE(next.notices.contains("customer cus_" + std::to_string(kHalfMillion + 1)));
  EXPECT_LT(next.largest_checkpoint(), kCheckpointMax);
}

TEST(StripeSizes, an_event_listed_late_among_thousands_costs_its_neighbours_only) {
  constexpr std::int64_t kCount = 20'000;
  constexpr std::int64_t kLate = 12'345;
  bool late_is_listed = false;
  const Crowd all = events(kCount, kNow - 100);
  const Vendor vendor = [&](const std::string& target) {
    Answer answer = all(target);
    if (late_is_listed) return answer;
    json page = json::parse(answer.body);
    for (auto event = page["data"].begin(); event != page["data"].end();) {
      event = (*event)["id"] == "evt_" + std::to_string(kLate) ? page["data"].erase(event)
                                                               : std::next(event);
    }
    answer.body = page.dump();
    return answer;
  };
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 660) + R"(,"seen":""})";
  const Outcome first = converse(reading("events", begin), vendor);
  ASSERT_TRUE(first.done) << first.broken;
  EXPECT_EQ(first.distinct(), static_cast<std::size_t>(kCount - 1));
  late_is_listed = true;
  const Outcome next = converse(reading("events", first.checkpoints.back()), vendor);
  ASSERT_TRUE(next.done) << next.broken;
  EXPECT_TRUE(next.notices.contains("customer cus_" + std::to_string(kLate)));
  EXPECT_LE(next.notices.size(), static_cast<std::size_t>(kCount / 30));
}

TEST(StripeSizes, events_go_on_from_each_checkpoint) {
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 660) + R"(,"seen":""})";
  expect_nothing_lost_at_any_checkpoint(reading("events", begin), events(3'000, kNow - 100), 3'000);
}

TEST(StripeSizes, events_go_on_from_each_checkpoint_of_a_run_that_knows_half_of_them) {
  constexpr std::int64_t kKnown = 1'500;
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 660) + R"(,"seen":""})";
  const Outcome first = converse(reading("events", begin), events(kKnown, kNow - 100));
  ASSERT_TRUE(first.done);
  // As many again, of the same second and listed before them.
  const Crowd vendor = events(2 * kKnown, kNow - 100);
  const auto args = reading("events", first.checkpoints.back());
  const Outcome whole = converse(args, vendor);
  ASSERT_TRUE(whole.done) << whole.broken;
  EXPECT_EQ(whole.notices.size(), static_cast<std::size_t>(kKnown));
  for (std::size_t i = 0; i < whole.checkpoints.size(); ++i) {
    const Outcome rest = converse(reading("events", whole.checkpoints[i]), vendor);
    ASSERT_TRUE(rest.done) << rest.broken;
    std::set<std::string> all(whole.order.begin(),
                              whole.order.begin() + static_cast<std::ptrdiff_t>(whole.before[i]));
    all.insert(rest.order.begin(), rest.order.end());
    EXPECT_EQ(all.size(), static_cast<std::size_t>(kKnown)) << whole.checkpoints[i];
  }
}

Crowd transactions(std::int64_t count, std::function<std::int64_t(std::int64_t)> created,
                   const std::int64_t& available_from) {
  Crowd crowd;
  crowd.count = count;
  crowd.prefix = "txn_";
  crowd.created = std::move(created);
  crowd.object = [&available_from](std::int64_t number, std::int64_t second) {
    const std::int64_t due = second + 2 * 86400;
    return R"({"id":"txn_)" + std::to_string(number) +
           R"(","object":"balance_transaction","created":)" + std::to_string(second) +
           R"(,"available_on":)" + std::to_string(due) + R"(,"status":")" +
           (due <= available_from ? "available" : "pending") + R"("})";
  };
  return crowd;
}

TEST(StripeSizes, fifty_thousand_pending_transactions_are_read_again_when_they_are_due) {
  constexpr std::int64_t kCount = 50'000;
  constexpr std::int64_t kSecond = kNow - 300;
  std::int64_t available_from = 0;
  Crowd vendor = transactions(
      kCount, [](std::int64_t) { return kSecond; }, available_from);
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 600) + R"(,"days":[]})";
  const Outcome first = converse(reading("balance_transactions_poll", begin), vendor);
  ASSERT_TRUE(first.done) << first.broken << (first.failure ? first.failure->message : "");
  expect_each_once(first, kCount);
  EXPECT_LT(first.largest_checkpoint(), kCheckpointMax);

  std::int64_t now = kNow + 7200;  // they lie in the overlap once more
  vendor.server_now = now;
  Outcome early =
      converse(reading("balance_transactions_poll", first.checkpoints.back()), vendor, now);
  ASSERT_TRUE(early.done);
  expect_each_once(early, kCount);
  now += 7200;  // and no longer, but are not due yet
  vendor.server_now = now;
  early = converse(reading("balance_transactions_poll", early.checkpoints.back()), vendor, now);
  ASSERT_TRUE(early.done);
  EXPECT_EQ(early.puts, 0u);

  now = kSecond + 2 * 86400 + 3600;
  vendor.server_now = now;
  available_from = now;
  const Outcome due =
      converse(reading("balance_transactions_poll", early.checkpoints.back()), vendor, now);
  ASSERT_TRUE(due.done);
  expect_each_once(due, kCount);
  EXPECT_EQ(json::parse(due.checkpoints.back())["days"].size(), 0u) << due.checkpoints.back();
}

TEST(StripeSizes, more_days_than_a_checkpoint_remembers_are_joined_and_none_is_forgotten) {
  constexpr std::int64_t kCount = 300;  // one a day
  std::int64_t available_from = 0;
  Crowd vendor = transactions(
      kCount, [](std::int64_t number) { return kNow - (kCount - number) * 86400 - 50; },
      available_from);
  const std::string begin =
      R"({"v":2,"cursor":)" + std::to_string(kNow - 400 * 86400) + R"(,"days":[]})";
  const Outcome first = converse(reading("balance_transactions_poll", begin), vendor);
  ASSERT_TRUE(first.done) << first.broken;
  EXPECT_EQ(first.records.size(), static_cast<std::size_t>(kCount));
  EXPECT_LT(first.largest_checkpoint(), kCheckpointMax);

  const std::int64_t now = kNow + 3 * 86400;
  vendor.server_now = now;
  available_from = now;
  const Outcome due =
      converse(reading("balance_transactions_poll", first.checkpoints.back()), vendor, now);
  ASSERT_TRUE(due.done);
  EXPECT_EQ(due.records.size(), static_cast<std::size_t>(kCount));
  EXPECT_EQ(json::parse(due.checkpoints.back())["days"].size(), 0u);
}

TEST(StripeSizes, a_poll_goes_on_from_each_checkpoint) {
  std::int64_t available_from = 0;
  const Crowd vendor = transactions(
      3'000, [](std::int64_t) { return kNow - 5'000; }, available_from);
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 6'000) + R"(,"days":[]})";
  expect_nothing_lost_at_any_checkpoint(reading("balance_transactions_poll", begin), vendor, 3'000);
}

TEST(StripeSizes, a_day_that_does_not_settle_is_read_once_a_run) {
  std::int64_t available_from = 0;
  const Crowd vendor = transactions(
      1, [](std::int64_t) { return kNow - 9 * 86400; }, available_from);
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 600) + R"(,"days":[[)" +
                            std::to_string(kNow - 10 * 86400) + "," +
                            std::to_string(kNow - 8 * 86400) + "," + std::to_string(kNow - 86400) +
                            "]]}";
  // The host's clock is a week ahead of Stripe's.
  const Outcome run =
      converse(reading("balance_transactions_poll", begin), vendor, kNow + 7 * 86400, 1'000);
  ASSERT_TRUE(run.done) << "a run ends";
  EXPECT_LE(run.requests.size(), 3u);
}

// ---- values without measure ----

Answer one_page(const std::string& objects) {
  Answer answer;
  answer.body = R"({"object":"list","has_more":false,"data":[)" + objects + "]}";
  return answer;
}

TEST(StripeSizes, huge_values_pass_or_cost_their_record_only) {
  const std::string text(20'000'000, 'x');
  std::string numbers = "[0";
  for (int i = 1; i < 500'000; ++i) numbers += "," + std::to_string(i);
  numbers += "]";
  const Outcome outcome = converse(reading("customers"), [&](const std::string&) {
    return one_page(R"({"id":"cus_1","created":1,"livemode":true,"description":")" + text +
                    R"("},)" + R"({"id":"cus_2","created":1,"metadata":{"a":)" + numbers + "}}," +
                    R"({"id":"cus_3","created":1,"name":"a\u0000b"},)" +
                    R"({"id":"cus_4","created":1,"balance":123456789012345678901234567890},)" +
                    R"({"id":"cus_5","created":1,"email":"ok@example.com"})");
  });
  ASSERT_TRUE(outcome.done) << outcome.broken << (outcome.failure ? outcome.failure->message : "");
  EXPECT_TRUE(outcome.records.contains("customer cus_5"));
  EXPECT_EQ(outcome.records.size() + outcome.rejected.size(), 5u) << "each is somewhere";
  EXPECT_FALSE(outcome.records.contains("customer cus_4")) << "no balance has thirty digits";
}

TEST(StripeSizes, nesting_beyond_measure_is_a_named_failure) {
  const auto nested = [](std::size_t depth) {
    return R"({"id":"cus_1","created":1,"metadata":)" + std::string(depth, '[') +
           std::string(depth, ']') + "}";
  };
  const Outcome deep =
      converse(reading("customers"), [&](const std::string&) { return one_page(nested(100)); });
  EXPECT_TRUE(deep.done) << deep.broken;
  const Outcome bottomless = converse(
      reading("customers"), [&](const std::string&) { return one_page(nested(1'000'000)); });
  ASSERT_TRUE(bottomless.failure) << bottomless.broken;
  EXPECT_EQ(bottomless.failure->failure_class, contract::FailureClass::bad_data);
}

TEST(StripeSizes, ids_of_255_characters_that_differ_in_case_only_are_two) {
  const std::string low = "sub_" + std::string(251, 'a');
  const std::string high = "sub_" + std::string(251, 'A');
  const Outcome outcome = converse(reading("subscriptions"), [&](const std::string&) {
    return one_page(R"({"id":")" + low + R"(","created":1},{"id":")" + high + R"(","created":1})");
  });
  ASSERT_TRUE(outcome.done) << outcome.broken;
  EXPECT_TRUE(outcome.records.contains("subscription " + low));
  EXPECT_TRUE(outcome.records.contains("subscription " + high));
}

TEST(StripeSizes, an_events_trail_beside_the_longest_id_fits_a_checkpoint) {
  // As many events as make sixty stretches of those that were seen and of those that are met, and
  // a cursor of a thousand bytes.
  const std::string begin = R"({"v":2,"cursor":)" + std::to_string(kNow - 660) + R"(,"seen":""})";
  const Outcome first = converse(reading("events", begin), events(960, kNow - 100));
  ASSERT_TRUE(first.done);
  const std::string longest = "evt_" + std::string(1'000, 'z');
  const Crowd crowd = events(1'919, kNow - 100);
  const Outcome next =
      converse(reading("events", first.checkpoints.back()), [&](const std::string& target) {
        if (parameter(target, "starting_after") == longest) {
          Answer last;
          last.body = R"({"data":[],"has_more":false})";
          return last;
        }
        Answer answer = crowd(target);
        json page = json::parse(answer.body);
        if (page["has_more"] == false) {
          page["has_more"] = true;
          page["data"].push_back(json::parse(customer_event(0, kNow - 100)));
          page["data"].back()["id"] = longest;
        }
        answer.body = page.dump();
        return answer;
      });
  ASSERT_TRUE(next.done) << next.broken << (next.failure ? next.failure->message : "");
  EXPECT_LT(next.largest_checkpoint(), kCheckpointMax);
  EXPECT_GT(next.largest_checkpoint(), 3'000u) << "else this tests nothing";
}

TEST(StripeSizes, check_probes_several_streams_at_once_within_what_the_host_allows) {
  contract::SessionArgs args;
  args.operation = contract::Operation::check;
  const Outcome outcome = converse(args, [](const std::string& target) {
    Answer answer;
    answer.body = target == "/v1/account" ? R"({"id":"acct_1","object":"account"})"
                                          : R"({"data":[],"has_more":false})";
    return answer;
  });
  ASSERT_TRUE(outcome.done) << outcome.broken;
  EXPECT_EQ(outcome.most_at_once, 8u);
  // The account, every list that a stream reads, and the events.
  std::size_t lists = 0;
  for (const auto& stream : stripe_code().manifest().streams)
    lists += stream.mode == contract::StreamMode::snapshot ? 1 : 0;
  EXPECT_EQ(outcome.requests.size(), lists + 2);
}

}  // namespace
}  // namespace sluice::stripe_test
