#include "connector/flight_recorder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>

#include "base/bytes.hpp"
#include "base/log.hpp"

namespace sluice::connector {

/// Fixed widths: the longest that a manifest and the tables allow, and a zero.
struct FlightRecorder::Words {
  std::int64_t workspace, connection, run;
  char connector[32], version[72], sha256[72], operation[16], subject[64], connection_name[64];
};

struct alignas(64) FlightRecorder::Slot {
  std::atomic<std::uint32_t> under_way;  ///< a Function, 0: none
  std::atomic<std::uint32_t> mark;       ///< a Mark, 0: none
  std::int32_t detail;                   ///< the signal, the exit's status
  std::int64_t died_at_us;
  Words words;
};

namespace {

using Slot = FlightRecorder::Slot;

/// Pool threads and their replacements, the loop, and what else asks; more go unrecorded.
constexpr std::size_t kSlots = 128;
constexpr std::array<char, 16> kMagic = {'S', 'l', 'u', 'i', 'c', 'e', ' ',  's',
                                         't', 'e', 'p', 's', ' ', '1', '\n', '\0'};
/// For the handler, which calls nothing deep; a sanitizer's report needs more.
constexpr std::size_t kAlternateStack = 64 * 1024;

enum Mark : std::uint32_t { kNone, kSignal, kExit, kQuickExit };

struct File {
  std::array<char, 16> magic;
  std::array<std::uint8_t, 16> process;
  std::array<std::uint8_t, 32> unused;
  std::array<Slot, kSlots> slots;
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

/// Whose calls are recorded. What a connector forks has the mapping, the handlers and the slot of
/// its thread, too, and none of them is about it: it looks whether it is that process.
constinit std::atomic<pid_t> recorded{0};
/// It is not, by fork(): asked before and after each call, where a system call is too much. A child
/// of vfork() shares our memory, cannot come back from a call, and is known by its number alone.
constinit std::atomic<bool> is_child{false};

/// The slot of this thread, while a connector's code is on it. All that a handler looks at.
thread_local std::atomic<Slot*> on_this_thread{nullptr};

constexpr std::array kFatal = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
constinit std::array<struct sigaction, kFatal.size()> former{};

void mark(std::uint32_t how, std::int32_t detail) {
  Slot* slot = on_this_thread.load(std::memory_order_relaxed);
  if (slot == nullptr || slot->mark.load(std::memory_order_relaxed) != kNone) return;
  if (::getpid() != recorded.load(std::memory_order_relaxed)) return;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  slot->died_at_us = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  slot->detail = detail;
  slot->mark.store(how, std::memory_order_release);
}

/// The instruction that faulted is run again, and faults again.
bool comes_again(int number, const siginfo_t& info) {
  return info.si_code > 0 &&
         (number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE);
}

/// Whatever had the signal before us has it now: the default action, or a sanitizer's report. Sent
/// again with what it said, so that a core and an exit status are what they would have been.
void hand_on(int number, siginfo_t* info) {
  const auto at = std::find(kFatal.begin(), kFatal.end(), number) - kFatal.begin();
  ::sigaction(number, &former[static_cast<std::size_t>(at)], nullptr);
  if (comes_again(number, *info)) return;
  const auto thread = ::syscall(SYS_gettid);
  if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), thread, number, info) != 0)
    ::syscall(SYS_tgkill, ::getpid(), thread, number);
}

void on_fatal_signal(int number, siginfo_t* info, void*) {
  const int error = errno;
  // A fault of this thread, or a signal that this process sent itself, as abort() does.
  if (info->si_code > 0 || info->si_pid == ::getpid()) mark(kSignal, number);
  hand_on(number, info);
  errno = error;
}

/// What exit() tears down is still in use by other threads, so it ends here, with its status.
void on_exit_of_process(int status, void*) {
  if (on_this_thread.load(std::memory_order_relaxed) == nullptr) return;
  mark(kExit, status);
  ::_exit(status);
}
std::atomic<bool> watching{false};

/// Handlers of exit() run in reverse, and what is made later would be torn down before ours marks
/// anything: so each thread that will run a connector's code sets it once more.
void watch_exit() {
  if (watching) ::on_exit(&on_exit_of_process, nullptr);
}

void on_quick_exit() { mark(kQuickExit, 0); }

/// What a connector forks would keep our listeners from the next host, and our connections open.
void in_a_child() {
  is_child = true;
  if (on_this_thread.load(std::memory_order_relaxed) != nullptr) ::close_range(3, ~0U, 0);
}

/// A handler of a stack that ran over needs another one. Where there is one already, a sanitizer's,
/// that serves.
class AlternateStack {
 public:
  AlternateStack() {
    stack_t now{};
    if (::sigaltstack(nullptr, &now) != 0 || (now.ss_flags & SS_DISABLE) == 0) return;
    void* memory = ::mmap(nullptr, kAlternateStack, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) return;
    stack_t ours{};
    ours.ss_sp = memory;
    ours.ss_size = kAlternateStack;
    if (::sigaltstack(&ours, nullptr) == 0) {
      memory_ = memory;
    } else {
      ::munmap(memory, kAlternateStack);
    }
  }
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;
  ~AlternateStack() {
    if (memory_ == nullptr) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
    ::munmap(memory_, kAlternateStack);
  }

 private:
  void* memory_ = nullptr;
};

template <std::size_t N>
void put(char (&to)[N], std::string_view text) {
  const std::size_t size = std::min(text.size(), N - 1);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
}

/// The file is no more trusted than anything else that a crash leaves.
template <std::size_t N>
std::string text_of(const char (&from)[N]) {
  return {from, ::strnlen(from, N)};
}

std::string_view name_of(std::uint32_t function) {
  using Function = FlightRecorder::Function;
  switch (static_cast<Function>(function)) {
    case Function::load:
      return "load";
    case Function::open:
      return "open";
    case Function::step:
      return "step";
    case Function::close:
      return "close";
  }
  return "";
}

RecordedCall call_of(const FlightRecorder::Words& words, std::uint32_t function) {
  RecordedCall call;
  call.connector = text_of(words.connector);
  call.version = text_of(words.version);
  call.sha256 = text_of(words.sha256);
  call.function = name_of(function);
  call.operation = text_of(words.operation);
  call.subject = text_of(words.subject);
  call.workspace = WorkspaceId(words.workspace);
  call.connection = ConnectionId(words.connection);
  call.connection_name = text_of(words.connection_name);
  call.run = RunId(words.run);
  return call;
}

std::string how_of(std::uint32_t mark, std::int32_t detail) {
  if (mark == kExit) return fmt::format("exit({})", detail);
  if (mark == kQuickExit) return "quick_exit";
  const char* name = ::sigabbrev_np(detail);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", detail);
}

LeftBehind read_left(const File& file) {
  LeftBehind left;
  const std::string process = to_hex(file.process);
  for (std::size_t at = 0; at < kSlots; ++at) {
    const Slot& slot = file.slots[at];
    const std::uint32_t function = slot.under_way.load();
    if (name_of(function).empty()) continue;
    const std::uint32_t mark = slot.mark.load();
    if (mark < kSignal || mark > kQuickExit) {
      left.unfinished.push_back(call_of(slot.words, function));
      continue;
    }
    RecordedDeath& death = left.deaths.emplace_back();
    death.id = fmt::format("{}/{}", process, at);
    death.how = how_of(mark, slot.detail);
    death.at = Micros(slot.died_at_us);
    death.call = call_of(slot.words, function);
  }
  if (!left.deaths.empty()) left.unfinished.clear();  // they died with it
  return left;
}

std::unexpected<Error> unusable(const std::filesystem::path& file, const char* what) {
  return fail(ErrorKind::bad_input, "data_directory.unusable",
              fmt::format("{} cannot be {}: {}", file.string(), what, std::strerror(errno)),
              "Give this user the right to the data directory, or name another with --data");
}

}  // namespace

/// The mapping, shared with the threads that have a seat in it.
struct FlightRecorder::Memory {
  explicit Memory(int opened, void* mapped)
      : descriptor(opened), file(static_cast<File*>(mapped)) {}
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    ::munmap(file, sizeof(File));
    if (descriptor >= 0) ::close(descriptor);
  }

  const int descriptor;  ///< -1: in memory only
  File* const file;
  std::array<std::atomic<bool>, kSlots> taken{};
};

/// A thread's slot and its alternate stack, from its first call to its end.
class FlightRecorder::Seat {
 public:
  /// Of the calling thread in that memory; nullptr when all are taken.
  static Slot* of(const std::shared_ptr<Memory>& memory) {
    thread_local Seat* seat = nullptr;
    if (seat == nullptr) seat = take();
    if (seat->memory_ != memory) seat->change_to(memory);
    return seat->slot_;
  }
  ~Seat() { change_to(nullptr); }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;

 private:
  Seat() { watch_exit(); }
  /// For this thread, which gives it back at its end by a key: to have a destructor of C++ run
  /// there takes the lock of the dynamic loader, and an initialiser that does not return keeps
  /// that.
  static Seat* take() {
    static const pthread_key_t key = [] {
      pthread_key_t made{};
      ::pthread_key_create(&made, [](void* seat) { delete static_cast<Seat*>(seat); });
      return made;
    }();
    auto* const seat = new Seat;  // NOLINT: the key's
    ::pthread_setspecific(key, seat);
    return seat;
  }
  void change_to(const std::shared_ptr<Memory>& memory) {
    if (slot_ != nullptr) memory_->taken[static_cast<std::size_t>(slot_ - slots())] = false;
    slot_ = nullptr;
    memory_ = memory;
    for (std::size_t at = 0; memory_ && slot_ == nullptr && at < kSlots; ++at) {
      if (!memory_->taken[at].exchange(true)) slot_ = slots() + at;
    }
  }
  [[nodiscard]] Slot* slots() const { return memory_->file->slots.data(); }

  AlternateStack stack_;
  std::shared_ptr<Memory> memory_;
  Slot* slot_ = nullptr;
};

FlightRecorder::Entry::Entry(const RecordedCall& call) : words_(std::make_unique<Words>()) {
  words_->workspace = call.workspace.value;
  words_->connection = call.connection.value;
  words_->run = call.run.value;
  put(words_->connector, call.connector);
  put(words_->version, call.version);
  put(words_->sha256, call.sha256);
  put(words_->operation, call.operation);
  put(words_->subject, call.subject);
  put(words_->connection_name, call.connection_name);
}

FlightRecorder::Entry::~Entry() = default;

FlightRecorder::OnThread::OnThread(FlightRecorder* recorder, const Entry& entry,
                                   Function function) {
  if (recorder == nullptr || is_child.load(std::memory_order_relaxed)) return;
  slot_ = Seat::of(recorder->memory_);
  if (slot_ == nullptr) return;
  slot_->words = entry.words();
  slot_->mark.store(kNone, std::memory_order_relaxed);
  slot_->under_way.store(static_cast<std::uint32_t>(function), std::memory_order_release);
  on_this_thread.store(slot_, std::memory_order_release);
}

FlightRecorder::OnThread::~OnThread() {
  if (slot_ == nullptr || is_child.load(std::memory_order_relaxed)) return;
  on_this_thread.store(nullptr, std::memory_order_release);
  slot_->under_way.store(0, std::memory_order_release);
}

Result<std::unique_ptr<FlightRecorder>> FlightRecorder::open(const std::filesystem::path& file,
                                                             Entropy& entropy) {
  int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor < 0) return unusable(file, "opened");
  bool is_ours = ::flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  if (!is_ours) {
    log::warning("connector.steps_unrecorded", {{"file", file.string()}});
    ::close(descriptor);
    descriptor = -1;
  }
  struct stat facts {};
  if (is_ours && ::fstat(descriptor, &facts) != 0) return unusable(file, "read");
  const bool fits = static_cast<std::size_t>(facts.st_size) == sizeof(File);
  if (is_ours && !fits && ::ftruncate(descriptor, 0) != 0) return unusable(file, "emptied");
  // Given room now, so that a full disk is an error here and no signal later.
  if (is_ours) errno = ::posix_fallocate(descriptor, 0, sizeof(File));
  if (is_ours && errno != 0) return unusable(file, "made as large as it must be");
  void* mapped = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE,
                        is_ours ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, descriptor, 0);
  if (mapped == MAP_FAILED) return unusable(file, "mapped");
  auto memory = std::make_shared<Memory>(descriptor, mapped);
  recorded = ::getpid();
  is_child = false;
  LeftBehind left;
  if (fits && memory->file->magic == kMagic) left = read_left(*memory->file);
  std::unique_ptr<FlightRecorder> recorder(
      new FlightRecorder(std::move(memory), std::move(left), entropy));
  return recorder;
}

FlightRecorder::FlightRecorder(std::shared_ptr<Memory> memory, LeftBehind left, Entropy& entropy)
    : memory_(std::move(memory)), left_(std::move(left)) {
  entropy.fill(process_);
}

FlightRecorder::~FlightRecorder() = default;

void FlightRecorder::forget_left_behind() {
  File& file = *memory_->file;
  file.magic = {};  // not to be read while it is half of each
  std::atomic_signal_fence(std::memory_order_seq_cst);
  for (Slot& slot : file.slots) {
    slot.under_way = 0;
    slot.mark = kNone;
  }
  file.process = process_;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  file.magic = kMagic;
  left_ = LeftBehind();
}

void FlightRecorder::watch_process() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (std::size_t at = 0; at < kFatal.size(); ++at) {
      struct sigaction ours {};
      ours.sa_sigaction = &on_fatal_signal;
      ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
      sigemptyset(&ours.sa_mask);
      ::sigaction(kFatal[at], nullptr, &former[at]);
      if (former[at].sa_handler == SIG_IGN) continue;
      ::sigaction(kFatal[at], &ours, nullptr);
    }
    ::at_quick_exit(&on_quick_exit);
    ::pthread_atfork(nullptr, nullptr, &in_a_child);
    watching = true;
    watch_exit();
  });
}

std::vector<RecordedCall> FlightRecorder::under_way() const {
  std::vector<RecordedCall> calls;
  for (const Slot& slot : memory_->file->slots) {
    const std::uint32_t function = slot.under_way.load(std::memory_order_acquire);
    if (name_of(function).empty()) continue;
    RecordedCall call = call_of(slot.words, function);
    if (slot.under_way.load(std::memory_order_acquire) == function)
      calls.push_back(std::move(call));
  }
  return calls;
}

}  // namespace sluice::connector
