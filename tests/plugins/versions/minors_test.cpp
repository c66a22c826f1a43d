// A connector and a host whose contracts have different minors, in both directions. Compiled twice:
// with today's headers, over a connector whose headers have grown; and with grown ones, over
// connectors that have the sizes of 1.0.
#include <gtest/gtest.h>
#include <sluice/connector.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "connector/registry.hpp"

namespace sluice::connector {
namespace {

using contract::Input;
using contract::InputKind;
using contract::Response;
using contract::StepOutput;
using contract::StepResult;

std::vector<std::string> files() {
  std::vector<std::string> all;
  std::istringstream list(SLUICE_MINORS_FILES);
  for (std::string file; std::getline(list, file, ':');) all.push_back(file);
  return all;
}

class Minors : public ::testing::TestWithParam<std::string> {
 protected:
  ~Minors() override {
    session_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  StepOutput answer(std::uint64_t id, std::string body) {
    Response response;
    response.request_id = id;
    response.status = 200;
    response.body = std::move(body);
    Input input;
    input.kind = InputKind::response;
    input.response = &response;
    return expect(session_->step(input));
  }
  static std::filesystem::path new_directory() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-minors-XXXXXX").string();
    return ::mkdtemp(name.data());
  }

  std::filesystem::path directory_ = new_directory();
  Registry registry_{Store(directory_ / "store")};
  std::unique_ptr<Session> session_;
};

TEST_P(Minors, a_whole_read_goes_through_structs_of_both_sizes) {
  EXPECT_EQ(sizeof(sluice_record) > SLUICE_RECORD_SIZE_1_0, SLUICE_ABI_MINOR > SLUICE_MINOR_NOW)
      << "which of the two this program is";
  const auto code = registry_.load_file(GetParam());
  ASSERT_TRUE(code) << code.error().describe();
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.stream = "people";
  args.config_json = R"({"subdomain": "north"})";
  auto opened = (*code)->open(args);
  ASSERT_TRUE(opened) << opened.error().describe();
  session_ = std::move(*opened);
  StepOutput output = expect(session_->step(Input{.kind = InputKind::start}));
  ASSERT_EQ(output.requests.size(), 1U);
  output = answer(output.requests[0].id,
                  R"({"people": [{"id": "p1", "name": "Ann", "score": 1.50}], "next": "c2"})");
  ASSERT_EQ(output.page.records.size(), 1U);
  EXPECT_EQ(output.page.records[0].external_id, "p1");
  EXPECT_EQ(output.checkpoint, "c2");
  ASSERT_EQ(output.requests.size(), 1U);
  EXPECT_NE(output.requests[0].target.find("after=c2"), std::string::npos);
  output = answer(output.requests[0].id, R"({"people": [], "next": null})");
  EXPECT_EQ(output.result, StepResult::done);
}

TEST_P(Minors, a_failure_goes_through_too) {
  const auto code = expect(registry_.load_file(GetParam()));
  contract::SessionArgs args;
  args.operation = contract::Operation::read;
  args.stream = "people";
  args.config_json = R"({"subdomain": "north"})";
  session_ = expect(code->open(args));
  const StepOutput output = expect(session_->step(Input{.kind = InputKind::start}));
  const StepOutput failed = answer(output.requests.at(0).id, "no JSON");
  ASSERT_EQ(failed.result, StepResult::failed);
  EXPECT_EQ(failed.failure->failure_class, contract::FailureClass::bad_data);
}

INSTANTIATE_TEST_SUITE_P(Of, Minors, ::testing::ValuesIn(files()), [](const auto& one) {
  return std::filesystem::path(one.param).stem().string();
});

}  // namespace
}  // namespace sluice::connector
