// Whose code is on which thread, in a file that outlives the process: so it is known who ended it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/entropy.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"

namespace sluice::connector {

/// A call into a connector's code.
struct RecordedCall {
  std::string connector, version, sha256;
  std::string function;   ///< "load" (its initialisers), "open", "step", "close"
  std::string operation;  ///< "check", "read", "fetch"; of a load empty, and so is what follows
  std::string subject;    ///< the stream of a read, the entity type of a fetch
  WorkspaceId workspace;
  ConnectionId connection;
  std::string connection_name;
  RunId run;
};

/// … that the process did not survive.
struct RecordedDeath {
  std::string id;   ///< no other death has it
  std::string how;  ///< "SIGSEGV", "exit(3)"
  Micros at{0};
  RecordedCall call;
};

/// What a process left in the file.
struct LeftBehind {
  std::vector<RecordedDeath> deaths;
  /// Under way when it ended for a reason of which it does not know: SIGKILL, a power cut, _exit().
  std::vector<RecordedCall> unfinished;
};

/// A mapped file of a few slots, one for each thread that has a connector's code on it. Before each
/// call the slot says whose, without a system call. What ends the process is marked there:
///
///   a fatal signal ──handler, on an alternate stack──┐ the slot of its own thread, and of
///   exit(), quick_exit() ──hook──────────────────────┘ no other; then it goes on as ever
///
/// exit() ends there, with its status. What a child does that a connector forks is no call of its
/// host's, and marks nothing. A signal of another process is no connector's, nor is one on
/// another thread. SIGKILL, a power cut and _exit() mark nothing.
///
/// One a process, owned by main; outlives the registry that has it.
class FlightRecorder {
 public:
  /// Reads what the process before left, and keeps that in the file until forget_left_behind().
  /// Where another process has the file, calls are recorded in memory only. Errors:
  /// data_directory.unusable.
  static Result<std::unique_ptr<FlightRecorder>> open(const std::filesystem::path& file,
                                                      Entropy& entropy);
  ~FlightRecorder();
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  [[nodiscard]] const LeftBehind& left_behind() const { return left_; }
  /// It is counted. Before the first call is recorded.
  void forget_left_behind();
  /// Sets the handlers and hooks of this process, once: a second call does nothing.
  static void watch_process();

  /// What is under way now, on any thread; as of a moment ago.
  [[nodiscard]] std::vector<RecordedCall> under_way() const;

  struct Words;
  struct Slot;
  struct Memory;
  class Seat;

  /// A call as it will stand in the slot, made once for many calls.
  class Entry {
   public:
    explicit Entry(const RecordedCall& call);
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry();
    [[nodiscard]] const Words& words() const { return *words_; }

   private:
    std::unique_ptr<Words> words_;
  };

  enum class Function : std::uint32_t { load = 1, open, step, close };

  /// While it lives, the code of `entry` is on this thread. They do not nest. Without a recorder,
  /// or a free slot, nothing is recorded.
  class OnThread {
   public:
    OnThread(FlightRecorder* recorder, const Entry& entry, Function function);
    ~OnThread();
    OnThread(const OnThread&) = delete;
    OnThread& operator=(const OnThread&) = delete;

   private:
    Slot* slot_ = nullptr;
  };

 private:
  FlightRecorder(std::shared_ptr<Memory> memory, LeftBehind left, Entropy& entropy);

  std::shared_ptr<Memory> memory_;
  LeftBehind left_;
  std::array<std::uint8_t, 16> process_;  ///< of this one, once the former's is forgotten
};

}  // namespace sluice::connector
