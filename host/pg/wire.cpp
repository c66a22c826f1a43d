#include "pg/wire.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "base/log.hpp"

namespace sluice::pg {
namespace {

constexpr int kText = 0;
constexpr int kBinary = 1;

// The parallel arrays that libpq wants; they point into the Params.
struct ParamArrays {
  explicit ParamArrays(const Params& params) {
    const std::size_t count = params.size();
    types.reserve(count);
    values.reserve(count);
    lengths.reserve(count);
    for (const Params::Value& value : params.values()) {
      types.push_back(static_cast<::Oid>(value.type));
      values.push_back(value.is_null ? nullptr : value.bytes.data());
      lengths.push_back(static_cast<int>(value.bytes.size()));
    }
    formats.assign(count, kBinary);
  }
  [[nodiscard]] int count() const { return static_cast<int>(types.size()); }

  std::vector<::Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
};

// libpq would print notices on stderr. What they quote stays out of the log.
void receive_notice(void*, const PGresult* notice) {
  const char* sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
  const char* severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
  log::debug("pg.notice",
             {{"severity", severity ? severity : ""}, {"sqlstate", sqlstate ? sqlstate : ""}});
}

}  // namespace

// Readiness on its way from the reactor to the coroutine. The coroutine sleeps on one timer, whose
// expiry is its deadline; the reactor's callbacks set a flag and cut that sleep short. The
// callbacks may run after the Wire is gone, hence the shared ownership, and after stop_waiting(),
// hence the epoch.
struct Wire::Signal {
  explicit Signal(const Executor& executor) : timer(executor) {}

  asio::steady_timer timer;
  std::uint64_t epoch = 0;
  bool read_armed = false;
  bool write_armed = false;
  bool readable = false;
  bool writable = false;
  bool closed = false;

  [[nodiscard]] bool ready(Interest interest) const {
    return (readable && interest != Interest::write) || (writable && interest != Interest::read);
  }
  void reset() {
    ++epoch;
    read_armed = write_armed = readable = writable = false;
  }
};

Wire::Wire(Executor executor) : socket_(executor), signal_(std::make_shared<Signal>(executor)) {}

Wire::~Wire() { finish(); }

Task<Waited> Wire::wait(Interest interest, Deadline deadline) {
  const auto signal = signal_;
  arm(interest);
  bool expired = false;
  while (!signal->ready(interest) && !expired) {
    signal->timer.expires_at(deadline);
    const auto [interrupted] =
        co_await signal->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    // From here on the Wire may be gone, destroyed with its connection while we slept.
    if (signal->closed || state.cancelled() != asio::cancellation_type::none)
      co_return Waited::cancelled;
    expired = !interrupted;
  }
  if (!signal->ready(interest)) co_return Waited::deadline;
  signal->readable = false;
  signal->writable = false;
  co_return Waited::ready;
}

void Wire::arm(Interest interest) {
  const auto callback = [this](bool Signal::*armed, bool Signal::*ready) {
    signal_.get()->*armed = true;
    return [signal = signal_, epoch = signal_->epoch, armed, ready](boost::system::error_code) {
      if (signal->epoch != epoch) return;
      signal.get()->*armed = false;
      signal.get()->*ready = true;
      signal->timer.cancel();
    };
  };
  using Descriptor = asio::posix::stream_descriptor;
  if (interest != Interest::write && !signal_->read_armed) {
    socket_.async_wait(Descriptor::wait_read, callback(&Signal::read_armed, &Signal::readable));
  }
  if (interest != Interest::read && !signal_->write_armed) {
    socket_.async_wait(Descriptor::wait_write, callback(&Signal::write_armed, &Signal::writable));
  }
}

std::string Wire::option(std::string_view keyword) const {
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
      PQconninfo(connection_), &PQconninfoFree);
  for (const PQconninfoOption* one = options.get(); one != nullptr && one->keyword; ++one) {
    if (keyword == one->keyword && one->val) return one->val;
  }
  return {};
}

std::string Wire::password_verifier(const std::string& role, const std::string& password) const {
  const std::unique_ptr<char, decltype(&PQfreemem)> made(
      PQencryptPasswordConn(connection_, password.c_str(), role.c_str(), "scram-sha-256"),
      &PQfreemem);
  if (!made) throw std::bad_alloc();
  return made.get();
}

void Wire::stop_waiting() {
  const bool armed = signal_->read_armed || signal_->write_armed;
  signal_->reset();
  boost::system::error_code ignored;
  if (armed) socket_.cancel(ignored);
}

void Wire::watch_socket() {
  boost::system::error_code ignored;
  if (connection_ && PQsocket(connection_) >= 0) socket_.assign(PQsocket(connection_), ignored);
}

void Wire::connect_start(const char* const* keywords, const char* const* values) {
  connection_ = PQconnectStartParams(keywords, values, 1);
  if (!connection_) throw std::bad_alloc();
  PQsetNoticeReceiver(connection_, receive_notice, nullptr);
  watch_socket();
}

PostgresPollingStatusType Wire::connect_poll() {
  // libpq may close this socket and open another, even under the same number: let go of it first.
  signal_->reset();
  if (socket_.is_open()) socket_.release();
  const auto status = PQconnectPoll(connection_);
  watch_socket();
  return status;
}

void Wire::finish() {
  if (!connection_) return;
  signal_->reset();
  signal_->closed = true;
  signal_->timer.cancel();
  if (socket_.is_open()) socket_.release();
  PQfinish(connection_);
  connection_ = nullptr;
}

std::string Wire::error_message() const {
  return connection_ ? PQerrorMessage(connection_) : "closed";
}

bool Wire::send_query_params(const std::string& sql, const Params& params) {
  const ParamArrays arrays(params);
  return PQsendQueryParams(connection_, sql.c_str(), arrays.count(), arrays.types.data(),
                           arrays.values.data(), arrays.lengths.data(), arrays.formats.data(),
                           kText) == 1;
}

bool Wire::send_prepare(const std::string& name, const std::string& sql, const Params& params) {
  const ParamArrays arrays(params);
  return PQsendPrepare(connection_, name.c_str(), sql.c_str(), arrays.count(),
                       arrays.types.data()) == 1;
}

bool Wire::send_query_prepared(const std::string& name, const Params& params) {
  const ParamArrays arrays(params);
  return PQsendQueryPrepared(connection_, name.c_str(), arrays.count(), arrays.values.data(),
                             arrays.lengths.data(), arrays.formats.data(), kText) == 1;
}

int Wire::put_copy_data(std::string_view data) {
  return PQputCopyData(connection_, data.data(), static_cast<int>(data.size()));
}

bool Wire::take_notification() {
  PGnotify* notification = PQnotifies(connection_);
  if (!notification) return false;
  PQfreemem(notification);
  return true;
}

}  // namespace sluice::pg
