// What a process that is gone left behind: whose code ended it, and what it was in the middle of.
#include "connector/flight_recorder.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <optional>
#include <thread>

namespace sluice::connector {
namespace {

using OnThread = FlightRecorder::OnThread;
using Entry = FlightRecorder::Entry;
using Function = FlightRecorder::Function;

class FlightRecorderTest : public ::testing::Test {
 protected:
  FlightRecorderTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-calls.XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    file_ = directory_ / "connector-calls";
  }
  ~FlightRecorderTest() override { std::filesystem::remove_all(directory_); }

  static RecordedCall call(const std::string& subject) {
    RecordedCall call;
    call.connector = "toy";
    call.version = "1.2.3";
    call.sha256 = std::string(64, 'a');
    call.operation = "read";
    call.subject = subject;
    call.workspace = WorkspaceId(1);
    call.connection = ConnectionId(2);
    call.connection_name = std::string(63, 'n');
    call.run = RunId(3);
    return call;
  }

  std::unique_ptr<FlightRecorder> open() { return expect(FlightRecorder::open(file_, entropy_)); }

  /// Lives and ends in a process of its own.
  /// How it ended.
  int live(const std::function<void(FlightRecorder&)>& life) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto recorder = open();
      recorder->forget_left_behind();
      FlightRecorder::watch_process();
      life(*recorder);
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }

  std::filesystem::path directory_, file_;
  SystemEntropy entropy_;
};

TEST_F(FlightRecorderTest, the_call_of_the_thread_that_ended_the_process_is_told_and_no_other) {
  live([](FlightRecorder& recorder) {
    const Entry other(call("others"));
    std::atomic<bool> under_way{false};
    std::thread innocent([&] {
      const OnThread here(&recorder, other, Function::step);
      under_way = true;
      ::pause();
    });
    while (!under_way) ::usleep(1000);
    std::thread guilty([&recorder] {
      const Entry entry(call("orders"));
      const OnThread here(&recorder, entry, Function::close);
      ::abort();
    });
    guilty.join();
  });
  const LeftBehind left = open()->left_behind();
  ASSERT_EQ(left.deaths.size(), 1U);
  const RecordedDeath& death = left.deaths.front();
  EXPECT_EQ(death.how, "SIGABRT");
  EXPECT_EQ(death.call.function, "close");
  EXPECT_EQ(death.call.operation, "read");
  EXPECT_EQ(death.call.subject, "orders");
  EXPECT_EQ(death.call.connector, "toy");
  EXPECT_EQ(death.call.version, "1.2.3");
  EXPECT_EQ(death.call.sha256, std::string(64, 'a'));
  EXPECT_EQ(death.call.connection_name, std::string(63, 'n'));
  EXPECT_EQ(death.call.workspace, WorkspaceId(1));
  EXPECT_EQ(death.call.connection, ConnectionId(2));
  EXPECT_EQ(death.call.run, RunId(3));
  EXPECT_TRUE(left.unfinished.empty()) << "they died with it";
}

TEST_F(FlightRecorderTest, what_is_not_the_connectors_doing_marks_nothing) {
  const std::pair<const char*, std::function<void(FlightRecorder&)>> table[] = {
      {"killed", [](FlightRecorder&) { ::raise(SIGKILL); }},
      {"_exit", [](FlightRecorder&) { ::_exit(3); }},
      {"a signal of another process",
       [](FlightRecorder&) {
         // Another program, which has neither the file nor its mapping: its lock is the parent's.
         if (::fork() == 0) {
           ::execl("/bin/sh", "sh", "-c", "kill -ABRT $PPID", nullptr);
           ::_exit(127);
         }
         ::pause();
       }},
      {"a crash on another thread",
       [](FlightRecorder&) {
         std::thread other([] { ::abort(); });
         other.join();
       }},
  };
  for (const auto& [name, end] : table) {
    SCOPED_TRACE(name);
    live([&end = end](FlightRecorder& recorder) {
      const Entry entry(call("orders"));
      const OnThread here(&recorder, entry, Function::step);
      end(recorder);
    });
    const auto recorder = open();
    EXPECT_TRUE(recorder->left_behind().deaths.empty());
    ASSERT_EQ(recorder->left_behind().unfinished.size(), 1U);
    EXPECT_EQ(recorder->left_behind().unfinished.front().subject, "orders");
    recorder->forget_left_behind();
  }
}

/// What a connector forks has the mapping, the handlers and the thread's slot, and they are its
/// host's. The host is killed afterwards, in the middle of the call.
TEST_F(FlightRecorderTest, what_a_forked_child_does_is_no_call_of_its_hosts) {
  const std::pair<const char*, std::function<void()>> table[] = {
      {"aborts", [] { ::abort(); }},       {"crashes", [] { ::raise(SIGSEGV); }},
      {"exits", [] { std::exit(3); }},     {"exits quickly", [] { std::quick_exit(3); }},
      {"comes back into the host", [] {}},
  };
  for (const auto& [name, end] : table) {
    SCOPED_TRACE(name);
    live([&end = end](FlightRecorder& recorder) {
      const Entry entry(call("orders")), other(call("customers"));
      std::optional<OnThread> here(std::in_place, &recorder, entry, Function::step);
      const pid_t child = ::fork();
      if (child == 0) {
        end();
        here.reset();
        const OnThread again(&recorder, other, Function::open);
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      ::raise(SIGKILL);
    });
    const auto recorder = open();
    EXPECT_TRUE(recorder->left_behind().deaths.empty()) << "it was not the host that ended";
    EXPECT_EQ(recorder->left_behind().unfinished.size(), 1U);
    if (!recorder->left_behind().unfinished.empty()) {
      EXPECT_EQ(recorder->left_behind().unfinished.front().subject, "orders");
      EXPECT_EQ(recorder->left_behind().unfinished.front().function, "step");
    }
    recorder->forget_left_behind();
  }
}

// A daemon that it makes would keep the host's listeners, and no host could start there again.
TEST_F(FlightRecorderTest, what_a_connector_forks_has_no_descriptor_of_the_host) {
  const auto kept_by_a_child = [] {
    const int held = ::open("/dev/null", O_RDONLY);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(::fcntl(held, F_GETFD) == -1 ? 0 : 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(held);
    return status != 0;
  };
  const int ended = live([&kept_by_a_child](FlightRecorder& recorder) {
    const Entry entry(call("orders"));
    const bool before = kept_by_a_child();
    const OnThread here(&recorder, entry, Function::step);
    ::_exit(before && !kept_by_a_child() ? 0 : 9);
  });
  EXPECT_TRUE(WIFEXITED(ended) && WEXITSTATUS(ended) == 0) << ended;
}

/// A child that shares all memory until it becomes another program.
TEST_F(FlightRecorderTest, a_child_that_does_not_become_a_program_is_no_death_of_the_hosts) {
  live([](FlightRecorder& recorder) {
    const Entry entry(call("orders"));
    const OnThread here(&recorder, entry, Function::step);
    if (::vfork() == 0) ::abort();
    ::raise(SIGKILL);
  });
  const LeftBehind left = open()->left_behind();
  EXPECT_TRUE(left.deaths.empty());
  ASSERT_EQ(left.unfinished.size(), 1U);
  EXPECT_EQ(left.unfinished.front().subject, "orders");
}

TEST_F(FlightRecorderTest, a_death_is_kept_under_its_id_until_it_is_forgotten_and_then_is_gone) {
  live([](FlightRecorder& recorder) {
    const Entry entry(call("orders"));
    const OnThread here(&recorder, entry, Function::step);
    ::quick_exit(3);
  });
  std::string id;
  for (int look = 0; look < 2; ++look) {
    const auto recorder = open();
    ASSERT_EQ(recorder->left_behind().deaths.size(), 1U);
    const RecordedDeath& death = recorder->left_behind().deaths.front();
    EXPECT_EQ(death.how, "quick_exit");
    if (look > 0) {
      EXPECT_EQ(death.id, id);
    }
    id = death.id;
  }
  open()->forget_left_behind();
  EXPECT_TRUE(open()->left_behind().deaths.empty());
}

TEST_F(FlightRecorderTest, a_call_that_came_back_is_nobodys_death) {
  live([](FlightRecorder& recorder) {
    const Entry entry(call("orders"));
    { const OnThread here(&recorder, entry, Function::step); }
    ::abort();
  });
  const auto recorder = open();
  EXPECT_TRUE(recorder->left_behind().deaths.empty());
  EXPECT_TRUE(recorder->left_behind().unfinished.empty());
}

TEST_F(FlightRecorderTest, what_is_under_way_can_be_asked_and_a_second_process_takes_nothing_away) {
  const auto recorder = open();
  recorder->forget_left_behind();
  const Entry entry(call("orders"));
  {
    const OnThread here(recorder.get(), entry, Function::open);
    ASSERT_EQ(recorder->under_way().size(), 1U);
    EXPECT_EQ(recorder->under_way().front().function, "open");
    const auto second = open();  // the file is taken
    second->forget_left_behind();
    EXPECT_EQ(recorder->under_way().size(), 1U);
  }
  EXPECT_TRUE(recorder->under_way().empty());
  { const OnThread nowhere(nullptr, entry, Function::step); }
}

TEST_F(FlightRecorderTest, a_file_of_rubbish_is_as_good_as_none) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, std::size_t{200'000}}) {
    std::filesystem::remove(file_);
    FILE* rubbish = std::fopen(file_.c_str(), "w");
    for (std::size_t at = 0; at < size; ++at) std::fputc(static_cast<int>(at % 251), rubbish);
    std::fclose(rubbish);
    const auto recorder = open();
    EXPECT_TRUE(recorder->left_behind().deaths.empty());
    recorder->forget_left_behind();
    const Entry entry(call("orders"));
    const OnThread here(recorder.get(), entry, Function::step);
    EXPECT_EQ(recorder->under_way().size(), 1U);
  }
}

}  // namespace
}  // namespace sluice::connector
