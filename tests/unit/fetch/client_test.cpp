#include "fetch/client.hpp"

#include <Poco/AutoPtr.h>
#include <Poco/Channel.h>
#include <Poco/Logger.h>
#include <Poco/Message.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/log.hpp"
#include "fetch_fixture.hpp"
#include "hostile_server.hpp"

namespace sluice::fetch {
namespace {

using contract::Method;
using contract::Request;
using contract::Response;
using fetch_test::gzip;
using fetch_test::HostileServer;
using fetch_test::http;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kSecret = "sk_test_abcdefgh/12345678";

/// A server on the client's loop; deadlines and retries short enough for a test.
class ClientTest : public fetch_test::FetchTest {
 protected:
  ClientTest() : server_(loop_) {
    options_.deadlines.connect = options_.deadlines.tls = seconds(5);
    options_.deadlines.headers = options_.deadlines.idle = options_.deadlines.total = seconds(10);
    hosts_.front().url = "https://api.example.com";
    contract::AuthSlot bearer;
    bearer.name = "key";
    bearer.secret = "api_key";
    auth_.push_back(bearer);
    contract::AuthSlot query = bearer;
    query.scheme = contract::AuthScheme::query;
    query.parameter = "token";
    auth_.push_back(query);
    contract::AuthSlot basic = bearer;
    basic.scheme = contract::AuthScheme::basic;
    auth_.push_back(basic);
    allowance_.base_urls["api"] = server_.url();
    credentials_.current["api_key"] = kSecret;
  }

  HostileServer server_;
};

TEST_F(ClientTest, HandsBackStatusHeadersAndBodyAndKeepsTheConnection) {
  for (int i = 0; i < 5; ++i) {
    const Response response = answer(get(fmt::format("/plain?page={}", i)));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.request_id, 7u);
    EXPECT_EQ(response.body, fmt::format("GET /plain?page={} ", i));
    EXPECT_TRUE(contract::find_header(response.headers, "content-length"));
  }
  EXPECT_EQ(server_.connections, 1);
  EXPECT_EQ(stats_.requests, 5u);
  EXPECT_EQ(stats_.attempts, 5u);
}

// No name server is asked for a name of 254 characters.
TEST_F(ClientTest, SaysEachTimeThatANameHasNoAddressAndSendsElsewhereAfterwards) {
  const std::string url = allowance_.base_urls["api"];
  const std::string label(63, 'a');
  allowance_.base_urls["api"] = fmt::format("http://{0}.{0}.{0}.{1}", label, label.substr(1));
  for (int i = 0; i < 2; ++i) {
    const Response response = answer(get("/plain"));
    EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.resolve: "))
        << response.transport_error;
  }
  EXPECT_GT(stats_.retries, 0u);
  allowance_.base_urls["api"] = url;
  EXPECT_EQ(answer(get("/plain")).status, 200);
}

TEST_F(ClientTest, ThePaddingBehindABodyIsReadableAndZero) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{15}, std::size_t{4096},
                                 std::size_t{1'000'000}}) {
    server_.scripts["pad"] = {http(200, std::string(size, 'x'))};
    const Response response = answer(get("/script/pad"));
    ASSERT_EQ(response.body.size(), size);
    ASSERT_GE(response.body.capacity(), size + 64);
    const volatile char* const end = response.body.data() + size;
    for (int i = 0; i < 64; ++i) ASSERT_EQ(end[i], 0) << i;
  }
}

TEST_F(ClientTest, SendsMethodBodyAndHeadersAsGivenAndNothingOfItsOwn) {
  Request request = get("/write?x[]=1");
  request.method = Method::post;
  request.headers = {
      {"Content-Type", "application/json"}, {"Idempotency-Key", "k1"}, {"X-Empty", ""}};
  request.body = R"({"a":1})";
  EXPECT_EQ(answer(request).body, R"(POST /write?x[]=1 {"a":1})");
  const auto& seen = server_.seen.back();
  EXPECT_EQ(seen.headers.at("content-type"), "application/json");
  EXPECT_EQ(seen.headers.at("x-empty"), "");
  EXPECT_FALSE(seen.headers.contains("expect"));
  EXPECT_FALSE(seen.headers.contains("authorization"));
  request.method = Method::del;
  request.body.clear();
  request.headers.clear();
  EXPECT_EQ(answer(request).body, "DELETE /write?x[]=1 ");
  EXPECT_FALSE(server_.seen.back().headers.contains("content-type"));
  for (const Method method : {Method::put, Method::patch, Method::post}) {
    request.method = method;
    request.body = "";
    EXPECT_EQ(answer(request).status, 200);
    EXPECT_EQ(server_.seen.back().headers.at("content-length"), "0");
  }
}

TEST_F(ClientTest, ReadsChunkedAndCompressedBodies) {
  EXPECT_EQ(answer(get("/chunked")).body, "hello world");
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += fmt::format("{{\"id\":{}}},", i * 7919);
  server_.scripts["gz"] = {http(200, gzip(text), "Content-Encoding: gzip\r\n")};
  const Response response = answer(get("/script/gz"));
  EXPECT_EQ(response.body, text);
  EXPECT_LT(stats_.bytes_received, stats_.bytes_inflated);
}

TEST_F(ClientTest, EndsAGzipBombByItsRatioAndByItsSize) {
  const std::string bomb = gzip(std::string(60 << 20, '\0'));
  server_.scripts["bomb"] = {http(200, bomb, "Content-Encoding: gzip\r\n")};
  Response response = answer(get("/script/bomb"));
  EXPECT_EQ(response.status, 0);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.inflate_ratio_max: "))
      << response.transport_error;
  Request small = get("/script/bomb");
  small.response_bytes_max = 100'000;
  response = answer(small);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.response_bytes_max: "))
      << response.transport_error;
  EXPECT_EQ(stats_.attempts, 2u) << "a limit is not worth a retry";
}

TEST_F(ClientTest, EndsABodyWithoutEndAtTheLimit) {
  options_.limits.response_bytes_max = 1 << 20;
  const Response response = answer(get("/endless"));
  EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.response_bytes_max: "))
      << response.transport_error;
  EXPECT_TRUE(response.body.empty());
}

TEST_F(ClientTest, ABodyOfExactlyTheLimitPasses) {
  options_.limits.response_bytes_max = 5000;
  server_.scripts["exact"] = {http(200, std::string(5000, 'x')), http(200, std::string(5001, 'x'))};
  EXPECT_EQ(answer(get("/script/exact")).body.size(), 5000u);
  EXPECT_TRUE(
      answer(get("/script/exact")).transport_error.starts_with("fetch.limit.response_bytes_max"));
}

TEST_F(ClientTest, EndsHugeHeaders) {
  const Response response = answer(get("/huge-headers"));
  EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.header_bytes_max: "))
      << response.transport_error;
}

TEST_F(ClientTest, APageOf50MegabytesIsRefusedByNameAndNotHeld) {
  Response response = answer(get("/page-of-50-mb"));
  EXPECT_EQ(response.status, 0);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.response_bytes_max: "))
      << response.transport_error;
  EXPECT_NE(response.transport_error.find("33554432"), std::string::npos)
      << response.transport_error;
  EXPECT_LT(server_.body_bytes_sent, 45'000'000u) << "what is beyond the limit is not taken";
  EXPECT_EQ(response.body.capacity(), std::string().capacity());
  server_.body_bytes_sent = 0;
  response = answer(get("/page-of-50-mb?announced"));
  EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.response_bytes_max: "))
      << response.transport_error;
  EXPECT_LT(server_.body_bytes_sent, 10'000'000u) << "nor anything of what says so beforehand";
  EXPECT_EQ(stats_.attempts, 2u) << "a limit is not worth a retry";
  EXPECT_EQ(answer(get("/plain")).status, 200) << "and the client goes on";
}

TEST_F(ClientTest, ATrickleThatIsNeverIdleEndsAtTheTotalDeadline) {
  options_.retry.tries_max = 1;
  options_.deadlines.idle = milliseconds(500);
  options_.deadlines.total = milliseconds(900);
  const auto began = std::chrono::steady_clock::now();
  const Response response = answer(get("/trickle"));
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.total_timeout: "))
      << response.transport_error;
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(900));
}

TEST_F(ClientTest, EndsHeaderBombsOfEveryShapeByTheirLimit) {
  for (const char* bomb : {"/header-without-end", "/hints-without-end", "/trailers-without-end"}) {
    stats_ = FetchStats();
    const Response response = answer(get(bomb));
    EXPECT_TRUE(response.transport_error.starts_with("fetch.limit.header_bytes_max: "))
        << bomb << ": " << response.transport_error;
    EXPECT_EQ(stats_.attempts, 1u) << bomb << ": a limit is not worth a retry";
  }
}

TEST_F(ClientTest, CountsByStatusClassForTheRunAndForTheHost) {
  server_.scripts["ok"] = {http(200, "ok")};
  server_.scripts["gone"] = {http(404, "gone")};
  server_.scripts["flaky"] = {http(500, ""), http(429, ""), http(200, "ok")};
  for (const char* path : {"/script/ok", "/script/gone", "/script/flaky", "/cut-body"})
    answer(get(path));
  EXPECT_EQ(stats_.by_status_class, (std::array<std::uint64_t, 6>{5, 0, 2, 0, 2, 1}));
  EXPECT_EQ(stats_.requests, 4u);
  EXPECT_EQ(stats_.attempts, 10u);
  EXPECT_EQ(stats_.retries, 6u);
  EXPECT_EQ(stats_.rate_limited, 1u);
  EXPECT_EQ(client().totals().by_status_class, stats_.by_status_class);
  stats_ = FetchStats();
  answer(get("/script/ok"));
  EXPECT_EQ(stats_.attempts, 1u);
  EXPECT_EQ(client().totals().attempts, 11u);
}

TEST_F(ClientTest, WhileTheVendorWantsALongPauseNothingIsSent) {
  server_.scripts["hour"] = {http(429, "wait", "Retry-After: 3600\r\n")};
  EXPECT_EQ(answer(get("/script/hour")).body, "wait");
  const Response again = answer(get("/plain"));
  EXPECT_EQ(again.status, 429);
  EXPECT_EQ(contract::find_header(again.headers, "retry-after"), "3600");
  EXPECT_EQ(server_.seen.size(), 1u);
  EXPECT_EQ(stats_.held_back, 1u);
  EXPECT_EQ(stats_.attempts, 1u);
}

TEST_F(ClientTest, EndsHeadersThatDripAndBodiesThatStall) {
  options_.retry.tries_max = 1;
  options_.deadlines.headers = milliseconds(150);
  options_.deadlines.idle = milliseconds(150);
  EXPECT_TRUE(answer(get("/slow-headers"))
                  .transport_error.starts_with("fetch.transport.headers_timeout: "));
  EXPECT_TRUE(
      answer(get("/stalled-body")).transport_error.starts_with("fetch.transport.idle_timeout: "));
  EXPECT_TRUE(run_until([&] { return server_.cut_by_peer == 1; }))
      << "the connection is closed, not kept";
  EXPECT_EQ(answer(get("/drip-body")).body.size(), 20u) << "slow is not idle";
}

TEST_F(ClientTest, EndsATransferAtItsTotalDeadline) {
  options_.retry.tries_max = 1;
  options_.deadlines.total = milliseconds(150);
  EXPECT_TRUE(
      answer(get("/drip-body")).transport_error.starts_with("fetch.transport.total_timeout: "));
}

TEST_F(ClientTest, TellsACutBodyFromAFullOneAfterItsRetries) {
  const Response response = answer(get("/cut-body"));
  EXPECT_EQ(response.status, 0);
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.cut: "))
      << response.transport_error;
  EXPECT_EQ(stats_.attempts, 5u);
  EXPECT_EQ(stats_.transport_errors, 5u);
}

TEST_F(ClientTest, DoesNotRepeatARequestThatTheVendorMayHaveActedOn) {
  Request request = get("/no-answer");
  request.method = Method::post;
  EXPECT_TRUE(answer(request).transport_error.starts_with("fetch.transport.cut: "));
  EXPECT_EQ(server_.seen.size(), 1u);
  request.idempotent = true;
  answer(request);
  EXPECT_EQ(server_.seen.size(), 6u);
}

TEST_F(ClientTest, ReportsAClosedPortAfterItsRetries) {
  asio::ip::tcp::acceptor closed(loop_,
                                 asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  allowance_.base_urls["api"] = fmt::format("http://127.0.0.1:{}", closed.local_endpoint().port());
  closed.close();
  Request request = get("/");
  request.method = Method::post;
  EXPECT_TRUE(answer(request).transport_error.starts_with("fetch.transport.connect: "));
  EXPECT_EQ(stats_.attempts, 5u) << "nothing was sent, so even a POST is repeated";
}

TEST_F(ClientTest, DoesNotFollowRedirects) {
  server_.scripts["moved"] = {http(302, "", "Location: http://169.254.169.254/\r\n")};
  const Response response = answer(get("/script/moved"));
  EXPECT_EQ(response.status, 302);
  EXPECT_EQ(contract::find_header(response.headers, "location"), "http://169.254.169.254/");
  EXPECT_EQ(server_.seen.size(), 1u);
}

TEST_F(ClientTest, WaitsOutARateLimitWithAndWithoutRetryAfter) {
  server_.scripts["busy"] = {http(429, ""), http(429, "", "Retry-After: 0\r\n"), http(200, "ok")};
  EXPECT_EQ(answer(get("/script/busy")).body, "ok");
  EXPECT_EQ(stats_.retries, 2u);
  EXPECT_EQ(stats_.rate_limited, 2u);
  EXPECT_EQ(stats_.rate_limited_waits, 2u);
  server_.scripts["later"] = {http(429, "", "Retry-After: 1\r\n"), http(200, "ok")};
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(answer(get("/script/later")).body, "ok");
  EXPECT_GE(std::chrono::steady_clock::now() - began, seconds(1));
}

TEST_F(ClientTest, HandsALongRateLimitAndAWornOutOneToTheConnector) {
  server_.scripts["hour"] = {http(429, "wait", "Retry-After: 3600\r\n")};
  EXPECT_EQ(answer(get("/script/hour")).body, "wait");
  EXPECT_EQ(stats_.attempts, 1u);
  budget_.emplace(BudgetOptions(), clock_, delay_);
  server_.scripts["down"] = {http(503, "down")};
  const Response response = answer(get("/script/down"));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body, "down");
  EXPECT_TRUE(response.transport_error.empty());
  EXPECT_EQ(stats_.attempts, 6u);
}

TEST_F(ClientTest, ObeysStripesShouldRetry) {
  server_.scripts["no"] = {http(500, "no", "Stripe-Should-Retry: false\r\n"), http(200, "yes")};
  EXPECT_EQ(answer(get("/script/no")).status, 500);
  EXPECT_EQ(stats_.attempts, 1u);
}

TEST_F(ClientTest, MasksTheCredentialThatAVendorEchoesAndDropsItsCookies) {
  for (const std::uint32_t slot : {0u, 1u, 2u}) {
    Request request = get("/echo-auth?a=1");
    request.auth_slot = slot;
    const Response response = answer(request);
    ASSERT_EQ(response.status, 200);
    EXPECT_EQ(response.body.find("abcdefgh"), std::string::npos) << response.body;
    EXPECT_EQ(response.body.find("12345678"), std::string::npos) << response.body;
    EXPECT_NE(response.body.find("********"), std::string::npos) << response.body;
    if (slot == 0) {
      EXPECT_EQ(contract::find_header(response.headers, "x-echo"),
                "Bearer *************************");
    }
    EXPECT_FALSE(contract::find_header(response.headers, "set-cookie"));
  }
  EXPECT_EQ(server_.seen[0].headers.at("authorization"), fmt::format("Bearer {}", kSecret));
  EXPECT_EQ(server_.seen[1].target, "/echo-auth?a=1&token=sk_test_abcdefgh%2F12345678");
  EXPECT_TRUE(server_.seen[2].headers.at("authorization").starts_with("Basic "));
}

/// Answers at once with a body, and says when.
class LargeAnswer final : public Transport {
 public:
  LargeAnswer(std::string body, std::function<void()> answered)
      : body_(std::move(body)), answered_(std::move(answered)) {}
  Task<Result<RawResponse>> perform(RawRequest /*request*/) override {
    Result<RawResponse> answer = RawResponse();
    answer->status = 200;
    answer->body = std::move(body_);
    answered_();
    co_return answer;
  }
  std::size_t in_flight() const override { return 0; }

 private:
  std::string body_;
  std::function<void()> answered_;
};

class MaskingTest : public ClientTest {
 protected:
  /// The largest that a vendor may answer, and all of it is to be looked at.
  static std::string hostile() {
    std::string body;
    body.reserve(31 << 20);
    while (body.size() < (31 << 20)) body += "%73";
    return body + kSecret;
  }

  void begin(std::string body) {
    auto vendor =
        std::make_unique<LargeAnswer>(std::move(body), [this] { turns_at_answer_ = turns_; });
    large_.emplace(std::move(vendor), options_, clock_, entropy_, delay_);
    turn();
    asio::co_spawn(loop_, send_large(),
                   asio::bind_cancellation_slot(signal_.slot(),
                                                [this](std::exception_ptr) { ended_ = true; }));
  }
  [[nodiscard]] int turns_since_answer() const {
    return turns_at_answer_ ? turns_ - *turns_at_answer_ : 0;
  }

  asio::cancellation_signal signal_;
  std::optional<Client> large_;
  std::optional<Result<Response>> out_;
  bool ended_ = false;

 private:
  Task<> send_large() {
    Request request = get("/large");
    request.auth_slot = 0;
    const SendContext where = context();
    auto result = co_await large_->send(std::move(request), where);
    out_.emplace(std::move(result));
  }
  /// What else there is to do on the loop.
  void turn() {
    ++turns_;
    if (!ended_) asio::post(loop_, [this] { turn(); });
  }

  int turns_ = 0;
  std::optional<int> turns_at_answer_;
};

TEST_F(MaskingTest, TheLoopGoesOnWhileALargeAnswerIsMasked) {
  begin(hostile());
  ASSERT_TRUE(run_until([this] { return ended_; }));
  ASSERT_TRUE(out_ && *out_);
  EXPECT_GT(turns_since_answer(), 100);
  const std::string& body = (*out_)->body;
  EXPECT_TRUE(body.ends_with("%73" + std::string(std::string_view(kSecret).size(), '*')));
  EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(body, '*')),
            std::string_view(kSecret).size());
}

TEST_F(MaskingTest, WhoIsCancelledMeanwhileLeavesNothingBehindAndNobodyWaiting) {
  begin(hostile());
  ASSERT_TRUE(run_until([this] { return turns_since_answer() > 10; }));
  ASSERT_FALSE(ended_);
  signal_.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(run_until([this] { return ended_; }));
  if (out_) {
    ASSERT_FALSE(*out_);
    EXPECT_EQ(out_->error().code, "fetch.cancelled");
  }
  large_.reset();
}

TEST_F(MaskingTest, AClientThatEndsMeanwhileLetsTheAnswerEnd) {
  begin(hostile());
  ASSERT_TRUE(run_until([this] { return turns_since_answer() > 10; }));
  large_.reset();
  ASSERT_TRUE(run_until([this] { return ended_; }));
  ASSERT_TRUE(out_);
}

TEST_F(ClientTest, TriesThePreviousCredentialOnceOn401) {
  server_.scripts["rotated"] = {http(401, "no"), http(200, "ok")};
  credentials_.previous["api_key"] = "the_previous_key";
  Request request = get("/script/rotated");
  request.auth_slot = 0;
  EXPECT_EQ(answer(request).body, "ok");
  EXPECT_EQ(server_.seen[0].headers.at("authorization"), fmt::format("Bearer {}", kSecret));
  EXPECT_EQ(server_.seen[1].headers.at("authorization"), "Bearer the_previous_key");
  server_.scripts["never"] = {http(401, "no")};
  request.target = "/script/never";
  EXPECT_EQ(answer(request).status, 401);
  EXPECT_EQ(server_.seen.size(), 4u);
  credentials_.previous.clear();
  EXPECT_EQ(answer(request).status, 401);
  EXPECT_EQ(server_.seen.size(), 5u);
}

TEST_F(ClientTest, SendsNothingWithoutItsCredential) {
  credentials_.current.clear();
  Request request = get("/");
  request.auth_slot = 0;
  const auto result = send(request);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, "vault.no_secret");
  EXPECT_TRUE(server_.seen.empty());
}

TEST_F(ClientTest, RefusesLoopbackWithoutAnAllowance) {
  allowance_.addresses.loopback = false;
  for (const std::string host :
       {"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"}) {
    allowance_.base_urls["api"] = fmt::format("http://{}:{}", host, server_.port());
    const auto result = send(get("/"));
    ASSERT_FALSE(result) << host;
    EXPECT_EQ(result.error().code, "fetch.policy.address") << host << result.error().describe();
    EXPECT_EQ(result.error().kind, ErrorKind::denied);
  }
  EXPECT_EQ(server_.connections, 0);
  EXPECT_EQ(stats_.refused, 7u);
}

TEST_F(ClientTest, RefusesAVendorNameWhoseAddressIsInside) {
  allowance_ = EgressAllowance();
  options_.curl.pins = {"api.example.com:443:169.254.169.254,10.0.0.1"};
  const auto result = send(get("/"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, "fetch.policy.address");
  EXPECT_NE(result.error().message.find("169.254.169.254 (link-local (cloud metadata))"),
            std::string::npos)
      << result.error().message;
}

TEST_F(ClientTest, LendsNoPooledConnectionToSomebodyWithFewerRights) {
  EXPECT_EQ(answer(get("/")).status, 200);
  allowance_.addresses.loopback = false;
  const auto result = send(get("/"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, "fetch.policy.address");
  EXPECT_EQ(server_.seen.size(), 1u);
}

TEST_F(ClientTest, NeverDialsWhatIsItsHostsOwnWhateverWasOpened) {
  OwnEndpoints own;
  options_.curl.own = &own;
  own.add_listener("this host's REST API", asio::ip::make_address("0.0.0.0"), 1);
  EXPECT_EQ(answer(get("/plain")).status, 200) << "another port of the same address";
  own.add_listener("this host's REST API", asio::ip::make_address("127.0.0.1"), server_.port());
  for (const std::string host : {"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"}) {
    allowance_.base_urls["api"] = fmt::format("http://{}:{}", host, server_.port());
    const auto result = send(get("/plain"));  // also on the connection that is still open
    ASSERT_FALSE(result) << host;
    EXPECT_EQ(result.error().code, "fetch.policy.address") << host << result.error().describe();
    EXPECT_NE(
        result.error().message.find(fmt::format("port {} (this host's REST API)", server_.port())),
        std::string::npos)
        << result.error().message;
    EXPECT_EQ(result.error().hint.find("exception"), std::string::npos) << result.error().hint;
  }
  EXPECT_EQ(server_.seen.size(), 1u);
}

TEST_F(ClientTest, RefusesInjectionBeforeAnythingIsSent) {
  Request request = get("/a\r\nHost: evil");
  EXPECT_EQ(send(request).error().code, "fetch.policy.target");
  request = get("/");
  request.headers = {{"X-A", "b\r\nX-B: c"}};
  EXPECT_EQ(send(request).error().code, "fetch.policy.header");
  request = get("/");
  request.host = 1;
  EXPECT_EQ(send(request).error().code, "fetch.policy.host");
  request = get("/");
  request.auth_slot = 9;
  EXPECT_EQ(send(request).error().code, "fetch.policy.auth_slot");
  request = get("/");
  request.body = "x";
  EXPECT_EQ(send(request).error().code, "fetch.policy.body");
  EXPECT_EQ(server_.connections, 0);
}

TEST_F(ClientTest, WaitsUntilTheRequestIsDueAndRefusesAFarFuture) {
  Request request = get("/");
  request.not_before_ms = clock_.now().count() / 1000 + 100;
  EXPECT_EQ(answer(request).status, 200);
  EXPECT_GE(clock_.now().count() / 1000, request.not_before_ms);
  request.not_before_ms = clock_.now().count() / 1000 + 3'600'000;
  EXPECT_EQ(send(request).error().code, "fetch.policy.not_before");
}

TEST_F(ClientTest, KeepsToTheBudgetsConcurrency) {
  BudgetOptions three;
  three.requests_per_second = 0;
  three.concurrency = 3;
  budget_.emplace(three, clock_, delay_);
  std::vector<std::optional<Result<Response>>> out(10);
  for (auto& slot : out) asio::co_spawn(loop_, send_into(get("/hold"), slot), asio::detached);
  ASSERT_TRUE(run_until([&] { return server_.open_requests == 3; }));
  EXPECT_EQ(budget_->waiting(), 7u);
  server_.released = true;
  ASSERT_TRUE(run_until(
      [&] { return std::ranges::all_of(out, [](const auto& slot) { return slot.has_value(); }); }));
  EXPECT_EQ(server_.open_requests_max, 3);
  EXPECT_EQ(stats_.budget_waits, 7u);
}

TEST_F(ClientTest, RunsTwoHundredTransfersAtOnce) {
  options_.requests_max = 300;  // of which one workspace may have three quarters
  std::vector<std::optional<Result<Response>>> out(200);
  for (std::size_t i = 0; i < out.size(); ++i) {
    asio::co_spawn(loop_, send_into(get(fmt::format("/hold?n={}", i)), out[i]), asio::detached);
  }
  ASSERT_TRUE(run_until([&] { return server_.open_requests == 200; }));
  EXPECT_EQ(client().in_flight(), 200u);
  server_.released = true;
  ASSERT_TRUE(run_until(
      [&] { return std::ranges::all_of(out, [](const auto& slot) { return slot.has_value(); }); }));
  for (const auto& slot : out) {
    ASSERT_TRUE(*slot);
    EXPECT_EQ((*slot)->body, "held");
  }
  EXPECT_EQ(client().in_flight(), 0u);
}

TEST_F(ClientTest, ACancelledTransferEndsAtOnceAndLeavesTheClientUsable) {
  std::optional<Result<Response>> out;
  asio::cancellation_signal signal;
  bool ended = false;
  asio::co_spawn(
      loop_, send_into(get("/stalled-body"), out),
      asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr) { ended = true; }));
  ASSERT_TRUE(run_until([&] { return server_.open_requests == 1; }));
  signal.emit(asio::cancellation_type::terminal);
  ASSERT_TRUE(run_until([&] { return ended && server_.cut_by_peer == 1; }));
  if (out) {
    EXPECT_EQ(out->error().code, "fetch.cancelled");
  }
  EXPECT_EQ(client().in_flight(), 0u);
  EXPECT_EQ(answer(get("/")).status, 200);
}

TEST_F(ClientTest, DestroyedWithTransfersUnderWayItEndsThem) {
  std::vector<std::optional<Result<Response>>> out(20);
  for (auto& slot : out)
    asio::co_spawn(loop_, send_into(get("/stalled-body"), slot), asio::detached);
  ASSERT_TRUE(run_until([&] { return server_.open_requests == 20; }));
  client_.reset();
  ASSERT_TRUE(run_until(
      [&] { return std::ranges::all_of(out, [](const auto& slot) { return slot.has_value(); }); }));
  for (const auto& slot : out) EXPECT_EQ(slot->error().code, "fetch.cancelled");
  EXPECT_TRUE(run_until([&] { return server_.cut_by_peer == 20; }));
}

TEST_F(ClientTest, TheLoopMayEndWithoutResumingItsTransfers) {
  std::vector<std::optional<Result<Response>>> out(5);
  {
    // The client goes first; then the loop goes, and destroys the frames that still wait in it.
    asio::io_context loop;
    Client client(loop.get_executor(), options_, clock_, entropy_, delay_);
    HostileServer server(loop);
    allowance_.base_urls["api"] = server.url();
    const SendContext where = context();
    for (auto& slot : out) {
      asio::co_spawn(loop, client.send(get("/stalled-body"), where),
                     [&slot](std::exception_ptr, Result<Response> result) {
                       slot.emplace(std::move(result));
                     });
    }
    const auto end = std::chrono::steady_clock::now() + seconds(20);
    while (server.open_requests < 5 && std::chrono::steady_clock::now() < end)
      loop.run_one_for(milliseconds(100));
    EXPECT_EQ(client.in_flight(), 5u);
  }
  for (const auto& slot : out) EXPECT_FALSE(slot);
}

TEST_F(ClientTest, WithHalfTheTransfersCancelledAtRandomMomentsTheOthersFinish) {
  constexpr int kTransfers = 100;
  std::vector<std::optional<Result<Response>>> out(kTransfers);
  std::vector<asio::cancellation_signal> signals(kTransfers);
  int ended = 0;
  for (int i = 0; i < kTransfers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    asio::co_spawn(
        loop_, send_into(get(i % 2 == 0 ? "/chunked" : "/drip-body"), out[at]),
        asio::bind_cancellation_slot(signals[at].slot(), [&](std::exception_ptr) { ++ended; }));
  }
  loop_.restart();
  for (int i = 1; i < kTransfers; i += 2) {
    for (int step = 0; step < i; ++step) loop_.poll_one();
    signals[static_cast<std::size_t>(i)].emit(asio::cancellation_type::terminal);
  }
  ASSERT_TRUE(run_until([&] { return ended == kTransfers; }));
  for (std::size_t i = 0; i < kTransfers; i += 2) {
    ASSERT_TRUE(out[i] && *out[i]);
    EXPECT_EQ((*out[i])->body, "hello world");
  }
  EXPECT_EQ(client().in_flight(), 0u);
}

TEST_F(ClientTest, ReadsOnlyTheFinalAnswersHeaders) {
  server_.scripts["early"] = {"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n" +
                              http(200, "ok", "X-Final: 1\r\n")};
  const Response response = answer(get("/script/early"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "ok");
  EXPECT_FALSE(contract::find_header(response.headers, "x-early"));
  EXPECT_TRUE(contract::find_header(response.headers, "x-final"));
}

TEST_F(ClientTest, TellsBrokenAnswersFromGoodOnes) {
  options_.retry.tries_max = 1;
  server_.scripts["ssh"] = {"SSH-2.0-OpenSSH_9.2\r\n\r\n"};
  EXPECT_TRUE(answer(get("/script/ssh")).transport_error.starts_with("fetch.transport.protocol: "));
  server_.scripts["zip"] = {http(200, "this is no gzip", "Content-Encoding: gzip\r\n")};
  EXPECT_TRUE(answer(get("/script/zip")).transport_error.starts_with("fetch.transport.encoding: "));
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += fmt::format("{},", i * 7919);
  const std::string whole = gzip(text);
  server_.scripts["half"] = {
      http(200, whole.substr(0, whole.size() / 2), "Content-Encoding: gzip\r\n")};
  const Response half = answer(get("/script/half"));
  EXPECT_TRUE(half.transport_error.starts_with("fetch.transport.cut: "))
      << half.status << " " << half.body.size();
  for (const char* encoding : {"br", "gzip, gzip", "zstd", "gzip\r\nContent-Encoding: gzip",
                               "gzip\r\nContent-Encoding: br"}) {
    const std::string twice = gzip(gzip("?"));
    server_.scripts["odd"] = {http(200, twice, fmt::format("Content-Encoding: {}\r\n", encoding))};
    EXPECT_TRUE(
        answer(get("/script/odd")).transport_error.starts_with("fetch.transport.encoding: "))
        << encoding;
  }
  server_.scripts["two"] = {http(200, gzip("one ") + gzip("two"), "Content-Encoding: gzip\r\n")};
  EXPECT_EQ(answer(get("/script/two")).body, "one two");
  server_.scripts["none"] = {http(200, "", "Content-Encoding: gzip\r\n")};
  EXPECT_EQ(answer(get("/script/none")).status, 200);
}

TEST_F(ClientTest, LeavesOutWhatStandsBehindTheGzipData) {
  const std::string one = gzip("one"), two = gzip("two");
  for (const auto& [behind, body] :
       std::vector<std::pair<std::string, std::string>>{{std::string(512, '\0'), "one"},
                                                        {"\x1f", "one"},
                                                        {"\x1f" + std::string(9, '\0'), "one"},
                                                        {"<!-- served by cache-7 -->", "one"},
                                                        {two + std::string(3, '\0'), "onetwo"}}) {
    server_.scripts["padded"] = {http(200, one + behind, "Content-Encoding: gzip\r\n")};
    const Response response = answer(get("/script/padded"));
    EXPECT_EQ(response.body, body) << response.transport_error;
  }
  // The members and what is behind them, a byte at a time.
  std::string chunks;
  for (const char c : one + two + std::string(3, '\0'))
    chunks += fmt::format("1\r\n{}\r\n", std::string(1, c));
  server_.scripts["slow"] = {
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n" + chunks +
      "0\r\n\r\n"};
  EXPECT_EQ(answer(get("/script/slow")).body, "onetwo");
}

TEST_F(ClientTest, AnAnswerWithTwoLengthsIsNone) {
  options_.retry.tries_max = 1;
  server_.scripts["two"] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n1234567"};
  const Response response = answer(get("/script/two"));
  EXPECT_EQ(response.transport_error,
            "fetch.transport.protocol: the response has two lengths, 5 and 7");
}

TEST_F(ClientTest, KeepsAllHeadersAndTheLengthOfWhatWasNotSentIsNoLimit) {
  server_.scripts["odd"] = {
      http(200, "ok", "X-First: 1\r\nHTTP/2-Settings: x\r\nX-Long: one\r\n  two\r\n")};
  const Response response = answer(get("/script/odd"));
  EXPECT_EQ(contract::find_header(response.headers, "x-first"), "1");
  EXPECT_EQ(contract::find_header(response.headers, "x-long"), "one two");
  server_.scripts["not-modified"] = {
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 99999999\r\n\r\n"};
  EXPECT_EQ(answer(get("/script/not-modified")).status, 304);
  server_.scripts["999"] = {http(999, "go away")};
  stats_ = FetchStats();
  EXPECT_EQ(answer(get("/script/999")).status, 999);
  EXPECT_EQ(stats_.attempts, 1u);
}

/// Takes no connection: what is dialled there hangs.
class Swallower {
 public:
  Swallower(asio::io_context& loop, const asio::ip::tcp::endpoint& at) : acceptor_(loop) {
    acceptor_.open(at.protocol());
    acceptor_.bind(at);
    acceptor_.listen(0);
    for (int i = 0; i < 8; ++i) {
      auto& socket = waiting_.emplace_back(loop);
      socket.async_connect(at, [](boost::system::error_code) {});
    }
  }

 private:
  asio::ip::tcp::acceptor acceptor_;
  std::vector<asio::ip::tcp::socket> waiting_;
};

TEST_F(ClientTest, TriesTheNextAddressOfANameWhenTheFirstDoesNotAnswer) {
  const asio::ip::tcp::endpoint dead(asio::ip::make_address("127.0.0.2"), server_.port());
  const Swallower swallower(loop_, dead);
  options_.deadlines.connect = seconds(4);
  options_.retry.tries_max = 1;
  options_.curl.pins = {fmt::format("api.example.com:{}:127.0.0.2,127.0.0.1", server_.port())};
  allowance_.base_urls["api"] = fmt::format("http://api.example.com:{}", server_.port());
  const Response response = answer(get("/plain"));
  EXPECT_EQ(response.status, 200) << response.transport_error;
}

TEST_F(ClientTest, WhenOneAddressIsNotAllowedAndTheOtherDoesNotAnswerItIsTheOthersFailure) {
  asio::ip::tcp::acceptor closed(loop_,
                                 asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
  const auto port = closed.local_endpoint().port();
  closed.close();
  options_.retry.tries_max = 1;
  options_.curl.pins = {fmt::format("api.example.com:{}:10.0.0.1,127.0.0.1", port)};
  allowance_.base_urls["api"] = fmt::format("http://api.example.com:{}", port);
  const Response response = answer(get("/plain"));
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.connect: "))
      << response.transport_error;
}

TEST_F(ClientTest, AHandshakeMayTakeLongerThanTheConnection) {
  options_.retry.tries_max = 1;
  options_.deadlines.connect = milliseconds(100);
  options_.deadlines.tls = milliseconds(900);
  allowance_.base_urls["api"] = fmt::format("https://127.0.0.1:{}", server_.port());
  const auto began = std::chrono::steady_clock::now();
  EXPECT_TRUE(answer(get("/")).transport_error.starts_with("fetch.transport.tls_timeout: "));
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(900));
}

TEST_F(ClientTest, SendsARequestThatMustNotBeRepeatedOnAFreshConnection) {
  EXPECT_EQ(answer(get("/")).status, 200);
  Request request = get("/no-answer");
  request.method = Method::post;
  answer(request);
  EXPECT_EQ(server_.seen.size(), 2u)
      << "curl itself repeats requests when a reused connection turns out dead";
}

TEST_F(ClientTest, EndsATlsHandshakeThatNeverComes) {
  options_.retry.tries_max = 1;
  options_.deadlines.connect = milliseconds(100);
  options_.deadlines.tls = milliseconds(200);
  allowance_.base_urls["api"] = fmt::format("https://127.0.0.1:{}", server_.port());
  const Response response = answer(get("/"));
  EXPECT_TRUE(response.transport_error.starts_with("fetch.transport.tls_timeout: "))
      << response.transport_error;
}

TEST_F(ClientTest, LogsNeitherQueryNorCredential) {
  struct Capture final : Poco::Channel {
    void log(const Poco::Message& message) override { text += message.getText() + "\n"; }
    std::string text;
  };
  const Poco::AutoPtr<Capture> capture(new Capture);
  Poco::Logger& logger = Poco::Logger::get("sluice");
  const auto level = logger.getLevel();
  logger.setChannel(capture);
  logger.setLevel(Poco::Message::PRIO_TRACE);
  log::set_level(log::Level::debug);
  for (const std::uint32_t slot : {0u, 1u, 2u}) {
    Request request = get("/echo-auth?email=secret@example.com");
    request.auth_slot = slot;
    answer(request);
  }
  answer(get("/cut-body?email=secret@example.com"));
  log::set_level(log::Level::info);
  logger.setLevel(level);
  logger.setChannel(nullptr);
  EXPECT_NE(
      capture->text.find("fetch.attempt method=GET host=127.0.0.1 path=/echo-auth status=200"),
      std::string::npos)
      << capture->text;
  EXPECT_NE(capture->text.find("fetch.credential_echoed"), std::string::npos);
  for (const char* never : {"abcdefgh", "secret@", "token=", "Bearer", "Basic"}) {
    EXPECT_EQ(capture->text.find(never), std::string::npos) << never;
  }
}

TEST_F(ClientTest, ReadsNoProxyFromTheEnvironment) {
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  ::setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
  EXPECT_EQ(answer(get("/")).status, 200);
  ::unsetenv("http_proxy");
  ::unsetenv("ALL_PROXY");
}

}  // namespace
}  // namespace sluice::fetch
