#include "bench/parts/tape.hpp"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace sluice::bench {
namespace {

enum class Op : std::uint8_t {
  query,     // text
  params,    // text, parameters
  prepare,   // name, text, types
  prepared,  // name, parameters
  enter,
  sync,
  leave,
  copy_data,  // bytes
  copy_end,
  mark,
};

/// One connection's tape in the making.
struct Tape {
  int fd = -1;
  std::string buffer;

  void put(Op op) { buffer.push_back(static_cast<char>(op)); }
  void put(std::int32_t number) {
    buffer.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  void put(std::string_view text) {  // with a zero, so that it is C text where it lies
    put(static_cast<std::int32_t>(text.size()));
    buffer.append(text).push_back('\0');
  }
  void put(int count, const Oid* types, const char* const* values, const int* lengths) {
    put(count);
    for (int i = 0; i < count; ++i) {
      put(static_cast<std::int32_t>(types == nullptr ? 0 : types[i]));
      put(values == nullptr || values[i] == nullptr ? -1 : lengths[i]);
      if (values == nullptr || values[i] == nullptr) continue;
      buffer.append(values[i], static_cast<std::size_t>(lengths[i]));
    }
  }
  void flush(std::size_t limit) {
    if (buffer.size() < limit) return;
    std::string_view left = buffer;
    while (!left.empty()) {
      const ssize_t size = ::write(fd, left.data(), left.size());
      if (size <= 0) throw std::runtime_error("a tape cannot be written");
      left.remove_prefix(static_cast<std::size_t>(size));
    }
    buffer.clear();
  }
};

constexpr std::size_t kTapeBuffer = 1 << 20;

struct Recorder {
  std::vector<int> fds;
  std::map<const PGconn*, Tape> tapes;
};
std::unique_ptr<Recorder> recorder;  // of this process, which has one thread that uses libpq

/// The connection's tape; nullptr when nothing is recorded.
Tape* tape_of(const PGconn* connection) {
  if (!recorder) return nullptr;
  const auto [at, fresh] = recorder->tapes.try_emplace(connection);
  if (fresh) {
    if (recorder->tapes.size() > recorder->fds.size())
      throw std::runtime_error("more connections than tapes");
    at->second.fd = recorder->fds[recorder->tapes.size() - 1];
  }
  at->second.flush(kTapeBuffer);
  return &at->second;
}

/// Reads a tape where it lies.
class Reader {
 public:
  explicit Reader(std::string_view tape) : left_(tape) {}
  [[nodiscard]] bool done() const { return left_.empty(); }
  Op op() { return static_cast<Op>(take(1)[0]); }
  std::int32_t number() {
    std::int32_t value = 0;
    std::memcpy(&value, take(sizeof(value)), sizeof(value));
    return value;
  }
  std::string_view text() {
    const auto size = static_cast<std::size_t>(number());
    return {take(size + 1), size};
  }
  struct Parameters {
    std::vector<Oid> types;
    std::vector<const char*> values;
    std::vector<int> lengths, formats;
    [[nodiscard]] int count() const { return static_cast<int>(types.size()); }
  };
  const Parameters& parameters() {
    const auto count = static_cast<std::size_t>(number());
    parameters_.types.resize(count);
    parameters_.values.resize(count);
    parameters_.lengths.resize(count);
    parameters_.formats.assign(count, 1);
    for (std::size_t i = 0; i < count; ++i) {
      parameters_.types[i] = static_cast<Oid>(number());
      const std::int32_t length = number();
      parameters_.lengths[i] = std::max(length, 0);
      parameters_.values[i] =
          length < 0 ? nullptr : take(static_cast<std::size_t>(parameters_.lengths[i]));
    }
    return parameters_;
  }

 private:
  const char* take(std::size_t size) {
    if (size > left_.size()) throw std::runtime_error("a tape ends in the middle");
    const char* at = left_.data();
    left_.remove_prefix(size);
    return at;
  }
  std::string_view left_;
  Parameters parameters_;
};

/// A connection that plays.
class Player {
 public:
  Player(const std::string& conninfo, std::string_view tape)
      : connection_(PQconnectdb(conninfo.c_str())), tape_(tape) {
    if (PQstatus(connection_) != CONNECTION_OK) fail();
    PQsetNoticeProcessor(
        connection_, [](void*, const char*) {}, nullptr);
  }
  ~Player() { PQfinish(connection_); }
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  void to_the_mark() {
    while (!tape_.done()) {
      if (step() == Op::mark) return;
    }
  }
  void to_the_end() {
    while (!tape_.done()) step();
  }
  [[nodiscard]] std::int64_t commits() const { return commits_; }

 private:
  [[noreturn]] void fail() { throw std::runtime_error(PQerrorMessage(connection_)); }
  void sent(int accepted) {
    if (accepted != 1) fail();
    if (!pipeline_) results();
  }

  Op step() {
    const Op op = tape_.op();
    switch (op) {
      case Op::query:
        sent(PQsendQuery(connection_, tape_.text().data()));
        break;
      case Op::params: {
        const char* text = tape_.text().data();
        const auto& p = tape_.parameters();
        sent(PQsendQueryParams(connection_, text, p.count(), p.types.data(), p.values.data(),
                               p.lengths.data(), p.formats.data(), 0));
        break;
      }
      case Op::prepare: {
        const char* name = tape_.text().data();
        const char* text = tape_.text().data();
        const auto& p = tape_.parameters();
        sent(PQsendPrepare(connection_, name, text, p.count(), p.types.data()));
        break;
      }
      case Op::prepared: {
        const std::string_view name = tape_.text();
        const auto& p = tape_.parameters();
        if (name.starts_with("ingest_commit#")) ++commits_;
        sent(PQsendQueryPrepared(connection_, name.data(), p.count(), p.values.data(),
                                 p.lengths.data(), p.formats.data(), 0));
        break;
      }
      case Op::enter:
        pipeline_ = true;
        PQsetnonblocking(connection_, 1);
        if (PQenterPipelineMode(connection_) != 1) fail();
        break;
      case Op::sync:
        if (PQpipelineSync(connection_) != 1) fail();
        pipeline_results();
        break;
      case Op::leave:
        pipeline_ = false;
        if (PQexitPipelineMode(connection_) != 1) fail();
        PQsetnonblocking(connection_, 0);
        break;
      case Op::copy_data: {
        const std::string_view data = tape_.text();
        if (PQputCopyData(connection_, data.data(), static_cast<int>(data.size())) != 1) fail();
        break;
      }
      case Op::copy_end:
        if (PQputCopyEnd(connection_, nullptr) != 1) fail();
        results();
        break;
      case Op::mark:
        break;
    }
    return op;
  }

  /// What one command answers, up to its end or to COPY's wish for data.
  void results() {
    while (PGresult* result = PQgetResult(connection_)) {
      const ExecStatusType status = PQresultStatus(result);
      PQclear(result);
      if (status == PGRES_FATAL_ERROR) fail();
      if (status == PGRES_COPY_IN) return;
    }
  }

  void pipeline_results() {
    for (int left = PQflush(connection_); left != 0; left = PQflush(connection_)) {
      if (left < 0) fail();
      pollfd ready{PQsocket(connection_), POLLIN | POLLOUT, 0};
      ::poll(&ready, 1, -1);
      if ((ready.revents & POLLIN) != 0 && PQconsumeInput(connection_) != 1) fail();
    }
    for (;;) {
      PGresult* result = PQgetResult(connection_);
      if (result == nullptr) continue;  // between two commands
      const ExecStatusType status = PQresultStatus(result);
      PQclear(result);
      if (status == PGRES_PIPELINE_SYNC) return;
      if (status == PGRES_FATAL_ERROR || status == PGRES_PIPELINE_ABORTED) fail();
    }
  }

  PGconn* connection_;
  Reader tape_;
  bool pipeline_ = false;
  std::int64_t commits_ = 0;
};

std::string_view mapped(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw std::runtime_error("a tape is not there");
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size == 0) return {};
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("a tape cannot be mapped");
  return {static_cast<const char*>(memory), size};
}

}  // namespace

void record_tapes(std::vector<int> fds) {
  recorder = std::make_unique<Recorder>();
  recorder->fds = std::move(fds);
}

void mark_tapes() {
  if (!recorder) return;
  for (auto& [connection, tape] : recorder->tapes) tape.put(Op::mark);
}

void finish_tapes() {
  if (!recorder) return;
  for (auto& [connection, tape] : recorder->tapes) tape.flush(0);
}

Replay play_tapes(const std::string& conninfo, const std::vector<int>& fds) {
  std::vector<std::unique_ptr<Player>> players;
  for (const int fd : fds) {
    players.push_back(std::make_unique<Player>(conninfo, mapped(fd)));
    players.back()->to_the_mark();
  }
  std::vector<std::exception_ptr> failures(players.size());
  std::barrier together(static_cast<std::ptrdiff_t>(players.size()) + 1);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < players.size(); ++i) {
    threads.emplace_back([&, i] {
      together.arrive_and_wait();
      try {
        players[i]->to_the_end();
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  together.arrive_and_wait();
  const auto begun = std::chrono::steady_clock::now();
  for (std::thread& thread : threads) thread.join();
  Replay replay;
  replay.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  for (const auto& player : players) replay.pages += player->commits();
  return replay;
}

}  // namespace sluice::bench

// The linker sends our calls of libpq's functions here (--wrap); __real_ is the function itself.
extern "C" {

using sluice::bench::Op;
using sluice::bench::tape_of;

int __real_PQsendQuery(PGconn*, const char*);
int __real_PQsendQueryParams(PGconn*, const char*, int, const Oid*, const char* const*, const int*,
                             const int*, int);
int __real_PQsendPrepare(PGconn*, const char*, const char*, int, const Oid*);
int __real_PQsendQueryPrepared(PGconn*, const char*, int, const char* const*, const int*,
                               const int*, int);
int __real_PQenterPipelineMode(PGconn*);
int __real_PQexitPipelineMode(PGconn*);
int __real_PQpipelineSync(PGconn*);
int __real_PQputCopyData(PGconn*, const char*, int);
int __real_PQputCopyEnd(PGconn*, const char*);

int __wrap_PQsendQuery(PGconn* connection, const char* sql) {
  if (auto* tape = tape_of(connection)) {
    tape->put(Op::query);
    tape->put(std::string_view(sql));
  }
  return __real_PQsendQuery(connection, sql);
}

int __wrap_PQsendQueryParams(PGconn* connection, const char* sql, int count, const Oid* types,
                             const char* const* values, const int* lengths, const int* formats,
                             int result_format) {
  if (auto* tape = tape_of(connection)) {
    tape->put(Op::params);
    tape->put(std::string_view(sql));
    tape->put(count, types, values, lengths);
  }
  return __real_PQsendQueryParams(connection, sql, count, types, values, lengths, formats,
                                  result_format);
}

int __wrap_PQsendPrepare(PGconn* connection, const char* name, const char* sql, int count,
                         const Oid* types) {
  if (auto* tape = tape_of(connection)) {
    tape->put(Op::prepare);
    tape->put(std::string_view(name));
    tape->put(std::string_view(sql));
    tape->put(count, types, nullptr, nullptr);
  }
  return __real_PQsendPrepare(connection, name, sql, count, types);
}

int __wrap_PQsendQueryPrepared(PGconn* connection, const char* name, int count,
                               const char* const* values, const int* lengths, const int* formats,
                               int result_format) {
  if (auto* tape = tape_of(connection)) {
    tape->put(Op::prepared);
    tape->put(std::string_view(name));
    tape->put(count, nullptr, values, lengths);
  }
  return __real_PQsendQueryPrepared(connection, name, count, values, lengths, formats,
                                    result_format);
}

int __wrap_PQenterPipelineMode(PGconn* connection) {
  if (auto* tape = tape_of(connection)) tape->put(Op::enter);
  return __real_PQenterPipelineMode(connection);
}

int __wrap_PQexitPipelineMode(PGconn* connection) {
  if (auto* tape = tape_of(connection)) tape->put(Op::leave);
  return __real_PQexitPipelineMode(connection);
}

int __wrap_PQpipelineSync(PGconn* connection) {
  if (auto* tape = tape_of(connection)) tape->put(Op::sync);
  return __real_PQpipelineSync(connection);
}

int __wrap_PQputCopyData(PGconn* connection, const char* data, int size) {
  const int queued = __real_PQputCopyData(connection, data, size);
  auto* tape = queued == 1 ? tape_of(connection) : nullptr;
  if (tape != nullptr) {
    tape->put(Op::copy_data);
    tape->put(std::string_view(data, static_cast<std::size_t>(size)));
  }
  return queued;
}

int __wrap_PQputCopyEnd(PGconn* connection, const char* error) {
  const int queued = __real_PQputCopyEnd(connection, error);
  auto* tape = queued == 1 ? tape_of(connection) : nullptr;
  if (tape != nullptr) tape->put(Op::copy_end);
  return queued;
}
}
