// Sessions: the toy's whole way, and what the host says to each broken rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sluice/connector.h>

#include <thread>

#include "plugins/zoo/zoo.hpp"

namespace sluice::connector {
namespace {

using contract::Input;
using contract::InputKind;
using contract::Operation;
using contract::Response;
using contract::SessionArgs;
using contract::StepOutput;
using contract::StepResult;
using ::testing::HasSubstr;
using zoo::animal;
using zoo::ZooTest;

class SessionTest : public ZooTest {
 protected:
  std::shared_ptr<const ConnectorCode> code(const std::string& name) {
    return expect(registry_.load_file(animal(name)));
  }
  static SessionArgs read_widgets() {
    return SessionArgs{.operation = Operation::read, .stream = "widgets"};
  }

  std::unique_ptr<Session> open(const std::string& name, const SessionArgs& args = read_widgets()) {
    return expect(code(name)->open(args));
  }
  Result<StepOutput> first_step(const std::string& name, const SessionArgs& args = read_widgets()) {
    return open(name, args)->step(Input{.kind = InputKind::start, .now_ms = 1000});
  }
  static Result<StepOutput> answer(Session& session, std::uint64_t id, std::string body,
                                   int status = 200) {
    const Response response{.request_id = id, .status = status, .body = std::move(body)};
    return session.step(Input{.kind = InputKind::response, .now_ms = 2000, .response = &response});
  }

  Registry registry_{Store(directory_ / "store")};
};

TEST_F(SessionTest, the_toy_reads_two_pages) {
  auto session = open("toy");
  StepOutput output = expect(session->step(Input{}));
  ASSERT_EQ(output.result, StepResult::wait);
  ASSERT_EQ(output.requests.size(), 1u);
  EXPECT_EQ(output.requests[0].target, "/widgets?page=1");
  EXPECT_EQ(output.requests[0].auth_slot, 0u);
  EXPECT_TRUE(output.requests[0].idempotent);

  output = expect(answer(*session, output.requests[0].id, "w1,Wheel,3\nw2,Axle,4\nnext\n"));
  ASSERT_EQ(output.result, StepResult::wait);
  ASSERT_EQ(output.page.records.size(), 2u);
  EXPECT_EQ(output.page.records[1].external_id, "w2");
  EXPECT_EQ(output.page.records[1].values[0].text, "Axle");
  EXPECT_EQ(output.page.records[1].values[1].number, 4);
  EXPECT_EQ(output.checkpoint, "2");

  const contract::Page first = std::move(output.page);
  output = expect(answer(*session, output.requests[0].id, "w3,Nut,1\n"));
  EXPECT_EQ(output.result, StepResult::done);
  EXPECT_EQ(output.checkpoint, "3");
  EXPECT_TRUE(session->ended());
  EXPECT_EQ(first.records[0].values[0].text, "Wheel") << "a page outlives its step";
  EXPECT_EQ(session->step(Input{.kind = InputKind::resume}).error().code,
            "connector.session_state");
}

TEST_F(SessionTest, the_toy_resumes_from_its_checkpoint) {
  SessionArgs args = read_widgets();
  args.checkpoint = "7";
  args.checkpoint_format = 2;
  EXPECT_EQ(expect(first_step("toy", args)).requests.at(0).target, "/widgets?page=7");
  args.checkpoint_format = 3;
  EXPECT_EQ(code("toy")->open(args).error().code, "connector.checkpoint_format");
}

TEST_F(SessionTest, the_toy_checks_a_credential_and_reports_failures_by_class) {
  const SessionArgs check{.operation = Operation::check};
  auto session = open("toy", check);
  ASSERT_TRUE(session->step(Input{}));
  const StepOutput output = expect(answer(*session, 1, "fine"));
  EXPECT_EQ(output.result, StepResult::done);
  EXPECT_THAT(output.result_json.value_or(""), HasSubstr("Toys"));

  session = open("toy", check);
  ASSERT_TRUE(session->step(Input{}));
  const StepOutput failed = expect(answer(*session, 1, "", 401));
  EXPECT_EQ(failed.result, StepResult::failed);
  EXPECT_EQ(failed.failure->failure_class, contract::FailureClass::auth);
  EXPECT_TRUE(session->ended());
}

TEST_F(SessionTest, cancel_ends_a_waiting_session) {
  auto session = open("toy");
  ASSERT_TRUE(session->step(Input{}));
  const StepOutput output = expect(session->step(Input{.kind = InputKind::cancel}));
  EXPECT_EQ(output.failure->failure_class, contract::FailureClass::cancelled);
}

TEST_F(SessionTest, a_transport_error_reaches_the_connector) {
  auto session = open("toy");
  ASSERT_TRUE(session->step(Input{}));
  const Response response{.request_id = 1, .transport_error = "no route"};
  const auto output =
      session->step(Input{.kind = InputKind::transport_error, .response = &response});
  ASSERT_TRUE(output) << output.error().describe();
  EXPECT_EQ(output->failure->failure_class, contract::FailureClass::upstream_transient);
}

TEST_F(SessionTest, successive_steps_may_come_from_different_threads) {
  auto session = open("toy");
  ASSERT_TRUE(session->step(Input{}));
  std::thread elsewhere([&] { EXPECT_TRUE(answer(*session, 1, "w1,Wheel,3\n")); });
  elsewhere.join();
}

TEST_F(SessionTest, the_hosts_own_mistakes_leave_the_session_alone) {
  auto session = open("toy");
  EXPECT_EQ(session->step(Input{.kind = InputKind::timer}).error().code, "connector.session_state");
  EXPECT_EQ(answer(*session, 1, "").error().code, "connector.session_state");
  ASSERT_TRUE(session->step(Input{}));
  EXPECT_EQ(session->step(Input{}).error().code, "connector.session_state") << "start twice";
  EXPECT_EQ(answer(*session, 99, "").error().code, "connector.session_state");
  EXPECT_TRUE(answer(*session, 1, "w1,Wheel,3\n"));
}

TEST_F(SessionTest, open_refuses_what_the_manifest_does_not_offer) {
  const auto toy = code("toy");
  const auto refused = [&](const SessionArgs& args) { return toy->open(args).error().code; };
  EXPECT_EQ(refused({.operation = Operation::subscribe}), "connector.operation_unsupported");
  EXPECT_EQ(refused({.operation = Operation::read, .stream = "none"}), "connector.bad_args");
  EXPECT_EQ(refused({.operation = Operation::fetch, .type = 2, .ids = {"a"}}),
            "connector.bad_args");
  EXPECT_EQ(refused({.operation = Operation::fetch, .type = 0}), "connector.bad_args");
  EXPECT_EQ(refused({.operation = Operation::fetch, .type = 0, .ids = {""}}), "connector.bad_args");
}

TEST_F(SessionTest, every_kind_of_output_arrives_as_it_was) {
  const auto result = first_step("every_kind");
  ASSERT_TRUE(result) << result.error().describe();
  const StepOutput& output = *result;
  ASSERT_EQ(output.page.records.size(), 2u);
  const contract::Record& record = output.page.records[0];
  EXPECT_EQ(record.external_id, "w1");
  EXPECT_EQ(record.source_version, 42);
  EXPECT_EQ(record.source_url, "https://toy.example/w1");
  ASSERT_EQ(record.values.size(), 9u);
  EXPECT_EQ(record.values[0].text, "name");
  EXPECT_EQ(record.values[1].number, -7);
  EXPECT_EQ(record.values[2].text, "-12.50");
  EXPECT_EQ(record.values[3].real, 0.5);
  EXPECT_EQ(record.values[4].number, 1);
  EXPECT_EQ(record.values[5].number, 1700000000000000);
  EXPECT_EQ(record.values[6].number, 19675);
  EXPECT_EQ(record.values[7].text, "{\"a\":1}");
  EXPECT_EQ(record.values[8].text, std::string_view("\xff\x00", 2))
      << "raw bytes need not be UTF-8";
  EXPECT_EQ(record.values[8].kind, contract::Kind::raw);
  ASSERT_EQ(record.named.size(), 1u);
  EXPECT_EQ(record.named[0].name, "custom_one");
  EXPECT_EQ(record.named[0].value.text, "x");
  EXPECT_TRUE(output.page.records[1].deleted);
  EXPECT_EQ(output.page.notices.at(0).merged_into, "w1");
  EXPECT_EQ(output.page.sets.at(0).ids[1], "w4");
  EXPECT_EQ(output.total, 1000);
  EXPECT_EQ(output.log.size(), 101u);
  EXPECT_EQ(output.log[0].message, "line\\x0a");
  EXPECT_THAT(output.log[100].message, HasSubstr("50 more log lines"));
}

TEST_F(SessionTest, a_bad_record_is_routed_and_the_others_arrive) {
  const auto result = first_step("bad_records");
  ASSERT_TRUE(result) << result.error().describe();
  const contract::Page& page = result->page;
  ASSERT_EQ(page.records.size(), 4u);
  EXPECT_EQ(page.records[0].external_id, "good1");
  EXPECT_EQ(page.records[1].external_id, "whole");
  EXPECT_EQ(page.records[1].values[0].text, "1999.0");
  EXPECT_EQ(page.records[2].external_id, "exponent");
  EXPECT_EQ(page.records[3].external_id, "good2");
  std::vector<std::pair<std::string, std::string>> rejected;
  for (const auto& record : page.rejected) rejected.emplace_back(record.external_id, record.code);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"kind", "record.wrong_kind"},     {"utf8", "record.bad_text"},
      {"surrogate", "record.bad_text"},  {"", "record.bad_external_id"},
      {"", "record.bad_external_id"},    {std::string(1024, 'x') + "…", "record.bad_external_id"},
      {"boolean", "record.bad_value"},   {"nan", "record.bad_value"},
      {"decimal", "record.bad_value"},   {"date", "record.bad_value"},
      {"split", "record.bad_text"},      {"fraction", "record.wrong_kind"},
      {"personal", "record.wrong_kind"}, {"odd", "record.wrong_kind"},
  };
  EXPECT_EQ(rejected, expected);
  const std::string kHidden = " (its value is not shown: personal or protected); send string";
  EXPECT_EQ(page.rejected[0].reason,
            "attribute 'name' is text, but the record has int64" + kHidden);
  EXPECT_EQ(page.rejected[11].reason,
            "attribute 'size' is integer, but the record has decimal '19.5'; send int64, or a "
            "decimal that is a whole number of 64 bits");
  EXPECT_EQ(page.rejected[12].reason,
            "attribute 'email' is text, but the record has int64" + kHidden);
  EXPECT_THAT(page.rejected[13].reason,
              HasSubstr("string 'one\\x0athousand and nine hundred ninety-nin…'; send int64"));
}

struct Broken {
  const char* name;
  const char* rule;
  const char* said;
  Operation operation = Operation::read;
};

TEST_F(SessionTest, each_broken_rule_is_named_and_ends_the_session) {
  const Broken table[] = {
      {"throws", "SLP-B02", "exception"},
      {"too_many_records", "SLP-L05", "after the step's limit"},
      {"foreign_host", "SLP-R01", "request.host is 1"},
      {"foreign_auth_slot", "SLP-R01", "request.auth_slot is 2"},
      {"absolute_url", "SLP-R01", "request.target"},
      {"sets_authorization", "SLP-R01", "'authorization'"},
      {"sets_auth_header", "SLP-R01", "'x-toy-token'"},
      {"splits_header", "SLP-R02", "request.headers[0]"},
      {"request_id_zero", "SLP-R02", "request.id 0"},
      {"request_id_twice", "SLP-R02", "request.id 1"},
      {"request_newer", "SLP-B03", "does not know"},
      {"request_smaller", "SLP-B03", "struct_size is 8"},
      {"checkpoint_too_large", "SLP-C01", "4097"},
      {"checkpoint_in_check", "SLP-S09", "checkpoint()", Operation::check},
      {"no_result", "SLP-X01", "result()", Operation::check},
      {"result_twice", "SLP-X01", "twice", Operation::check},
      {"result_no_json", "SLP-X01", "no JSON", Operation::check},
      {"fails_twice", "SLP-F01", "twice"},
      {"failed_without_fail", "SLP-S08", "without fail()"},
      {"fail_without_failed", "SLP-S08", "did not return FAILED"},
      {"wait_without_request", "SLP-S08", "no request is outstanding"},
      {"done_with_request", "SLP-S08", "outstanding"},
      {"sleep_without_time", "SLP-S08", "wake_at_ms"},
      {"unknown_result", "SLP-S08", "99"},
      {"internal_error", "SLP-S07", "SLUICE_E_INTERNAL"},
      {"ignores_refusal", "SLP-R02", "request.id 0"},
      {"attribute_twice", "SLP-D01", "twice"},
      {"unknown_attribute", "SLP-D01", "attribute 11"},
      {"type_of_another_stream", "SLP-D02", "'box'"},
      {"late_sink_call", "SLP-S06", "another thread"},
  };
  for (const Broken& broken : table) {
    SessionArgs args = read_widgets();
    args.operation = broken.operation;
    auto session = open(broken.name, args);
    const Result<StepOutput> output = session->step(Input{});
    EXPECT_FALSE(output) << broken.name;
    if (output) continue;
    EXPECT_EQ(output.error().code, "connector.contract") << broken.name;
    EXPECT_EQ(output.error().kind, ErrorKind::internal) << broken.name;
    EXPECT_THAT(output.error().message, HasSubstr(broken.rule)) << broken.name;
    EXPECT_THAT(output.error().message, HasSubstr(broken.said)) << broken.name;
    EXPECT_TRUE(session->ended()) << broken.name;
  }
}

TEST_F(SessionTest, so_many_requests_are_out_at_once_and_one_more_breaks_a_rule) {
  auto session = open("too_many_requests");
  const StepOutput output = expect(session->step(Input{}));
  ASSERT_EQ(output.requests.size(), std::size_t{SLUICE_REQUESTS_OUTSTANDING_MAX});
  const Result<StepOutput> more = answer(*session, output.requests[3].id, "");
  ASSERT_FALSE(more) << more->requests.size();
  EXPECT_EQ(more.error().code, "connector.contract");
  EXPECT_THAT(more.error().message, HasSubstr("rule SLP-R02: more than 16 requests of a session"));
  EXPECT_TRUE(session->ended());
}

TEST_F(SessionTest, stop_is_answered_at_the_limit_and_a_little_more_is_taken) {
  SessionArgs args = read_widgets();
  args.records_per_step_max = 2;
  auto polite = open("stops_politely", args);
  const StepOutput stopped = expect(polite->step(Input{}));
  EXPECT_EQ(stopped.result, StepResult::more);
  EXPECT_EQ(stopped.page.records.size(), 2u);
  EXPECT_EQ(expect(polite->step(Input{.kind = InputKind::resume})).result, StepResult::done);

  auto session = open("toy", args);
  ASSERT_TRUE(session->step(Input{}));
  const StepOutput output = expect(answer(*session, 1, "w1,a,1\nw2,b,2\nw3,c,3\n"));
  EXPECT_EQ(output.page.records.size(), 3u) << "the toy finishes its page";
}

TEST_F(SessionTest, done_with_an_answer_still_to_come_is_refused_and_cancel_is_not) {
  auto session = open("done_while_waiting");
  ASSERT_TRUE(session->step(Input{}));
  const auto output = answer(*session, 1, "");
  ASSERT_FALSE(output);
  EXPECT_THAT(output.error().message, HasSubstr("SLP-S08"));
  session = open("done_while_waiting");
  ASSERT_TRUE(session->step(Input{}));
  EXPECT_EQ(expect(session->step(Input{.kind = InputKind::cancel})).result, StepResult::done);
}

TEST_F(SessionTest, a_connector_that_only_says_more_is_stopped) {
  auto session = open("idles_forever");
  Result<StepOutput> output = session->step(Input{});
  int steps = 1;
  while (output && steps < 5000) {
    output = session->step(Input{.kind = InputKind::resume});
    ++steps;
  }
  ASSERT_FALSE(output);
  EXPECT_THAT(output.error().message, HasSubstr("SLP-S10"));
}

TEST_F(SessionTest, an_open_that_fails_is_the_connectors_fault) {
  const auto session = code("open_fails")->open(read_widgets());
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, "connector.contract");
}

TEST_F(SessionTest, a_thousand_sessions_leak_nothing) {
  const auto toy = code("toy");
  for (int i = 0; i < 1000; ++i) {
    auto session = expect(toy->open(read_widgets()));
    if (i % 2 == 0) {
      ASSERT_TRUE(session->step(Input{}));
    }
  }
}

}  // namespace
}  // namespace sluice::connector
