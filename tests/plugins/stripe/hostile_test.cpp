// Every recorded conversation (tests/replay/stripe), with the wrong kind of JSON value in each
// place of each answer, and lists that lie. Whatever the vendor sends, the connector keeps the
// contract: each session ends, done or with a failure of a named class.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <random>

#include "plugins/stripe/conversation.hpp"
#include "replay/case_file.hpp"

namespace sluice::stripe_test {
namespace {

using contract::FailureClass;
using nlohmann::json;

const json& oddities() {
  static const json kOdd = json::parse(
      R"([null, true, 0, -1, 9223372036854775807, -9223372036854775808, 18446744073709551615, 1e308, 0.5, "", "text",
          "\u0000", [], {}, [[{}]], {"id": 7}, {"id": "x", "object": "y"}, [null, 1, "a"],
          {"data": 5, "has_more": true}, {"data": [null], "has_more": "yes"}])");
  return kOdd;
}

void collect_places(const json& value, const json::json_pointer& at,
                    std::vector<json::json_pointer>& places) {
  places.push_back(at);
  if (value.is_object()) {
    for (const auto& [name, inner] : value.items()) collect_places(inner, at / name, places);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) collect_places(value[i], at / i, places);
  }
}

contract::SessionArgs args_of(const replay::Case& test_case) {
  contract::SessionArgs args;
  args.config_json = test_case.config;
  args.page_size = test_case.page_size;
  if (test_case.operation == "read") {
    args.operation = contract::Operation::read;
    args.stream = test_case.stream;
    args.checkpoint = test_case.checkpoint;
    args.checkpoint_format = test_case.checkpoint.empty() ? 0 : test_case.checkpoint_format;
  } else if (test_case.operation == "fetch") {
    args.operation = contract::Operation::fetch;
    args.type = type_named(test_case.type);
    args.ids = test_case.ids;
  } else {
    args.operation = contract::Operation::check;
  }
  return args;
}

std::string decoded(const std::string& target) {
  std::string text;
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (target[i] == '%') {
      text += static_cast<char>(std::stoi(target.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      text += target[i];
    }
  }
  return text;
}

/// Answers as recorded, but `body` for exchange `changed`; what was not recorded is an empty list.
Vendor recorded(const replay::Case& test_case, std::size_t changed, const std::string& body) {
  return [&test_case, changed, &body](const std::string& target) {
    const std::string plain = decoded(target);
    for (std::size_t i = 0; i < test_case.exchanges.size(); ++i) {
      const auto& exchange = test_case.exchanges[i];
      if (exchange.target != plain) continue;
      Answer answer;
      answer.status = exchange.status == 0 ? 503 : exchange.status;
      answer.body = i == changed ? body : exchange.body;
      answer.headers.assign(exchange.headers.begin(), exchange.headers.end());
      return answer;
    }
    Answer answer;
    answer.body = R"({"object":"list","data":[],"has_more":false})";
    return answer;
  };
}

void expect_an_end(const Outcome& outcome, const std::string& what) {
  EXPECT_EQ(outcome.broken, "") << what;
  EXPECT_TRUE(outcome.done || outcome.failure) << what << ": does not end";
  if (outcome.failure) {
    EXPECT_NE(outcome.failure->failure_class, FailureClass::internal)
        << what << ": " << outcome.failure->message;
    EXPECT_FALSE(outcome.failure->message.empty()) << what;
  }
}

std::vector<replay::Case> recorded_cases() {
  std::vector<replay::Case> cases;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/tests/replay/stripe")) {
    if (entry.path().extension() == ".case") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    replay::Case one = replay::read_case(path);
    // Unknown streams are refused before anything is asked, and a thousand events show nothing new.
    const bool opens =
        one.operation != "read" || stripe_code().manifest().find_stream(one.stream) != nullptr;
    if (opens && one.checkpoint_format <= 2 && one.exchanges.size() < 30 &&
        one.exchanges.size() > 0 && one.exchanges[0].body.size() < 20'000)
      cases.push_back(std::move(one));
  }
  return cases;
}

TEST(StripeHostile, the_wrong_kind_of_value_anywhere_never_breaks_the_contract) {
  constexpr std::size_t kPlacesMax = 40;  // of one answer, drawn
  std::mt19937 random(20261123);
  std::size_t tries = 0;
  for (const replay::Case& one : recorded_cases()) {
    for (std::size_t i = 0; i < one.exchanges.size(); ++i) {
      const json body = json::parse(one.exchanges[i].body, nullptr, false);
      if (body.is_discarded()) continue;
      std::vector<json::json_pointer> places;
      collect_places(body, json::json_pointer(), places);
      std::shuffle(places.begin(), places.end(), random);
      places.resize(std::min(places.size(), kPlacesMax));
      for (const auto& place : places) {
        json changed = body;
        changed[place] = oddities()[random() % oddities().size()];
        const std::string text = changed.dump(-1, ' ', false, json::error_handler_t::replace);
        const Outcome outcome = converse(args_of(one), recorded(one, i, text), kNow, 2'000);
        expect_an_end(outcome, one.path.filename().string() + " " + place.to_string() + " " +
                                   changed[place].dump().substr(0, 80));
        ++tries;
      }
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(tries, 2'000u) << "the recorded conversations were not found";
}

TEST(StripeHostile, no_client_secret_reaches_a_record) {
  for (const replay::Case& one : recorded_cases()) {
    EXPECT_EQ(one.expected.find("MUSTNOTBESTORED"), std::string::npos) << one.path;
  }
}

// ---- lists that lie ----

std::string page(const std::string& ids, bool more, const std::string& object = "customer") {
  std::string data;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) data += ',';
    data += R"({"id":"x_)" + std::string(1, ids[i]) + R"(","object":")" + object +
            R"(","created":1795409000,"livemode":true})";
  }
  return R"({"object":"list","data":[)" + data + R"(],"has_more":)" + (more ? "true}" : "false}");
}

struct Lie {
  const char* what;
  std::vector<std::string> pages;  ///< the last one again and again
  FailureClass failure;
};

TEST(StripeHostile, a_list_that_lies_ends_in_a_named_failure_and_never_as_complete) {
  const Lie lies[] = {
      {"empty with more", {page("ab", true), page("", true)}, FailureClass::upstream_transient},
      {"empty from the start", {page("", true)}, FailureClass::upstream_transient},
      {"the same page for ever", {page("ab", true)}, FailureClass::bad_data},
      {"the same page as the last one",
       {page("ab", true), page("ab", false)},
       FailureClass::bad_data},
      {"another type", {page("ab", true), page("cd", false, "invoice")}, FailureClass::bad_data},
      {"two pages in turn",
       {page("ab", true), page("cd", true), page("ab", true), page("cd", true), page("ab", true),
        page("cd", true), page("ab", true), page("cd", true), page("ab", true), page("cd", true)},
       FailureClass::bad_data},
      {"no list at all", {R"({"object":"customer","id":"x"})"}, FailureClass::bad_data},
      {"a list of nothing", {R"({"data":[null],"has_more":false})"}, FailureClass::bad_data},
      {"has_more is a text", {R"({"data":[],"has_more":"false"})"}, FailureClass::bad_data},
      {"data is an object", {R"({"data":{},"has_more":false})"}, FailureClass::bad_data},
      {"cut off", {R"({"data":[{"id":"x_a"},)"}, FailureClass::bad_data},
      {"nothing", {""}, FailureClass::bad_data},
  };
  const std::string poll = R"({"v":2,"cursor":1795400000,"days":[]})";
  for (const Lie& lie : lies) {
    for (const auto& [stream, kind, checkpoint] :
         {std::tuple("customers", "customer", std::string()),
          std::tuple("checkout_sessions_poll", "checkout.session", poll),
          std::tuple("payment_methods_poll", "payment_method", poll)}) {
      std::size_t asked = 0;
      const Outcome outcome = converse(
          reading(stream, checkpoint),
          [&, kind = std::string(kind)](const std::string&) {
            Answer answer;
            answer.body = lie.pages[std::min(asked++, lie.pages.size() - 1)];
            static const std::string kCustomer = R"("object":"customer","created")";
            const std::string ours = R"("object":")" + kind + R"(","created")";
            for (std::size_t at = 0; (at = answer.body.find(kCustomer, at)) != std::string::npos;
                 at += ours.size())
              answer.body.replace(at, kCustomer.size(), ours);
            return answer;
          },
          kNow, 2'000);
      EXPECT_EQ(outcome.broken, "") << lie.what << ", " << stream;
      ASSERT_TRUE(outcome.failure) << lie.what << ", " << stream << ": taken for complete";
      EXPECT_EQ(outcome.failure->failure_class, lie.failure)
          << lie.what << ", " << stream << ": " << outcome.failure->message;
      EXPECT_LT(outcome.requests.size(), 20u) << lie.what << ", " << stream;
    }
  }
}

TEST(StripeHostile, an_object_or_a_child_without_an_id_costs_itself_and_not_its_list) {
  for (const std::string id : {R"("id":"",)", R"("id":7,)", R"("id":null,)", R"("id":{},)", ""}) {
    const std::string coupons =
        R"({"has_more":false,"data":[{"id":"c_2","object":"coupon","created":2},{)" + id +
        R"("object":"coupon","created":2},{"id":"c_1","object":"coupon","created":1}]})";
    const auto listed = [&](const std::string& body) {
      return [body](const std::string&) {
        Answer answer;
        answer.body = body;
        return answer;
      };
    };
    const Outcome of_list = converse(reading("coupons"), listed(coupons), kNow, 2'000);
    EXPECT_EQ(of_list.broken, "");
    EXPECT_TRUE(of_list.done) << id;
    EXPECT_EQ(of_list.records.count("coupon c_1"), 1u) << id;
    EXPECT_EQ(of_list.rejected, std::vector<std::string>{"record.bad_external_id"}) << id;

    const std::string invoices =
        R"({"has_more":false,"data":[{"id":"in_1","object":"invoice","created":1,"lines":)"
        R"({"has_more":false,"data":[{"id":"il_1","object":"line_item"},{)" +
        id + R"("object":"line_item"}]}}]})";
    const Outcome of_children = converse(reading("invoices"), listed(invoices), kNow, 2'000);
    EXPECT_EQ(of_children.broken, "");
    EXPECT_TRUE(of_children.done) << id;
    EXPECT_EQ(of_children.records.count("invoice_line il_1"), 1u) << id;
    EXPECT_EQ(of_children.rejected, std::vector<std::string>{"record.bad_external_id"}) << id;
  }
}

/// An empty list for an empty object, a text for none: what lies in it would be left out in
/// silence.
TEST(StripeHostile, a_part_that_should_be_an_object_and_is_none_puts_its_record_aside_by_name) {
  for (const std::string odd : {"[]", R"("")", "0", R"([{"city":"Rome"}])"}) {
    const Outcome outcome = converse(
        reading("customers"),
        [&](const std::string& target) {
          Answer answer;
          answer.body = R"({"has_more":false,"data":[]})";
          if (target.find("test_clock") != std::string::npos) return answer;
          answer.body =
              R"({"has_more":false,"data":[{"id":"cus_2","object":"customer","created":2,"address":)" +
              odd + R"(},{"id":"cus_1","object":"customer","created":1,"address":null}]})";
          return answer;
        },
        kNow, 2'000);
    EXPECT_EQ(outcome.broken, "");
    EXPECT_TRUE(outcome.done) << odd;
    EXPECT_EQ(outcome.records.count("customer cus_1"), 1u) << odd;
    EXPECT_EQ(outcome.records.count("customer cus_2"), 0u) << odd;
    ASSERT_EQ(outcome.rejected, std::vector<std::string>{"record.wrong_kind"}) << odd;
    EXPECT_EQ(outcome.reasons[0], "attribute 'address_city' is text, but the record has json (its value is not shown: "
              "personal or protected); send string");
  }
}

TEST(StripeHostile, a_line_that_is_for_something_odd_is_put_aside_too) {
  for (const std::string odd : {"[]", R"("")", "7"}) {
    const std::string invoices =
        R"({"has_more":false,"data":[{"id":"in_1","object":"invoice","created":1,"lines":)"
        R"({"has_more":false,"data":[{"id":"il_1","object":"line_item","parent":null},)"
        R"({"id":"il_2","object":"line_item","parent":)" +
        odd + "}]}}]}";
    const Outcome outcome = converse(
        reading("invoices"),
        [&](const std::string&) {
          Answer answer;
          answer.body = invoices;
          return answer;
        },
        kNow, 2'000);
    EXPECT_EQ(outcome.broken, "");
    EXPECT_TRUE(outcome.done) << odd;
    EXPECT_EQ(outcome.records.count("invoice_line il_1"), 1u) << odd;
    ASSERT_EQ(outcome.rejected, std::vector<std::string>{"record.wrong_kind"}) << odd;
    EXPECT_EQ(outcome.reasons[0], "attribute 'invoice_item' is text, but the record has json (its value is not shown: "
              "personal or protected); send string");
  }
}

TEST(StripeHostile, a_page_without_any_id_that_promises_more_cannot_be_continued) {
  const Outcome outcome = converse(
      reading("coupons"),
      [](const std::string&) {
        Answer answer;
        answer.body = R"({"has_more":true,"data":[{"object":"coupon"},{"object":"coupon"}]})";
        return answer;
      },
      kNow, 2'000);
  EXPECT_EQ(outcome.broken, "");
  ASSERT_TRUE(outcome.failure);
  EXPECT_EQ(outcome.failure->failure_class, FailureClass::bad_data);
}

TEST(StripeHostile, children_that_lie_end_in_a_named_failure) {
  const std::string invoice =
      R"({"data":[{"id":"in_1","object":"invoice","created":1,"lines":{"data":[],"has_more":true}}],"has_more":false})";
  const auto lines = [](bool more) {
    return std::string(R"({"data":[{"id":"il_1","object":"line_item"}],"has_more":)") +
           (more ? "true}" : "false}");
  };
  for (const std::string& body :
       {lines(true), std::string(R"({"data":[],"has_more":true})"),
        std::string(R"({"data":[{"object":"line_item"}],"has_more":true})"),
        std::string(R"({"data":[{"id":"in_1","object":"invoice"}],"has_more":false})")}) {
    const Outcome outcome = converse(
        reading("invoices"),
        [&](const std::string& target) {
          Answer answer;
          answer.body = target.find("/lines") == std::string::npos ? invoice : body;
          return answer;
        },
        kNow, 2'000);
    EXPECT_EQ(outcome.broken, "");
    EXPECT_TRUE(outcome.failure) << body;
  }
}

}  // namespace
}  // namespace sluice::stripe_test
