// An answer is whole, or it is none: answers that are cut, and answers that are late, at every
// byte.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio.hpp>

#include "fetch_fixture.hpp"
#include "hostile_server.hpp"

namespace sluice::fetch {
namespace {

using asio::ip::tcp;
using contract::Response;
using fetch_test::gzip;
using std::chrono::milliseconds;

/// Answers each connection's one request with `text`; that of the first only in part.
class CuttingServer {
 public:
  enum class Way { fin, reset, late };

  explicit CuttingServer(asio::io_context& loop)
      : acceptor_(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    asio::co_spawn(loop, accept(), asio::detached);
  }
  [[nodiscard]] std::string url() const {
    return fmt::format("http://127.0.0.1:{}", acceptor_.local_endpoint().port());
  }

  std::string text;
  Way way = Way::fin;
  std::optional<std::size_t> at;  ///< of the next answer alone

 private:
  Task<> accept() {
    const auto executor = co_await asio::this_coro::executor;
    for (;;) {
      tcp::socket socket = co_await acceptor_.async_accept(asio::use_awaitable);
      asio::co_spawn(executor, serve(std::move(socket)), asio::detached);
    }
  }
  Task<> serve(tcp::socket socket) {
    try {
      std::string request;
      co_await asio::async_read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n",
                                      asio::use_awaitable);
      socket.set_option(tcp::no_delay(true));
      const std::string answer = text;
      const std::size_t size = std::exchange(at, std::nullopt).value_or(answer.size());
      co_await asio::async_write(socket, asio::buffer(answer.data(), size), asio::use_awaitable);
      if (way == Way::late && size < answer.size()) {
        asio::steady_timer pause(co_await asio::this_coro::executor, milliseconds(1));
        co_await pause.async_wait(asio::use_awaitable);
        co_await asio::async_write(socket, asio::buffer(answer.data() + size, answer.size() - size),
                                   asio::use_awaitable);
      }
      if (way == Way::reset && size < answer.size())
        socket.set_option(asio::socket_base::linger(true, 0));
      socket.close();
    } catch (const boost::system::system_error&) {
    }
  }

  tcp::acceptor acceptor_;
};

struct Answer {
  std::string name;
  std::string text;
  std::string body;
  bool framed = true;
  std::size_t spare = 0;  ///< bytes at its end behind which nothing can come: the last LF of chunks
};

/// One of each way in which an answer can say where it ends.
std::vector<Answer> answers() {
  const std::string csv = "id,name\n1,Ann\n2,Bob\n";
  const std::string packed = gzip(csv);
  const std::string length = fmt::format("Content-Length: {}\r\n", csv.size());
  const std::string chunks = "5\r\nid,na\r\nf\r\nme\n1,Ann\n2,Bob\n\r\n0\r\n";
  std::vector<Answer> all;
  all.push_back(
      {"plain", "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n" + length + "\r\n" + csv, csv});
  all.push_back({"the length before the type",
                 "HTTP/1.1 200 OK\r\n" + length + "Content-Type: text/csv\r\n\r\n" + csv, csv});
  all.push_back({"chunked",
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + "\r\n", csv,
                 true, 1});
  all.push_back({"chunked with a trailer",
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
                     chunks + "X-Sum: 12\r\nX-End: 1\r\n\r\n",
                 csv, true, 1});
  all.push_back({"gzip",
                 fmt::format("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: "
                             "{}\r\n\r\n",
                             packed.size()) +
                     packed,
                 csv});
  all.push_back({"gzip in a chunk",
                 "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" +
                     fmt::format("{:x}\r\n", packed.size()) + packed + "\r\n0\r\n\r\n",
                 csv, true, 1});
  all.push_back({"hints before it",
                 "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                 "HTTP/1.1 200 OK\r\n" +
                     length + "\r\n" + csv,
                 csv});
  all.push_back({"without a body", "HTTP/1.1 204 No Content\r\nX-Request: 1\r\n\r\n", ""});
  all.push_back({"HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\n" + length + "\r\n" + csv, csv});
  all.push_back(
      {"unframed", "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n" + csv, csv, false});
  all.push_back(
      {"unframed gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + packed, csv, false});
  return all;
}

class Whole : public fetch_test::FetchTest, public testing::WithParamInterface<Answer> {
 protected:
  Whole() : server_(loop_) {
    allowance_.base_urls["api"] = server_.url();
    options_.retry.backoff_first = milliseconds(1);
    options_.retry.backoff_max = milliseconds(1);
    server_.text = GetParam().text;
  }

  Response get() {
    stats_ = FetchStats();
    return answer(FetchTest::get("/list.csv"));
  }

  void expect_whole(const Response& response, const std::string& where) {
    EXPECT_EQ(response.transport_error, "") << where;
    EXPECT_EQ(response.status, GetParam().body.empty() ? 204 : 200) << where;
    EXPECT_EQ(response.body, GetParam().body) << where;
    EXPECT_EQ(response.unframed, !GetParam().framed) << where;
  }

  [[nodiscard]] static std::size_t cuts() { return GetParam().text.size() - GetParam().spare; }

  /// Cut once at every byte: tried again, or said to be unframed.
  void cut_everywhere(CuttingServer::Way way) {
    server_.way = way;
    for (std::size_t at = 0; at < cuts(); ++at) {
      server_.at = at;
      const std::string where = fmt::format("{}, cut at {}", GetParam().name, at);
      const Response response = get();
      if (response.unframed && stats_.attempts == 1) {
        const std::size_t head = GetParam().text.find("\r\n\r\n") + 4;
        EXPECT_FALSE(GetParam().framed) << where;
        EXPECT_GE(at, head) << where << ": a head without its end is no answer";
        EXPECT_EQ(response.body, GetParam().body.substr(0, at - head)) << where;
        continue;
      }
      expect_whole(response, where);
      EXPECT_EQ(stats_.attempts, 2u) << where;
      EXPECT_EQ(stats_.transport_errors, 1u) << where;
    }
  }

  CuttingServer server_;
};

TEST_P(Whole, AnAnswerThatIsNotCutArrives) {
  expect_whole(get(), GetParam().name);
  EXPECT_EQ(stats_.attempts, 1u);
}

TEST_P(Whole, WhereverTheConnectionEndsItIsNoAnswerOrAnUnframedOne) {
  cut_everywhere(CuttingServer::Way::fin);
}

TEST_P(Whole, WhereverTheConnectionIsResetItIsNoAnswer) {
  server_.way = CuttingServer::Way::reset;
  for (std::size_t at = 0; at < cuts(); ++at) {
    server_.at = at;
    expect_whole(get(), fmt::format("{}, reset at {}", GetParam().name, at));
    EXPECT_EQ(stats_.attempts, 2u) << GetParam().name << ", reset at " << at;
  }
}

TEST_P(Whole, WhereverTheVendorPausesItIsTheSameAnswer) {
  server_.way = CuttingServer::Way::late;
  for (std::size_t at = 0; at < GetParam().text.size(); ++at) {
    server_.at = at;
    expect_whole(get(), fmt::format("{}, late at {}", GetParam().name, at));
    EXPECT_EQ(stats_.attempts, 1u) << GetParam().name << ", late at " << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Answers, Whole, testing::ValuesIn(answers()), [](const auto& each) {
  std::string name;
  for (const char c : each.param.name) name += std::isalnum(c) != 0 ? c : '_';
  return name;
});

}  // namespace
}  // namespace sluice::fetch
