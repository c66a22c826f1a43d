// The listening side against clients that do not behave.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <sys/socket.h>
#include <sys/time.h>

#include <thread>

#include "api/server.hpp"

namespace sluice::api {
namespace {

using tcp = boost::asio::ip::tcp;

/// More than the kernel takes for a client that does not read.
constexpr std::size_t kLarge = 32 << 20;

/// Three pieces of 100,000, each of another letter; "cut" breaks off before the last.
class Letters final : public AnswerPieces {
 public:
  explicit Letters(bool is_cut) : is_cut_(is_cut) {}
  Task<std::string> next() override {
    if (given_ == 2 && is_cut_) throw std::runtime_error("the database of the house");
    std::string piece;
    if (given_ < 3) piece.assign(100'000, static_cast<char>('a' + given_++));
    co_return piece;
  }

 private:
  bool is_cut_;
  int given_ = 0;
};

/// Tells what it was asked; reads the body only on /read.
Task<HttpResponse> echo(HttpRequest& request) {
  std::string read;
  if (request.path == "/read") {
    for (;;) {
      const std::string piece = co_await request.body->next();
      if (piece.empty()) break;
      read += piece;
    }
  }
  if (request.path == "/large") co_return HttpResponse::text(std::string(kLarge, 'x'));
  if (request.path == "/pieces" || request.path == "/cut") {
    HttpResponse answer;
    answer.pieces = std::make_unique<Letters>(request.path == "/cut");
    co_return answer;
  }
  if (request.path == "/defect") throw std::runtime_error("the secret of the house");
  co_return HttpResponse::text("<" + request.method + " " + request.path + " " +
                               std::to_string(read.size()) + ">");
}

class ServerTest : public ::testing::Test {
 protected:
  void start(ServerLimits limits = {}) {
    server_ = expect(Server::listen(loop_.get_executor(), ListenAt{}, echo, limits));
    boost::asio::co_spawn(loop_, server_->run(), boost::asio::detached);
    thread_ = std::thread([this] { loop_.run(); });
  }
  void SetUp() override {
    ServerLimits limits;
    limits.header_bytes_max = 4096;
    limits.body_bytes_max = 1 << 20;
    limits.header_timeout = std::chrono::seconds(1);
    limits.body_timeout = std::chrono::seconds(1);
    limits.first_timeout = limits.idle_timeout = std::chrono::seconds(1);
    limits.linger_timeout = std::chrono::seconds(1);
    start(limits);
  }
  void TearDown() override {
    boost::asio::post(loop_, [this] {
      server_->stop();
      loop_.stop();
    });
    thread_.join();
  }

  tcp::socket open() {
    tcp::socket socket(client_);
    socket.connect(tcp::endpoint(boost::asio::ip::make_address("127.0.0.1"), server_->port()));
    return socket;
  }
  /// Everything until the server closes; "reset" at the end when it broke the connection.
  static std::string rest(tcp::socket& socket) {
    std::string answer;
    boost::system::error_code error;
    boost::asio::read(socket, boost::asio::dynamic_buffer(answer), error);
    if (error != boost::asio::error::eof) answer += "[" + error.message() + "]";
    return answer;
  }
  /// Sends all, says that nothing more comes, reads all.
  std::string exchange(const std::string& bytes, bool half_close = true) {
    tcp::socket socket = open();
    boost::system::error_code ignored;
    boost::asio::write(socket, boost::asio::buffer(bytes), ignored);
    if (half_close) socket.shutdown(tcp::socket::shutdown_send, ignored);
    return rest(socket);
  }
  static int count(const std::string& text, const std::string& what) {
    int found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
      ++found;
    return found;
  }

  boost::asio::io_context loop_{1};
  boost::asio::io_context client_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

const std::string kHost = "Host: x\r\n";

TEST_F(ServerTest, requests_in_a_row_are_answered_in_order) {
  const std::string answer =
      exchange("GET /a HTTP/1.1\r\n" + kHost + "\r\nGET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_LT(answer.find("<GET /a 0>"), answer.find("<GET /b 0>"));
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 2) << answer;
}

TEST_F(ServerTest, an_unread_body_that_is_here_is_no_next_request) {
  const std::string inner = "GET /inner HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string answer =
      exchange("POST /a HTTP/1.1\r\n" + kHost + "Content-Length: " + std::to_string(inner.size()) +
               "\r\n\r\n" + inner + "GET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ(answer.find("/inner"), std::string::npos) << answer;
  EXPECT_NE(answer.find("<POST /a 0>"), std::string::npos) << answer;
  EXPECT_NE(answer.find("<GET /b 0>"), std::string::npos) << "the connection goes on: " << answer;
}

TEST_F(ServerTest, an_unread_body_that_still_comes_ends_the_connection_after_its_answer) {
  const std::string body(400'000, 'x');
  const std::string answer =
      exchange("POST /a HTTP/1.1\r\n" + kHost + "Content-Length: 400000\r\n\r\n" + body +
               "GET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 1) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("["), std::string::npos) << "no reset: " << answer;
}

TEST_F(ServerTest, an_unread_chunked_body_ends_the_connection) {
  const std::string answer =
      exchange("POST /a HTTP/1.1\r\n" + kHost +
               "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ(count(answer, "HTTP/1.1 200"), 1) << answer;
  EXPECT_EQ(answer.find("/b"), std::string::npos) << answer;
}

TEST_F(ServerTest, a_read_body_keeps_the_connection) {
  const std::string answer =
      exchange("POST /read HTTP/1.1\r\n" + kHost +
               "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
               "POST /read HTTP/1.1\r\n" +
               kHost + "Content-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_NE(answer.find("<POST /read 5>"), std::string::npos) << answer;
  EXPECT_NE(answer.find("<POST /read 3>"), std::string::npos) << answer;
  EXPECT_NE(answer.find("<GET /b 0>"), std::string::npos) << answer;
}

TEST_F(ServerTest, what_could_be_understood_in_two_ways_is_refused) {
  const std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
  const char* headers[] = {"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                           "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                           "Content-Length: 5\r\nContent-Length: 6\r\n",
                           "Content-Length: +5\r\n",
                           "Content-Length: 5, 5\r\n",
                           "Content-Length: -1\r\n",
                           "Content-Length: 99999999999999999999999\r\n",
                           "Transfer-Encoding: identity\r\n",
                           "Transfer-Encoding: xchunked\r\n",
                           "Transfer-Encoding: gzip, chunked\r\n",
                           "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                           "Transfer-Encoding : chunked\r\n",
                           "Host: y\r\n",
                           "Authorization: a\r\nAuthorization: b\r\n",
                           " folded: x\r\n\x01: y\r\n"};
  for (const char* header : headers) {
    const std::string answer =
        exchange("POST /read HTTP/1.1\r\n" + kHost + header + "\r\n" + smuggled);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << header << answer;
    EXPECT_EQ(answer.find("<GET /smuggled"), std::string::npos) << header << answer;
  }
  EXPECT_TRUE(exchange("GET /a HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400")) << "no Host";
}

TEST_F(ServerTest, nonsense_gets_a_problem) {
  for (const std::string& text :
       {std::string("\x16\x03\x01 tls?\r\n\r\n"), std::string("GET\r\n\r\n"),
        std::string("GET /a HTTP/9.9\r\n\r\n"), std::string("GET x HTTP/1.1\r\nHost: x\r\n\r\n"),
        std::string("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n")}) {
    const std::string answer = exchange(text);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << text << " -> " << answer;
    EXPECT_NE(answer.find("application/problem+json"), std::string::npos) << answer;
  }
}

TEST_F(ServerTest, huge_headers_are_refused_with_431) {
  const std::string answer =
      exchange("GET /a HTTP/1.1\r\n" + kHost + "X: " + std::string(100'000, 'a') + "\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 431")) << answer.substr(0, 200);
  EXPECT_NE(answer.find("request.header_too_large"), std::string::npos) << answer;
  const std::string path =
      exchange("GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_TRUE(path.starts_with("HTTP/1.1 431")) << path.substr(0, 200);
}

TEST_F(ServerTest, a_body_that_is_too_large_is_refused_with_413) {
  const std::string declared =
      exchange("POST /read HTTP/1.1\r\n" + kHost + "Content-Length: 2000000\r\n\r\n", false);
  EXPECT_TRUE(declared.starts_with("HTTP/1.1 413")) << declared;
  std::string chunks;
  for (int i = 0; i < 40; ++i) chunks += "8000\r\n" + std::string(0x8000, 'x') + "\r\n";
  const std::string chunked = exchange("POST /read HTTP/1.1\r\n" + kHost +
                                       "Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n\r\n");
  EXPECT_TRUE(chunked.starts_with("HTTP/1.1 413")) << chunked;
}

TEST_F(ServerTest, broken_chunks_are_refused) {
  const std::string answer = exchange("POST /read HTTP/1.1\r\n" + kHost +
                                      "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
}

TEST_F(ServerTest, a_body_that_ends_early_is_said_and_ends_the_connection) {
  const std::string answer =
      exchange("POST /read HTTP/1.1\r\n" + kHost + "Content-Length: 10\r\n\r\nabc");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 408")) << answer;
  EXPECT_NE(answer.find("request.cut"), std::string::npos) << answer;
}

TEST_F(ServerTest, slow_clients_are_let_go) {
  for (const std::string& begun :
       {std::string(), std::string("GET /a HT"),
        "POST /read HTTP/1.1\r\n" + kHost + "Content-Length: 10\r\n\r\nab"}) {
    const auto start = std::chrono::steady_clock::now();
    (void)exchange(begun, false);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8)) << begun;
  }
}

TEST_F(ServerTest, a_client_that_asks_first_is_told_to_go_on_only_when_its_body_is_wanted) {
  const std::string head =
      " HTTP/1.1\r\n" + kHost + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  tcp::socket socket = open();
  boost::asio::write(socket, boost::asio::buffer("POST /read" + head));
  std::string go_on;
  boost::asio::read(socket, boost::asio::dynamic_buffer(go_on), boost::asio::transfer_at_least(12));
  EXPECT_TRUE(go_on.starts_with("HTTP/1.1 100")) << go_on;
  boost::asio::write(socket, boost::asio::buffer(std::string("abc")));
  socket.shutdown(tcp::socket::shutdown_send);
  EXPECT_NE(rest(socket).find("<POST /read 3>"), std::string::npos);
  const std::string unwanted = exchange("POST /a" + head, false);
  EXPECT_TRUE(unwanted.starts_with("HTTP/1.1 200")) << unwanted;
  EXPECT_NE(unwanted.find("Connection: close"), std::string::npos) << unwanted;
}

TEST_F(ServerTest, head_has_the_length_and_no_body) {
  const std::string answer =
      exchange("HEAD /a HTTP/1.1\r\n" + kHost + "\r\nGET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_NE(answer.find("Content-Length: 11"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("<HEAD"), std::string::npos) << answer;
  EXPECT_NE(answer.find("<GET /b 0>"), std::string::npos) << answer;
}

/// The body of an answer in chunks; "cut" behind it where the last chunk is missing.
std::string without_chunks(std::string_view answer) {
  std::string body;
  answer.remove_prefix(std::min(answer.find("\r\n\r\n") + 4, answer.size()));
  while (!answer.empty()) {
    const auto line = answer.find("\r\n");
    if (line == std::string_view::npos) break;
    const auto size = std::stoul(std::string(answer.substr(0, line)), nullptr, 16);
    if (size == 0) return body;
    body += answer.substr(line + 2, size);
    answer.remove_prefix(std::min(line + size + 4, answer.size()));
  }
  return body + "cut";
}

TEST_F(ServerTest, an_answer_in_pieces_comes_in_chunks_and_keeps_the_connection) {
  const std::string ask = "GET /pieces HTTP/1.1\r\n" + kHost + "\r\n";
  const std::string answer = exchange(ask + "GET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_NE(answer.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_EQ(without_chunks(answer),
            std::string(100'000, 'a') + std::string(100'000, 'b') + std::string(100'000, 'c'));
  EXPECT_NE(answer.find("<GET /b 0>"), std::string::npos);
  const std::string head =
      exchange("HEAD /pieces HTTP/1.1\r\n" + kHost + "\r\nGET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ(head.find("aaa"), std::string::npos);
  EXPECT_NE(head.find("<GET /b 0>"), std::string::npos) << head;
}

TEST_F(ServerTest, an_answer_that_breaks_off_has_no_end_and_no_reason_in_it) {
  const std::string answer =
      exchange("GET /cut HTTP/1.1\r\n" + kHost + "\r\nGET /b HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_EQ(without_chunks(answer), std::string(100'000, 'a') + std::string(100'000, 'b') + "cut");
  EXPECT_EQ(answer.find("of the house"), std::string::npos);
  EXPECT_EQ(answer.find("<GET /b 0>"), std::string::npos) << "nothing follows it";
}

TEST_F(ServerTest, who_knows_no_chunks_is_refused_an_answer_in_pieces) {
  const std::string answer = exchange("GET /pieces HTTP/1.0\r\n\r\n", false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << answer.substr(0, 300);
  EXPECT_EQ(answer.find("aaa"), std::string::npos);
}

TEST_F(ServerTest, a_defect_is_not_told_to_the_client) {
  const std::string answer = exchange("GET /defect HTTP/1.1\r\n" + kHost + "\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 500")) << answer;
  EXPECT_EQ(answer.find("secret"), std::string::npos) << answer;
}

TEST_F(ServerTest, an_old_client_is_answered_and_let_go) {
  const std::string answer = exchange("GET /a HTTP/1.0\r\n\r\n", false);
  EXPECT_NE(answer.find("<GET /a 0>"), std::string::npos) << answer;
}

TEST_F(ServerTest, connections_that_are_too_many_wait_while_each_is_at_work) {
  TearDown();
  loop_.restart();
  ServerLimits limits;
  limits.connections_max = 2;
  start(limits);
  std::vector<tcp::socket> busy;
  const std::string hold =
      "POST /read HTTP/1.1\r\n" + kHost + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  for (int n = 0; n < 2; ++n) {
    busy.push_back(open());
    boost::asio::write(busy.back(), boost::asio::buffer(hold));
    std::string seen;  // it waits for the body now
    boost::asio::read(busy.back(), boost::asio::dynamic_buffer(seen),
                      boost::asio::transfer_at_least(12));
  }
  tcp::socket third = open();
  const std::string last = "GET /third HTTP/1.1\r\n" + kHost + "Connection: close\r\n\r\n";
  boost::asio::write(third, boost::asio::buffer(last));
  timeval quarter{0, 250'000};
  ASSERT_EQ(setsockopt(third.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &quarter, sizeof quarter),
            0);
  char byte = 0;
  EXPECT_EQ(::recv(third.native_handle(), &byte, 1, 0), -1) << "it was served beyond the limit";
  busy.front().close();
  timeval long_enough{20, 0};
  ASSERT_EQ(
      setsockopt(third.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &long_enough, sizeof long_enough),
      0);
  EXPECT_EQ(::recv(third.native_handle(), &byte, 1, 0), 1);
}

class FullServerTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerLimits limits;
    limits.connections_max = 8;
    limits.first_timeout = limits.idle_timeout = std::chrono::seconds(60);
    limits.header_timeout = std::chrono::seconds(60);
    limits.linger_timeout = std::chrono::seconds(1);
    limits.unsent_bytes_max = 2 * kLarge;
    limits.slow_client = std::chrono::seconds(0);
    start(limits);
  }
  static std::string ask(tcp::socket& socket, const std::string& path = "/a") {
    boost::asio::write(socket,
                       boost::asio::buffer("GET " + path + " HTTP/1.1\r\n" + kHost + "\r\n"));
    std::string answer;
    boost::system::error_code error;
    boost::asio::read_until(socket, boost::asio::dynamic_buffer(answer), ">", error);
    return error ? error.message() : answer;
  }
  static bool is_closed(tcp::socket& socket) {
    const timeval patience{10, 0};
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char one = 0;
    const ssize_t got = ::recv(socket.native_handle(), &one, 1, MSG_PEEK);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
};

TEST_F(FullServerTest, who_says_nothing_makes_room_for_who_asks) {
  tcp::socket known = open();
  EXPECT_NE(ask(known).find("<GET /a 0>"), std::string::npos);
  std::vector<tcp::socket> silent;
  for (int n = 0; n < 40; ++n) silent.push_back(open());
  for (int n = 0; n < 5; ++n) {
    tcp::socket other = open();
    EXPECT_NE(ask(other).find("<GET /a 0>"), std::string::npos);
  }
  EXPECT_TRUE(is_closed(silent.front())) << "who was silent for longest";
  EXPECT_NE(ask(known).find("<GET /a 0>"), std::string::npos)
      << "who had an answer before stays while strangers can go";
}

TEST_F(FullServerTest, who_had_their_last_answer_go_before_who_has_just_connected) {
  tcp::socket fresh = open();
  std::vector<tcp::socket> leaving;
  for (int n = 0; n < 7; ++n) {
    leaving.push_back(open());
    // Nobody wants that body, so it is this connection's last request.
    boost::asio::write(leaving.back(), boost::asio::buffer("POST /a HTTP/1.1\r\n" + kHost +
                                                           "Content-Length: 3\r\n\r\n"));
    std::string answer;
    boost::asio::read_until(leaving.back(), boost::asio::dynamic_buffer(answer), ">");
  }
  tcp::socket other = open();
  EXPECT_NE(ask(other).find("<GET /a 0>"), std::string::npos);
  EXPECT_NE(ask(fresh).find("<GET /a 0>"), std::string::npos);
}

TEST_F(FullServerTest, half_a_head_is_no_request_either) {
  std::vector<tcp::socket> half;
  for (int n = 0; n < 20; ++n) {
    half.push_back(open());
    boost::system::error_code ignored;
    boost::asio::write(half.back(), boost::asio::buffer(std::string("GET /a HTT")), ignored);
  }
  tcp::socket other = open();
  EXPECT_NE(ask(other).find("<GET /a 0>"), std::string::npos);
}

TEST_F(FullServerTest, answers_that_nobody_takes_do_not_pile_up) {
  std::vector<tcp::socket> greedy;
  for (int n = 0; n < 6; ++n) {
    greedy.push_back(open());
    boost::asio::write(
        greedy.back(),
        boost::asio::buffer("GET /large HTTP/1.1\r\nConnection: close\r\n" + kHost + "\r\n"));
    char first = 0;
    ::recv(greedy.back().native_handle(), &first, 1, MSG_PEEK);  // it is being sent
  }
  int whole = 0;
  for (tcp::socket& one : greedy) whole += rest(one).size() > kLarge ? 1 : 0;
  EXPECT_EQ(whole, 2) << "what may wait";
  tcp::socket other = open();
  EXPECT_NE(ask(other).find("<GET /a 0>"), std::string::npos);
}

/// Also where each of them takes a little now and then.
class GreedyServerTest : public FullServerTest {
 protected:
  void SetUp() override {
    ServerLimits limits;
    limits.unsent_bytes_max = 2 * kLarge;
    limits.slow_client = std::chrono::seconds(60);
    start(limits);
  }
};

TEST_F(GreedyServerTest, answers_that_are_taken_too_slowly_do_not_pile_up_either) {
  std::vector<tcp::socket> greedy;
  for (int n = 0; n < 9; ++n) {
    greedy.push_back(open());
    boost::asio::write(
        greedy.back(),
        boost::asio::buffer("GET /large HTTP/1.1\r\nConnection: close\r\n" + kHost + "\r\n"));
    char first = 0;
    ::recv(greedy.back().native_handle(), &first, 1, MSG_PEEK);
  }
  int whole = 0;
  for (tcp::socket& one : greedy) whole += rest(one).size() > kLarge ? 1 : 0;
  EXPECT_EQ(whole, 4) << "twice of what may wait";
}

}  // namespace
}  // namespace sluice::api
