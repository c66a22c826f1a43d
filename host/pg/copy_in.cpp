#include "base/check.hpp"
#include "pg/client.hpp"

namespace sluice::pg {
namespace {

constexpr std::size_t kBufferBytesMax = 64 * 1024;
// What is handed to libpq at once, so that the server works while the rest is sent.
constexpr std::size_t kPartBytesMax = 256 * 1024;
// Signature, flags, length of the header extension.
constexpr std::string_view kHeader("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
constexpr std::string_view kTrailer("\377\377", 2);

void append_big_endian(std::string& out, std::uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    out.push_back(static_cast<char>(value >> shift));
}

}  // namespace

/// Keeps the connection's Call open from the COPY command to finish(); destroyed before that, the
/// Call closes the socket and the server drops the rows.
class BinaryCopy final : public CopyIn {
 public:
  BinaryCopy(Client& client, std::string sql)
      : client_(client),
        sql_(std::move(sql)),
        begins_(sql_.starts_with("begin; ")),
        buffer_(kHeader) {}

  Task<void> start() {
    call_.emplace(client_, sql_, Loss::nothing_done);
    if (!client_.wire_.send_query(sql_)) client_.throw_unsent(*call_);
    co_await client_.flush(*call_);
    ResultHandle result = co_await client_.next_result(*call_);
    // BEGIN, and what is asked for behind it.
    while (begins_ && result &&
           (PQresultStatus(result.get()) == PGRES_COMMAND_OK ||
            PQresultStatus(result.get()) == PGRES_TUPLES_OK)) {
      result = co_await client_.next_result(*call_);
    }
    if (result && PQresultStatus(result.get()) == PGRES_COPY_IN &&
        PQbinaryTuples(result.get()) == 1)
      co_return;
    if (result && PQresultStatus(result.get()) == PGRES_FATAL_ERROR && client_.wire_.alive()) {
      const QueryError error = refused(result.get(), sql_, Loss::nothing_done);
      ResultHandle end = co_await client_.next_result(*call_);
      if (!end) call_->settle();
      throw error;
    }
    if (!client_.wire_.alive()) client_.throw_lost(*call_);
    Error error(ErrorKind::internal, "pg.copy_expected",
                "this is no COPY … FROM STDIN (FORMAT binary) [" + beginning_of(sql_) + "]");
    throw QueryError(std::move(error), {}, {});
  }

  Task<void> row(Params values) override {
    SLUICE_INVARIANT(call_.has_value());
    append_big_endian(buffer_, static_cast<std::uint32_t>(values.size()), 2);
    for (const auto& value : values.values()) {
      append_big_endian(
          buffer_, value.is_null ? 0xFFFFFFFFu : static_cast<std::uint32_t>(value.bytes.size()), 4);
      buffer_ += value.bytes;
    }
    if (buffer_.size() >= kBufferBytesMax) co_await send_buffer();
  }

  Task<void> rows(const CopyRows& rows) override {
    SLUICE_INVARIANT(call_.has_value());
    if (!buffer_.empty()) co_await send_buffer();
    std::string_view left = rows.wire();
    while (!left.empty()) {
      co_await send(left.substr(0, kPartBytesMax));
      left.remove_prefix(std::min(left.size(), kPartBytesMax));
    }
  }

  Task<std::int64_t> finish() override {
    SLUICE_INVARIANT(call_.has_value());
    buffer_ += kTrailer;
    co_await send_buffer();
    if (!client_.in_transaction_before_copy_ && !begins_) call_->loss = Loss::in_doubt;
    call_->deadline = client_.deadline_from_now();
    int queued = client_.wire_.put_copy_end();
    while (queued == 0) {
      co_await drain();
      queued = client_.wire_.put_copy_end();
    }
    co_await client_.flush(*call_);
    ResultHandle result = co_await client_.last_result(*call_);
    call_->settle();
    call_.reset();
    QueryResult rows(result.release());
    co_return rows.affected();
  }

 private:
  Task<void> send_buffer() {
    co_await send(buffer_);
    buffer_.clear();
  }

  Task<void> send(std::string_view data) {
    call_->deadline = client_.deadline_from_now();
    int queued = client_.wire_.put_copy_data(data);
    while (queued == 0) {
      co_await drain();
      queued = client_.wire_.put_copy_data(data);
    }
    // -1: the server has refused a row already; last_result() throws what it said.
    if (queued < 0) co_await client_.last_result(*call_);
    co_await client_.flush(*call_);
  }

  Task<void> drain() {
    co_await client_.ready(*call_, Interest::either);
    if (!client_.wire_.consume_input()) client_.throw_lost(*call_);
  }

  Client& client_;
  std::string sql_;
  bool begins_;  ///< the text opens a transaction first
  std::string buffer_;
  std::optional<Client::Call> call_;
};

Task<std::unique_ptr<CopyIn>> Client::copy_in(std::string sql) {
  const auto fault = fault_of(sql);
  if (fault == failpoint::StatementFault::refused) co_await let_refuse();
  in_transaction_before_copy_ = in_transaction();
  auto copy = std::make_unique<BinaryCopy>(*this, std::move(sql));
  co_await copy->start();
  if (fault == failpoint::StatementFault::answer_lost)
    throw lost("the connection broke, says a test", "COPY", Loss::nothing_done);
  co_return copy;
}

}  // namespace sluice::pg
