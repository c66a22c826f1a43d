// The connectors written without the SDK, step by step: one in plain C11, one in Rust where there
// is a compiler. Each test runs with each of them, and the last one holds them against each other.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <sstream>

#include "connector/registry.hpp"

namespace sluice::connector {
namespace {

using contract::FailureClass;
using contract::Input;
using contract::InputKind;
using contract::Operation;
using contract::Response;
using contract::SessionArgs;
using contract::StepOutput;
using contract::StepResult;
using ::testing::HasSubstr;

std::vector<std::string> toys() {
  std::vector<std::string> files;
  std::istringstream list(SLUICE_TOYS);
  for (std::string file; std::getline(list, file, ':');) files.push_back(file);
  return files;
}

SessionArgs read(const std::string& stream, std::string checkpoint = "") {
  SessionArgs args;
  args.operation = Operation::read;
  args.stream = stream;
  args.checkpoint = std::move(checkpoint);
  args.checkpoint_format = 1;
  args.page_size = 10;
  return args;
}

SessionArgs fetch(std::uint32_t type, std::vector<std::string> ids) {
  SessionArgs args;
  args.operation = Operation::fetch;
  args.type = type;
  args.ids = std::move(ids);
  return args;
}

constexpr const char* kToys =
    "t1\t5\t+\tBall\t1.50\t3\tm1\t1700000000000000\n"
    "t2\t6\t+\tKite \xE2\x98\x83\t0.99\t-4\t\t\n";

/// One connector and one session of it.
class Driver {
 public:
  explicit Driver(const std::string& file) {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-toy-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    registry_.emplace(Store(directory_ / "store"));
    code_ = expect(registry_->load_file(file));
  }
  ~Driver() {
    session_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  const ConnectorCode& code() const { return *code_; }
  Session& session() { return *session_; }

  StepOutput start(const SessionArgs& args) {
    session_ = expect(code_->open(args));
    return asked(session_->step(Input{.kind = InputKind::start, .now_ms = 1000}));
  }
  Result<StepOutput> try_answer(std::string body, int status = 200) {
    Response response;
    response.request_id = request_id_;
    response.status = status;
    response.body = std::move(body);
    return session_->step(
        Input{.kind = InputKind::response, .now_ms = 2000, .response = &response});
  }
  StepOutput answer(std::string body, int status = 200) {
    return asked(try_answer(std::move(body), status));
  }
  StepOutput give(InputKind kind) { return asked(session_->step(Input{.kind = kind})); }
  StepOutput no_answer() {
    Response response;
    response.request_id = request_id_;
    response.transport_error = "connection refused";
    return asked(session_->step(Input{.kind = InputKind::transport_error, .response = &response}));
  }

 private:
  StepOutput asked(Result<StepOutput> output) {
    StepOutput out = expect(std::move(output));
    if (!out.requests.empty()) request_id_ = out.requests.back().id;
    return out;
  }

  std::filesystem::path directory_;
  std::optional<Registry> registry_;
  std::shared_ptr<const ConnectorCode> code_;
  std::unique_ptr<Session> session_;
  std::uint64_t request_id_ = 0;
};

class Toy : public ::testing::TestWithParam<std::string> {
 protected:
  void expect_failure(const StepOutput& output, FailureClass wanted, const std::string& said) {
    ASSERT_EQ(output.result, StepResult::failed);
    EXPECT_EQ(output.failure->failure_class, wanted) << output.failure->message;
    EXPECT_THAT(output.failure->message, HasSubstr(said));
    EXPECT_TRUE(driver_.session().ended());
  }
  Driver driver_{GetParam()};
};

TEST_P(Toy, its_file_gives_the_host_nothing_to_warn_of) {
  const Inspected inspected = expect(inspect(expect(read_connector_file(GetParam()))));
  EXPECT_TRUE(inspected.warnings.empty());
  EXPECT_EQ(inspected.elf.exported, 0u);
  EXPECT_EQ(inspected.manifest.find_stream("toys")->enumerates, std::vector<std::string>{"toy"});
  EXPECT_EQ(inspected.manifest.link_rules.at(0).source_type, "maker");
}

TEST_P(Toy, a_page_becomes_typed_records_a_checkpoint_and_the_next_request) {
  StepOutput output = driver_.start(read("toys"));
  ASSERT_EQ(output.requests.size(), 1u);
  EXPECT_EQ(output.requests[0].target, "/toys?limit=10&after=");
  output = driver_.answer(std::string(kToys) + "=more t2\n");
  ASSERT_EQ(output.result, StepResult::wait);
  ASSERT_EQ(output.page.records.size(), 2u);
  const contract::Record& ball = output.page.records[0];
  EXPECT_EQ(ball.external_id, "t1");
  EXPECT_EQ(ball.source_version, 5);
  EXPECT_EQ(ball.values[0].text, "Ball");
  EXPECT_EQ(ball.values[1].kind, contract::Kind::decimal);
  EXPECT_EQ(ball.values[1].text, "1.50");
  EXPECT_EQ(ball.values[2].number, 3);
  EXPECT_EQ(ball.values[4].kind, contract::Kind::timestamp);
  EXPECT_EQ(ball.values[4].number, 1700000000000000);
  const contract::Record& kite = output.page.records[1];
  EXPECT_EQ(kite.values[2].number, -4);
  EXPECT_EQ(kite.values[3].kind, contract::Kind::null) << "an empty value is none";
  EXPECT_EQ(output.checkpoint, "t2");
  EXPECT_EQ(output.requests.at(0).target, "/toys?limit=10&after=t2");
  output = driver_.answer("=end t2\n");
  EXPECT_EQ(output.result, StepResult::done) << "an empty page ends it as well";
  EXPECT_TRUE(output.page.empty());
  EXPECT_EQ(output.checkpoint, "t2");
}

TEST_P(Toy, an_empty_page_with_more_goes_on_and_a_vendor_without_anything_is_done) {
  driver_.start(read("toys"));
  StepOutput output = driver_.answer("=more t9\n");
  EXPECT_EQ(output.result, StepResult::wait);
  EXPECT_EQ(output.requests.at(0).target, "/toys?limit=10&after=t9");
  driver_.start(read("toys"));
  output = driver_.answer("=end \n");
  EXPECT_EQ(output.result, StepResult::done);
  EXPECT_FALSE(output.checkpoint);
}

TEST_P(Toy, it_goes_on_from_its_checkpoint_whatever_bytes_it_has) {
  EXPECT_EQ(driver_.start(read("makers", "42")).requests.at(0).target, "/makers?limit=10&after=42");
  EXPECT_EQ(driver_.start(read("makers", "a b&c=/%\xC3\xA9")).requests.at(0).target,
            "/makers?limit=10&after=a%20b%26c%3D%2F%25%C3%A9");
}

TEST_P(Toy, a_line_of_one_that_is_gone_is_a_deleted_record) {
  driver_.start(read("makers"));
  const StepOutput output = driver_.answer("m1\t8\t+\tAnn\tann@example.org\nm2\t9\t-\n=end 9\n");
  ASSERT_EQ(output.page.records.size(), 2u);
  EXPECT_FALSE(output.page.records[0].deleted);
  EXPECT_TRUE(output.page.records[1].deleted);
  EXPECT_EQ(output.page.records[1].type, 1u);
  EXPECT_EQ(output.checkpoint, "9");
}

TEST_P(Toy, what_is_no_number_costs_its_record_and_no_other) {
  driver_.start(read("toys"));
  const StepOutput output = driver_.answer(
      "t1\t5\t+\tBall\t1.50\tmany\tm1\t\nt2\t6\t+\tKite\tcheap\t1\t\t\nt3\t7\t+\tTop\t1\t1\t\t\n"
      "=end t3\n");
  EXPECT_EQ(output.result, StepResult::done);
  ASSERT_EQ(output.page.records.size(), 1u);
  EXPECT_EQ(output.page.records[0].external_id, "t3");
  ASSERT_EQ(output.page.rejected.size(), 2u);
  EXPECT_THAT(output.page.rejected[0].reason, HasSubstr("stock"));
}

TEST_P(Toy, at_the_sinks_stop_it_pauses_and_loses_nothing) {
  SessionArgs args = read("toys");
  args.records_per_step_max = 3;
  driver_.start(args);
  std::string body;
  for (int i = 0; i < 10; ++i) body += fmt::format("t{}\t{}\t+\tBall\t1\t1\t\t\n", i, i + 1);
  StepOutput output = driver_.answer(body + "=more t9\n");
  std::vector<std::string> ids;
  int steps = 1;
  while (output.result == StepResult::more) {
    EXPECT_EQ(output.page.records.size(), 3u);
    EXPECT_FALSE(output.checkpoint) << "it would cover records that are still to come";
    EXPECT_TRUE(output.requests.empty());
    for (const auto& record : output.page.records) ids.emplace_back(record.external_id);
    output = driver_.give(InputKind::resume);
    ++steps;
  }
  for (const auto& record : output.page.records) ids.emplace_back(record.external_id);
  EXPECT_EQ(steps, 4);
  EXPECT_THAT(ids,
              testing::ElementsAre("t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"));
  EXPECT_EQ(output.checkpoint, "t9");
  EXPECT_EQ(output.requests.at(0).target, "/toys?limit=10&after=t9");
}

TEST_P(Toy, cancel_ends_it_in_every_state) {
  driver_.start(read("toys"));
  expect_failure(driver_.give(InputKind::cancel), FailureClass::cancelled, "cancelled");
  SessionArgs args = read("toys");
  args.records_per_step_max = 1;
  driver_.start(args);
  ASSERT_EQ(driver_.answer(std::string(kToys) + "=end t2\n").result, StepResult::more);
  expect_failure(driver_.give(InputKind::cancel), FailureClass::cancelled, "cancelled");
}

TEST_P(Toy, each_refusal_of_the_vendor_has_its_class) {
  struct Refusal {
    int status;
    FailureClass wanted;
    const char* said;
  };
  const Refusal table[] = {{401, FailureClass::auth, "401"},
                           {403, FailureClass::permission, "403"},
                           {429, FailureClass::rate_limited, "429"},
                           {500, FailureClass::upstream_transient, "5xx"},
                           {503, FailureClass::upstream_transient, "5xx"},
                           {404, FailureClass::upstream_permanent, "refuses"},
                           {302, FailureClass::upstream_permanent, "refuses"}};
  for (const Refusal& refusal : table) {
    SCOPED_TRACE(refusal.status);
    driver_.start(read("toys"));
    expect_failure(driver_.answer("whatever", refusal.status), refusal.wanted, refusal.said);
  }
  driver_.start(read("toys"));
  expect_failure(driver_.no_answer(), FailureClass::upstream_transient, "does not answer");
}

TEST_P(Toy, a_damaged_body_is_named_and_leaves_no_checkpoint) {
  using namespace std::string_literals;
  const std::pair<std::string, const char*> table[] = {
      {"", "cut off"},
      {kToys, "cut off"},
      {"t1\t5\t+\tBall", "cut off"},
      {"<html>We will be back</html>\n", "no entity"},
      {"t1\t5\t+\tBall\t1\n=end t1\n", "no entity"},
      {"t1\tnew\t+\tBall\t1\t1\t\t\n=end t1\n", "no entity"},
      {"t1\t5\t+\tBall\t1\t1\t\t\t\n=end t1\n", "no entity"},
      {"\t5\t-\n=end t1\n", "no entity"},
      {"t1\t5\t?\n=end t1\n", "no entity"},
      {"=stop t1\n", "neither"},
      {"a\0b\n=end t1\n"s, "NUL"},
      {"=more " + std::string(300, 'x') + "\n", "above 255"},
  };
  for (const auto& [body, said] : table) {
    SCOPED_TRACE(body);
    driver_.start(read("toys"));
    const StepOutput output = driver_.answer(body);
    EXPECT_FALSE(output.checkpoint);
    expect_failure(output, FailureClass::bad_data, said);
  }
}

TEST_P(Toy, a_body_cut_anywhere_is_seen_unless_only_its_end_is_missing) {
  const std::string whole = std::string(kToys) + "=end t2\n";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    driver_.start(read("toys"));
    const StepOutput output = driver_.answer(whole.substr(0, size));
    EXPECT_EQ(output.result, StepResult::failed) << size;
    EXPECT_FALSE(output.checkpoint) << size;
  }
}

TEST_P(Toy, a_cursor_that_stands_still_ends_the_session_instead_of_going_round) {
  driver_.start(read("toys", "t2"));
  expect_failure(driver_.answer(std::string(kToys) + "=more t2\n"), FailureClass::bad_data,
                 "stands still");
}

TEST_P(Toy, check_names_the_account) {
  SessionArgs args;
  args.operation = Operation::check;
  EXPECT_EQ(driver_.start(args).requests.at(0).target, "/me");
  const StepOutput output = driver_.answer("toyshop_1\n");
  EXPECT_EQ(output.result, StepResult::done);
  EXPECT_THAT(*output.result_json, HasSubstr(R"("id":"toyshop_1")"));
  for (const char* wrong : {"", "\n", "toyshop_1", "toy shop\n", "a\"b\n", "<html>\n"}) {
    driver_.start(args);
    expect_failure(driver_.answer(wrong), FailureClass::bad_data, "no account");
  }
  driver_.start(args);
  expect_failure(driver_.answer("who are you?", 401), FailureClass::auth, "401");
}

TEST_P(Toy, fetch_asks_for_each_id_and_takes_a_404_for_gone) {
  EXPECT_EQ(driver_.start(fetch(0, {"t1", "t 2", "t3"})).requests.at(0).target, "/toys/t1");
  StepOutput output = driver_.answer("t1\t5\t+\tBall\t1\t1\t\t\n=end \n");
  EXPECT_EQ(output.requests.at(0).target, "/toys/t%202");
  ASSERT_EQ(output.page.records.size(), 1u);
  output = driver_.answer("no such thing\n", 404);
  EXPECT_EQ(output.requests.at(0).target, "/toys/t3");
  ASSERT_EQ(output.page.records.size(), 1u);
  EXPECT_EQ(output.page.records[0].external_id, "t 2");
  EXPECT_TRUE(output.page.records[0].deleted);
  output = driver_.answer("t3\t7\t-\n=end \n");
  EXPECT_EQ(output.result, StepResult::done);
  EXPECT_FALSE(output.checkpoint);
}

std::string described(const Result<StepOutput>& output) {
  if (!output) return output.error().describe();
  std::string text = fmt::format("result {}\n", static_cast<int>(output->result));
  for (const contract::Record& record : output->page.records) {
    text += fmt::format("{} {} {} {}", record.type, record.external_id, record.source_version,
                        record.deleted);
    for (const contract::Value& value : record.values) {
      text += fmt::format(" {}:{}:{}:{}", value.attribute, static_cast<int>(value.kind),
                          value.text.empty() ? value.number : 0, value.text);
    }
    text += "\n";
  }
  for (const auto& rejected : output->page.rejected) {
    text += fmt::format("rejected {} {}\n", rejected.external_id, rejected.code);
  }
  for (const auto& request : output->requests) text += request.target + "\n";
  text += output->checkpoint.value_or("no checkpoint") + "\n";
  if (output->failure) {
    text += fmt::format("{} {}\n", static_cast<int>(output->failure->failure_class),
                        output->failure->message);
  }
  return text;
}

TEST(Toys, all_languages_say_the_same_to_thousands_of_damaged_pages) {
  const std::vector<std::string> files = toys();
  if (files.size() < 2) GTEST_SKIP() << "there is no Rust compiler here, so there is only one";
  Driver first(files[0]);
  Driver second(files[1]);
  const unsigned seed = 20261123;
  std::mt19937 dice(seed);
  const auto up_to = [&dice](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(dice);
  };
  const std::string whole = std::string(kToys) + "t3\t9\t-\nt4\t10\t+\tTop\t1\t1\t\t\n=more t4\n";
  constexpr std::string_view kBytes("\t\n=+-0917ax \0\xC3\xFF", 15);
  for (int round = 0; round < 4000; ++round) {
    std::string body = whole;
    for (std::size_t edits = up_to(3); edits > 0; --edits) {
      const std::size_t at = up_to(body.size() - 1);
      const char byte = kBytes[up_to(kBytes.size() - 1)];
      switch (up_to(3)) {
        case 0:
          body[at] = byte;
          break;
        case 1:
          body.insert(at, 1 + up_to(20), byte);
          break;
        case 2:
          body.erase(at, 1 + up_to(30));
          break;
        default:
          body += body.substr(at);
      }
      if (body.empty()) body = "\n";
    }
    SessionArgs args = up_to(3) == 0 ? fetch(0, {"t1", "t2"}) : read("toys");
    args.records_per_step_max = static_cast<std::uint32_t>(1 + up_to(4));
    first.start(args);
    second.start(args);
    Result<StepOutput> one = first.try_answer(body);
    Result<StepOutput> two = second.try_answer(body);
    ASSERT_EQ(described(one), described(two)) << "seed " << seed << ", round " << round << "\n"
                                              << testing::PrintToString(body);
    while (one && one->result == StepResult::more) {
      one = first.session().step(Input{.kind = InputKind::resume});
      two = second.session().step(Input{.kind = InputKind::resume});
      ASSERT_EQ(described(one), described(two)) << "seed " << seed << ", round " << round << "\n"
                                                << testing::PrintToString(body);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Languages, Toy, ::testing::ValuesIn(toys()), [](const auto& toy) {
  return std::filesystem::path(toy.param).stem().string();
});

#ifdef SLUICE_TOY_PANICS
TEST(ToyRust, a_panic_ends_its_session_and_says_what_it_was) {
  Driver driver(SLUICE_TOY_PANICS);
  driver.start(read("toys"));
  const StepOutput output = driver.answer("panic");
  ASSERT_EQ(output.result, StepResult::failed);
  EXPECT_EQ(output.failure->failure_class, FailureClass::internal);
  EXPECT_THAT(output.failure->message, HasSubstr("panic: index out of bounds"));
  EXPECT_TRUE(driver.session().ended());
  EXPECT_EQ(driver.start(read("toys")).requests.size(), 1U) << "the next session goes on";
}
#endif

}  // namespace
}  // namespace sluice::connector
