// The session's edges, through the C contract: what authors get wrong must come out right.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sluice/connector.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace {

const sluice_entry_v1& entry_of(const char* file) {
  void* handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  return *static_cast<const sluice_entry_v1*>(dlsym(handle, SLUICE_ENTRY_SYMBOL));
}

const sluice_entry_v1& odd() { return entry_of(SLUICE_SDK_TEST_DIR "/odd.so"); }

std::string text(sluice_bytes bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data),
                     static_cast<std::size_t>(bytes.size));
}

sluice_bytes bytes(std::string_view view) {
  sluice_bytes out;
  out.data = reinterpret_cast<const std::uint8_t*>(view.data());
  out.size = view.size();
  return out;
}

class SdkSession : public testing::Test {
 protected:
  SdkSession() {
    sink_.struct_size = sizeof(sink_);
    sink_.ctx = this;
    sink_.record = [](void* ctx, const sluice_record* r) {
      self(ctx).records_.push_back(text(r->external_id));
      self(ctx).flags_.push_back(r->flags);
      return self(ctx).verdict();
    };
    sink_.request = [](void* ctx, const sluice_request* r) {
      self(ctx).requests_.push_back(*r);
      self(ctx).targets_.push_back(text(r->target));
      return self(ctx).stop_requests_ ? SLUICE_STOP : SLUICE_OK;
    };
    sink_.complete_set = [](void* ctx, const sluice_complete_set* s) -> sluice_status {
      auto& ids = self(ctx).sets_.emplace_back();
      for (std::uint32_t i = 0; i < s->id_count; ++i) ids.push_back(text(s->ids[i]));
      return SLUICE_OK;
    };
    sink_.checkpoint = [](void* ctx, sluice_bytes c) -> sluice_status {
      self(ctx).checkpoints_.push_back(text(c));
      return SLUICE_OK;
    };
    sink_.fail = [](void* ctx, const sluice_failure* f) -> sluice_status {
      self(ctx).failure_class_ = f->failure_class;
      self(ctx).message_ = text(f->message);
      self(ctx).code_ = text(f->vendor_code);
      return SLUICE_OK;
    };
    host_.struct_size = sizeof(host_);
    host_.abi_major = 1;
    args_.struct_size = sizeof(args_);
    args_.operation = SLUICE_OP_READ;
    args_.records_per_step_max = 1000;
    input_.struct_size = sizeof(input_);
    input_.now_ms = 1000;
  }
  ~SdkSession() override {
    if (session_ != nullptr) connector_->close(session_);
  }

  static SdkSession& self(void* ctx) { return *static_cast<SdkSession*>(ctx); }
  sluice_status verdict() { return answer_; }

  void open(std::string_view stream, std::string_view config = "{}") {
    args_.stream = bytes(stream);
    args_.config_json = bytes(config);
    ASSERT_EQ(connector_->open(&host_, &args_, &session_), SLUICE_OK);
  }
  sluice_status step(sluice_input_kind kind) {
    input_.kind = kind;
    return connector_->step(session_, &input_, &sink_, &wake_at_ms_);
  }
  sluice_status answer(std::uint64_t id, const std::string& body) {
    const std::string padded = body + std::string(64, '\0');
    input_.request_id = id;
    input_.status = 200;
    input_.body = bytes(std::string_view(padded).substr(0, body.size()));
    return step(SLUICE_INPUT_RESPONSE);
  }

  const sluice_entry_v1* connector_ = &odd();
  sluice_host host_{};
  sluice_open_args args_{};
  sluice_input input_{};
  sluice_sink sink_{};
  sluice_session* session_ = nullptr;
  sluice_status answer_ = SLUICE_OK;
  bool stop_requests_ = false;
  std::int64_t wake_at_ms_ = 0;
  std::vector<std::string> records_;
  std::vector<std::uint32_t> flags_;
  std::vector<std::string> checkpoints_;
  std::vector<std::vector<std::string>> sets_;
  std::vector<std::string> targets_;
  std::vector<sluice_request> requests_;
  sluice_failure_class failure_class_ = 0;
  std::string message_;
  std::string code_;
};

TEST_F(SdkSession, a_bug_in_the_connector_becomes_failed_internal) {
  open("throws");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_FAILED);
  EXPECT_EQ(failure_class_, SLUICE_FAIL_INTERNAL);
  EXPECT_EQ(message_, "a bug");
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_E_STATE);
}

TEST_F(SdkSession, what_is_no_exception_is_caught_too) {
  open("throws_no_exception");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_FAILED);
  EXPECT_EQ(failure_class_, SLUICE_FAIL_INTERNAL);
}

TEST_F(SdkSession, out_of_memory_is_a_contract_error) {
  open("out_of_memory");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_E_MEMORY);
}

TEST_F(SdkSession, a_refusal_of_the_sink_is_returned_as_it_is) {
  open("throws");
  answer_ = SLUICE_E_LIMIT;
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_E_LIMIT);
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_E_STATE);
}

TEST_F(SdkSession, a_wrong_configuration_fails_the_first_step) {
  for (const char* config : {"{\"bad\":1}", "[]", "{"}) {
    open("deep", config);
    EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_FAILED) << config;
    EXPECT_EQ(failure_class_, SLUICE_FAIL_CONFIG) << config;
    odd().close(session_);
    session_ = nullptr;
  }
}

TEST_F(SdkSession, sleeping_waits_for_the_clock_that_it_is_given) {
  open("sleeps");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_SLEEP);
  EXPECT_EQ(wake_at_ms_, 1500);
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_E_STATE) << "TIMER is what it waits for";
}

TEST_F(SdkSession, a_timer_wakes_it) {
  open("sleeps");
  ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_SLEEP);
  input_.now_ms = wake_at_ms_;
  EXPECT_EQ(step(SLUICE_INPUT_TIMER), SLUICE_STEP_DONE);
  EXPECT_EQ(records_, std::vector<std::string>{"slept"});
}

TEST_F(SdkSession, a_checkpoint_beyond_the_limit_is_the_connectors_fault) {
  open("large_checkpoint");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_FAILED);
  EXPECT_EQ(failure_class_, SLUICE_FAIL_INTERNAL);
}

TEST_F(SdkSession, failures_are_cut_to_their_limits) {
  open("long_failure");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_FAILED);
  EXPECT_EQ(message_.size(), 1024u);
  EXPECT_EQ(code_.size(), 128u);
}

TEST_F(SdkSession, a_hundred_thousand_coroutines_do_not_deepen_the_stack) {
  open("deep");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_DONE);
  EXPECT_EQ(records_.size(), 100'000u);
  EXPECT_EQ(records_.back(), "t99999");
}

TEST_F(SdkSession, cancel_ends_it_in_every_state) {
  open("many");
  ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
  EXPECT_EQ(step(SLUICE_INPUT_CANCEL), SLUICE_STEP_FAILED);
  EXPECT_EQ(failure_class_, SLUICE_FAIL_CANCELLED);
  EXPECT_EQ(step(SLUICE_INPUT_CANCEL), SLUICE_E_STATE);
}

TEST_F(SdkSession, replies_find_the_one_who_awaits_them_in_any_order) {
  open("many");
  ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
  ASSERT_EQ(targets_, (std::vector<std::string>{"/1", "/2", "/3"}));
  EXPECT_EQ(answer(requests_[0].id, "one"), SLUICE_STEP_WAIT);
  EXPECT_TRUE(records_.empty());
  EXPECT_EQ(answer(requests_[2].id, "three"), SLUICE_STEP_WAIT);
  EXPECT_EQ(records_, (std::vector<std::string>{"three", "one"}));
  EXPECT_EQ(answer(requests_[2].id, "again"), SLUICE_E_ARG) << "answered twice";
}

TEST_F(SdkSession, stop_at_a_request_holds_the_others_back_for_the_next_step) {
  stop_requests_ = true;
  open("many");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_MORE);
  EXPECT_EQ(targets_.size(), 1u);
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_STEP_MORE);
  EXPECT_EQ(targets_.size(), 2u);
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_STEP_MORE);
  EXPECT_EQ(targets_, (std::vector<std::string>{"/1", "/2", "/3"}));
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_STEP_WAIT);
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_E_STATE);
}

TEST_F(SdkSession, a_reply_that_comes_while_the_host_owes_continue_is_kept) {
  open("many");
  ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
  answer_ = SLUICE_STOP;
  EXPECT_EQ(answer(requests_[2].id, "three"), SLUICE_STEP_MORE);
  EXPECT_EQ(answer(requests_[0].id, "one"), SLUICE_STEP_MORE) << "still owed";
  answer_ = SLUICE_OK;
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_STEP_WAIT);
  EXPECT_EQ(answer(requests_[1].id, "two"), SLUICE_STEP_DONE);
  EXPECT_EQ(records_, (std::vector<std::string>{"three", "one", "twonone", "three"}));
}

TEST_F(SdkSession, structs_of_other_versions_are_judged_by_their_tails) {
  struct Larger {
    sluice_open_args args;
    std::uint64_t tail[2];
  } larger{};
  larger.args = args_;
  larger.args.struct_size = sizeof(larger);
  ASSERT_EQ(odd().open(&host_, &larger.args, &session_), SLUICE_OK)
      << "a larger one whose tail is zero";
  odd().close(session_);
  larger.tail[1] = 1;
  EXPECT_EQ(odd().open(&host_, &larger.args, &session_), SLUICE_E_TOO_NEW);
  EXPECT_EQ(session_, nullptr);
  args_.struct_size = 8;
  EXPECT_EQ(odd().open(&host_, &args_, &session_), SLUICE_E_ARG);
  host_.abi_major = 2;
  EXPECT_EQ(odd().open(&host_, &larger.args, &session_), SLUICE_E_UNSUPPORTED);
}

TEST_F(SdkSession, an_operation_it_does_not_have_is_unsupported) {
  args_.operation = SLUICE_OP_DISCOVER;
  open("x");
  EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_E_UNSUPPORTED);
}

TEST_F(SdkSession, inputs_out_of_turn_are_refused) {
  open("many");
  EXPECT_EQ(step(SLUICE_INPUT_CONTINUE), SLUICE_E_STATE);
  odd().close(session_);
  open("many");
  EXPECT_EQ(answer(7, "nobody asked"), SLUICE_E_STATE);
  odd().close(session_);
  open("many");
  EXPECT_EQ(step(99), SLUICE_E_ARG);
}

TEST_F(SdkSession, the_template_reads_pages_until_there_is_no_next_one) {
  connector_ = &entry_of(SLUICE_SDK_TEST_DIR "/acme.so");
  open("people", R"({"subdomain":"x"})");
  ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
  EXPECT_EQ(targets_.back(), "/v1/people");
  EXPECT_EQ(answer(requests_.back().id,
                   R"({"people":[{"id":"p1","updated_at":"2026-11-23T05:00:00Z"}],"next":"a b"})"),
            SLUICE_STEP_WAIT);
  EXPECT_EQ(targets_.back(), "/v1/people?after=a%20b");
  EXPECT_EQ(answer(requests_.back().id, R"({"people":[{"id":"p2"}],"next":null})"),
            SLUICE_STEP_DONE);
  EXPECT_EQ(records_, (std::vector<std::string>{"p1", "p2"}));
}

/// Everybody copies it: "0 records, complete" is what deletes where a stream enumerates.
TEST_F(SdkSession, the_template_takes_no_answer_without_its_list_for_an_empty_list) {
  connector_ = &entry_of(SLUICE_SDK_TEST_DIR "/acme.so");
  const std::pair<const char*, const char*> answers[] = {
      {R"({"next":null})", "expected an array under \"people\", found nothing"},
      {R"({})", "expected an array under \"people\", found nothing"},
      {R"({"people":null,"next":null})", "expected an array under \"people\", found null"},
      {R"({"people":{},"next":null})", "expected an array under \"people\", found an object"},
      {R"({"people":"","next":null})", "expected an array under \"people\", found a string"},
      {R"([])", "expected an object with \"people\" in it, found an array"},
      {R"("ok")", "expected an object with \"people\" in it, found a string"},
  };
  for (const auto& [body, said] : answers) {
    open("people", R"({"subdomain":"x"})");
    ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
    EXPECT_EQ(answer(requests_.back().id, body), SLUICE_STEP_FAILED) << body;
    EXPECT_EQ(failure_class_, SLUICE_FAIL_BAD_DATA) << body;
    EXPECT_EQ(message_, said) << body;
    connector_->close(std::exchange(session_, nullptr));
  }
}

TEST_F(SdkSession, the_template_ends_at_null_and_fails_at_a_cursor_that_leads_nowhere) {
  connector_ = &entry_of(SLUICE_SDK_TEST_DIR "/acme.so");
  const std::pair<const char*, const char*> answers[] = {
      {R"({"people":[{"id":"p1"}]})", "found nothing"},
      {R"({"people":[{"id":"p1"}],"next":7})", "found a number"},
      {R"({"people":[{"id":"p1"}],"next":false})", "found a boolean"},
      {R"({"people":[{"id":"p1"}],"next":{"cursor":"c2"}})", "found an object"},
      {R"({"people":[{"id":"p1"}],"next":""})", "found an empty text"},
      {R"({"people":[{"id":"p1"}],"next":"c1"})", "found the cursor of this page again"},
  };
  for (const auto& [body, said] : answers) {
    args_.checkpoint = bytes("c1");
    open("people", R"({"subdomain":"x"})");
    ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
    ASSERT_EQ(targets_.back(), "/v1/people?after=c1");
    EXPECT_EQ(answer(requests_.back().id, body), SLUICE_STEP_FAILED) << body;
    EXPECT_EQ(failure_class_, SLUICE_FAIL_BAD_DATA) << body;
    EXPECT_EQ(message_, std::string("expected the cursor of another page, or null behind the last "
                                    "one, under \"next\", ") +
                            said);
    connector_->close(std::exchange(session_, nullptr));
  }
  EXPECT_TRUE(records_.empty()) << "the page failed, not its end";
  EXPECT_TRUE(checkpoints_.empty());
}

TEST_F(SdkSession, a_complete_set_holds_the_ids_of_pages_that_are_gone) {
  open("set_over_pages");
  ASSERT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_WAIT);
  EXPECT_EQ(answer(requests_.back().id, R"({"ids":["a\u00e9","b"]})"), SLUICE_STEP_WAIT);
  EXPECT_EQ(answer(requests_.back().id, R"({"ids":["c"]})"), SLUICE_STEP_WAIT);
  EXPECT_EQ(answer(requests_.back().id, R"({"ids":[]})"), SLUICE_STEP_DONE);
  const std::vector<std::vector<std::string>> expected = {{"a\xC3\xA9", "b", "c"}, {"another"}};
  EXPECT_EQ(sets_, expected);
}

TEST_F(SdkSession, what_an_older_host_does_not_know_is_not_sent_to_it) {
  for (std::uint16_t minor = 0; minor < 4; ++minor) {
    host_.abi_minor = minor;
    flags_.clear();
    open("whole");
    EXPECT_EQ(step(SLUICE_INPUT_START), SLUICE_STEP_DONE);
    const std::uint32_t whole = minor < 2 ? 0U : SLUICE_RECORD_WHOLE;
    EXPECT_EQ(flags_, (std::vector<std::uint32_t>{whole, whole | SLUICE_RECORD_DELETED})) << minor;
    connector_->close(std::exchange(session_, nullptr));
  }
}

}  // namespace
